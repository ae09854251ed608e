//! The router: hands a message to the workers that want it.
//!
//! Owns the workers' mailboxes and who is interested in what. Order is not its business: whoever sends to
//! several mailboxes in one order does so inside one section (see `channel.rs`).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::backend::Backend;
use super::channel::Found;
use super::close::CloseReason;
use super::destination::{Destination, Filter};
use super::encoder::Subscription;
use super::index::{Index, Leaf};
use super::key::SessionKey;
use super::log::{Cursor, Gap, LogIdentity, Start};
use super::message::Message;
use super::selector::Selector;
use super::view::View;
use crate::telemetry::Metrics;

/// One worker, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WorkerId(pub(super) u8);

/// The most workers that one broker has, so that a set of them is one machine word.
pub const MAX_WORKERS: usize = 64;

/// What a worker finds in its mailbox, in the order in which it happened.
#[derive(Debug)]
pub(super) enum Mail {
    /// A message for whoever subscribes, and the room that it takes until all workers are done with it.
    Message(Arc<Message>, Option<Arc<OwnedSemaphorePermit>>),
    /// A subscription that sees only what stands behind it.
    Subscribe(Box<Subscribe>),
    /// The log is this one from here on, and some of it is missing for who has subscribed before.
    Log(LogIdentity, Option<Gap>),
    /// Every session ends, one after the other within a time.
    Close {
        /// Why.
        reason: CloseReason,
        /// When the last of them is told, at the latest.
        within: Duration,
    },
}

/// A subscription on its way to the hub.
#[derive(Debug)]
pub(super) struct Subscribe {
    /// Whose.
    pub session: SessionKey,
    /// To what, and how.
    pub terms: SubscriberTerms,
    /// What is kept for it; known when the subscription is made.
    pub found: Found,
}

/// What a client asks of topics.
#[derive(Debug)]
pub struct SubscriberTerms {
    /// Which.
    pub filter: Filter,
    /// Under which id, and how it acknowledges.
    pub subscription: Subscription,
    /// Which messages it wants.
    pub selector: Option<Selector>,
    /// What it wants of them, if not all.
    pub view: Option<Arc<View>>,
    /// What it wants of history.
    pub start: StartAt,
    /// What goes out before the first message.
    pub receipt: Option<Receipt>,
}

impl SubscriberTerms {
    /// Everything from now on.
    pub fn of(filter: Filter, subscription: Subscription) -> SubscriberTerms {
        let start = StartAt::default();
        SubscriberTerms { filter, subscription, selector: None, view: None, start, receipt: None }
    }
}

/// Where a subscription to events begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StartAt {
    /// Where the channel says: most with what comes now.
    #[default]
    Usual,
    /// Behind this cursor.
    Cursor(ByteString),
    /// So many messages before now, of each channel.
    Last(usize),
}

impl StartAt {
    /// Whether it is a cursor of this log, and further than that is known here.
    pub(super) fn is_ahead(&self, log: LogIdentity, last: u64, filter: &Filter) -> bool {
        match self {
            StartAt::Cursor(cursor) => Cursor::is_ahead(cursor, log, last, filter),
            _ => false,
        }
    }

    /// With as many messages as the channels hand out unasked.
    pub(super) fn as_start(&self, tail: usize) -> Start<'_> {
        match self {
            StartAt::Usual if tail > 0 => Start::Last(tail),
            StartAt::Usual => Start::Live,
            StartAt::Cursor(cursor) => Start::Cursor(cursor),
            StartAt::Last(count) => Start::Last(*count),
        }
    }
}

/// What became of a SUBSCRIBE, as far as its receipt says it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Made {
    /// Whether the cursor could be followed; `None` without one that counts.
    pub resumed: Option<Result<(), Gap>>,
    /// Where the subscription begins, if events may come: with it, a client that was sent nothing yet misses nothing.
    pub cursor: Option<Cursor>,
}

/// What a client is told when its subscription is made.
pub struct Receipt(Box<dyn FnOnce(Made) -> Bytes + Send>);

impl Receipt {
    /// A wire frame, made when it is known what became of the SUBSCRIBE.
    pub fn new(make: impl FnOnce(Made) -> Bytes + Send + 'static) -> Receipt {
        Receipt(Box::new(make))
    }

    pub(super) fn make(self, made: Made) -> Bytes {
        (self.0)(made)
    }
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receipt")
    }
}

/// A set of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct WorkerSet(u64);

impl WorkerSet {
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members that `other` lacks.
    pub(super) fn without(self, other: WorkerSet) -> WorkerSet {
        WorkerSet(self.0 & !other.0)
    }

    /// So many workers, from the first.
    pub(super) fn all(count: usize) -> WorkerSet {
        WorkerSet(u64::MAX >> (MAX_WORKERS - count.clamp(1, MAX_WORKERS)))
    }

    fn insert(&mut self, worker: WorkerId) {
        self.0 |= 1 << worker.0;
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_WORKERS).filter(move |at| self.0 & (1 << at) != 0)
    }
}

/// Room in the mailboxes of some workers, taken before anything is ordered.
pub(super) struct Permits<'r> {
    pub(super) workers: WorkerSet,
    permits: smallvec::SmallVec<[(usize, mpsc::Permit<'r, Mail>); 4]>,
}

impl Permits<'_> {
    /// Puts `message` into the mailboxes of `workers`, for all of which there is room.
    pub(super) fn send(
        self,
        workers: WorkerSet,
        message: &Arc<Message>,
        room: Option<&Arc<OwnedSemaphorePermit>>,
    ) {
        for (at, permit) in self.permits {
            if workers.0 & (1 << at) != 0 {
                permit.send(Mail::Message(message.clone(), room.cloned()));
            }
        }
    }

    /// Tells all workers for which there is room of another log, or of a gap in it.
    pub(super) fn send_gap(self, log: LogIdentity, gap: Option<Gap>) {
        for (_, permit) in self.permits {
            permit.send(Mail::Log(log, gap));
        }
    }
}

