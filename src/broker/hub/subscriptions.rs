//! Subscriptions of a hub's sessions: how they join groups and leave them.
//!
//! Owns membership, and the rule that a session is given what is pending for it before anything that concerns it
//! alone happens, so that it sees one order.

use std::sync::Arc;

use bytestring::ByteString;
use slab::Slab;

use super::session::{At, Membership, Phase, Session};
use super::{Hub, of_key};
use crate::broker::encoder::{AckMode, Encoder, Subscription};
use crate::broker::group::{Framed, Group, GroupKey, Replay};
use crate::broker::key::SessionKey;
use crate::broker::log::{Cursor, Gap, LogIdentity};
use crate::broker::message::Message;
use crate::broker::outbox::{Class, Waiting};
use crate::broker::router::{Made, Subscribe, SubscriberTerms};
use crate::telemetry::metrics::Reason;

impl Hub {
    /// Takes up a subscription: its receipt first, then what is kept for it, then what comes behind this moment.
    pub(super) fn join(&mut self, subscribe: Subscribe) {
        let Subscribe { session: key, terms, found } = subscribe;
        let SubscriberTerms { filter, subscription, selector, view, receipt, .. } = terms;
        self.logged = self.logged.max(found.position);
        let open = |session: &mut Session| session.phase == Phase::Open && !session.doomed;
        let open = self.session_mut(key).is_some_and(open);
        if !open {
            self.router.unsubscribe(self.worker, &filter);
            return;
        }
        self.catch_up(key);
        let begins = found.begins();
        if let Some(receipt) = receipt {
            let cursor = begins.map(|number| Cursor::new(self.channels.log_identity(), number, &filter));
            self.send(key, receipt.make(Made { resumed: found.resumed, cursor }));
        }
        let encoder = self.sessions[key.index as usize].encoder;
        let mut group_key =
            GroupKey { filter, encoder: encoder.id(), subscription, selector, view, alone: 0 };
        if found.reading.is_some() {
            self.alone = self.alone.wrapping_add(1).max(1);
            group_key.alone = self.alone;
        }
        let (id, is_new_view) = self.group_of(group_key, encoder);
        let group = &mut self.groups[id as usize];
        group.last_event = group.last_event.or(begins);
        group.gap = found.resumed.and_then(Result::err).or(group.gap);
        if let Some(gap) = found.resumed.and_then(Result::err) {
            self.metrics.gaps.get_or_create(&Reason { reason: gap.label() }).inc();
        }
        self.hand_out(key, id, is_new_view, found.kept);
        if let Some(reading) = found.reading {
            self.groups[id as usize].replay = Some(Box::new(Replay { reading, caught_up: false }));
            self.sessions[key.index as usize].replays += 1;
            self.metrics.replays.inc();
        }
        self.attach(key, id);
        self.metrics.subscriptions.inc();
        self.have_written(key);
    }

    /// Gives a session that joins a group what is kept for it.
    fn hand_out(&mut self, key: SessionKey, id: u32, is_new_view: bool, mut kept: Vec<Arc<Message>>) {
        let group = &mut self.groups[id as usize];
        if let Some(selector) = &group.key.selector {
            kept.retain(|message| selector.matches(|name| message.headers.get(name).map(|value| &**value)));
        }
        kept.sort_unstable_by_key(|message| message.id.number);
        if let Some(view) = group.view {
            let Group { key: GroupKey { filter, .. }, channel, .. } = &*group;
            for channel in self.viewing.join(view, is_new_view, filter, *channel, &kept) {
                group.set_behind(key, channel);
            }
        }
        for message in kept {
            let group = &mut self.groups[id as usize];
            let channel = group.channel_of(&message);
            let with_gap = group.gap.is_some().then(|| group.whole_with_gap(&message));
            self.put(key, None, |session, _, at| {
                at.tally.messages += 1;
                match with_gap {
                    // What it tells must not be lost with it.
                    Some(frame) => session.outbox.force(frame, Class::Free),
                    None => {
                        let waiting = Waiting::Whole { message, retained: true };
                        session.outbox.put_value(id, channel, waiting, |newer| newer);
                    }
                }
                Ok(())
            });
        }
    }

    /// Has a session's outbox, and what follows from it, looked at when the hub writes next.
    fn have_written(&mut self, key: SessionKey) {
        self.put(key, None, |_, _, _| Ok(()));
    }

    /// The group of a key, and whether its view is new.
    pub(super) fn group_of(&mut self, key: GroupKey, encoder: &'static dyn Encoder) -> (u32, bool) {
        if let Some(id) = self.by_key.get(&key) {
            return (*id, false);
        }
        let selector = key.selector.as_ref().map(|selector| self.selecting.add(selector));
        let channel = key.filter.exact().map(|one| self.channels.key(one));
        let view =
            key.view.as_ref().map(|view| self.viewing.add(view, key.selector.as_ref(), channel.is_some()));
        let log = self.channels.log_identity();
        let number = view.map(|(number, _)| number);
        let group = Group::new(key.clone(), encoder, selector, number, channel, log);
        let id = self.groups.insert(group) as u32;
        self.index.update(&key.filter, |leaf| leaf.push(id));
        self.by_key.insert(key, id);
        self.metrics.groups.inc();
        (id, view.is_some_and(|(_, is_new)| is_new))
    }

