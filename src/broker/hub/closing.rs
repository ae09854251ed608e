//! How a session ends: by the client, by a broken rule, by a full outbox, by silence.
//!
//! Owns last words, deadlines and timers. A client that is cut off gets the frame under way to its end, an error
//! that says why, and a little time to read it; then the connection is gone whether it reads or not.

use bytes::{Bytes, BytesMut};
use tracing::{debug, warn};

use super::Hub;
use super::session::Phase;
use crate::broker::close::CloseReason;
use crate::broker::key::SessionKey;
use crate::broker::timers::{Millis, Timer};
use crate::telemetry::log::permit_warning;
use crate::telemetry::metrics::{Reason, Transport};

impl Hub {
    /// Ends a session with last words of its door's, behind everything that it was given.
    pub(in crate::broker) fn end(
        &mut self,
        key: SessionKey,
        last_words: Bytes,
        reason: CloseReason,
    ) {
        self.finish(key, last_words, reason, Phase::Closing);
    }

    /// The client said goodbye: `last_words` answer it, and it is given time to close by itself.
    pub(in crate::broker) fn linger(&mut self, key: SessionKey, last_words: Bytes) {
        self.finish(key, last_words, CloseReason::Disconnected, Phase::Lingering);
    }

    /// Cuts a client off: its unsent frames are dropped, the one under way is finished.
    pub(in crate::broker) fn cut(&mut self, key: SessionKey, reason: CloseReason) {
        let Some(session) = self.session_mut(key) else {
            return;
        };
        if session.phase == Phase::Closing {
            return;
        }
        let dropped = session.outbox.drop_unsent() as u64;
        let mut last_words = BytesMut::new();
        session.encoder.farewell(&reason, &mut last_words);
        let label = Reason {
            reason: reason.label(),
        };
        self.metrics.drops.get_or_create(&label).inc_by(dropped);
        self.metrics.cut_offs.get_or_create(&label).inc();
        if let Some(suppressed) = permit_warning(reason.label()) {
            warn!(session = %key, ?reason, dropped, suppressed, "client cut off");
        }
        self.finish(key, last_words.freeze(), reason, Phase::Closing);
    }

    fn finish(&mut self, key: SessionKey, last_words: Bytes, reason: CloseReason, phase: Phase) {
        let (now, deadline) = (self.now, self.now + self.limits.close_timeout);
        self.leave_all(key);
        let Some(session) = self.session_mut(key) else {
            return;
        };
        if session.phase == Phase::Closing {
            return;
        }
        session.phase = phase;
        session.reason.get_or_insert(reason);
        session.deadline = deadline;
        session.progress = now;
        if !last_words.is_empty() {
            session.outbox.force(last_words);
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
        let reason = session.reason.unwrap_or(reason);
        let (transport, label) = (
            Transport {
                transport: session.transport,
            },
            Reason {
                reason: reason.label(),
            },
        );
        self.metrics.connections.get_or_create(&transport).dec();
        self.metrics.connections_closed.get_or_create(&label).inc();
        if !session.outbox.is_empty() {
            self.metrics
                .drops
                .get_or_create(&label)
                .inc_by(session.outbox.len() as u64);
        }
        debug!(transport = session.transport, reason = ?reason, "connection ended");
    }

    /// Ends every session.
    pub(super) fn close_all(&mut self, reason: &CloseReason) {
        self.flush();
        let keys: Vec<SessionKey> = self
            .sessions
            .iter()
            .map(|(index, session)| SessionKey {
                index: index as u32,
                generation: session.generation,
            })
            .collect();
        for key in keys {
            let Some(session) = self.session(key) else {
                continue;
            };
            let mut last_words = BytesMut::new();
            session.encoder.farewell(reason, &mut last_words);
            self.end(key, last_words.freeze(), reason.clone());
        }
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
            }
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
        if session.reader.is_some() {
            // It is not being read from, because it does not read; what it said can't be known.
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
            Phase::Lingering => {
                let mut last_words = BytesMut::new();
                session
                    .encoder
                    .farewell(&CloseReason::Disconnected, &mut last_words);
                self.end(key, last_words.freeze(), CloseReason::Disconnected);
            }
            Phase::Closing => self.abort(key),
        }
    }

    /// Breaks a connection off; its reader finds out and removes the session.
    fn abort(&mut self, key: SessionKey) {
        self.leave_all(key);
        let Some(session) = self.session_mut(key) else {
            return;
        };
        session.phase = Phase::Closing;
        session.wake_reader();
        session.connection.abort();
    }

    fn leave_all(&mut self, key: SessionKey) {
        let Some(session) = self.session_mut(key) else {
            return;
        };
        for membership in std::mem::take(&mut session.memberships) {
            self.leave_group(key, membership);
        }
    }
}
