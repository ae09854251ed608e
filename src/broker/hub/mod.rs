//! The hub: one worker's sessions, and the delivery of messages to them.
//!
//! Owns the groups, the index over them, and what is written to single sessions; to groups, `delivery.rs` writes. Frames
//! pending for a group, and those of single sessions, are numbered in one sequence, and a connection is written in that
//! order. Who drives the hub, and when it writes, is `worker.rs`'s business; when a session ends is `closing.rs`'s, and when
//! all do is `draining.rs`'s.

mod closing;
mod consuming;
mod delivery;
mod draining;
mod replaying;
mod selecting;
mod session;
mod subscriptions;
mod viewing;

use std::collections::HashMap;
use std::rc::Weak;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use bytestring::ByteString;
use slab::Slab;
use tokio::time::Instant;

pub(super) use self::consuming::Consume;
use self::consuming::Consuming;
use self::draining::Draining;
use self::selecting::Selecting;
use self::session::{At, Failure, Outcome, Phase, Session, Tally};
use self::viewing::Viewing;
use super::Limits;
use super::channel::Channels;
use super::close::CloseReason;
use super::encoder::{Beats, Connection, Encoder};
use super::group::{Group, GroupKey, Spare};
use super::index::Index;
use super::key::SessionKey;
use super::outbox::Class;
use super::queue::Queues;
use super::router::{Mail, Router, WorkerId};
use super::timers::{Millis, Timer, Timers};
use super::worker::Worker;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Transport;

/// Octets pending in groups that make the hub write in the middle of a turn, so that what one turn holds is
/// bounded.
const PENDING: usize = 256 * 1024;

/// How often in a row a client is given more of what waits for room, before others have their turn.
const READS: usize = 16;

