//! The broker's core: destinations, channels, subscriptions, delivery.
//!
//! Knows nothing of protocols and sockets. A message enters by [`Broker::publish`] and visits, each once:
//! the backend (`backend.rs`), the section that orders (`channel.rs`), the mailboxes of the workers that want it
//! (`router.rs`), and in each of these the hub (`hub/`), which encodes it once for each group (`group.rs`) and
//! writes it to the connections, or to the outbox (`outbox.rs`) of one that lags.

mod access;
mod backend;
mod catalogue;
mod channel;
mod close;
mod destination;
mod encoder;
mod feed;
mod group;
mod hub;
mod index;
mod kept;
mod key;
mod log;
mod message;
mod outbox;
mod queue;
mod router;
mod routing_key;
mod selector;
mod stamp;
mod timers;
mod view;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

pub use self::access::{Access, Denied, Identity, Operation, Place};
pub use self::backend::{Backend, Confirmed, Forward, Forwarded, Promise, Unconfirmed};
pub use self::catalogue::{Catalogue, ChannelKind, HistoryLimits, Reach, Rule};
pub use self::channel::ChannelLimits;
pub use self::close::CloseReason;
pub(crate) use self::destination::excerpt;
pub use self::destination::{Destination, Filter, InvalidDestination, Kind, MAX_KEY, MAX_PATTERN, Tenant};
pub use self::encoder::{AckMode, Beats, Connection, Copy, Delta, Encoder, Says, Subscription};
pub use self::feed::Feed;
pub use self::key::SessionKey;
pub use self::log::{Cursor, Gap, LogIdentity};
pub use self::message::{Headers, Message, MessageId, is_handed_on};
pub use self::outbox::OutboxLimits;
pub use self::queue::{Fate, Full, Origin, Overflow, QueueLimits, RemoteQueues, Verdict};
pub use self::router::{MAX_WORKERS, Made, Mailbox, Receipt, Router, StartAt, SubscriberTerms, WorkerId};
pub use self::selector::{InvalidSelector, Selector};
pub use self::stamp::{InvalidStamp, Stamp, StampClock};
pub use self::view::{InvalidFields, InvalidView, View};
pub use self::worker::{ConsumerTerms, Worker};
pub use crate::telemetry::metrics::Door;

use self::channel::Channels;
use self::feed::Feeds;
use self::message::Retain;
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
    /// What channels keep.
    pub channels: ChannelLimits,
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
            channels: ChannelLimits::default(),
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
    /// It asks to forget the last value and has a body.
    #[error("retain:clear forgets the last value, and goes without a body; send the new value without it")]
    ClearWithBody,
    /// Other nodes do not have it.
    #[error(transparent)]
    Unconfirmed(#[from] Unconfirmed),
}

/// Why a subscription was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsubscribed {
    /// Its client may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// There is no such view of what it asks for.
    #[error(transparent)]
    View(#[from] InvalidView),
    /// No queue can be called so.
    #[error("{0}")]
    Name(String),
    /// It asks for a number of messages that is none.
    #[error("history takes a number of messages, from 0 on")]
    History,
    /// There are as many queues as there may be.
    #[error(transparent)]
    Full(#[from] Full),
    /// It has a selector for a queue that is RabbitMQ's, which gives any consumer the next message, whatever its headers say.
    #[error(
        "the queues here are RabbitMQ's, which can't select: consume without a selector and send each sort of message to a queue of          its own, or to a topic, where selectors select"
    )]
    QueueSelector,
}

/// What a broker is made of that others bring.
#[derive(Debug)]
pub struct Parts {
    /// Hands messages to other nodes.
    pub backend: Arc<dyn Backend>,
    /// Which log the events channels share, until another begins.
    pub log: LogIdentity,
    /// Says which kind a channel is.
    pub catalogue: Catalogue,
    /// Where the queues are, if not in this node's memory.
    pub remote_queues: Option<Arc<dyn RemoteQueues>>,
}

/// A message that was taken on its way.
#[must_use]
pub struct Accepted {
    is_here: bool,
    nobody_here: bool,
    confirmed: Option<Promise<Result<Confirmed, Unconfirmed>>>,
}

