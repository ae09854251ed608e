//! One session as its hub knows it: a connection, what waits for it, and when it was last heard.
//!
//! Owns writing to one client. What is to be written is the hub's business.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::Waker;

use bytes::Bytes;
use slab::Slab;
use smallvec::SmallVec;

use crate::broker::close::CloseReason;
use crate::broker::encoder::{Beats, Connection, Encoder};
use crate::broker::group::{Framed, Group, Note, Share};
use crate::broker::key::SessionKey;
use crate::broker::outbox::{Class, Full, Outbox, OutboxLimits, Waiting};
use crate::broker::queue::Assigned;
use crate::broker::timers::Millis;

/// The most pieces that one vectored write takes; more than this gains nothing measurable.
const PIECES: usize = 64;

/// What is made of values at a time for a client that lags.
const MADE: usize = 64 * 1024;

/// A session's part in a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Membership {
    /// The group.
    pub(super) group: u32,
    /// Its place among the group's members.
    pub(super) place: u32,
}

/// How far a session's life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Opened, but the client did not say who it is.
    Greeting,
    /// In use.
    Open,
    /// The client said goodbye and was answered; it is given time to close.
    Lingering,
    /// Last words are on their way; nothing else is written or heard.
    Closing,
}

/// What was handed to connections and outboxes.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Messages that were written, or wait in an outbox.
    pub(super) messages: u64,
    /// Octets that were written.
    pub(super) octets: u64,
    /// Values that a newer one took the place of.
    pub(super) skipped: u64,
}

/// When something is written, within what bounds, and where it is counted.
pub(super) struct At<'h> {
    pub(super) now: Millis,
    pub(super) limits: OutboxLimits,
    pub(super) tally: &'h mut Tally,
}

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Everything is on the wire.
    Written,
    /// The rest waits in the outbox until the connection takes it.
    Blocked,
    /// The outbox can't take the rest.
    Overflow {
        /// Whose message did not fit.
        group: u32,
        /// Frames that were dropped.
        dropped: usize,
    },
    /// The connection is broken.
    Broken,
}

/// One session.
pub(super) struct Session {
    pub(super) generation: u32,
    pub(super) connection: Box<dyn Connection>,
    pub(super) encoder: &'static dyn Encoder,
    pub(super) transport: &'static str,
    pub(super) outbox: Outbox,
    /// Of the frames pending in its groups, those numbered from here on are still to be given to it.
    pub(super) seen: u64,
    pub(super) memberships: SmallVec<[Membership; 2]>,
    /// How many of them read history.
    pub(super) replays: u32,
    /// The groups whose events it was not given, since its end was found: each with the number of the one before.
    pub(super) lost: Vec<(u32, u64)>,
    /// Its subscriptions to queues.
    pub(super) consumers: Vec<u32>,
    /// What queues assigned to it, and its outbox has no room for yet.
    pub(super) assigned: VecDeque<Assigned>,
    pub(super) phase: Phase,
    /// Why it ends, once that is known.
    pub(super) reason: Option<CloseReason>,
    /// The connection said that it takes nothing.
    pub(super) blocked: bool,
    /// The connection was asked to call when it takes something again.
    pub(super) awaited: bool,
    /// Stands in the hub's list of sessions with something to write.
    pub(super) listed: bool,
    /// Its end was found; nothing more is taken for it or written to it until then.
    pub(super) doomed: bool,
    /// Its door is at work on what the client sent, and does not read meanwhile.
    pub(super) busy: bool,
    /// A timer looks after a blocked write.
    pub(super) watched: bool,
    /// When its phase ends by force.
    pub(super) deadline: Millis,
    /// When the client was last heard.
    pub(super) heard: Millis,
    /// When something was last written, or a write began to wait.
    pub(super) progress: Millis,
    /// How the connection is kept alive.
    pub(super) beats: Beats,
    /// The reader, if it waits for room in the outbox.
    pub(super) reader: Option<Waker>,
}

