//! The hub: one worker's sessions, and the delivery of messages to them.
//!
//! Owns the groups, the index over them, and all writing. Frames pending for a group, and those of single
//! sessions, are numbered in one sequence, and a connection is written in that order. Who drives the hub, and
//! when it writes, is `worker.rs`'s business; when a session ends is `closing.rs`'s.

mod closing;
mod session;
mod subscriptions;

use std::collections::HashMap;
use std::rc::Weak;
use std::sync::Arc;

use bytes::Bytes;
use slab::Slab;
use tokio::time::Instant;

use self::session::{Failure, Outcome, Phase, Session, Tally};
use super::Limits;
use super::close::CloseReason;
use super::encoder::{Beats, Connection, Encoder};
use super::group::{Group, GroupKey, Spare};
use super::index::Index;
use super::key::SessionKey;
use super::message::Message;
use super::router::{Mail, Router, WorkerId};
use super::timers::{Millis, Timer, Timers};
use super::worker::Worker;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{Reason, Transport};

/// Octets pending in groups that make the hub write in the middle of a turn, so that what one turn holds is
/// bounded.
const PENDING: usize = 256 * 1024;

/// One worker's sessions.
pub(super) struct Hub {
    worker: WorkerId,
    this: Weak<Worker>,
    router: Arc<Router>,
    metrics: Arc<Metrics>,
    limits: Limits,
    began: Instant,
    now: Millis,
    generation: u32,
    sessions: Slab<Session>,
    groups: Slab<Group>,
    by_key: HashMap<GroupKey, u32>,
    index: Index<Vec<u32>>,
    /// The number of the last frame that became pending.
    sequence: u64,
    /// Groups with pending frames.
    dirty: Vec<u32>,
    pending: usize,
    /// Sessions with frames of their own to write.
    unwritten: Vec<SessionKey>,
    /// Sessions whose end was found while others were being written to.
    ending: Vec<(SessionKey, Option<CloseReason>)>,
    matched: Vec<u32>,
    spare: Spare,
    timers: Timers,
}

impl Hub {
    pub(super) fn new(
        worker: WorkerId,
        this: Weak<Worker>,
        router: Arc<Router>,
        metrics: Arc<Metrics>,
        limits: Limits,
    ) -> Hub {
        Hub {
            worker,
            this,
            router,
            metrics,
            limits,
            began: Instant::now(),
            now: 0,
            generation: 0,
            sessions: Slab::new(),
            groups: Slab::new(),
            by_key: HashMap::new(),
            index: Index::new(),
            sequence: 0,
            dirty: Vec::new(),
            pending: 0,
            unwritten: Vec::new(),
            ending: Vec::new(),
            matched: Vec::new(),
            spare: Spare::default(),
            timers: Timers::default(),
        }
    }

    /// Reads the clock, once for everything that happens in a turn.
    pub(super) fn tick(&mut self) {
        self.now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(Millis::MAX);
    }

    /// Takes one entry of the mailbox. Nothing is written before [`Hub::flush`], but for what exceeds a bound.
    pub(super) fn take(&mut self, mail: Mail) {
        match mail {
            Mail::Message(message) => self.deliver(&message),
            Mail::Subscribe(subscribe) => self.join(*subscribe),
            Mail::Close(reason) => self.close_all(&reason),
        }
    }

    /// Makes a message pending for every group that it matches: encoded once for each.
    fn deliver(&mut self, message: &Message) {
        let mut matched = std::mem::take(&mut self.matched);
        self.index
            .matches(&message.destination, |leaf| matched.extend_from_slice(leaf));
        for id in matched.drain(..) {
            // Writing in between may have ended the last member of a group that follows.
            let Some(group) = self.groups.get_mut(id as usize) else {
                continue;
            };
            self.sequence += 1;
            let encoded = group.encode(message, self.sequence, &mut self.spare);
            self.metrics.encodes.inc();
            if encoded.first {
                self.dirty.push(id);
            }
            self.pending += encoded.octets;
            if self.pending > PENDING {
                self.flush();
            }
        }
        self.matched = matched;
    }

