//! The broker's core: destinations, channels, subscriptions, delivery.
//!
//! Knows nothing of protocols and sockets. A message enters by [`Broker::publish`] and visits, each once:
//! the backend (`backend.rs`), the section that orders (`channel.rs`), the mailboxes of the workers that want it
//! (`router.rs`), and in each of these the hub (`hub/`), which encodes it once for each group (`group.rs`) and
//! writes it to the connections, or to the outbox (`outbox.rs`) of one that lags.

mod access;
mod backend;
mod channel;
mod close;
mod destination;
mod encoder;
mod group;
mod hub;
mod index;
mod key;
mod message;
mod outbox;
mod queue;
mod router;
mod selector;
mod timers;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::Semaphore;

pub use self::access::{Access, Denied, Identity, Operation, Place};
pub use self::backend::{Backend, Forwarded};
pub use self::close::CloseReason;
pub(crate) use self::destination::excerpt;
pub use self::destination::{Destination, Filter, InvalidDestination, Kind, MAX_KEY, MAX_PATTERN, Tenant};
pub use self::encoder::{AckMode, Beats, Connection, Encoder, Subscription};
pub use self::key::SessionKey;
pub use self::message::{Headers, Message, MessageId, is_handed_on};
pub use self::outbox::OutboxLimits;
pub use self::queue::{Full, Overflow, QueueLimits, Verdict};
pub use self::router::{MAX_WORKERS, Mailbox, Router, WorkerId};
pub use self::selector::{InvalidSelector, Selector};
pub use self::worker::{ConsumerTerms, Worker};
pub use crate::telemetry::metrics::Door;

use self::channel::Channels;
use self::queue::Queues;
use self::router::Subscribe;
use crate::telemetry::Metrics;

/// Bounds of one broker. Times in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// What waits for one connection.
    pub outbox: OutboxLimits,
    /// Octets in all outboxes of one worker. Beyond it the largest go.
    pub outboxes: usize,
    /// Entries of a worker's mailbox.
    pub mailbox: usize,
    /// Octets of messages larger than 16 KiB that are in mailboxes at one time.
    pub mailbox_bytes: usize,
    /// From a connection's opening to the moment the client says who it is.
    pub connect_timeout: u64,
    /// Without any progress in writing to a client.
    pub write_timeout: u64,
    /// From last words to the end of the connection by force.
    pub close_timeout: u64,
    /// What waits in queues.
    pub queues: QueueLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            outbox: OutboxLimits::default(),
            outboxes: 256 * 1024 * 1024,
            mailbox: 1024,
            mailbox_bytes: 64 * 1024 * 1024,
            connect_timeout: 30_000,
            write_timeout: 60_000,
            close_timeout: 5_000,
            queues: QueueLimits::default(),
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// It was for one user or connection, and that is nowhere.
    pub undeliverable: bool,
}

/// Why a message was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unpublished {
    /// Its sender may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// Its queue takes no more.
    #[error(transparent)]
    Full(#[from] Full),
}

/// Messages up to this size are bounded by their number in the mailboxes; larger ones by their octets too.
const SMALL: usize = 16 * 1024;

