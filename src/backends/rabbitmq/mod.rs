//! Many nodes as one broker: messages travel by RabbitMQ, which orders, keeps and routes them.
//!
//! Owns the way out of a message, and the parts:
//!
//! ```text
//! forward ─► publisher ─► topics    amq.topic ─► queue of each node that wants the key ─► incoming ─► Broker::arrive
//!                      ─► events    amq.topic ─► stream, read by every node ─► stream ─► Broker::arrive_logged
//!                      ─► direct    direct exchange ─► the node that has the user or connection ─► incoming
//!                      ─► queues    the queue ─► one node with a consumer ─► Broker::delivered
//! want ─► interest: the keys that this node's queues are bound with
//! nodes: who is there, and what its clients want
//! ```
//! What is promised of each, and what breaks it, is in docs/clustering.md.

mod arrived;
mod envelope;
mod incoming;
mod interest;
mod link;
mod marker;
mod names;
mod nodes;
mod outgoing;
mod publisher;
mod queues;
mod seen;
mod serving;
mod sessions;
mod shared;
mod stream;
mod telling;
mod trouble;

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, watch};

use self::incoming::Heard;
use self::interest::Interest;
use self::link::{Lines, Reach};
use self::names::Names;
pub(crate) use self::names::{InvalidNames, TenantNames};
pub(crate) use self::nodes::Here;
use self::nodes::{EVERY, Nodes};
use self::publisher::{Patience, Publisher};
pub(crate) use self::queues::QueueSettings;
use self::queues::RabbitQueues;
pub(crate) use self::shared::Shared;
use self::stream::LogStream;
pub(crate) use self::stream::StreamSettings;
use crate::broker::{
    Backend, Broker, Destination, Filter, Forward, Forwarded, Kind, Message, Promise, RemoteQueues,
    StampClock,
};
use crate::telemetry::metrics::Traffic;
use crate::telemetry::{Health, Metrics};

const TOPICS: Traffic = Traffic { traffic: "topics" };
const EVENTS: Traffic = Traffic { traffic: "events" };
const DIRECT: Traffic = Traffic { traffic: "direct" };

/// How this node is joined with others.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Where RabbitMQ is, password included.
    pub(crate) url: String,
    /// The same without, for people.
    pub(crate) shown_url: String,
    /// This node's name.
    pub(crate) node: String,
    /// Another at every start.
    pub(crate) incarnation: u32,
    /// The exchange of topics.
    pub(crate) exchange: String,
    /// What all nodes are called together.
    pub(crate) installation: String,
    /// What may wait to be confirmed: messages, octets, and how long.
    pub(crate) unconfirmed: (usize, usize, Duration),
    /// What the kinds of channels are, as a number that is the same on all nodes.
    pub(crate) kinds: u64,
    /// What all nodes have together.
    pub(crate) shared: Shared,
    /// New queues.
    pub(crate) queues: QueueSettings,
    /// The stream.
    pub(crate) stream: StreamSettings,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the URL, which has a password.
        f.debug_struct("Settings").field("node", &self.node).finish_non_exhaustive()
    }
}

