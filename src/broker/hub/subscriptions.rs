//! Subscriptions of a hub's sessions: how they join groups and leave them.
//!
//! Owns membership, and the rule that a session is given what is pending for it before anything that concerns it
//! alone happens, so that it sees one order.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::Hub;
use super::session::{Membership, Phase, Session};
use crate::broker::encoder::{AckMode, Encoder, Subscription};
use crate::broker::group::{Group, GroupKey};
use crate::broker::key::SessionKey;
use crate::broker::message::Message;
use crate::broker::router::Subscribe;

impl Hub {
    /// Takes up a subscription: its receipt first, then what comes behind this moment.
    pub(super) fn join(&mut self, subscribe: Subscribe) {
        let Subscribe { session: key, filter, subscription, selector, receipt } = subscribe;
        let open = |session: &mut Session| session.phase == Phase::Open && !session.doomed;
        let open = self.session_mut(key).is_some_and(open);
        if !open {
            self.router.unsubscribe(self.worker, &filter);
            return;
        }
        self.catch_up(key);
        if let Some(receipt) = receipt {
            self.send(key, receipt);
        }
        let encoder = self.sessions[key.index as usize].encoder;
        let group_key = GroupKey { filter, encoder: encoder.id(), subscription, selector };
        let id = match self.by_key.get(&group_key) {
            Some(id) => *id,
            None => self.add_group(group_key, encoder),
        };
        let members = &mut self.groups[id as usize].members;
        let place = members.len() as u32;
        members.push(key);
        let session = &mut self.sessions[key.index as usize];
        session.memberships.push(Membership { group: id, place });
        self.metrics.subscriptions.inc();
    }

    fn add_group(&mut self, key: GroupKey, encoder: &'static dyn Encoder) -> u32 {
        let selector = key.selector.as_ref().map(|selector| self.selecting.add(selector));
        let id = self.groups.insert(Group::new(key.clone(), encoder, selector)) as u32;
        self.index.update(&key.filter, |leaf| leaf.push(id));
        self.by_key.insert(key, id);
        self.metrics.groups.inc();
        id
    }

    /// Gives a session what is pending for it in its groups, so that a frame of its own goes behind.
    pub(super) fn catch_up(&mut self, key: SessionKey) {
        let session = &self.sessions[key.index as usize];
        let mut frames: Vec<(u64, Bytes)> = Vec::new();
        for membership in &session.memberships {
            frames.extend(self.groups[membership.group as usize].copies_since(session.seen));
        }
        frames.sort_unstable_by_key(|(sequence, _)| *sequence);
        for (_, frame) in frames {
            let taken = self.send(key, frame);
            self.tally.messages += u64::from(taken);
        }
        self.sessions[key.index as usize].seen = self.sequence + 1;
    }

    /// Ends one subscription of a session; nothing more comes of it. Says whether there was one.
    pub(in crate::broker) fn leave(&mut self, key: SessionKey, subscription: &str) -> bool {
        if self.stop_consuming(key, subscription) {
            return true;
        }
        let Some(session) = self.session_mut(key) else {
            return false;
        };
        let memberships = session.memberships.clone();
        let found = memberships.iter().position(|membership| {
            self.groups[membership.group as usize].key.subscription.id == subscription
        });
        let Some(at) = found else { return false };
        self.catch_up(key);
        let membership = self.sessions[key.index as usize].memberships.remove(at);
        self.leave_group(key, membership);
        true
    }

    /// Takes a session out of a group, and forgets the group with its last member.
    pub(super) fn leave_group(&mut self, key: SessionKey, membership: Membership) {
        let Membership { group: id, place } = membership;
        let group = &mut self.groups[id as usize];
        let removed = group.members.swap_remove(place as usize);
        debug_assert_eq!(removed, key);
        if let Some(moved) = group.members.get(place as usize) {
            let memberships = &mut self.sessions[moved.index as usize].memberships;
            if let Some(other) = memberships.iter_mut().find(|other| other.group == id) {
                other.place = place;
            }
        }
        self.metrics.subscriptions.dec();
        self.router.unsubscribe(self.worker, &group.key.filter);
        // One with pending frames is looked at once more when they are cleared.
        if group.members.is_empty() && !group.is_pending() {
            self.forget_group(id);
        }
    }

    pub(super) fn forget_group(&mut self, id: u32) {
        let group = self.groups.remove(id as usize);
        self.index.update(&group.key.filter, |leaf| leaf.retain(|other| *other != id));
        self.by_key.remove(&group.key);
        if let Some(selector) = &group.key.selector {
            self.selecting.remove(selector);
        }
        self.metrics.groups.dec();
    }

    /// Sends `message` to the session's own subscriptions that match it, and to nobody else. Returns how many.
    pub(in crate::broker) fn reply(&mut self, key: SessionKey, message: &Message) -> usize {
        let Some(session) = self.session_mut(key) else {
            return 0;
        };
        let memberships = session.memberships.clone();
        let mut sent = 0;
        for membership in memberships {
            let GroupKey { filter, subscription, .. } = &self.groups[membership.group as usize].key;
            if filter.matches(&message.destination) {
                let mut frame = BytesMut::new();
                self.sessions[key.index as usize].encoder.message(message, subscription, &mut frame);
                let taken = self.send(key, frame.freeze());
                self.tally.messages += u64::from(taken);
                sent += usize::from(taken);
            }
        }
        sent
    }

    /// How many subscriptions a session has, and whether one of them has this id.
    pub(in crate::broker) fn subscribed(&self, key: SessionKey, id: &str) -> (usize, bool) {
        let Some(session) = self.session(key) else { return (0, false) };
        let mut keys =
            session.memberships.iter().map(|membership| &self.groups[membership.group as usize].key);
        let consumes = self.consuming(key).any(|(subscription, _)| subscription.id == id);
        let count = session.memberships.len() + session.consumers.len();
        (count, consumes || keys.any(|key| key.subscription.id == id))
    }

    /// The id of a session's first subscription to just this text.
    pub(in crate::broker) fn id_of(&self, key: SessionKey, destination: &str) -> Option<ByteString> {
        let session = self.session(key)?;
        let mut keys =
            session.memberships.iter().map(|membership| &self.groups[membership.group as usize].key);
        let topic = keys.find(|key| key.filter.text() == destination).map(|key| &key.subscription);
        let queue = || self.consuming(key).find(|(_, queue)| *queue == destination).map(|(one, _)| one);
        topic.or_else(queue).map(|subscription| subscription.id.clone())
    }

    /// How a session's subscription of this id to topics acknowledges, if there is one; without an id, any that
    /// acknowledges.
    pub(in crate::broker) fn topic_ack_mode(&self, key: SessionKey, id: Option<&str>) -> Option<AckMode> {
        let session = self.session(key)?;
        let mut all = session.memberships.iter().map(|one| &self.groups[one.group as usize].key.subscription);
        let is_it = |one: &Subscription| id.map_or(one.ack != AckMode::Auto, |id| one.id == id);
        all.find(|subscription| is_it(subscription)).map(|subscription| subscription.ack)
    }
}
