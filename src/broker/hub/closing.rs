//! How a session ends: by the client, by a broken rule, by a full outbox, by silence.
//!
//! Owns last words, deadlines and timers. A client that is cut off gets the frame under way to its end, an error
//! that says why, and a little time to read it; then the connection is gone whether it reads or not.

use bytes::{Bytes, BytesMut};
use tracing::{debug, warn};

use super::session::{Membership, Phase};
use super::{Hub, of_key};
use crate::broker::close::CloseReason;
use crate::broker::key::SessionKey;
use crate::broker::outbox::Class;
use crate::broker::timers::{Millis, Timer};
use crate::telemetry::metrics::{Reason, Transport};
use crate::telemetry::rate_limit::{INTERVAL, overdue_warnings, permit_warning};

/// When to look whether warnings were suppressed: a little later than their interval, since the hub's clock stands
/// during a turn.
const TOLD_AFTER: Millis = INTERVAL.as_millis() as Millis + 1000;

impl Hub {
    /// Ends a session with last words of its door's, behind everything that it was given.
    pub(in crate::broker) fn end(&mut self, key: SessionKey, last_words: Bytes, reason: CloseReason) {
        self.finish(key, last_words, reason, Phase::Closing);
    }

    /// The client said goodbye: `last_words` answer it, and it is given time to close by itself.
    pub(in crate::broker) fn linger(&mut self, key: SessionKey, last_words: Bytes) {
        self.finish(key, last_words, CloseReason::Disconnected, Phase::Lingering);
    }

    /// Cuts a client off: its unsent frames are dropped, the one under way is finished.
    pub(in crate::broker) fn cut(&mut self, key: SessionKey, reason: CloseReason) {
        let reason = self.with_cursors(key, reason);
        let Hub { sessions, held, .. } = self;
        let Some(session) = of_key(sessions, key) else { return };
        if session.phase == Phase::Closing {
            return;
        }
        session.doomed = false;
        *held -= session.outbox.weight();
        let dropped = session.outbox.drop_unsent();
        *held += session.outbox.weight();
        self.metrics.dropped(reason.label(), dropped);
        self.metrics.cut_offs.get_or_create(&Reason { reason: reason.label() }).inc();
        if let Some(suppressed) = permit_warning(reason.label()) {
            warn!(session = %self.name(key), reason = reason.label(), dropped, suppressed, "client cut off");
            self.add_timer(self.now + TOLD_AFTER, key, Timer::Warnings);
        }
        self.close(key, reason);
    }

    /// Adds to a reason how far each subscription to events was sent.
    fn with_cursors(&self, key: SessionKey, reason: CloseReason) -> CloseReason {
        let (CloseReason::SlowConsumer { subscription, .. }, Some(session)) = (&reason, self.session(key))
        else {
            return reason;
        };
        let cursor = |membership: &Membership| {
            let group = &self.groups[membership.group as usize];
            let number = session.last_written(membership.group, group)?;
            Some((group.key.subscription.id.clone(), group.cursor(number)))
        };
        let cursors = session.memberships.iter().filter_map(cursor).collect();
        CloseReason::SlowConsumer { subscription: subscription.clone(), cursors }
    }

    fn finish(&mut self, key: SessionKey, last_words: Bytes, reason: CloseReason, phase: Phase) {
        self.tick();
        let (now, deadline) = (self.now, self.now + self.limits.close_timeout);
        self.leave_all(key);
        let Hub { sessions, held, .. } = self;
        let Some(session) = of_key(sessions, key) else { return };
        if session.phase == Phase::Closing {
            return;
        }
        session.phase = phase;
        session.reason.get_or_insert(reason);
        session.deadline = deadline;
        session.progress = now;
        if !last_words.is_empty() {
            *held += last_words.len();
            session.outbox.force(last_words, Class::Free);
        }
        session.wake_reader();
        self.add_timer(deadline, key, Timer::Deadline);
        self.write_own(key);
    }

    /// The connection has ended; nothing of the session stays.
    pub(in crate::broker) fn remove(&mut self, key: SessionKey, reason: CloseReason) {
        self.leave_all(key);
        if self.session(key).is_none() {
            return;
        }
        let session = self.sessions.remove(key.index as usize);
        self.router.removed();
        self.held -= session.outbox.weight();
        if !session.outbox.is_empty() {
            // What waits can't be written any more, and the kernel need not try either.
            session.connection.abort();
        }
        let closing = session.phase == Phase::Closing;
        let reason = session.reason.unwrap_or(reason);
        self.metrics.connections.get_or_create(&Transport { transport: session.transport }).dec();
        self.metrics.open.dec();
        self.metrics.connections_closed.get_or_create(&Reason { reason: reason.label() }).inc();
        if !closing {
            self.metrics.dropped(reason.label(), session.outbox.len());
        }
        let (transport, reason, rule) = (session.transport, reason.label(), reason.rule());
        debug!(session = %self.name(key), transport, reason, rule, "connection ended");
    }

