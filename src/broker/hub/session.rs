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
use crate::broker::group::{Group, Share};
use crate::broker::outbox::{Full, Outbox, OutboxLimits};
use crate::broker::queue::Assigned;
use crate::broker::timers::Millis;

/// The most pieces that one vectored write takes; more than this gains nothing measurable.
const PIECES: usize = 64;

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
        groups: &Slab<Group>,
        only: Option<u32>,
        now: Millis,
        limits: OutboxLimits,
        tally: &mut Tally,
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
                Some((group, share)) if !more => return self.write_share(group, share, now, limits, tally),
                Some(_) => {}
            }
        }
        self.take_pending(groups, now, limits, tally)
    }

    /// Puts what is pending in all groups into the outbox, in the order in which it became pending, and writes.
    fn take_pending(
        &mut self,
        groups: &Slab<Group>,
        now: Millis,
        limits: OutboxLimits,
        tally: &mut Tally,
    ) -> Outcome {
        let mut frames: Vec<(u64, u32, Bytes)> = Vec::new();
        for membership in &self.memberships {
            if let Some(share) = groups[membership.group as usize].since(self.seen) {
                frames.extend(share.frames().map(|(sequence, frame)| (sequence, membership.group, frame)));
            }
        }
        frames.sort_unstable_by_key(|(sequence, ..)| *sequence);
        let count = frames.len();
        for (at, (_, group, frame)) in frames.into_iter().enumerate() {
            match self.enqueue(frame, now, limits, tally) {
                Ok(()) => tally.messages += 1,
                Err(Failure::Broken) => return Outcome::Broken,
                Err(Failure::Full) => return Outcome::Overflow { group, dropped: count - at },
            }
        }
        if self.blocked { Outcome::Blocked } else { self.write_outbox(now, tally) }
    }

    /// Puts a frame into the outbox; where there is no room but the connection may take something, writes first.
    pub(super) fn enqueue(
        &mut self,
        frame: Bytes,
        now: Millis,
        limits: OutboxLimits,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        match self.outbox.push(frame.clone(), limits) {
            Ok(()) => return Ok(()),
            Err(Full) if self.blocked => return Err(Failure::Full),
            Err(Full) => {}
        }
        if self.write_outbox(now, tally) == Outcome::Broken {
            return Err(Failure::Broken);
        }
        self.outbox.push(frame, limits).map_err(|Full| Failure::Full)
    }

    /// Writes a group's octets without a copy or a count per frame; this is the path that counts.
    fn write_share(
        &mut self,
        group: u32,
        share: Share<'_>,
        now: Millis,
        limits: OutboxLimits,
        tally: &mut Tally,
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
        self.progress = now;
        tally.octets += written as u64;
        tally.messages += share.len() as u64;
        if written == octets.len() {
            return Outcome::Written;
        }
        let outcome = self.keep_rest(group, share, written, limits);
        if let Outcome::Overflow { dropped, .. } = outcome {
            tally.messages -= dropped as u64;
        }
        outcome
    }

    /// Keeps what is behind the first `written` octets of a share.
    fn keep_rest(
        &mut self,
        group: u32,
        share: Share<'_>,
        mut written: usize,
        limits: OutboxLimits,
    ) -> Outcome {
        self.blocked = true;
        for (at, (_, frame)) in share.frames().enumerate() {
            if written >= frame.len() {
                written -= frame.len();
            } else if written > 0 {
                self.outbox.force_rest(frame.slice(written..));
                written = 0;
            } else if self.outbox.push(frame, limits).is_err() {
                return Outcome::Overflow { group, dropped: share.len() - at };
            }
        }
        Outcome::Blocked
    }

    /// Writes what is in the outbox, as far as the connection takes it.
    pub(super) fn write_outbox(&mut self, now: Millis, tally: &mut Tally) -> Outcome {
        while !self.outbox.is_empty() {
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let filled = self.outbox.gather(&mut pieces);
            match self.connection.write_vectored(&pieces[..filled]) {
                Ok(0) => return Outcome::Broken,
                Ok(written) => {
                    self.outbox.advance(written);
                    self.progress = now;
                    tally.octets += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.blocked {
                        self.progress = now;
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