/// A node's part in the whole.
#[derive(Debug)]
pub(crate) struct RabbitMq {
    this: Weak<RabbitMq>,
    settings: Settings,
    incarnation: u32,
    names: Arc<Names>,
    clock: StampClock,
    interest: Interest,
    nodes: Nodes,
    heard: Heard,
    heard_direct: Heard,
    stream: Arc<LogStream>,
    topics: Arc<Publisher>,
    events: Arc<Publisher>,
    direct: Arc<Publisher>,
    queue_sends: Arc<Publisher>,
    queues: Arc<RabbitQueues>,
    held: sessions::Held,
    /// Where this node is answered, while it is connected.
    direct_queue: RwLock<Option<String>>,
    /// The connections, while there are some.
    lines: RwLock<Option<Arc<Lines>>>,
    notes: Arc<Publisher>,
    /// Last values for other nodes.
    values: Arc<Publisher>,
    reach: watch::Sender<Reach>,
    /// The topics that other nodes fill on demand.
    feeds: RwLock<Vec<Destination>>,
    announce: Notify,
    /// Another node has connected, which may know newer values.
    newcomer: Notify,
    has_left: AtomicBool,
    since: u64,
    /// Its channels are not of the kinds that other nodes know.
    misfit: watch::Sender<bool>,
    broker: OnceLock<Weak<Broker>>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

impl RabbitMq {
    /// A node that is joined with others once it [runs](RabbitMq::run).
    ///
    /// # Errors
    /// [`InvalidNames`] if the installation or the exchange can't be called so.
    pub(crate) fn new(
        settings: Settings,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<RabbitMq>, InvalidNames> {
        let incarnation = settings.incarnation;
        let names = Arc::new(Names::new(&settings.installation, &settings.exchange, TenantNames::default())?);
        let (messages, octets, time) = settings.unconfirmed;
        let patience = Patience { messages, octets, time };
        let counted = metrics.clone();
        let publisher =
            |name, patience: Patience| Publisher::new(name, incarnation, patience, counted.clone());
        let events = publisher("events", patience);
        let stream = LogStream::new(settings.stream.clone(), names.clone(), incarnation, events.clone());
        Ok(Arc::new_cyclic(|this| RabbitMq {
            this: this.clone(),
            incarnation,
            clock: StampClock::new(incarnation),
            interest: Interest::new(names.clone(), metrics.clone()),
            nodes: Nodes::default(),
            heard: Heard::default(),
            heard_direct: Heard::default(),
            stream,
            topics: publisher("topics", patience),
            direct: publisher("direct", patience),
            queue_sends: publisher("queues", patience),
            queues: RabbitQueues::new(names.clone(), settings.queues.clone()),
            held: sessions::Held::default(),
            direct_queue: RwLock::default(),
            lines: RwLock::default(),
            // A note that is late says nothing any more.
            values: publisher("values", patience),
            notes: publisher("notes", Patience { time: 2 * EVERY, ..patience }),
            events,
            reach: watch::Sender::default(),
            feeds: RwLock::default(),
            announce: Notify::new(),
            newcomer: Notify::new(),
            has_left: AtomicBool::new(false),
            since: millis(),
            misfit: watch::Sender::default(),
            broker: OnceLock::new(),
            names,
            settings,
            health,
            metrics,
        }))
    }

    /// Where this node is answered.
    fn direct_queue(&self) -> Option<String> {
        self.direct_queue.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn broker(&self) -> Option<Arc<Broker>> {
        self.broker.get()?.upgrade()
    }

    fn publishers(&self) -> [&Arc<Publisher>; 6] {
        [&self.topics, &self.events, &self.direct, &self.notes, &self.values, &self.queue_sends]
    }

    /// The queues, for the core.
    pub(crate) fn remote_queues(&self) -> Arc<dyn RemoteQueues> {
        self.queues.clone()
    }
}

impl Backend for RabbitMq {
    fn forward(&self, message: Message) -> Forward {
        let Some(broker) = self.broker() else { return Forwarded::here(message) };
        match message.destination.kind() {
            Kind::Topic => self.forward_topic(&broker, message),
            Kind::User | Kind::Reply => self.forward_address(message),
            Kind::Queue => self.forward_queue(&message),
            Kind::App => Forwarded::here(message),
        }
    }

    fn want(&self, filter: &Filter) {
        if self.comes_by_log_alone(filter) {
            return;
        }
        self.interest.want(filter);
        let feeds = self.feeds.read().unwrap_or_else(PoisonError::into_inner);
        if feeds.iter().any(|feed| filter.matches(feed)) {
            self.announce.notify_one();
        }
    }

    fn release(&self, filter: &Filter) {
        if !self.comes_by_log_alone(filter) {
            self.interest.release(filter);
        }
    }

    fn bound(&self, filter: &Filter) -> Option<Promise<()>> {
        let broker = self.broker()?;
        let has_events = filter.kind() == Kind::Topic && broker.reach(filter).events;
        let mut filled = self.stream.ready();
        let is_filled = !has_events || *filled.borrow();
        let bound = if self.comes_by_log_alone(filter) { None } else { self.interest.ready(filter) };
        if is_filled && bound.is_none() {
            return None;
        }
        Some(Box::pin(async move {
            if let Some(bound) = bound {
                bound.await;
            }
            if has_events {
                let _ = filled.wait_for(|filled| *filled).await;
            }
        }))
    }

    fn queue(&self, queue: &Destination) -> Result<Option<Promise<()>>, String> {
        self.names.queue_name(queue).map_err(|why| why.to_string())?;
        let node = self.this.upgrade().filter(|_| !self.queues.is_known(queue));
        let queue = queue.detached();
        Ok(node.map(|node| -> Promise<()> { Box::pin(async move { node.wait_for_queue(&queue).await }) }))
    }

    fn catch_up(&self) -> Option<Promise<()>> {
        let stream = self.stream.clone();
        Some(Box::pin(async move { stream.catch_up().await }))
    }

    fn is_away(&self) -> bool {
        *self.reach.borrow() != Reach::Here
    }

    fn away(&self) -> Promise<()> {
        let mut reach = self.reach.subscribe();
        Box::pin(async move {
            let _ = reach.wait_for(|reach| *reach != Reach::Here).await;
        })
    }

    fn wanted_elsewhere(&self, destination: &Destination) -> bool {
        self.nodes.wants(destination.text())
    }
}

impl RabbitMq {
    /// Whether all that a filter selects comes by the log, and nothing by this node's queue.
    fn comes_by_log_alone(&self, filter: &Filter) -> bool {
        let reach = self.broker().filter(|_| filter.kind() == Kind::Topic).map(|broker| broker.reach(filter));
        reach.is_some_and(|reach| reach.events && !reach.plain && !reach.snapshots)
    }
}

/// Milliseconds since 1970.
fn millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
