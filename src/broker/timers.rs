//! A worker's timers: what has to be looked at when.
//!
//! Owns the order of deadlines. Timers are never cancelled: who is woken looks whether there is still something
//! to do, and says when to look again. So a frame written costs no timer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::key::SessionKey;

/// What to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Is a heart-beat due to the client?
    Beat,
    /// Was the client silent for too long?
    Silence,
    /// Does a write that was blocked still make no progress?
    Stall,
    /// Is the time over that a closing, or not yet connected, session was given?
    Deadline,
    /// Is there more to give to a session that takes all that it is given?
    More,
    /// Were warnings suppressed that no line has told of?
    Warnings,
}

/// Milliseconds of the hub's clock.
pub(super) type Millis = u64;

/// Deadlines in order.
#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(Millis, SessionKey, Timer)>>);

impl Timers {
    /// Adds a deadline; says whether it is now the earliest.
    pub(super) fn add(&mut self, at: Millis, session: SessionKey, timer: Timer) -> bool {
        let earliest = self.next().is_none_or(|next| at < next);
        self.0.push(Reverse((at, session, timer)));
        earliest
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Millis> {
        self.0.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the earliest deadline if it has come.
    pub(super) fn due(&mut self, now: Millis) -> Option<(SessionKey, Timer)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse((_, session, timer))| (session, timer))
    }
}
