//! Queues: each message goes to one consumer, and stays until that one has acknowledged it.
//!
//! Owns the queues of a node and the desks at which workers find what was assigned to their consumers. What a queue does
//! is in `line.rs`; how a consumer's client gets its messages is the hub's (`hub/consuming.rs`). Where the queues are another's, a
//! line has what this node was given of one (`remote.rs`), and nothing is published into it here.
//!
//! ```text
//! publish ─► Queue: a line of messages, ordered by priority and number
//!               │ assigns, in turn, to consumers that have room
//!               ▼
//!            Desk of the consumer's worker ─► hub ─► connection
//!               ▲                                        │
//!               └────────── ack, nack, gone, room ◄──────┘
//! ```

mod line;
mod remote;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytestring::ByteString;
use tokio::sync::Notify;

pub use self::line::Verdict;
pub(super) use self::line::{Assigned, ConsumerKey, Terms};
use self::line::{Dead, Item, Line, MOST_URGENT, Position};
pub use self::remote::{Fate, Origin, RemoteQueues};
use super::destination::{Destination, Kind, Tenant};
use super::message::{Headers, Message};
use super::router::WorkerId;
use crate::telemetry::Metrics;

/// What precedes the name of a queue in that of its dead letters' queue.
const DEAD_LETTERS: &str = "dlq.";

/// What a full queue does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// Takes no more: the sender is told.
    #[default]
    Refuse,
    /// Forgets its oldest message, which becomes a dead letter.
    DropOldest,
}

/// Bounds of queues.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// Queues of the node.
    pub queues: usize,
    /// Messages of one queue.
    pub messages: usize,
    /// Their octets.
    pub bytes: usize,
    /// Octets of all queues.
    pub total_bytes: usize,
    /// How often a message is tried before it is a dead letter; 0 for as often as it takes.
    pub deliveries: u32,
    /// What a full queue does.
    pub overflow: Overflow,
}

impl Default for QueueLimits {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        QueueLimits {
            queues: 10_000,
            messages: 100_000,
            bytes: 256 * MIB,
            total_bytes: 1024 * MIB,
            deliveries: 20,
            overflow: Overflow::Refuse,
        }
    }
}

/// A queue takes no more, for this reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The queue has as much as it may.
    #[error("{0} is full: it has as many messages or octets as it may; try again when they were consumed")]
    Queue(ByteString),
    /// All queues together have as much as they may.
    #[error("the queues of this node are full: try again when their messages were consumed")]
    Node,
    /// There are as many queues as there may be.
    #[error("there are as many queues as there may be: take one that exists, or consume what others hold")]
    TooMany,
}

/// One queue.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) destination: Destination,
    line: Mutex<Line>,
}

impl Queue {
    fn line(&self) -> MutexGuard<'_, Line> {
        lock(&self.line)
    }
}

/// Where a worker finds what was assigned to its consumers. Bounded by what the consumers have room for.
#[derive(Debug, Default)]
struct Desk {
    assigned: Mutex<Vec<Assigned>>,
    filled: Notify,
}

/// All queues of a node.
#[derive(Debug)]
pub(super) struct Queues {
    limits: QueueLimits,
    /// Where the queues are, if they are not here.
    remote: Option<Arc<dyn RemoteQueues>>,
    by_name: Mutex<HashMap<(Tenant, ByteString), Arc<Queue>>>,
    desks: Vec<Desk>,
    /// The number of the last message, which orders.
    number: AtomicU64,
    /// The number of the last delivery, by which it is acknowledged. Messages of topics are counted with it.
    delivery: Arc<AtomicU64>,
    bytes: AtomicUsize,
    metrics: Arc<Metrics>,
}