/// The broker, shared by all workers and producers.
#[derive(Debug)]
pub struct Broker {
    limits: Limits,
    access: Access,
    backend: Box<dyn Backend>,
    channels: Channels,
    router: Arc<Router>,
    queues: Arc<Queues>,
    /// KiB of large messages that may still enter the mailboxes.
    room: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Broker {
    /// A broker for `workers` workers, and the mailboxes to start them with. `incarnation` must differ from that of
    /// any other start of any node.
    pub fn new(
        workers: usize,
        limits: Limits,
        incarnation: u32,
        access: Access,
        backend: Box<dyn Backend>,
        metrics: Arc<Metrics>,
    ) -> (Arc<Broker>, Vec<Mailbox>) {
        let (router, mailboxes) = Router::new(workers, limits.mailbox, metrics.clone());
        let channels = Channels::new(incarnation, metrics.clone());
        let queues = Queues::new(limits.queues, mailboxes.len(), channels.numbers(), metrics.clone());
        let broker = Broker {
            limits,
            access,
            backend,
            channels,
            queues: Arc::new(queues),
            router: Arc::new(router),
            room: Arc::new(Semaphore::new(limits.mailbox_bytes / 1024)),
            metrics,
        };
        (Arc::new(broker), mailboxes)
    }

    /// Whether `identity` may do `operation` there. Every operation of every door passes here.
    ///
    /// # Errors
    /// [`Denied`] if it may not.
    pub fn authorize<'a>(
        &self,
        identity: &Identity,
        operation: Operation,
        place: impl Into<Place<'a>>,
    ) -> Result<(), Denied> {
        self.access.authorize(identity, operation, place.into())
    }

    /// Publishes a message. When this returns it is in the mailbox of every worker that wants it (and, once there is
    /// a backend between nodes, in the backend's keeping), behind everything that was there before. Waits while a
    /// mailbox is full, never for a subscriber. `door` names where it came in.
    ///
    /// # Errors
    /// [`Unpublished`] if the identity may not, or if its queue takes no more.
    pub async fn publish(
        &self,
        identity: &Identity,
        door: Door,
        message: Message,
    ) -> Result<Published, Unpublished> {
        self.authorize(identity, Operation::Send, &message.destination)?;
        self.metrics.messages_in.by(door).inc();
        let reaches_one = matches!(message.destination.kind(), Kind::User | Kind::Reply);
        let published = Published { undeliverable: reaches_one && !self.wanted(&message.destination) };
        if published.undeliverable {
            self.metrics.dropped("undeliverable", 1);
            return Ok(published);
        }
        let Forwarded { message, confirmed } = self.backend.forward(message);
        if let Some(message) = message {
            self.arrive(message).await?;
        }
        if let Some(confirmed) = confirmed {
            confirmed.await;
        }
        Ok(published)
    }

    /// Whether these messages, all of them, could be published now as far as their queues go.
    ///
    /// # Errors
    /// [`Full`] if one of the queues would not take all of its own.
    pub fn have_room<'a>(&self, messages: impl Iterator<Item = &'a Message>) -> Result<(), Full> {
        self.queues.have_room(messages.filter(|message| message.destination.kind() == Kind::Queue))
    }

    /// A message came, from here or from another node.
    ///
    /// # Errors
    /// [`Full`] if its queue takes no more.
    pub async fn arrive(&self, mut message: Message) -> Result<(), Full> {
        if message.destination.kind() == Kind::Queue {
            return self.queues.push(&message);
        }
        let octets = message.octets();
        if octets > SMALL {
            // A message larger than all the room there is takes all of it.
            let kib = (octets / 1024).min(self.limits.mailbox_bytes / 1024);
            let kib = u32::try_from(kib).unwrap_or(u32::MAX);
            message.room = self.room.clone().acquire_many_owned(kib).await.ok();
        }
        self.channels.arrive(&self.router, message).await;
        Ok(())
    }

    /// Forgets messages of queues whose time is over. To be called now and then.
    fn expire(&self) {
        self.queues.expire();
    }

    async fn subscribe(
        &self,
        identity: &Identity,
        worker: WorkerId,
        subscribe: Box<Subscribe>,
    ) -> Result<(), Denied> {
        self.authorize(identity, Operation::Subscribe, &subscribe.filter)?;
        self.router.subscribe(worker, subscribe).await;
        Ok(())
    }

    /// Whether anybody would get a message to `destination`: a producer computes nothing while nobody does.
    pub fn wanted(&self, destination: &Destination) -> bool {
        self.router.wanted(destination)
    }

    /// Tells every worker to end its sessions.
    pub async fn close(&self, reason: &CloseReason) {
        self.router.close(reason).await;
    }

    /// The broker's metrics.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The broker's bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}
