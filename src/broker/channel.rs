//! Channels: the one place that orders.
//!
//! Owns the sections in which a message gets its number, becomes the last value or goes into history, and goes to the
//! mailboxes, so that all subscribers see the messages of one destination in one order. A subscription is made in the same
//! sections, with what is kept for it: so nothing is missing between that and what follows, and nothing comes twice. Nothing
//! waits inside a section: room in the mailboxes is taken before.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::catalogue::{Catalogue, ChannelKind, HistoryLimits, Reach};
use super::destination::{Destination, Filter, Kind, Tenant};
use super::kept::{self, KeptValues};
use super::log::{Gap, History, LogIdentity, Read, Reading, Start};
use super::message::{ChannelKey, Message, MessageId, Retain, Standing};
use super::router::{Mail, Router, Subscribe, WorkerId, WorkerSet};
use crate::telemetry::Metrics;

/// Topics share this many sections, by their first segment; two that share one wait for each other for the moment it takes
/// to pass a message to the mailboxes. Events channels have one of their own, the log's.
const SECTIONS: usize = 64;

/// Bounds of what channels keep. Octets of memory, about.
#[derive(Debug, Clone, Copy)]
pub struct ChannelLimits {
    /// In the histories of all events channels.
    pub history: usize,
    /// In the last values of all topics.
    pub values: usize,
}

impl Default for ChannelLimits {
    fn default() -> Self {
        ChannelLimits { history: 256 * 1024 * 1024, values: 64 * 1024 * 1024 }
    }
}

/// All channels.
#[derive(Debug)]
pub(super) struct Channels {
    incarnation: u32,
    /// Of the last message, or the last delivery of a queue: no two have the same.
    number: Arc<AtomicU64>,
    sections: Box<[Mutex<KeptValues>]>,
    /// What the kept values of all sections take.
    values: AtomicUsize,
    most_values: usize,
    catalogue: Catalogue,
    /// Changes within the history's lock.
    log: RwLock<LogIdentity>,
    history: Mutex<History>,
    began: Instant,
    hasher: RandomState,
    metrics: Arc<Metrics>,
}

/// What a subscription finds when it begins.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Last values.
    pub(super) kept: Vec<Arc<Message>>,
    /// What it reads of history; `None` if nothing.
    pub(super) reading: Option<Reading>,
    /// Whether its cursor could be followed, if it had one that counts.
    pub(super) resumed: Option<Result<(), Gap>>,
    /// The log's last number at this moment.
    pub(super) position: u64,
    /// Whether events may come.
    pub(super) has_events: bool,
}

impl Found {
    /// The number in the log behind which the subscription begins, if events may come.
    pub(super) fn begins(&self) -> Option<u64> {
        let read = self.reading.as_ref().map(|reading| reading.position);
        self.has_events.then_some(read.unwrap_or(self.position))
    }
}

impl Channels {
    pub(super) fn new(
        incarnation: u32,
        catalogue: Catalogue,
        limits: ChannelLimits,
        log: LogIdentity,
        metrics: Arc<Metrics>,
    ) -> Channels {
        Channels {
            incarnation,
            number: Arc::default(),
            sections: (0..SECTIONS).map(|_| Mutex::default()).collect(),
            values: AtomicUsize::new(0),
            most_values: limits.values,
            catalogue,
            log: RwLock::new(log),
            history: Mutex::new(History::new(limits.history)),
            began: Instant::now(),
            hasher: RandomState::new(),
            metrics,
        }
    }

    /// The count behind [`Channels::next_id`].
    pub(super) fn numbers(&self) -> Arc<AtomicU64> {
        self.number.clone()
    }

