//! The end of all sessions: the server stops.
//!
//! Owns who is told when. All at once would come back at once, to the nodes that are left; so they are told one after the
//! other. Until then nothing changes for them, but that queues assign them nothing more: what one gives back would only be
//! given to the next who is to go. How a session ends is `closing.rs`'s business.

use std::time::Duration;

use super::Hub;
use super::session::Session;
use crate::broker::close::CloseReason;
use crate::broker::key::SessionKey;
use crate::broker::timers::Millis;

/// For each session that all workers have, so long at the most: a thousand go in a second, more where time is short.
const PACE: Millis = 1;

/// Who is to go within this time goes together.
const STEP: Millis = 10;

/// The sessions of a hub that stops, and how many of them were told.
pub(super) struct Draining {
    reason: CloseReason,
    sessions: Vec<SessionKey>,
    told: usize,
    began: Millis,
    over: Millis,
    /// When the next are told.
    next: Millis,
}

impl Draining {
    /// When somebody is to be told, if anybody still is.
    pub(super) fn due(&self) -> Option<Millis> {
        (self.told < self.sessions.len()).then_some(self.next)
    }

    /// Who is to be told now.
    fn take_due(&mut self, now: Millis) -> Vec<SessionKey> {
        if self.due().is_none_or(|due| due > now) {
            return Vec::new();
        }
        let passed = now.saturating_sub(self.began);
        let count = self.sessions.len();
        let due = if passed >= self.over {
            count
        } else {
            // Evenly: the first at once, the last before the end.
            let share = count as u128 * u128::from(passed) / u128::from(self.over);
            usize::try_from(share).unwrap_or(count).saturating_add(1).min(count)
        };
        self.next = now + STEP;
        let told = self.told;
        self.told = due.max(told);
        self.sessions[told..self.told].to_vec()
    }
}

impl Hub {
    /// Ends every session, one after the other, and those at once that are opened from now on.
    pub(super) fn drain(&mut self, reason: CloseReason, within: Duration) {
        self.tick();
        self.flush();
        self.pause_consuming();
        let key = |(index, session): (usize, &Session)| SessionKey {
            index: index as u32,
            generation: session.generation,
        };
        let sessions: Vec<SessionKey> = self.sessions.iter().map(key).collect();
        let within = Millis::try_from(within.as_millis()).unwrap_or(Millis::MAX);
        let all = sessions.len().saturating_mul(self.router.workers()) as Millis;
        let over = within.min(all.saturating_mul(PACE));
        let (began, next) = (self.now, self.now);
        self.draining = Some(Draining { reason, sessions, told: 0, began, over, next });
        self.tell_to_go();
        self.wake_earlier();
    }

    /// Tells those to go whose time has come.
    pub(super) fn tell_to_go(&mut self) {
        let now = self.now;
        let Some(draining) = &mut self.draining else { return };
        let reason = draining.reason.clone();
        for key in draining.take_due(now) {
            self.close(key, reason.clone());
        }
    }

    /// A session that was opened while all others go goes too.
    pub(super) fn turn_away(&mut self, key: SessionKey) {
        if let Some(reason) = self.draining.as_ref().map(|draining| draining.reason.clone()) {
            self.close(key, reason);
        }
    }
}