impl Session {
    /// Writes what is pending for this session in its groups; in one of them, if `only` that has something.
    pub(super) fn write_pending(
        &mut self,
        key: SessionKey,
        groups: &Slab<Group>,
        only: Option<u32>,
        at: &mut At<'_>,
    ) -> Outcome {
        let seen = self.seen;
        let share = |group: u32| groups[group as usize].since(seen).map(|share| (group, share));
        if self.outbox.is_empty() {
            let mut shares = only.into_iter().filter_map(share);
            let mut all = self.memberships.iter().filter_map(|membership| share(membership.group));
            let (first, more) = match only {
                Some(_) => (shares.next(), false),
                None => (all.next(), all.next().is_some()),
            };
            match first {
                None => return Outcome::Written,
                Some((group, share)) if !more && !groups[group as usize].is_behind(key) => {
                    return self.write_share(key, groups, group, share, at);
                }
                Some(_) => {}
            }
        }
        self.take_pending(key, groups, at)
    }

    /// Puts what is pending in all groups into the outbox, in the order in which it became pending, and writes.
    fn take_pending(&mut self, key: SessionKey, groups: &Slab<Group>, at: &mut At<'_>) -> Outcome {
        let mut frames: Vec<(u32, Framed)> = Vec::new();
        for membership in &self.memberships {
            if let Some(share) = groups[membership.group as usize].since(self.seen) {
                frames.extend(share.frames().map(|framed| (membership.group, framed)));
            }
        }
        frames.sort_unstable_by_key(|(_, framed)| framed.sequence);
        let count = frames.len();
        let mut frames = frames.into_iter().enumerate();
        while let Some((given, (group, framed))) = frames.next() {
            let note = framed.note.clone();
            match self.give(key, groups, group, framed, at) {
                Ok(()) => {}
                Err(Failure::Broken) => return Outcome::Broken,
                Err(Failure::Full) => {
                    self.lose(group, &note);
                    frames.for_each(|(_, (group, framed))| self.lose(group, &framed.note));
                    return Outcome::Overflow { group, dropped: count - given };
                }
            }
        }
        if self.blocked { Outcome::Blocked } else { self.write_outbox(groups, at) }
    }

    /// Puts a group's frame into the outbox, a value in the place of an older one.
    pub(super) fn give(
        &mut self,
        key: SessionKey,
        groups: &Slab<Group>,
        group: u32,
        framed: Framed,
        at: &mut At<'_>,
    ) -> Result<(), Failure> {
        let Framed { frame, is_part, note, .. } = framed;
        let class = match note {
            Note::Usual => Class::Usual,
            Note::Telling => Class::Free,
            Note::Event { previous } => Class::Event { group, previous },
            Note::Value { message, is_delta } => {
                let channel = groups[group as usize].channel_of(&message);
                // Who takes what it is given gets every value, also of several in one turn.
                if self.outbox.has_value(group, channel)
                    && !self.blocked
                    && self.write_outbox(groups, at) == Outcome::Broken
                {
                    return Err(Failure::Broken);
                }
                let is_behind = groups[group as usize].take_behind(key, channel);
                let whole = Waiting::Whole { message, retained: false };
                // Values wait without a bound, but for one of each channel: it must not be for more than they are.
                let first = match is_part && self.blocked {
                    _ if is_behind => whole.clone(),
                    true if is_delta => Waiting::Ready(Bytes::copy_from_slice(&frame)),
                    true => whole.clone(),
                    false => Waiting::Ready(frame),
                };
                // A patch is of no use to who skipped what it is for.
                let newer = |newer| if is_delta { whole } else { newer };
                let skipped = self.outbox.put_value(group, channel, first, newer);
                at.tally.skipped += u64::from(skipped);
                at.tally.messages += u64::from(!skipped);
                return Ok(());
            }
        };
        self.enqueue(groups, frame, class, at)?;
        at.tally.messages += 1;
        Ok(())
    }

    /// Remembers that an event was not given, if it is the first of its group.
    pub(super) fn lose(&mut self, group: u32, note: &Note) {
        if let Note::Event { previous } = note {
            self.lose_event(group, *previous);
        }
    }

    /// The same of all that is pending: its end was found before.
    pub(super) fn lose_pending(&mut self, groups: &Slab<Group>) {
        let pending: SmallVec<[(u32, u64); 2]> = self
            .memberships
            .iter()
            .filter_map(|one| Some((one.group, groups[one.group as usize].first_event_since(self.seen)?)))
            .collect();
        for (group, previous) in pending {
            self.lose_event(group, previous);
        }
    }

