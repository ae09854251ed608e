//! Replays: subscriptions of a hub's sessions that read history before they go on live.
//!
//! Owns the way from one to the other. A subscription that reads history is a group of its own, so that it alone is given
//! what it missed, at the pace of its socket. When it has come to the end it takes what is in the worker's mailbox like all
//! others, but for what it has read; when the mailbox has come as far as it had, it joins the others of its kind.

use super::session::{Membership, Phase};
use super::{Hub, of_key};
use crate::broker::close::CloseReason;
use crate::broker::group::{GroupKey, Replay};
use crate::broker::key::SessionKey;
use crate::broker::log::Read;
use crate::broker::message::{Message, Standing};
use crate::broker::outbox::Class;
use std::sync::Arc;

/// What is read of history at a time, in octets; more only when this is on the wire.
const READ: usize = 16 * 1024;

/// What came of a look at history.
enum Look {
    /// There was something to look at.
    Gave,
    /// There is nothing more, but what was given is not written.
    Waits,
    /// This one reads no more.
    Ended,
}

impl Hub {
    /// Gives a session more of the history that it reads, if what it was given is nearly written: one look at a time,
    /// however many of its subscriptions read. Says whether there was something to look at.
    pub(super) fn read_on(&mut self, key: SessionKey) -> bool {
        while let Some(session) = self.session(key).filter(|session| session.replays > 0) {
            if session.doomed || session.phase != Phase::Open || session.outbox.held() >= READ {
                return false;
            }
            // The one that is furthest behind, which history overtakes first.
            let position = |membership: &Membership| {
                let replay = self.groups[membership.group as usize].replay.as_ref();
                let reading = replay.filter(|replay| !replay.caught_up).map(|replay| &replay.reading);
                reading.map(|reading| (reading.position, membership.group))
            };
            let Some((_, id)) = session.memberships.iter().filter_map(position).min() else { return false };
            match self.read_group(key, id) {
                Look::Gave => return true,
                Look::Waits => return false,
                Look::Ended => {}
            }
        }
        false
    }

    fn read_group(&mut self, key: SessionKey, id: u32) -> Look {
        let group = &mut self.groups[id as usize];
        let Some(replay) = &mut group.replay else { return Look::Ended };
        match self.channels.read(&group.key.filter, &mut replay.reading, READ) {
            Read::Some(messages) => {
                self.replay(key, id, &messages);
                Look::Gave
            }
            // What waits is replayed: what is published until it is written will be found in history too.
            Read::End if self.sessions[key.index as usize].outbox.held() > 0 => Look::Waits,
            Read::End => {
                replay.caught_up = true;
                replay.reading.end();
                if let Some(session) = of_key(&mut self.sessions, key) {
                    session.replays -= 1;
                }
                self.promote(id);
                Look::Ended
            }
            Read::Overtaken => {
                let subscription = Some(group.key.subscription.id.clone());
                self.doom(key, Some(CloseReason::SlowConsumer { subscription, cursors: Vec::new() }));
                Look::Ended
            }
        }
    }

    /// Puts events out of history behind everything that a session was given.
    fn replay(&mut self, key: SessionKey, id: u32, messages: &[Arc<Message>]) {
        self.catch_up(key);
        for message in messages {
            let group = &mut self.groups[id as usize];
            if let Some(selector) = &group.key.selector
                && !selector.matches(|name| message.headers.get(name).map(|value| &**value))
            {
                continue;
            }
            let fields = group.key.view.as_ref().and_then(|view| view.fields.clone());
            let body = message.projected(fields.as_ref());
            let previous = group.last_event.unwrap_or(0);
            let frame = group.replayed(message, &body);
            self.metrics.replayed.inc();
            let Some(session) = of_key(&mut self.sessions, key) else { return };
            self.held -= session.outbox.weight();
            session.outbox.force(frame, Class::Replayed { group: id, previous });
            self.held += session.outbox.weight();
            self.tally.messages += 1;
        }
    }

    /// Whether an event of the mailbox goes to a group that has a replay: not what is still to be read, nor what was.
    pub(super) fn takes(replay: &mut Replay, message: &Message) -> bool {
        let Standing::Event(number) = message.standing else { return true };
        let is_next = replay.caught_up && number > replay.reading.position;
        if is_next {
            replay.reading.position = number;
        }
        is_next
    }

    /// Looks which of the subscriptions that read history have come up with the worker.
    pub(super) fn promote_touched(&mut self) {
        while let Some(id) = self.touched.pop() {
            self.promote(id);
        }
    }

    /// Has a subscription that has come up with its worker join those who get the same.
    fn promote(&mut self, id: u32) {
        let Some(group) = self.groups.get(id as usize) else { return };
        let is_there = |replay: &Replay| replay.caught_up && self.logged >= replay.reading.position;
        let (Some(key), true) = (
            group.members.first().copied(),
            group.replay.as_deref().is_some_and(is_there) && group.gap.is_none(),
        ) else {
            return;
        };
        let last_event = group.last_event;
        let encoder = group.encoder();
        let shared = GroupKey { alone: 0, ..group.key.clone() };
        self.catch_up(key);
        let (target, _) = self.group_of(shared, encoder);
        let group = &mut self.groups[target as usize];
        group.last_event = group.last_event.max(last_event);
        let Some(session) = of_key(&mut self.sessions, key) else { return };
        session.outbox.go_over(id, target);
        for (group, _) in &mut session.lost {
            *group = if *group == id { target } else { *group };
        }
        if let Some(at) = session.memberships.iter().position(|membership| membership.group == id) {
            let membership = session.memberships.remove(at);
            self.detach(key, membership);
        }
        self.attach(key, target);
    }
}