impl Accepted {
    /// Whether there is nothing to wait for.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed.is_none()
    }

    /// Whether this node's own subscribers have it, whatever becomes of it elsewhere.
    pub fn is_here(&self) -> bool {
        self.is_here
    }

    /// Waits until all that is to answer for the message does.
    ///
    /// # Errors
    /// [`Unconfirmed`] says why it does not.
    pub async fn confirmed(self) -> Result<Published, Unconfirmed> {
        let nobody_elsewhere = match self.confirmed {
            Some(confirmed) => confirmed.await?.nobody_elsewhere,
            None => true,
        };
        Ok(Published { undeliverable: self.nobody_here && nobody_elsewhere })
    }
}

/// Keeps a backend bringing what a filter selects, while a subscription to that is being made.
struct Hold {
    backend: Arc<dyn Backend>,
    filter: Filter,
}

impl Hold {
    fn of(backend: &Arc<dyn Backend>, filter: &Filter) -> Hold {
        backend.want(filter);
        Hold { backend: backend.clone(), filter: filter.clone() }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.backend.release(&self.filter);
    }
}

/// How long a SUBSCRIBE that nobody asked a receipt of waits for other nodes.
const UNASKED: Duration = Duration::from_secs(1);

/// Messages up to this size are bounded by their number in the mailboxes; larger ones by their octets too.
const SMALL: usize = 16 * 1024;