    fn lose_event(&mut self, group: u32, previous: u64) {
        if self.lost.iter().all(|(have, _)| *have != group) {
            self.lost.push((group, previous));
        }
    }

    /// The number of the last event of a group that was written, or is under way.
    pub(super) fn last_written(&self, id: u32, group: &Group) -> Option<u64> {
        let last = group.last_event?;
        let lost = || self.lost.iter().find(|(have, _)| *have == id).map(|(_, previous)| *previous);
        Some(self.outbox.first_unsent(id).or_else(lost).unwrap_or(last))
    }

    /// Puts a frame into the outbox; where there is no room but the connection may take something, writes first.
    pub(super) fn enqueue(
        &mut self,
        groups: &Slab<Group>,
        frame: Bytes,
        class: Class,
        at: &mut At<'_>,
    ) -> Result<(), Failure> {
        match self.outbox.push(frame.clone(), class, at.limits) {
            Ok(()) => return Ok(()),
            Err(Full) if self.blocked => return Err(Failure::Full),
            Err(Full) => {}
        }
        if self.write_outbox(groups, at) == Outcome::Broken {
            return Err(Failure::Broken);
        }
        self.outbox.push(frame, class, at.limits).map_err(|Full| Failure::Full)
    }

    /// Writes a group's octets without a copy or a count per frame; this is the path that counts.
    fn write_share(
        &mut self,
        key: SessionKey,
        groups: &Slab<Group>,
        group: u32,
        share: Share<'_>,
        at: &mut At<'_>,
    ) -> Outcome {
        let octets = share.octets();
        let mut written = 0;
        while written < octets.len() {
            match self.connection.write(&octets[written..]) {
                Ok(0) => return Outcome::Broken,
                Ok(some) => written += some,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Outcome::Broken,
            }
        }
        self.progress = at.now;
        at.tally.octets += written as u64;
        if written == octets.len() {
            at.tally.messages += share.len() as u64;
            return Outcome::Written;
        }
        self.keep_rest(key, groups, group, share, written, at)
    }

    /// Keeps what is behind the first `written` octets of a share.
    fn keep_rest(
        &mut self,
        key: SessionKey,
        groups: &Slab<Group>,
        group: u32,
        share: Share<'_>,
        mut written: usize,
        at: &mut At<'_>,
    ) -> Outcome {
        self.blocked = true;
        let mut frames = share.frames().enumerate();
        while let Some((given, framed)) = frames.next() {
            if written > 0 {
                let frame = framed.frame;
                at.tally.messages += 1;
                if written < frame.len() {
                    let class = match framed.note {
                        Note::Event { previous } => Class::Event { group, previous },
                        Note::Usual => Class::Usual,
                        Note::Telling | Note::Value { .. } => Class::Free,
                    };
                    self.outbox.force_rest(frame.slice(written..), class);
                }
                written = written.saturating_sub(frame.len());
                continue;
            }
            let note = framed.note.clone();
            if self.give(key, groups, group, framed, at).is_err() {
                self.lose(group, &note);
                frames.for_each(|(_, framed)| self.lose(group, &framed.note));
                return Outcome::Overflow { group, dropped: share.len() - given };
            }
        }
        Outcome::Blocked
    }

    /// Writes what is in the outbox, as far as the connection takes it.
    pub(super) fn write_outbox(&mut self, groups: &Slab<Group>, at: &mut At<'_>) -> Outcome {
        while !self.outbox.is_empty() {
            self.outbox.make_ready(PIECES, MADE, |group, message, retained| {
                groups[group as usize].whole(message, retained)
            });
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let filled = self.outbox.gather(&mut pieces);
            match self.connection.write_vectored(&pieces[..filled]) {
                Ok(0) => return Outcome::Broken,
                Ok(written) => {
                    self.outbox.advance(written);
                    self.progress = at.now;
                    at.tally.octets += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.blocked {
                        self.progress = at.now;
                    }
                    self.blocked = true;
                    return Outcome::Blocked;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Outcome::Broken,
            }
        }
        Outcome::Written
    }

    /// Whether the client is listened to.
    pub(super) fn is_heard(&self) -> bool {
        !self.doomed && matches!(self.phase, Phase::Greeting | Phase::Open)
    }

    /// Lets a reader go on that waited for room.
    pub(super) fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The outbox is full.
    Full,
    /// The connection is broken.
    Broken,
}