    /// Writes everything that is pending, to groups first, in the order in which it became pending.
    pub(super) fn flush(&mut self) {
        for id in &self.dirty {
            self.groups[*id as usize].close();
        }
        let dirty = std::mem::take(&mut self.dirty);
        for id in &dirty {
            self.write_group(*id);
        }
        for id in &dirty {
            self.groups[*id as usize].clear(&mut self.spare);
            if self.groups[*id as usize].members.is_empty() {
                self.forget_group(*id);
            }
        }
        self.dirty = dirty;
        self.dirty.clear();
        self.pending = 0;
        let mut unwritten = std::mem::take(&mut self.unwritten);
        for key in unwritten.drain(..) {
            self.write_own(key);
        }
        self.unwritten = unwritten;
        self.end_all();
    }

    /// Writes what is pending for the members of a group, in this group and in their others.
    fn write_group(&mut self, id: u32) {
        let next = self.sequence + 1;
        let mut tally = Tally::default();
        for key in &self.groups[id as usize].members {
            let session = &mut self.sessions[key.index as usize];
            if session.seen >= next {
                continue;
            }
            let outcome =
                session.write_pending(&self.groups, self.now, self.limits.outbox, &mut tally);
            session.seen = next;
            Self::await_writable(&self.this, *key, session, &mut self.timers, &self.limits);
            match outcome {
                Outcome::Written | Outcome::Blocked => {}
                Outcome::Overflow { group, dropped } => {
                    tally.messages -= dropped as u64;
                    self.metrics
                        .drops
                        .get_or_create(&Reason {
                            reason: "slow_consumer",
                        })
                        .inc_by(dropped as u64);
                    let subscription =
                        Some(self.groups[group as usize].key.subscription.id.clone());
                    self.ending
                        .push((*key, Some(CloseReason::SlowConsumer { subscription })));
                }
                Outcome::Broken => self.ending.push((*key, None)),
            }
        }
        self.metrics.messages_out.inc_by(tally.messages);
        self.metrics.bytes_out.inc_by(tally.octets);
    }

    /// Asks a connection that became blocked to call, and has a timer look whether it ever does.
    fn await_writable(
        this: &Weak<Worker>,
        key: SessionKey,
        session: &mut Session,
        timers: &mut Timers,
        limits: &Limits,
    ) {
        if !session.blocked || session.awaited {
            return;
        }
        session.awaited = true;
        let this = this.clone();
        session.connection.when_writable(Box::new(move || {
            if let Some(worker) = this.upgrade() {
                worker.writable(key);
            }
        }));
        if !session.watched {
            session.watched = true;
            // Not the earliest timer, but for a worker that has no other: then the worker's turn finds it.
            timers.add(session.progress + limits.write_timeout, key, Timer::Stall);
        }
    }

    /// Writes a session's own frames.
    fn write_own(&mut self, key: SessionKey) {
        let now = self.now;
        let Some(session) = self.session_mut(key) else {
            return;
        };
        session.listed = false;
        if session.blocked {
            return;
        }
        match session.write_outbox(now) {
            Outcome::Blocked => self.watch(key),
            Outcome::Broken => self.ending.push((key, None)),
            Outcome::Written | Outcome::Overflow { .. } => self.written(key),
        }
    }

    fn watch(&mut self, key: SessionKey) {
        let Hub {
            this,
            sessions,
            timers,
            limits,
            ..
        } = self;
        Self::await_writable(this, key, &mut sessions[key.index as usize], timers, limits);
    }

    /// A session's outbox is empty: a reader that waited goes on, and what was closing is closed.
    fn written(&mut self, key: SessionKey) {
        let Some(session) = self.session_mut(key) else {
            return;
        };
        session.wake_reader();
        if session.phase == Phase::Closing {
            session.connection.finish();
        }
    }

    /// A connection that was blocked may take something again.
    pub(super) fn writable(&mut self, key: SessionKey) {
        let limits = self.limits.outbox;
        let Some(session) = self.session_mut(key) else {
            return;
        };
        (session.blocked, session.awaited) = (false, false);
        self.write_own(key);
        if let Some(session) = self.session_mut(key)
            && !session.outbox.is_half_full(limits)
        {
            session.wake_reader();
        }
        self.end_all();
    }