impl Queues {
    pub(super) fn new(
        limits: QueueLimits,
        remote: Option<Arc<dyn RemoteQueues>>,
        workers: usize,
        delivery: Arc<AtomicU64>,
        metrics: Arc<Metrics>,
    ) -> Queues {
        Queues {
            limits,
            remote,
            by_name: Mutex::default(),
            desks: (0..workers).map(|_| Desk::default()).collect(),
            number: AtomicU64::new(0),
            delivery,
            bytes: AtomicUsize::new(0),
            metrics,
        }
    }

    /// Puts a message into its queue, or into nothing if that takes no more. Only where the queues are this node's.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn push(&self, message: &Message) -> Result<(), Full> {
        debug_assert!(self.remote.is_none(), "published to a queue here that is elsewhere");
        let item = self.item(message);
        let octets = item.octets();
        let before = self.bytes.fetch_add(octets, Ordering::Relaxed);
        if before + octets > self.limits.total_bytes {
            self.bytes.fetch_sub(octets, Ordering::Relaxed);
            return Err(Full::Node);
        }
        let now = now();
        let mut item = Some(item);
        let pushed = self.with(&message.destination, |queue, line| {
            if !line.has_room(octets, &self.limits) {
                if self.limits.overflow == Overflow::Refuse {
                    return Err(Full::Queue(queue.destination.text().clone()));
                }
                line.drop_oldest(octets, &self.limits);
                if !line.has_room(octets, &self.limits) {
                    return Err(Full::Queue(queue.destination.text().clone()));
                }
            }
            if let Some(item) = item.take() {
                line.push(item, now);
            }
            Ok(())
        });
        let pushed = pushed.and_then(|pushed| pushed);
        if pushed.is_err() {
            self.bytes.fetch_sub(octets, Ordering::Relaxed);
        } else {
            self.metrics.queue_messages.inc();
        }
        pushed
    }

    /// Adds a consumer to a queue, which is made if there is none.
    ///
    /// # Errors
    /// [`Full::TooMany`].
    pub(super) fn consume(
        &self,
        destination: &Destination,
        key: ConsumerKey,
        terms: Terms,
    ) -> Result<Arc<Queue>, Full> {
        let now = now();
        self.with(destination, |queue, line| {
            line.add_consumer(key, terms, now);
            queue.clone()
        })
    }

    /// A consumer goes, whose client was given nothing behind the delivery `given`: what it did not acknowledge is there for
    /// others.
    pub(super) fn cancel(&self, queue: &Arc<Queue>, key: ConsumerKey, given: u64) {
        let now = now();
        self.at(queue, |line| line.remove_consumer(key, given, self.limits.deliveries, now));
    }

    /// A consumer gets no more. Says whether it has nothing that is to be acknowledged.
    pub(super) fn stop(&self, queue: &Arc<Queue>, key: ConsumerKey) -> bool {
        self.at(queue, |line| line.stop(key))
    }

    /// A consumer has room for so many more.
    pub(super) fn room(&self, queue: &Arc<Queue>, key: ConsumerKey, more: u32) {
        let now = now();
        self.at(queue, |line| line.room(key, more, now));
    }

    /// What a consumer says of a delivery, and if it is `cumulative` of all before it. Says whether there was such a one.
    pub(super) fn settle(
        &self,
        queue: &Arc<Queue>,
        key: ConsumerKey,
        delivery: u64,
        cumulative: bool,
        verdict: Verdict,
    ) -> bool {
        let now = now();
        self.at(queue, |line| line.settle(key, delivery, cumulative, verdict, self.limits.deliveries, now))
    }

    /// Whether a consumer has a delivery that it has not acknowledged.
    pub(super) fn has(&self, queue: &Arc<Queue>, key: ConsumerKey, delivery: u64) -> bool {
        queue.line().has(key, delivery)
    }

    /// Whether there would be room for all of these messages now. Where the queues are another's only that can say.
    pub(super) fn have_room<'a>(&self, messages: impl Iterator<Item = &'a Message>) -> Result<(), Full> {
        if self.are_remote() {
            return Ok(());
        }
        let mut wanted: HashMap<(Tenant, &ByteString), (usize, usize)> = HashMap::new();
        for message in messages {
            let sum = wanted.entry((message.destination.tenant(), message.destination.text())).or_default();
            *sum = (sum.0 + 1, sum.1 + line::octets_of(message));
        }
        let total: usize = wanted.values().map(|(_, octets)| octets).sum();
        if total > 0 && self.bytes.load(Ordering::Relaxed) + total > self.limits.total_bytes {
            return Err(Full::Node);
        }
        let by_name = lock(&self.by_name);
        let new = wanted.keys().filter(|(tenant, text)| !by_name.contains_key(&(*tenant, (*text).clone())));
        if by_name.len() + new.count() > self.limits.queues {
            return Err(Full::TooMany);
        }
        for ((tenant, text), (messages, octets)) in wanted {
            let queue = by_name.get(&(tenant, text.clone()));
            let fits = match queue {
                Some(queue) => queue.line().has_room_for(messages, octets, &self.limits),
                None => Line::default().has_room_for(messages, octets, &self.limits),
            };
            if !fits && self.limits.overflow == Overflow::Refuse {
                return Err(Full::Queue(text.clone()));
            }
        }
        Ok(())
    }

    /// Forgets what has expired, in all queues.
    pub(super) fn expire(&self) {
        let now = now();
        let queues: Vec<Arc<Queue>> = lock(&self.by_name).values().cloned().collect();
        for queue in queues {
            if queue.line().has_expired(now) {
                self.at(&queue, |line| line.expire(now));
            }
        }
    }

    /// Waits until something is assigned to a consumer of a worker, and takes it.
    pub(super) async fn assigned(&self, worker: WorkerId) -> Vec<Assigned> {
        let Some(desk) = self.desks.get(usize::from(worker.0)) else {
            return std::future::pending().await;
        };
        loop {
            let assigned = std::mem::take(&mut *lock(&desk.assigned));
            if !assigned.is_empty() {
                return assigned;
            }
            desk.filled.notified().await;
        }
    }

    /// Does something with the line of the queue of this name, which is made if there is none.
    fn with<T>(
        &self,
        destination: &Destination,
        work: impl FnOnce(&Arc<Queue>, &mut Line) -> T,
    ) -> Result<T, Full> {
        loop {
            let queue = self.find_or_make(destination)?;
            let mut line = queue.line();
            // It was, before this lock was had, as one that nobody needs.
            if line.is_forgotten {
                continue;
            }
            let result = work(&queue, &mut line);
            self.finish(&queue, line);
            return Ok(result);
        }
    }

    fn find_or_make(&self, destination: &Destination) -> Result<Arc<Queue>, Full> {
        let key = (destination.tenant(), destination.text().clone());
        let mut by_name = lock(&self.by_name);
        if let Some(queue) = by_name.get(&key) {
            return Ok(queue.clone());
        }
        if by_name.len() >= self.limits.queues {
            return Err(Full::TooMany);
        }
        let destination = destination.detached();
        let key = (destination.tenant(), destination.text().clone());
        let line = match self.remote {
            Some(_) => Line::prefetched(self.limits.messages),
            None => Line::default(),
        };
        let queue = Arc::new(Queue { destination, line: Mutex::new(line) });
        by_name.insert(key, queue.clone());
        self.metrics.queues.inc();
        Ok(queue)
    }

    /// Does something with a queue's line.
    fn at<T>(&self, queue: &Arc<Queue>, work: impl FnOnce(&mut Line) -> T) -> T {
        let mut line = queue.line();
        let result = work(&mut line);
        self.finish(queue, line);
        result
    }

    /// Hands out what a change of a line came to: deliveries to the desks, dead letters to their queue, and what is to be told
    /// where the queue is elsewhere.
    fn finish(&self, queue: &Arc<Queue>, mut line: MutexGuard<'_, Line>) {
        let mut wakes = smallvec::SmallVec::<[usize; 4]>::new();
        line.assign(
            || self.delivery.fetch_add(1, Ordering::Relaxed) + 1,
            |assigned| {
                let worker = usize::from(assigned.consumer.worker.0);
                if let Some(desk) = self.desks.get(worker) {
                    lock(&desk.assigned).push(assigned);
                    if !wakes.contains(&worker) {
                        wakes.push(worker);
                    }
                }
            },
        );
        line.trim();
        let freed = line.take_freed();
        let dead = line.take_dead();
        let told = line.begin_to_tell();
        let mut is_idle = line.is_idle();
        drop(line);
        self.bytes.fetch_sub(freed.octets, Ordering::Relaxed);
        self.metrics.queue_messages.dec_by(freed.messages as i64);
        for worker in wakes {
            self.desks[worker].filled.notify_one();
        }
        if let Some(told) = told {
            is_idle = self.tell(queue, told);
        }
        if is_idle {
            self.forget(queue);
        }
        for dead in dead {
            self.bury(queue, &dead);
        }
    }

    /// Forgets a queue that has neither messages nor consumers.
    fn forget(&self, queue: &Arc<Queue>) {
        let mut by_name = lock(&self.by_name);
        let key = (queue.destination.tenant(), queue.destination.text().clone());
        let is_it = by_name.get(&key).is_some_and(|have| Arc::ptr_eq(have, queue));
        let mut line = queue.line();
        if is_it && line.is_idle() {
            line.is_forgotten = true;
            by_name.remove(&key);
            self.metrics.queues.dec();
        }
    }

    /// Puts a message that nobody wants where somebody may look for it.
    fn bury(&self, queue: &Arc<Queue>, dead: &Dead) {
        let reason = dead.reason.label();
        self.metrics.dead_letters.get_or_create(&crate::telemetry::metrics::Reason { reason }).inc();
        let name = queue.destination.name();
        if name.starts_with(DEAD_LETTERS) {
            self.metrics.dropped(reason, 1);
            return;
        }
        let text = format!("{}{DEAD_LETTERS}{name}", Kind::Queue.prefix());
        let Ok(destination) = Destination::parse(queue.destination.tenant(), text.into()) else {
            // The name is too long for another.
            self.metrics.dropped(reason, 1);
            return;
        };
        let own = ["expires", "expiration", REASON, FROM];
        let mut headers: Headers = dead
            .item
            .message
            .headers
            .iter()
            .filter(|(name, _)| !own.contains(&&***name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        headers.push(REASON, reason);
        headers.push(FROM, queue.destination.text().clone());
        let message = Message::new(destination, headers, dead.item.message.body.clone());
        if self.push(&message).is_err() {
            self.metrics.dropped(reason, 1);
        }
    }

    /// A message as a queue keeps it: a copy, so that a few octets do not keep a whole read buffer in memory.
    fn item(&self, message: &Message) -> Item {
        let message = message.detached();
        let header =
            |name: &str| message.headers.get(name).and_then(|value| value.trim().parse::<u64>().ok());
        let priority = header("priority")
            .map_or(DEFAULT_PRIORITY, |priority| priority.min(u64::from(MOST_URGENT)) as u8);
        // `expires` is a time since 1970, `expiration` from now on; both in milliseconds.
        let expires = header("expires")
            .into_iter()
            .chain(header("expiration").map(|ttl| now().saturating_add(ttl)))
            .min();
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        Item::new(Arc::new(message), Position::new(priority, number), expires)
    }
}

/// Of a message that names none, as in JMS.
const DEFAULT_PRIORITY: u8 = 4;

/// Why a message is a dead letter, and whose it was. RabbitMQ's names.
const REASON: &str = "x-first-death-reason";
const FROM: &str = "x-first-death-queue";

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Nothing panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