    /// What tells this start of this node from all others.
    pub(super) fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// Which log the events channels share.
    pub(super) fn log_identity(&self) -> LogIdentity {
        *self.log.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the channels are that a filter can match.
    pub(super) fn reach(&self, filter: &Filter) -> Reach {
        self.catalogue.reach(filter)
    }

    /// The kind of a destination's channel, and how much history it has.
    pub(super) fn kind(&self, destination: &Destination) -> (ChannelKind, HistoryLimits) {
        if destination.kind() != Kind::Topic {
            return (ChannelKind::Plain, HistoryLimits::default());
        }
        let rule = self.catalogue.rule(destination.name());
        rule.map_or((ChannelKind::Plain, HistoryLimits::default()), |rule| (rule.kind, rule.history))
    }

    /// Whether a topic has last values.
    pub(super) fn has_values(&self, destination: &Destination) -> bool {
        self.kind(destination).0 != ChannelKind::Events
    }

    /// What tells a destination's channel from others.
    pub(super) fn key(&self, destination: &Destination) -> ChannelKey {
        if destination.is_by_key() {
            // To who asked for a pattern it is the same as the one that it is shown as.
            return ChannelKey(self.hasher.hash_one(destination.as_shown()));
        }
        ChannelKey(self.hasher.hash_one(destination))
    }

    /// Numbers a message, keeps it as its channel's kind says, and hands it to the workers that want it. `room` is given
    /// back when the last of them is done. `number` is its place in the log, if that is not counted here.
    pub(super) async fn arrive(
        &self,
        router: &Router,
        message: Message,
        number: Option<u64>,
        room: Option<Arc<OwnedSemaphorePermit>>,
    ) {
        let kind = self.kind(&message.destination);
        let retain = message.retain().filter(|_| message.destination.kind() == Kind::Topic);
        let is_kept = kind.0 != ChannelKind::Plain || retain.is_some();
        // What is kept must not hold the buffer that it was read into.
        let mut message = if is_kept { message.detached() } else { message };
        message.channel = if is_kept { self.key(&message.destination) } else { ChannelKey::default() };
        let mut message = Arc::new(message);
        let mut wanted = router.interested(&message.destination);
        loop {
            let permits = router.reserve(wanted).await;
            let section = match kind.0 {
                ChannelKind::Events => Section::Log(lock(&self.history)),
                _ => Section::Values(lock(self.section(&message.destination))),
            };
            wanted = router.interested(&message.destination);
            if !wanted.without(permits.workers).is_empty() {
                // Somebody subscribed meanwhile on a worker in whose mailbox no room was taken.
                drop(section);
                continue;
            }
            match section {
                Section::Log(mut history) => {
                    let number = number.unwrap_or(history.last() + 1);
                    self.append(&mut history, number, &mut message, kind.1);
                    permits.send(wanted, &message, room.as_ref());
                }
                Section::Values(mut values) => {
                    if !self.keep(&mut values, &mut message, kind.0, retain) {
                        return;
                    }
                    permits.send(wanted, &message, room.as_ref());
                }
            }
            break;
        }
        if wanted.is_empty() {
            self.metrics.messages_unheard.inc();
        }
    }

    /// Puts a message into history under its number in the log.
    fn append(&self, history: &mut History, number: u64, message: &mut Arc<Message>, limits: HistoryLimits) {
        if let Some(message) = Arc::get_mut(message) {
            message.id = self.next_id();
            message.standing = Standing::Event(number);
        }
        let trimmed = history.append(number, message.clone(), limits, self.now());
        self.metrics.history_trimmed.inc_by(trimmed as u64);
        self.tell_size(history);
    }

    /// Puts a message into history under its number in the log, and hands it to nobody: it is of before this node was
    /// there.
    pub(super) fn remember(&self, message: &Message, number: u64) {
        let (kind, limits) = self.kind(&message.destination);
        if kind != ChannelKind::Events {
            return;
        }
        let mut message = message.detached();
        message.channel = self.key(&message.destination);
        self.append(&mut lock(&self.history), number, &mut Arc::new(message), limits);
    }

    /// The log has nothing up to `floor` any more, or is another: what was kept of it goes. Subscriptions that run hear of
    /// `gap`.
    pub(super) async fn begin_log(&self, router: &Router, log: LogIdentity, floor: u64, gap: Option<Gap>) {
        let permits = router.reserve(WorkerSet::all(router.workers())).await;
        let mut history = lock(&self.history);
        *self.log.write().unwrap_or_else(PoisonError::into_inner) = log;
        history.begin(floor);
        self.tell_size(&history);
        permits.send_gap(log, gap);
    }

    /// Subscriptions that run hear of a gap.
    pub(super) async fn tell_gap(&self, router: &Router, gap: Gap) {
        let permits = router.reserve(WorkerSet::all(router.workers())).await;
        let _history = lock(&self.history);
        permits.send_gap(self.log_identity(), Some(gap));
    }

    /// The number of the last message of the log that is here.
    pub(super) fn logged(&self) -> u64 {
        lock(&self.history).last()
    }

    /// The last values that a filter matches, those included that were cleared.
    pub(super) fn kept(&self, filter: &Filter) -> Vec<Arc<Message>> {
        let mut found = Vec::new();
        if filter.kind() == Kind::Topic {
            for section in self.sections(filter) {
                lock(section).all_matching(filter, &mut found);
            }
        }
        found
    }

    /// Makes a message the last value of its topic, if it is to be. Says whether it goes on: not if a newer one is kept, which
    /// came another way.
    fn keep(
        &self,
        values: &mut KeptValues,
        message: &mut Arc<Message>,
        kind: ChannelKind,
        retain: Option<Retain>,
    ) -> bool {
        let is_kept = kind != ChannelKind::Plain || retain.is_some();
        let is_late = |stamp| values.stamp(&message.destination).is_some_and(|kept| kept >= stamp);
        if is_kept && message.stamp.is_some_and(is_late) {
            return false;
        }
        if let Some(message) = Arc::get_mut(message) {
            message.id = self.next_id();
            if kind == ChannelKind::Snapshot {
                message.standing = Standing::Value;
            }
        }
        if !is_kept {
            return true;
        }
        values.remove(message).iter().for_each(|before| self.forget_value(before));
        // With other nodes, that it was cleared is kept too: an older value may still be on its way. So it is where there is a
        // value by key, which what is cleared of one spelling must not have for its own.
        let is_kept = retain != Some(Retain::Clear)
            || message.stamp.is_some()
            || values.has_by_key(&message.destination);
        let weight = kept::weight(message);
        if is_kept && self.values.load(Ordering::Relaxed) + weight <= self.most_values {
            self.values.fetch_add(weight, Ordering::Relaxed);
            self.metrics.kept_values.inc();
            values.put(message.clone());
        } else if is_kept {
            self.metrics.dropped("last_value", 1);
            // Rather nothing than an older one.
            values.remove_by_key(&message.destination).iter().for_each(|before| self.forget_value(before));
        }
        true
    }

    fn forget_value(&self, message: &Message) {
        self.values.fetch_sub(kept::weight(message), Ordering::Relaxed);
        self.metrics.kept_values.dec();
    }

    /// Makes a subscription, with what is kept for it: its entry in the worker's mailbox stands behind all that this covers.
    pub(super) async fn subscribe(&self, router: &Router, worker: WorkerId, mut subscribe: Box<Subscribe>) {
        let Some(permit) = router.permit(worker).await else { return };
        let filter = &subscribe.terms.filter;
        let mut found = Found::default();
        // Before the sections: it may take its time.
        let reach = self.reach(filter);
        let sections: Vec<MutexGuard<'_, KeptValues>> = match filter.kind() {
            Kind::Topic => self.sections(filter).map(lock).collect(),
            _ => Vec::new(),
        };
        for values in &sections {
            values.matching(filter, &mut found.kept);
        }
        let history = reach.events.then(|| lock(&self.history));
        if let Some(history) = &history {
            let start = subscribe.terms.start.as_start(reach.tail);
            let (reading, gap) = history.start(self.log_identity(), filter, start);
            let asked = matches!(start, Start::Cursor(_));
            found.resumed = asked.then(|| gap.map_or(Ok(()), Err));
            found.reading = reading;
            found.position = history.last();
            found.has_events = true;
        }
        router.register(worker, filter);
        subscribe.found = found;
        permit.send(Mail::Subscribe(subscribe));
        drop((sections, history));
    }