/// How many subscriptions each worker has under one filter.
#[derive(Debug, Default)]
struct Interest(Vec<(WorkerId, u32)>);

impl Leaf for Interest {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The mailboxes of all workers, and their interest.
#[derive(Debug)]
pub struct Router {
    mailboxes: Vec<mpsc::Sender<Mail>>,
    interest: RwLock<Index<Interest>>,
    /// Is told of every subscription, so that other nodes send what is wanted here.
    backend: Arc<dyn Backend>,
    /// Sessions of all workers.
    sessions: AtomicUsize,
    metrics: Arc<Metrics>,
}

impl Router {
    /// A router for `workers` workers with mailboxes of `capacity` entries, and the mailboxes' other ends in
    /// the order of the workers.
    pub fn new(
        workers: usize,
        capacity: usize,
        backend: Arc<dyn Backend>,
        metrics: Arc<Metrics>,
    ) -> (Router, Vec<Mailbox>) {
        let (senders, boxes) = (0..workers.clamp(1, MAX_WORKERS))
            .map(|at| {
                let (sender, receiver) = mpsc::channel(capacity.max(1));
                (sender, Mailbox { worker: WorkerId(at as u8), receiver })
            })
            .unzip();
        let (interest, sessions) = (RwLock::new(Index::new()), AtomicUsize::new(0));
        (Router { mailboxes: senders, interest, backend, sessions, metrics }, boxes)
    }

    /// How many workers there are.
    pub(super) fn workers(&self) -> usize {
        self.mailboxes.len()
    }

    /// Whether anybody would get a message to `destination`.
    pub fn wanted(&self, destination: &Destination) -> bool {
        !self.interested(destination).is_empty()
    }

    /// The workers with a subscription that matches `destination`.
    pub(super) fn interested(&self, destination: &Destination) -> WorkerSet {
        let mut workers = WorkerSet::default();
        self.interest.read().unwrap_or_else(PoisonError::into_inner).matches(destination, |leaf| {
            for (worker, _) in &leaf.0 {
                workers.insert(*worker);
            }
        });
        workers
    }

    /// Waits until each of `workers` has room for one entry. Mailboxes are drained without regard to
    /// publishers, so waiting for one while holding room in another can't lock up.
    pub(super) async fn reserve(&self, workers: WorkerSet) -> Permits<'_> {
        let mut permits = smallvec::SmallVec::new();
        for at in workers.iter() {
            let Some(mailbox) = self.mailboxes.get(at) else {
                continue;
            };
            let permit = match mailbox.try_reserve() {
                Ok(permit) => Ok(permit),
                Err(mpsc::error::TrySendError::Closed(())) => continue,
                Err(mpsc::error::TrySendError::Full(())) => {
                    self.metrics.mailbox_waits.inc();
                    mailbox.reserve().await
                }
            };
            // A worker that has ended wants nothing any more.
            if let Ok(permit) = permit {
                permits.push((at, permit));
            }
        }
        Permits { workers, permits }
    }

    /// Waits until a worker's mailbox has room for one entry; `None` if the worker has ended.
    pub(super) async fn permit(&self, worker: WorkerId) -> Option<mpsc::Permit<'_, Mail>> {
        self.mailboxes.get(usize::from(worker.0))?.reserve().await.ok()
    }

    /// Makes a subscription of `worker` known: from now on messages are sent there.
    pub(super) fn register(&self, worker: WorkerId, filter: &Filter) {
        self.backend.want(filter);
        let mut interest = self.interest.write().unwrap_or_else(PoisonError::into_inner);
        interest.update(filter, |leaf| match leaf.0.iter_mut().find(|(have, _)| *have == worker) {
            Some((_, count)) => *count += 1,
            None => leaf.0.push((worker, 1)),
        });
    }

    /// Forgets one subscription of `worker` under `filter`.
    pub(super) fn unsubscribe(&self, worker: WorkerId, filter: &Filter) {
        let mut interest = self.interest.write().unwrap_or_else(PoisonError::into_inner);
        interest.update(filter, |leaf| {
            if let Some(at) = leaf.0.iter().position(|(have, _)| *have == worker) {
                leaf.0[at].1 -= 1;
                if leaf.0[at].1 == 0 {
                    leaf.0.swap_remove(at);
                }
            }
        });
        drop(interest);
        self.backend.release(filter);
    }

    /// Tells every worker to end its sessions, the last of them after `within` at the latest.
    pub async fn close(&self, reason: &CloseReason, within: Duration) {
        for mailbox in &self.mailboxes {
            // A worker that has ended has no sessions.
            let _ = mailbox.send(Mail::Close { reason: reason.clone(), within }).await;
        }
    }

    /// A session was opened.
    pub(super) fn opened(&self) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    /// A session is no more.
    pub(super) fn removed(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// Sessions of all workers.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }
}

/// One worker's end of its mailbox.
#[derive(Debug)]
pub struct Mailbox {
    pub(super) worker: WorkerId,
    pub(super) receiver: mpsc::Receiver<Mail>,
}
