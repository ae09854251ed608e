//! Delivery: a message becomes pending for the groups that it matches, and what is pending is written.
//!
//! Owns the hot path. What waits for a connection that took not all of it is in its outbox (`session.rs`).

use std::sync::Arc;

use super::session::{At, Outcome, Tally};
use super::viewing::Due;
use super::{Hub, PATIENCE, PENDING, millis_since};
use crate::broker::close::CloseReason;
use crate::broker::group::Sight;
use crate::broker::message::{Message, Retain, Standing};

impl Hub {
    /// Makes a message pending for every group that it matches.
    pub(super) fn deliver(&mut self, message: &Arc<Message>) {
        self.show(message, None);
        if let Standing::Event(number) = message.standing {
            self.logged = number;
        }
        self.promote_touched();
    }

    /// Makes a message pending for every group that it matches, or for those of a view that held it back: encoded once for
    /// each.
    pub(super) fn show(&mut self, message: &Arc<Message>, due: Option<Due>) {
        let mut matched = std::mem::take(&mut self.matched);
        self.index.matches(&message.destination, |leaf| matched.extend_from_slice(leaf));
        self.selecting.next_message();
        self.viewing.next_message();
        let earliest = self.viewing.earliest();
        let mut asked = 0;
        for id in matched.drain(..) {
            let Some(sight) = self.sight(id, message, due, &mut asked) else { continue };
            self.sequence += 1;
            let group = &mut self.groups[id as usize];
            let encoded = group.encode(message, sight.as_ref(), self.sequence, &mut self.spare);
            self.metrics.encodes.inc();
            if encoded.first {
                self.dirty.push(id);
            }
            self.pending += encoded.octets;
            if self.pending > PENDING {
                // Groups only: whoever joined one now would miss the message, or get it twice.
                self.flush_groups();
                self.settle_accounts();
            }
        }
        self.matched = matched;
        if let Some(now) = self.viewing.earliest()
            && earliest.is_none_or(|before| now < before)
        {
            self.wake_earlier();
        }
        if asked > 0 {
            self.metrics.selector_evaluations.inc_by(asked);
        }
    }

    /// What a group is shown of a message: nothing if it is not for it, `None` within if all of it.
    fn sight(
        &mut self,
        id: u32,
        message: &Arc<Message>,
        due: Option<Due>,
        asked: &mut u64,
    ) -> Option<Option<Sight>> {
        // Writing in between may have ended the last member of a group that follows.
        let group = self.groups.get_mut(id as usize)?;
        if due.is_some_and(|due| group.view != Some(due.view) || group.channel_of(message) != due.channel) {
            return None;
        }
        if let (Some(number), Some(selector)) = (group.selector, &group.key.selector)
            && !self.selecting.wants(number, selector, message, asked)
            // Whoever may hold the value that is forgotten hears of it.
            && message.retain() != Some(Retain::Clear)
        {
            return None;
        }
        if let Some(replay) = &mut group.replay {
            self.touched.push(id);
            if !Self::takes(replay, message) {
                return None;
            }
        }
        let Some(number) = group.view else { return Some(None) };
        if self.viewing.is_timed(number) {
            self.now = millis_since(self.began);
        }
        let channel = group.channel_of(message);
        let sight = self.viewing.show(number, message, channel, self.now, due.is_some(), &self.metrics)?;
        let saved = message.body.len().saturating_sub(sight.body.len()) * group.members.len();
        self.metrics.view_saved.inc_by(saved as u64);
        Some(Some(sight))
    }

    /// Writes everything that is pending, to groups first, in the order in which it became pending.
    pub(in crate::broker) fn flush(&mut self) {
        self.flush_groups();
        while let Some(key) = self.unwritten.pop() {
            self.write_own(key);
        }
        self.settle_accounts();
    }

    fn flush_groups(&mut self) {
        for id in &self.dirty {
            self.groups[*id as usize].close(&mut self.spare);
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in &dirty {
            self.write_group(*id, dirty.len() == 1);
        }
        for id in dirty.drain(..) {
            self.groups[id as usize].clear(&mut self.spare);
            if self.groups[id as usize].members.is_empty() {
                self.forget_group(id);
            }
        }
        self.dirty = dirty;
        self.pending = 0;
    }

    /// Ends whom it has to end, and tells the metrics what was written.
    pub(super) fn settle_accounts(&mut self) {
        self.keep_budget();
        self.end_all();
        let Tally { messages, octets, skipped } = std::mem::take(&mut self.tally);
        self.metrics.messages_out.inc_by(messages);
        self.metrics.bytes_out.inc_by(octets);
        if skipped > 0 {
            self.metrics.conflated.inc_by(skipped);
        }
    }

    /// Writes what is pending for the members of a group, in this group and, unless it is the only one that has
    /// something, in their others.
    fn write_group(&mut self, id: u32, only: bool) {
        let next = self.sequence + 1;
        let only = only.then_some(id);
        for key in &self.groups[id as usize].members {
            let session = &mut self.sessions[key.index as usize];
            if session.seen >= next {
                continue;
            }
            if session.doomed {
                session.lose_pending(&self.groups);
                session.seen = next;
                continue;
            }
            let held = session.outbox.weight();
            let (now, limits) = (self.now, self.limits.outbox);
            let mut at = At { now, limits, tally: &mut self.tally };
            let outcome = session.write_pending(*key, &self.groups, only, &mut at);
            session.seen = next;
            self.held = self.held - held + session.outbox.weight();
            match outcome {
                Outcome::Written => continue,
                Outcome::Blocked => {
                    self.pressed |= session.outbox.is_half_full(limits) && now - session.progress <= PATIENCE;
                }
                Outcome::Overflow { group, dropped } => {
                    self.metrics.dropped("slow_consumer", dropped);
                    let subscription = Some(self.groups[group as usize].key.subscription.id.clone());
                    session.doomed = true;
                    let reason = CloseReason::SlowConsumer { subscription, cursors: Vec::new() };
                    self.ending.push((*key, Some(reason)));
                }
                Outcome::Broken => {
                    session.doomed = true;
                    self.ending.push((*key, None));
                }
            }
            Self::await_writable(&self.this, *key, session, &mut self.timers, &self.limits);
        }
    }
}