/// A client that took something so many milliseconds ago still reads.
const PATIENCE: Millis = 10;

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
    consumers: Slab<Consuming>,
    queues: Arc<Queues>,
    channels: Arc<Channels>,
    /// The number in the log up to which the mailbox was worked off.
    logged: u64,
    /// Tells groups of one from each other.
    alone: u32,
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
    /// What was written since the metrics were last told.
    tally: Tally,
    /// Octets in all outboxes.
    held: usize,
    /// An outbox of a client that still reads is half full: see [`Hub::is_pressed`].
    pressed: bool,
    /// The server stops.
    draining: Option<Draining>,
    matched: Vec<u32>,
    selecting: Selecting,
    viewing: Viewing,
    /// Groups of one that a message reached.
    touched: Vec<u32>,
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
        queues: Arc<Queues>,
        channels: Arc<Channels>,
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
            consumers: Slab::new(),
            queues,
            channels,
            logged: 0,
            alone: 0,
            groups: Slab::new(),
            by_key: HashMap::new(),
            index: Index::new(),
            sequence: 0,
            dirty: Vec::new(),
            pending: 0,
            unwritten: Vec::new(),
            ending: Vec::new(),
            tally: Tally::default(),
            held: 0,
            pressed: false,
            draining: None,
            matched: Vec::new(),
            selecting: Selecting::default(),
            viewing: Viewing::default(),
            touched: Vec::new(),
            spare: Spare::default(),
            timers: Timers::default(),
        }
    }

    /// Reads the clock, once for everything that happens in a turn.
    pub(super) fn tick(&mut self) {
        self.now = millis_since(self.began);
    }

    /// Takes one entry of the mailbox. Nothing is written before [`Hub::flush`], but for what exceeds a bound.
    pub(super) fn take(&mut self, mail: Mail) {
        match mail {
            // The room that it took in the mailboxes is given back behind this.
            Mail::Message(message, _room) => self.deliver(&message),
            Mail::Subscribe(subscribe) => self.join(*subscribe),
            Mail::Log(log, gap) => self.log_changed(log, gap),
            Mail::Close { reason, within } => self.drain(reason, within),
        }
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
        let worker = this.clone();
        session.connection.when_writable(Box::new(move || {
            if let Some(worker) = worker.upgrade() {
                worker.writable(key);
            }
        }));
        if !session.watched {
            session.watched = true;
            let earliest = timers.add(session.progress + limits.write_timeout, key, Timer::Stall);
            if let (true, Some(worker)) = (earliest, this.upgrade()) {
                worker.earlier_timer();
            }
        }
    }

    /// Writes a session's own frames, and what waits for room among them.
    fn write_own(&mut self, key: SessionKey) {
        for _ in 0..READS {
            let is_written = self.write_outbox(key);
            let gave = is_written && self.give_waiting(key);
            if !self.read_on(key) && !gave {
                return;
            }
        }
        // Others have their turn.
        self.add_timer(self.now + 1, key, Timer::More);
    }

    /// Writes what is in a session's outbox. Says whether all of it is on the wire.
    fn write_outbox(&mut self, key: SessionKey) -> bool {
        let Hub { sessions, groups, tally, held, now, limits, .. } = self;
        let Some(session) = of_key(sessions, key) else { return false };
        session.listed = false;
        if session.blocked || session.doomed {
            return false;
        }
        *held -= session.outbox.weight();
        let outcome = session.write_outbox(groups, &mut At { now: *now, limits: limits.outbox, tally });
        *held += session.outbox.weight();
        match outcome {
            Outcome::Written => self.written(key),
            Outcome::Blocked => self.watch(key),
            Outcome::Broken | Outcome::Overflow { .. } => self.doom(key, None),
        }
        outcome == Outcome::Written
    }

    /// Has a session end when the hub is done with what it is at; nothing more is written to it until then.
    fn doom(&mut self, key: SessionKey, reason: Option<CloseReason>) {
        if let Some(session) = of_key(&mut self.sessions, key) {
            session.doomed = true;
            self.ending.push((key, reason));
        }
    }

    /// All outboxes together hold more than the worker may: the largest go, one after the other.
    fn keep_budget(&mut self) {
        while self.held > self.limits.outboxes {
            let open = self.sessions.iter().filter(|(_, session)| !session.doomed);
            let largest = open.max_by_key(|(_, session)| session.outbox.weight());
            let Some((index, session)) = largest else { break };
            let key = SessionKey { index: index as u32, generation: session.generation };
            let held = session.outbox.weight();
            self.cut(key, CloseReason::SlowConsumer { subscription: None, cursors: Vec::new() });
            if self.session(key).is_none_or(|session| session.outbox.weight() >= held) {
                // What is left of it is the frame under way, and that has to end.
                self.abort(key);
            }
        }
    }

    /// Whether some client that still reads has its outbox half full, since this was last asked. If so, a moment's
    /// rest before the next messages lets it catch up, so that a burst does not cut off who reads as fast as it can.
    pub(super) fn is_pressed(&mut self) -> bool {
        std::mem::take(&mut self.pressed)
    }

    fn watch(&mut self, key: SessionKey) {
        let Hub { this, sessions, timers, limits, .. } = self;
        if let Some(session) = of_key(sessions, key) {
            Self::await_writable(this, key, session, timers, limits);
        }
    }

    /// A session's outbox is empty: a reader that waited goes on, and what was closing is closed.
    fn written(&mut self, key: SessionKey) {
        let Some(session) = self.session_mut(key) else {
            return;
        };
        session.wake_reader();
        if session.phase == Phase::Closing {
            session.connection.finish();
        } else if !session.consumers.is_empty() {
            self.replenish(key);
        }
    }

    /// A connection that was blocked may take something again.
    pub(super) fn writable(&mut self, key: SessionKey) {
        let limits = self.limits.outbox;
        let Some(session) = self.session_mut(key) else {
            return;
        };
        (session.blocked, session.awaited) = (false, false);
        // One whose end was found meanwhile gets its last words first.
        self.end_all();
        self.write_own(key);
        if let Some(session) = self.session_mut(key)
            && !session.outbox.is_half_full(limits)
            && session.is_heard()
        {
            session.wake_reader();
        }
        self.settle_accounts();
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
        let key = SessionKey { index: entry.key() as u32, generation: self.generation };
        entry.insert(Session {
            generation: key.generation,
            connection,
            encoder,
            transport,
            outbox: Default::default(),
            seen: self.sequence + 1,
            memberships: Default::default(),
            replays: 0,
            lost: Vec::new(),
            consumers: Vec::new(),
            assigned: Default::default(),
            phase: Phase::Greeting,
            reason: None,
            blocked: false,
            awaited: false,
            listed: false,
            doomed: false,
            busy: false,
            watched: false,
            deadline,
            heard: self.now,
            progress: self.now,
            beats: Beats::default(),
            reader: None,
        });
        self.router.opened();
        self.metrics.connections.get_or_create(&Transport { transport }).inc();
        self.metrics.open.inc();
        self.metrics.connections_opened.get_or_create(&Transport { transport }).inc();
        self.add_timer(deadline, key, Timer::Deadline);
        self.turn_away(key);
        key
    }

    /// The client said who it is, and how the connection is kept alive.
    pub(super) fn connected(&mut self, key: SessionKey, encoder: &'static dyn Encoder, beats: Beats) {
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

    /// Something was heard from the client; says whether it is still listened to. If its door is `busy` with it, the
    /// client's silence does not count until it is idle again.
    pub(super) fn heard(&mut self, key: SessionKey, busy: bool) -> bool {
        self.tick();
        let now = self.now;
        self.session_mut(key).is_some_and(|session| {
            session.heard = now;
            session.busy = busy && session.is_heard();
            session.is_heard()
        })
    }

    /// Puts a frame of a session's own behind everything that it was given. Says whether it was taken.
    pub(super) fn send(&mut self, key: SessionKey, frame: Bytes) -> bool {
        self.put(key, None, |session, groups, at| session.enqueue(groups, frame, Class::Usual, at))
    }

    /// Puts something into a session's outbox, and has it written. Says whether it was taken; if not, because of
    /// `subscription`.
    fn put(
        &mut self,
        key: SessionKey,
        subscription: Option<ByteString>,
        put: impl FnOnce(&mut Session, &Slab<Group>, &mut At<'_>) -> Result<(), Failure>,
    ) -> bool {
        let Hub { sessions, groups, tally, held, now, limits, .. } = self;
        let Some(session) = of_key(sessions, key) else { return false };
        if session.phase == Phase::Closing || session.doomed {
            return false;
        }
        *held -= session.outbox.weight();
        let outcome = put(session, groups, &mut At { now: *now, limits: limits.outbox, tally });
        *held += session.outbox.weight();
        if session.blocked {
            self.watch(key);
        } else if !session.listed {
            session.listed = true;
            self.unwritten.push(key);
        }
        match outcome {
            Ok(()) => {}
            Err(Failure::Full) => {
                self.metrics.dropped("slow_consumer", 1);
                self.doom(key, Some(CloseReason::SlowConsumer { subscription, cursors: Vec::new() }));
            }
            Err(Failure::Broken) => self.doom(key, None),
        }
        outcome.is_ok()
    }

    /// Whether a session's client is listened to; pending while it should not be read from, because its own outbox is
    /// more than half full. `reader` is woken when that has changed.
    pub(super) fn poll_room(&mut self, key: SessionKey, reader: &std::task::Waker) -> Poll<bool> {
        let limits = self.limits.outbox;
        let Some(session) = self.session_mut(key) else { return Poll::Ready(false) };
        if session.is_heard() && session.blocked && session.outbox.is_half_full(limits) {
            session.reader = Some(reader.clone());
            return Poll::Pending;
        }
        Poll::Ready(session.is_heard())
    }

    /// Ready when nothing waits for a session any more; `reader` is woken when that has changed.
    pub(super) fn poll_written(&mut self, key: SessionKey, reader: &std::task::Waker) -> Poll<()> {
        match self.session_mut(key) {
            Some(session) if !session.outbox.is_empty() => {
                session.reader = Some(reader.clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Whether a session's client is listened to.
    pub(super) fn is_heard(&self, key: SessionKey) -> bool {
        self.session(key).is_some_and(Session::is_heard)
    }

    /// Whether a timer's time has come.
    pub(super) fn is_due(&self) -> bool {
        self.next_due().is_some_and(|at| at <= self.now)
    }

    /// When a timer is due next, if any is set.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.next_due().map(|at| self.began + std::time::Duration::from_millis(at))
    }

    fn next_due(&self) -> Option<Millis> {
        let next = self.timers.next().into_iter().chain(self.viewing.earliest());
        next.chain(self.draining.as_ref().and_then(Draining::due)).min()
    }

    fn add_timer(&mut self, at: Millis, key: SessionKey, timer: Timer) {
        if self.timers.add(at, key, timer) {
            self.wake_earlier();
        }
    }

    /// Has the worker look when the next timer is due.
    fn wake_earlier(&self) {
        if let Some(worker) = self.this.upgrade() {
            worker.earlier_timer();
        }
    }

    /// What the client and the logs call a session.
    fn name(&self, key: SessionKey) -> String {
        self.this.upgrade().map_or_else(|| key.to_string(), |worker| worker.name(key))
    }

    fn session(&self, key: SessionKey) -> Option<&Session> {
        self.sessions.get(key.index as usize).filter(|session| session.generation == key.generation)
    }

    fn session_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        of_key(&mut self.sessions, key)
    }
}

fn millis_since(began: Instant) -> Millis {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(Millis::MAX)
}

/// The session of a key, unless it has gone.
fn of_key(sessions: &mut Slab<Session>, key: SessionKey) -> Option<&mut Session> {
    sessions.get_mut(key.index as usize).filter(|session| session.generation == key.generation)
}