/// The broker, shared by all workers and producers.
#[derive(Debug)]
pub struct Broker {
    limits: Limits,
    access: Access,
    backend: Arc<dyn Backend>,
    channels: Arc<Channels>,
    router: Arc<Router>,
    queues: Arc<Queues>,
    feeds: Feeds,
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
        parts: Parts,
        metrics: Arc<Metrics>,
    ) -> (Arc<Broker>, Vec<Mailbox>) {
        let Parts { backend, log, catalogue, remote_queues } = parts;
        let (router, mailboxes) = Router::new(workers, limits.mailbox, backend.clone(), metrics.clone());
        let channels = Channels::new(incarnation, catalogue, limits.channels, log, metrics.clone());
        let (workers, numbers) = (mailboxes.len(), channels.numbers());
        let queues = Queues::new(limits.queues, remote_queues, workers, numbers, metrics.clone());
        let broker = Broker {
            limits,
            access,
            backend,
            channels: Arc::new(channels),
            queues: Arc::new(queues),
            feeds: Feeds::default(),
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

    /// Publishes a message, and waits until all that is to answer for it does: see [`Broker::accept`] and
    /// [`Accepted::confirmed`].
    ///
    /// # Errors
    /// [`Unpublished`] if the identity may not, if its queue takes no more, or if other nodes do not have it.
    pub async fn publish(
        &self,
        identity: &Identity,
        door: Door,
        message: Message,
    ) -> Result<Published, Unpublished> {
        Ok(self.accept(identity, door, message).await?.confirmed().await?)
    }

    /// Takes a message on its way. When this returns it is in the mailbox of every worker of this node that wants it, behind
    /// everything that was there before, or on its way to where it is put in order; and it is on its way to other nodes behind
    /// what the same caller sent before. Waits while there is no room, never for a subscriber. `door` names where it came in.
    ///
    /// # Errors
    /// [`Unpublished`] if the identity may not, or if its queue or the backend takes no more.
    pub async fn accept(
        &self,
        identity: &Identity,
        door: Door,
        message: Message,
    ) -> Result<Accepted, Unpublished> {
        self.admit(identity, &message)?;
        self.metrics.messages_in.by(door).inc();
        let reaches_one = matches!(message.destination.kind(), Kind::User | Kind::Reply);
        let nobody_here = reaches_one && !self.wanted(&message.destination);
        let Forwarded { message, confirmed } = match self.backend.forward(message) {
            Forward::Taken(forwarded) => forwarded,
            Forward::Waits(room) => room.await?,
            Forward::Refused(why) => return Err(why.into()),
        };
        let is_here = message.is_some();
        if nobody_here && confirmed.is_none() {
            self.metrics.dropped("undeliverable", 1);
        } else if let Some(message) = message {
            self.arrive(message).await?;
        }
        Ok(Accepted { is_here, nobody_here, confirmed })
    }

    /// Publishes a message to this node's own subscribers alone.
    ///
    /// # Errors
    /// [`Unpublished`] if the identity may not.
    pub async fn publish_here(&self, identity: &Identity, message: Message) -> Result<(), Unpublished> {
        self.admit(identity, &message)?;
        self.metrics.messages_in.by(Door::Producer).inc();
        Ok(self.arrive(message).await?)
    }

    /// Whether a message may be published as it is; its queue may refuse it still.
    ///
    /// # Errors
    /// [`Unpublished`] says why not.
    pub fn admit(&self, identity: &Identity, message: &Message) -> Result<(), Unpublished> {
        self.authorize(identity, Operation::Send, &message.destination)?;
        if message.destination.kind() == Kind::Topic
            && message.retain() == Some(Retain::Clear)
            && !message.body.is_empty()
            && self.channels.has_values(&message.destination)
        {
            return Err(Unpublished::ClearWithBody);
        }
        Ok(())
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
    pub async fn arrive(&self, message: Message) -> Result<(), Full> {
        if message.destination.kind() == Kind::Queue {
            return self.queues.push(&message);
        }
        self.order(message, None).await;
        Ok(())
    }

    /// A message came out of the log that all nodes read, under a number higher than all before.
    pub async fn arrive_logged(&self, message: Message, number: u64) {
        self.order(message, Some(number)).await;
    }

    async fn order(&self, message: Message, number: Option<u64>) {
        let octets = message.octets();
        let mut room = None;
        if octets > SMALL {
            // A message larger than all the room there is takes all of it.
            let kib = (octets / 1024).min(self.limits.mailbox_bytes / 1024);
            let kib = u32::try_from(kib).unwrap_or(u32::MAX);
            room = self.room.clone().acquire_many_owned(kib).await.ok().map(Arc::new);
        }
        self.channels.arrive(&self.router, message, number, room).await;
    }

    /// Puts a message of the log into history alone: it happened before this node came to it.
    pub fn remember(&self, message: &Message, number: u64) {
        self.channels.remember(message, number);
    }

    /// The log is `log` from here on, and has nothing up to `floor`: what was kept goes. Who subscribed to events before is
    /// told of `gap`.
    pub async fn begin_log(&self, log: LogIdentity, floor: u64, gap: Option<Gap>) {
        self.channels.begin_log(&self.router, log, floor, gap).await;
    }

    /// Something of the log may be missing for who has subscribed to events.
    pub async fn tell_gap(&self, gap: Gap) {
        self.channels.tell_gap(&self.router, gap).await;
    }

    /// The last values of what `filter` selects, fresh ones where this node makes them and they rested.
    pub async fn last_values(&self, filter: &Filter) -> Vec<Arc<Message>> {
        for feed in self.feeds.resting(filter, |destination| self.wanted(destination)) {
            feed.publish(self).await;
        }
        self.channels.kept(filter)
    }

    /// The last values of what `filter` selects, as they are.
    pub fn kept_values(&self, filter: &Filter) -> Vec<Arc<Message>> {
        self.channels.kept(filter)
    }

    /// The topics that this node fills for all nodes, while anybody listens.
    pub fn feeds(&self) -> Vec<Destination> {
        self.feeds.of_all_nodes()
    }

    /// What the channels are that a filter can match.
    pub fn reach(&self, filter: &Filter) -> Reach {
        self.channels.reach(filter)
    }

    /// The kind of the channel that a destination names.
    pub fn channel_kind(&self, destination: &Destination) -> ChannelKind {
        self.channels.kind(destination).0
    }

    /// A message came of a queue that is elsewhere, for consumers of this node; see [`RemoteQueues`]. Never waits. Of one channel
    /// of a queue it is to be called in the order in which messages came.
    pub fn delivered(&self, queue: &Destination, origin: Origin, message: Message, redelivered: bool) {
        self.queues.delivered(queue, origin, message, redelivered);
    }

    /// A channel by which messages of a queue came has ended, and all that were before it: what was not settled comes again. What
    /// its clients say of what they have of it is taken, and nobody is told.
    pub fn channel_lost(&self, queue: &Destination, channel: u64) {
        self.queues.channel_lost(queue, channel);
    }

    /// Forgets messages of queues, and history, whose time is over. To be called now and then.
    fn expire(&self) {
        self.queues.expire();
        self.channels.expire(&self.router);
    }

    /// Makes `feed` known: it publishes to its topic whenever somebody subscribes there and nobody did before.
    pub fn feed(&self, feed: Feed) -> Arc<Feed> {
        self.feeds.add(feed)
    }

    async fn subscribe(
        &self,
        identity: &Identity,
        worker: WorkerId,
        subscribe: Box<Subscribe>,
    ) -> Result<(), Unsubscribed> {
        let filter = &subscribe.terms.filter;
        self.authorize(identity, Operation::Subscribe, filter)?;
        if let Some(view) = &subscribe.terms.view {
            view.check(self.channels.reach(filter))?;
        }
        let hold = Hold::of(&self.backend, filter);
        if let Some(bound) = self.backend.bound(filter) {
            self.wait_for(bound, subscribe.terms.receipt.is_some()).await;
        }
        if subscribe.terms.start.is_ahead(self.channels.log_identity(), self.channels.logged(), filter)
            && let Some(caught_up) = self.backend.catch_up()
        {
            self.wait_for(caught_up, subscribe.terms.receipt.is_some()).await;
        }
        for feed in self.feeds.resting(filter, |destination| self.wanted(destination)) {
            feed.publish(self).await;
        }
        self.channels.subscribe(&self.router, worker, subscribe).await;
        drop(hold);
        Ok(())
    }

    /// Waits for other nodes: where a receipt is to say that it was done, as long as it takes, else while they are in reach.
    async fn wait_for(&self, what: Promise<()>, with_receipt: bool) {
        if with_receipt {
            return what.await;
        }
        tokio::select! {
            () = what => {}
            () = self.backend.away() => {}
            () = tokio::time::sleep(UNASKED) => {}
        }
    }

    /// What a SUBSCRIBE to `filter` with these headers asks of history; on what can't be an events channel, nothing.
    ///
    /// # Errors
    /// [`Unsubscribed::History`] if that is no number.
    pub fn start_at(
        &self,
        filter: &Filter,
        cursor: Option<&str>,
        history: Option<&str>,
    ) -> Result<StartAt, Unsubscribed> {
        match (cursor, history) {
            (None, None) => Ok(StartAt::Usual),
            _ if !self.channels.reach(filter).events => Ok(StartAt::Usual),
            (Some(cursor), _) => Ok(StartAt::Cursor(cursor.into())),
            (None, Some(text)) if !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit()) => {
                // More than is kept is all.
                Ok(StartAt::Last(text.parse().unwrap_or(usize::MAX)))
            }
            (None, Some(_)) => Err(Unsubscribed::History),
        }
    }

    /// Whether anybody on this node would get a message to `destination`.
    pub fn wanted(&self, destination: &Destination) -> bool {
        self.router.wanted(destination)
    }

    /// Whether anybody on any node would: a producer computes nothing while nobody does.
    pub fn wanted_anywhere(&self, destination: &Destination) -> bool {
        self.wanted(destination) || self.backend.wanted_elsewhere(destination)
    }

    /// Joins this node with others.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Tells every worker to end its sessions, those included that are opened from now on. They are told one after the
    /// other, at a pace at which others can take them, and the last of them after `within` at the latest.
    pub async fn close(&self, reason: &CloseReason, within: Duration) {
        self.router.close(reason, within).await;
    }

    /// Sessions that are open, on all workers; those included that are still to take their last words.
    pub fn sessions(&self) -> usize {
        self.router.sessions()
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