    /// What follows in history for a subscription, up to about `octets`.
    pub(super) fn read(&self, filter: &Filter, reading: &mut Reading, octets: usize) -> Read {
        lock(&self.history).read(filter, reading, octets)
    }

    /// Lets go what history keeps no longer, and the oldest values where there are nearly too many. To be called now and
    /// then.
    pub(super) fn expire(&self, router: &Router) {
        if self.values.load(Ordering::Relaxed) > self.most_values / 10 * 9 {
            self.forget_oldest_values();
        }
        let mut history = lock(&self.history);
        let trimmed = history.expire(self.now(), |destination| router.wanted(destination));
        self.metrics.history_trimmed.inc_by(trimmed as u64);
        self.tell_size(&history);
    }

    /// Makes room for a tenth of all values, so that who fills it with names that nobody feeds any more does not keep others
    /// out for ever.
    fn forget_oldest_values(&self) {
        let mut all: Vec<(u64, usize)> = Vec::new();
        for section in &self.sections {
            all.extend(lock(section).all().map(|message| (message.id.number, kept::weight(message))));
        }
        all.sort_unstable();
        let mut excess = self.values.load(Ordering::Relaxed).saturating_sub(self.most_values / 10 * 8);
        let mut is_excess = |(_, weight): &&(u64, usize)| {
            let is = excess > 0;
            excess = excess.saturating_sub(*weight);
            is
        };
        let Some((last, _)) = all.iter().take_while(|one| is_excess(one)).last().copied() else { return };
        for section in &self.sections {
            for message in lock(section).remove_up_to(last) {
                self.forget_value(&message);
                self.metrics.dropped("last_value", 1);
            }
        }
    }

    fn tell_size(&self, history: &History) {
        let (messages, bytes) = history.size();
        self.metrics.history_messages.set(messages as i64);
        self.metrics.history_bytes.set(bytes as i64);
    }

    /// An id that no other message has.
    pub(super) fn next_id(&self) -> MessageId {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        MessageId { incarnation: self.incarnation, number }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn section(&self, destination: &Destination) -> &Mutex<KeptValues> {
        &self.sections[self.place(destination.tenant(), destination.name())]
    }

    /// The sections of all that a filter can match, always in the same order.
    fn sections(&self, filter: &Filter) -> impl Iterator<Item = &Mutex<KeptValues>> {
        let is_wild = filter.exact().is_none() && matches!(kept::family(filter.name()), "*" | "#");
        let one = self.place(filter.tenant(), filter.name());
        let range = if is_wild { 0..SECTIONS } else { one..one + 1 };
        self.sections[range].iter()
    }

    fn place(&self, tenant: Tenant, name: &str) -> usize {
        self.hasher.hash_one((tenant, kept::family(name))) as usize % SECTIONS
    }
}

/// The section that a message is ordered in.
enum Section<'c> {
    Log(MutexGuard<'c, History>),
    Values(MutexGuard<'c, KeptValues>),
}

fn lock<T>(section: &Mutex<T>) -> MutexGuard<'_, T> {
    section.lock().unwrap_or_else(PoisonError::into_inner)
}