    /// Ends a session with the last words that its encoder has for the reason, behind what it was given.
    pub(super) fn close(&mut self, key: SessionKey, reason: CloseReason) {
        let Some(session) = self.session(key) else { return };
        let mut last_words = BytesMut::new();
        session.encoder.farewell(&reason, &mut last_words);
        self.end(key, last_words.freeze(), reason);
    }

    /// Ends the sessions whose end was found while others were written to.
    pub(super) fn end_all(&mut self) {
        while let Some((key, reason)) = self.ending.pop() {
            match reason {
                Some(reason) => self.cut(key, reason),
                None => self.abort(key),
            }
        }
    }

    /// Looks at everything whose time has come.
    pub(in crate::broker) fn run_timers(&mut self) {
        self.tick();
        while let Some((key, timer)) = self.timers.due(self.now) {
            match timer {
                Timer::Beat => self.beat(key),
                Timer::Silence => self.silence(key),
                Timer::Stall => self.stall(key),
                Timer::Deadline => self.deadline(key),
                Timer::More => self.write_own(key),
                Timer::Warnings => tell_suppressed(),
            }
        }
        self.tell_to_go();
        while let Some((due, message)) = self.viewing.next_due(self.now) {
            self.show(&message, Some(due));
            self.promote_touched();
        }
        self.flush();
    }

    fn beat(&mut self, key: SessionKey) {
        let now = self.now;
        let Some(session) = self.session_mut(key) else {
            return;
        };
        if session.phase != Phase::Open {
            return;
        }
        let every = Millis::from(session.beats.every);
        let idle = session.outbox.is_empty() && !session.blocked;
        let next = if idle && session.progress + every <= now {
            let beat = Bytes::from_static(session.beats.frame);
            self.send(key, beat);
            now + every
        } else if idle {
            session.progress + every
        } else {
            now + every
        };
        self.add_timer(next, key, Timer::Beat);
    }

    fn silence(&mut self, key: SessionKey) {
        let now = self.now;
        let Some(session) = self.session_mut(key) else {
            return;
        };
        if session.phase != Phase::Open {
            return;
        }
        let limit = Millis::from(session.beats.silence);
        if session.reader.is_some() || session.busy {
            // It is not being read from; what it said can't be known.
            session.heard = now;
        }
        if session.heard + limit <= now {
            self.cut(key, CloseReason::Silent);
        } else {
            let next = session.heard + limit;
            self.add_timer(next, key, Timer::Silence);
        }
    }

    fn stall(&mut self, key: SessionKey) {
        let (now, limit) = (self.now, self.limits.write_timeout);
        let Some(session) = self.session_mut(key) else {
            return;
        };
        session.watched = false;
        if !session.blocked || session.phase == Phase::Closing {
            return;
        }
        if session.progress + limit <= now {
            self.cut(key, CloseReason::Stalled);
        } else {
            session.watched = true;
            let next = session.progress + limit;
            self.add_timer(next, key, Timer::Stall);
        }
    }

    fn deadline(&mut self, key: SessionKey) {
        let now = self.now;
        let Some(session) = self.session_mut(key) else {
            return;
        };
        if now < session.deadline {
            return;
        }
        match session.phase {
            Phase::Greeting => self.cut(key, CloseReason::NeverConnected),
            Phase::Open => {}
            Phase::Lingering => self.close(key, CloseReason::Disconnected),
            Phase::Closing => self.abort(key),
        }
    }

    /// Breaks a connection off; its reader finds out and removes the session.
    pub(super) fn abort(&mut self, key: SessionKey) {
        self.leave_all(key);
        let Hub { sessions, held, .. } = self;
        let Some(session) = of_key(sessions, key) else { return };
        session.phase = Phase::Closing;
        session.doomed = true;
        session.connection.abort();
        *held -= session.outbox.weight();
        let waited = std::mem::take(&mut session.outbox).len();
        session.wake_reader();
        let reason = session.reason.as_ref().map_or("gone", CloseReason::label);
        self.metrics.dropped(reason, waited);
    }

    fn leave_all(&mut self, key: SessionKey) {
        self.stop_all_consuming(key);
        let Some(session) = self.session_mut(key) else {
            return;
        };
        for membership in std::mem::take(&mut session.memberships) {
            self.leave_group(key, membership);
        }
    }
}

/// Says how many clients were cut off without a line of their own.
fn tell_suppressed() {
    for (reason, suppressed) in overdue_warnings() {
        warn!(reason, suppressed, "more clients cut off");
    }
}