    /// A connection was opened. It has to say who it is within the time for connecting.
    pub(super) fn open(
        &mut self,
        connection: Box<dyn Connection>,
        encoder: &'static dyn Encoder,
        transport: &'static str,
    ) -> SessionKey {
        self.tick();
        self.generation = self.generation.wrapping_add(1);
        let deadline = self.now + self.limits.connect_timeout;
        let entry = self.sessions.vacant_entry();
        let key = SessionKey {
            index: entry.key() as u32,
            generation: self.generation,
        };
        entry.insert(Session {
            generation: key.generation,
            connection,
            encoder,
            transport,
            outbox: Default::default(),
            seen: self.sequence + 1,
            memberships: Default::default(),
            phase: Phase::Greeting,
            reason: None,
            blocked: false,
            awaited: false,
            listed: false,
            watched: false,
            deadline,
            heard: self.now,
            progress: self.now,
            beats: Beats::default(),
            reader: None,
        });
        self.metrics
            .connections
            .get_or_create(&Transport { transport })
            .inc();
        self.metrics
            .connections_opened
            .get_or_create(&Transport { transport })
            .inc();
        self.add_timer(deadline, key, Timer::Deadline);
        key
    }

    /// The client said who it is, and how the connection is kept alive.
    pub(super) fn connected(
        &mut self,
        key: SessionKey,
        encoder: &'static dyn Encoder,
        beats: Beats,
    ) {
        let now = self.now;
        let Some(session) = self.session_mut(key) else {
            return;
        };
        if session.phase != Phase::Greeting {
            return;
        }
        session.phase = Phase::Open;
        session.encoder = encoder;
        session.beats = beats;
        session.heard = now;
        if beats.every > 0 {
            self.add_timer(now + Millis::from(beats.every), key, Timer::Beat);
        }
        if beats.silence > 0 {
            self.add_timer(now + Millis::from(beats.silence), key, Timer::Silence);
        }
    }

    /// Something was heard from the client; says whether it is still listened to.
    pub(super) fn heard(&mut self, key: SessionKey) -> bool {
        self.tick();
        let now = self.now;
        self.session_mut(key).is_some_and(|session| {
            session.heard = now;
            matches!(session.phase, Phase::Greeting | Phase::Open)
        })
    }

    /// Puts a frame of a session's own behind everything that it was given.
    pub(super) fn send(&mut self, key: SessionKey, frame: Bytes) {
        let (now, limits) = (self.now, self.limits.outbox);
        let Some(session) = self.session_mut(key) else {
            return;
        };
        if session.phase == Phase::Closing {
            return;
        }
        let outcome = session.enqueue(frame, now, limits);
        if session.blocked {
            self.watch(key);
        } else if !session.listed {
            session.listed = true;
            self.unwritten.push(key);
        }
        match outcome {
            Ok(()) => {}
            Err(Failure::Full) => {
                self.metrics
                    .drops
                    .get_or_create(&Reason {
                        reason: "slow_consumer",
                    })
                    .inc();
                self.ending
                    .push((key, Some(CloseReason::SlowConsumer { subscription: None })));
            }
            Err(Failure::Broken) => self.ending.push((key, None)),
        }
    }

    /// Whether a session's client should be read from: not while its own outbox is more than half full. If not,
    /// `reader` is woken when that has changed.
    pub(super) fn poll_room(&mut self, key: SessionKey, reader: &std::task::Waker) -> bool {
        let limits = self.limits.outbox;
        let Some(session) = self.session_mut(key) else {
            return true;
        };
        if session.phase == Phase::Closing
            || !session.blocked
            || !session.outbox.is_half_full(limits)
        {
            return true;
        }
        session.reader = Some(reader.clone());
        false
    }

    /// When a timer is due next, if any is set.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers
            .next()
            .map(|at| self.began + std::time::Duration::from_millis(at))
    }

    fn add_timer(&mut self, at: Millis, key: SessionKey, timer: Timer) {
        if self.timers.add(at, key, timer)
            && let Some(worker) = self.this.upgrade()
        {
            worker.earlier_timer();
        }
    }

    fn session(&self, key: SessionKey) -> Option<&Session> {
        self.sessions
            .get(key.index as usize)
            .filter(|session| session.generation == key.generation)
    }

    fn session_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.sessions
            .get_mut(key.index as usize)
            .filter(|session| session.generation == key.generation)
    }
}