    /// Makes a session a member of a group: it gets what becomes pending from now on.
    pub(super) fn attach(&mut self, key: SessionKey, id: u32) {
        let members = &mut self.groups[id as usize].members;
        let place = members.len() as u32;
        members.push(key);
        let session = &mut self.sessions[key.index as usize];
        session.memberships.push(Membership { group: id, place });
    }

    /// Gives a session what is pending for it in its groups, so that a frame of its own goes behind.
    pub(super) fn catch_up(&mut self, key: SessionKey) {
        let session = &self.sessions[key.index as usize];
        let mut frames: Vec<(u32, Framed)> = Vec::new();
        for membership in &session.memberships {
            let copies = self.groups[membership.group as usize].copies_since(session.seen);
            frames.extend(copies.into_iter().map(|framed| (membership.group, framed)));
        }
        frames.sort_unstable_by_key(|(_, framed)| framed.sequence);
        for (group, framed) in frames {
            let note = framed.note.clone();
            let subscription = Some(self.groups[group as usize].key.subscription.id.clone());
            let give = |session: &mut Session, groups: &Slab<Group>, at: &mut At<'_>| {
                session.give(key, groups, group, framed, at)
            };
            if !self.put(key, subscription, give) {
                self.sessions[key.index as usize].lose(group, &note);
            }
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
        let session = &mut self.sessions[key.index as usize];
        let membership = session.memberships.remove(at);
        let replay = &self.groups[membership.group as usize].replay;
        session.replays -= u32::from(replay.as_ref().is_some_and(|replay| !replay.caught_up));
        self.leave_group(key, membership);
        true
    }

    /// Ends a session's part in a group, and its interest in what the group gets.
    pub(super) fn leave_group(&mut self, key: SessionKey, membership: Membership) {
        self.metrics.subscriptions.dec();
        let group = &self.groups[membership.group as usize];
        self.router.unsubscribe(self.worker, &group.key.filter);
        let Hub { sessions, held, .. } = self;
        if let Some(session) = of_key(sessions, key) {
            *held -= session.outbox.weight();
            session.outbox.leave(membership.group);
            *held += session.outbox.weight();
        }
        self.detach(key, membership);
    }

    /// Takes a session out of a group, and forgets the group with its last member.
    pub(super) fn detach(&mut self, key: SessionKey, membership: Membership) {
        let Membership { group: id, place } = membership;
        let group = &mut self.groups[id as usize];
        let removed = group.members.swap_remove(place as usize);
        debug_assert_eq!(removed, key);
        group.forget_member(key);
        if let Some(moved) = group.members.get(place as usize) {
            let memberships = &mut self.sessions[moved.index as usize].memberships;
            if let Some(other) = memberships.iter_mut().find(|other| other.group == id) {
                other.place = place;
            }
        }
        // One with pending frames is looked at once more when they are cleared.
        if group.members.is_empty() && !group.is_pending() {
            self.forget_group(id);
        }
    }

    /// The log is another from here on, or something of it is missing: who subscribed to events before hears of it.
    pub(super) fn log_changed(&mut self, log: LogIdentity, gap: Option<Gap>) {
        let told = self.groups.iter_mut().map(|(_, group)| u64::from(group.log_changed(log, gap))).sum();
        if let Some(gap) = gap {
            self.metrics.gaps.get_or_create(&Reason { reason: gap.label() }).inc_by(told);
        }
    }

    pub(super) fn forget_group(&mut self, id: u32) {
        let group = self.groups.remove(id as usize);
        self.index.update(&group.key.filter, |leaf| leaf.retain(|other| *other != id));
        self.by_key.remove(&group.key);
        if let Some(selector) = &group.key.selector {
            self.selecting.remove(selector);
        }
        if let Some(view) = &group.key.view {
            self.viewing.remove(view, group.key.selector.as_ref(), group.channel.is_some());
            self.let_go_of(&group);
        }
        self.metrics.groups.dec();
    }

    /// Drops the values that were held back for a group that has ended, and for no other.
    fn let_go_of(&mut self, ended: &Group) {
        let Hub { viewing, index, groups, .. } = self;
        let Some(number) = ended.view else { return };
        viewing.let_go(number, |channel, message| {
            let has = |group: &Group| group.view == ended.view && group.channel_of(message) == channel;
            if !has(ended) || !ended.key.filter.matches(&message.destination) {
                return false;
            }
            let mut others = false;
            index.matches(&message.destination, |leaf| {
                others |= leaf.iter().any(|id| has(&groups[*id as usize]));
            });
            !others
        });
    }

    /// Sends `message` to the session's own subscriptions that match it, and to nobody else. Returns how many.
    pub(in crate::broker) fn reply(&mut self, key: SessionKey, message: &Message) -> usize {
        let Some(session) = self.session_mut(key) else {
            return 0;
        };
        let memberships = session.memberships.clone();
        let mut sent = 0;
        for membership in memberships {
            let id = membership.group;
            let group = &mut self.groups[id as usize];
            if group.key.filter.matches(&message.destination) {
                let frame = group.answer(message);
                if group.key.view.as_ref().is_some_and(|view| view.delta) {
                    group.set_behind(key, message.channel);
                }
                let taken = self.put(key, None, |session, groups, at| {
                    let whole = |value: &Arc<Message>, retained| groups[id as usize].whole(value, retained);
                    session.outbox.seal(id, message.channel, whole);
                    session.enqueue(groups, frame, Class::Usual, at)
                });
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
