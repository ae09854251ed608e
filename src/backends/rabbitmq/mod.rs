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
mod names;
mod nodes;
mod publisher;
mod queues;
mod sessions;
mod shared;
mod stream;
mod trouble;

use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, ExchangeKind};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use tracing::{info, warn};

use self::envelope::Internal;
use self::incoming::{ANSWER, ANSWERED, Heard, Inbox, NOTE};
use self::interest::{Interest, Queues};
use self::link::{Backoff, Lines, Reach};
use self::names::Names;
pub(crate) use self::names::{InvalidNames, TenantNames};
pub(crate) use self::nodes::Here;
use self::nodes::{EVERY, Nodes, Note};
use self::publisher::{Answer, Letter, Patience, Publisher};
pub(crate) use self::queues::QueueSettings;
use self::queues::RabbitQueues;
pub(crate) use self::shared::Shared;
use self::stream::LogStream;
pub(crate) use self::stream::StreamSettings;
use self::trouble::Trouble;
use crate::broker::{
    Backend, Broker, ChannelKind, Confirmed, Destination, Filter, Forward, Forwarded, Kind, Message, Promise,
    RemoteQueues, StampClock, Unconfirmed,
};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Traffic;

const TOPICS: Traffic = Traffic { traffic: "topics" };
const EVENTS: Traffic = Traffic { traffic: "events" };
const DIRECT: Traffic = Traffic { traffic: "direct" };

/// How long a node's queue outlives its connection: what is published meanwhile is there when it comes back.
const OUTLIVES: Duration = Duration::from_secs(60);

/// What waits in a node's queue, at the most.
const QUEUE_MESSAGES: i64 = 200_000;
const QUEUE_OCTETS: i64 = 256 * 1024 * 1024;

/// Messages that wait there when a node says that it can't keep up.
const BEHIND: u32 = 10_000;

/// How long a node that starts listens for others before it asks them.
const LISTEN: Duration = Duration::from_millis(300);

/// How this node is joined with others.
#[derive(Debug, Clone)]
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
    reach: watch::Sender<Reach>,
    /// The topics that other nodes fill on demand.
    feeds: RwLock<Vec<Destination>>,
    announce: Notify,
    since: u64,
    draining: watch::Sender<bool>,
    broker: OnceLock<Weak<Broker>>,
    metrics: Arc<Metrics>,
}

impl RabbitMq {
    /// A node that is joined with others once it [runs](RabbitMq::run).
    ///
    /// # Errors
    /// [`InvalidNames`] if the installation or the exchange can't be called so.
    pub(crate) fn new(settings: Settings, metrics: Arc<Metrics>) -> Result<Arc<RabbitMq>, InvalidNames> {
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
            notes: publisher("notes", Patience { time: 2 * EVERY, ..patience }),
            events,
            reach: watch::Sender::default(),
            feeds: RwLock::default(),
            announce: Notify::new(),
            since: millis(),
            draining: watch::Sender::default(),
            broker: OnceLock::new(),
            names,
            settings,
            metrics,
        }))
    }

    /// Connects, and connects anew whenever the connection is lost, until this is dropped. `broker` is the one that this is the
    /// backend of.
    pub(crate) async fn run(self: Arc<Self>, broker: Arc<Broker>) {
        let _ = self.broker.set(Arc::downgrade(&broker));
        let publishers = self.publishers();
        let patience = futures_util::future::join_all(publishers.map(|publisher| publisher.expire()));
        tokio::select! {
            _ = patience => {}
            () = self.connect_for_ever(&broker) => {}
            () = self.look_after_nodes() => {}
            () = self.send_parts() => {}
        }
    }

    /// Waits until history is filled.
    pub(crate) async fn filled(&self) {
        let mut filled = self.stream.ready();
        // It ends with this alone.
        let _ = filled.wait_for(|filled| *filled).await;
    }

    async fn connect_for_ever(self: &Arc<Self>, broker: &Arc<Broker>) {
        let mut backoff = Backoff::default();
        let mut was_here = true;
        loop {
            let name = format!("stentor {} {:08x}", self.settings.node, self.incarnation);
            let trouble = match Lines::open(&self.settings.url, &name).await {
                Ok(lines) => {
                    self.metrics.rabbitmq_connects.inc();
                    let lines = Arc::new(lines);
                    let trouble = self.serve(&lines, broker, &mut backoff).await;
                    *self.lines.write().unwrap_or_else(PoisonError::into_inner) = None;
                    self.metrics.rabbitmq_connected.set(0);
                    was_here |= self.reach.send_replace(Reach::Away) != Reach::Away;
                    lines.close().await;
                    trouble
                }
                Err(trouble) => trouble,
            };
            if std::mem::take(&mut was_here) {
                warn!(rabbitmq = self.settings.shown_url, %trouble, "RabbitMQ is out of reach, trying again");
            }
            backoff.rest().await;
        }
    }

    /// Does everything that takes a connection, until that fails.
    async fn serve(
        self: &Arc<Self>,
        lines: &Arc<Lines>,
        broker: &Arc<Broker>,
        backoff: &mut Backoff,
    ) -> Trouble {
        match self.try_serve(lines, broker, backoff).await {
            Ok(never) => never,
            Err(trouble) => trouble,
        }
    }

    async fn try_serve(
        self: &Arc<Self>,
        lines: &Arc<Lines>,
        broker: &Arc<Broker>,
        backoff: &mut Backoff,
    ) -> Result<Trouble, Trouble> {
        let queues = self.declare(lines).await?;
        let queues = Arc::new(queues);
        let topics = Inbox::open(lines.consuming.create_channel().await?, queues.topics.clone()).await?;
        let direct = Inbox::open(lines.consuming.create_channel().await?, queues.direct.clone()).await?;
        let binding = lines.consuming.create_channel().await?;
        self.interest.begin_anew();
        let mut tasks = JoinSet::new();
        self.queues.begin_anew();
        for key in self.queue_sends.waiting_keys() {
            if let Some(queue) = queue_of(key.as_str()) {
                self.queues.declare(&lines.consuming, &queue).await?;
            }
        }
        for publisher in self.publishers() {
            let (publisher, channel) = (publisher.clone(), lines.publisher().await?);
            tasks.spawn(async move { publisher.run(&channel).await.into() });
        }
        let (node, of) = (self.clone(), broker.clone());
        tasks.spawn(async move { ended(node.take_topics(&of, topics).await) });
        let (node, of) = (self.clone(), broker.clone());
        tasks.spawn(async move { ended(node.take_direct(&of, direct).await) });
        let (node, own) = (self.clone(), queues.clone());
        tasks.spawn(async move {
            node.say_here(&own);
            // The others answer; then it is known whom to ask.
            sleep(LISTEN).await;
            ended(node.interest.run(&binding, &own, &node).await)
        });
        let (node, own) = (self.clone(), queues.clone());
        tasks.spawn(async move { node.announce(&own).await });
        let binding = lines.consuming.create_channel().await?;
        self.held.begin_anew();
        let (node, own) = (self.clone(), queues.clone());
        tasks.spawn(async move { ended(node.bind_sessions(&binding, &own.direct).await) });
        let looking = lines.consuming.create_channel().await?;
        let (node, own) = (self.clone(), queues.clone());
        tasks.spawn(async move { ended(node.look_after_queue(&looking, &own).await) });
        let (node, of, own) = (self.clone(), broker.clone(), lines.clone());
        tasks.spawn(async move { ended(node.queues.run(&own.consuming, &of).await) });
        *self.lines.write().unwrap_or_else(PoisonError::into_inner) = Some(lines.clone());
        *self.direct_queue.write().unwrap_or_else(PoisonError::into_inner) =
            Some(queues.direct.as_str().to_owned());
        backoff.reset();
        self.reach.send_replace(Reach::Here);
        self.metrics.rabbitmq_connected.set(1);
        info!(rabbitmq = self.settings.shown_url, "connected to RabbitMQ");
        tokio::select! {
            trouble = self.stream.run(lines, broker) => Ok(trouble),
            trouble = lines.watch(&self.reach) => Ok(trouble),
            ended = tasks.join_next() => Ok(match ended {
                Some(Ok(trouble)) => trouble,
                _ => Trouble::Ended("a task"),
            }),
        }
    }

    /// Declares the exchanges and this node's queues.
    async fn declare(&self, lines: &Lines) -> Result<Queues, Trouble> {
        let channel = lines.consuming.create_channel().await?;
        for (exchange, kind) in
            [(self.names.direct(), ExchangeKind::Direct), (self.names.nodes(), ExchangeKind::Fanout)]
        {
            let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            channel.exchange_declare(exchange.into(), kind, options, FieldTable::default()).await?;
        }
        let topics = self.names.node_queue(&self.settings.node, self.incarnation);
        // An address is nowhere the moment that its node is; so this one ends with its connection, and the next has another.
        let direct = format!("{topics}.{}", self.metrics.rabbitmq_connects.get());
        let queues = Queues { topics: topics.into(), direct: direct.into() };
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queues.topics.clone(), options, topics_arguments()).await?;
        let options =
            QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queues.direct.clone(), options, FieldTable::default()).await?;
        let (exchange, key) = (self.names.nodes().into(), ShortString::from(""));
        let options = QueueBindOptions::default();
        channel.queue_bind(queues.direct.clone(), exchange, key, options, FieldTable::default()).await?;
        channel.close(200, ShortString::from("")).await?;
        Ok(queues)
    }

    /// Looks how much waits for this node, for ever.
    async fn look_after_queue(&self, channel: &lapin::Channel, queues: &Queues) -> Result<(), Trouble> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let mut was_behind = false;
        loop {
            sleep(EVERY).await;
            let queue = channel.queue_declare(queues.topics.clone(), passive, FieldTable::default()).await?;
            let waiting = queue.message_count();
            let is_behind = waiting >= BEHIND;
            if is_behind && !was_behind {
                warn!(waiting, "this node does not keep up with what is published to its subscribers");
            }
            was_behind = is_behind;
        }
    }

    /// Says once a second that this node is there, and when something changed.
    async fn announce(&self, queues: &Queues) -> Trouble {
        let mut ticks = interval(EVERY);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.announce.notified() => {}
            }
            self.say_here(queues);
        }
    }

    fn say_here(&self, queues: &Queues) {
        let Some(broker) = self.broker() else { return };
        let wants = self.nodes.feeds().into_iter().filter(|feed| {
            Destination::parse(crate::broker::Tenant::DEFAULT, feed.as_str().into())
                .is_ok_and(|destination| broker.wanted(&destination))
        });
        let here = Here {
            node: self.settings.node.clone(),
            incarnation: self.incarnation,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            connections: self.metrics.open.get(),
            since: self.since,
            is_draining: *self.draining.borrow(),
            queue: queues.direct.as_str().to_owned(),
            feeds: broker.feeds().iter().map(|feed| feed.text().to_string()).collect(),
            wants: wants.collect(),
            kinds: self.settings.kinds,
        };
        self.say(&Note::Here(here));
    }

    /// Tells all nodes.
    fn say(&self, note: &Note) {
        let body = serde_json::to_vec(note).unwrap_or_default();
        let properties = BasicProperties::default().with_type(NOTE.into());
        let _ = self.notes.put(Letter {
            exchange: self.names.nodes().into(),
            key: ShortString::from(""),
            properties,
            body: body.into(),
            mandatory: false,
        });
    }

    /// Asks the other nodes for last values, and waits until they have answered.
    async fn ask(&self, queues: &Queues, filters: &[Filter]) {
        let Some((question, answered)) = self.nodes.ask() else { return };
        let filters = filters.iter().map(|filter| filter.text().to_string()).collect();
        let queue = queues.direct.as_str().to_owned();
        self.say(&Note::Ask { incarnation: self.incarnation, question, queue, filters });
        answered.await;
    }

    fn send_value(&self, queue: &str, value: &Message) {
        let internal = self.internal(value);
        if let Ok(properties) = envelope::seal(value, &internal) {
            self.send(queue, properties.with_type(ANSWER.into()), value.body.clone());
        }
    }

    fn send_answered(&self, queue: &str, question: u64) {
        let id = crate::broker::MessageId { incarnation: self.incarnation, number: question };
        let properties = BasicProperties::default()
            .with_type(ANSWERED.into())
            .with_correlation_id(ShortString::from(id.to_string()));
        self.send(queue, properties, Bytes::new());
    }

    /// Sends something to another node.
    fn send(&self, queue: &str, properties: BasicProperties, body: Bytes) {
        let exchange = ShortString::from("");
        let letter = Letter { exchange, key: queue.into(), properties, body, mandatory: false };
        if self.notes.put(letter).is_err() {
            self.metrics.dropped("notes", 1);
        }
    }

    fn take_here(&self, here: Here) {
        let queue = here.queue.clone();
        let is_new = self.nodes.heard(here);
        self.nodes_changed();
        if is_new {
            // It does not know this one.
            self.announce.notify_one();
            self.hand_over(&queue);
        }
    }

    /// Looks which nodes are silent, for ever.
    async fn look_after_nodes(&self) {
        let mut ticks = interval(EVERY);
        loop {
            ticks.tick().await;
            self.nodes.expire(*self.reach.borrow() == Reach::Here);
            self.nodes_changed();
        }
    }

    fn nodes_changed(&self) {
        let parse = |text: String| Destination::parse(crate::broker::Tenant::DEFAULT, text.into()).ok();
        let feeds: Vec<Destination> = self.nodes.feeds().into_iter().filter_map(parse).collect();
        *self.feeds.write().unwrap_or_else(PoisonError::into_inner) = feeds;
        self.metrics.nodes.set(self.nodes.others().len() as i64 + 1);
    }

    /// Where this node is answered.
    fn direct_queue(&self) -> Option<String> {
        self.direct_queue.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn broker(&self) -> Option<Arc<Broker>> {
        self.broker.get()?.upgrade()
    }

    fn internal(&self, message: &Message) -> Internal {
        let is_by_key = message.destination.is_by_key();
        Internal {
            destination: (!is_by_key).then(|| message.destination.text().clone()),
            key: is_by_key.then(|| message.destination.key().into()),
            from: Some(self.incarnation),
            id: None,
            stamp: message.stamp,
        }
    }

    /// The letter of a message, or why there is none.
    fn letter(
        &self,
        message: &Message,
        exchange: &str,
        key: Result<String, names::InvalidName>,
    ) -> Result<Letter, Unconfirmed> {
        let unsendable = |why: String| Unconfirmed::Unsendable(why);
        let key = key.map_err(|why| unsendable(why.to_string()))?;
        let properties =
            envelope::seal(message, &self.internal(message)).map_err(|why| unsendable(why.to_string()))?;
        // What outlives the frame that it came in does not keep its buffer.
        let body = Bytes::copy_from_slice(&message.body);
        Ok(Letter { exchange: exchange.into(), key: key.into(), properties, body, mandatory: false })
    }

    /// A message to a topic.
    fn forward_topic(&self, broker: &Broker, mut message: Message) -> Forward {
        if broker.channel_kind(&message.destination) == ChannelKind::Events {
            let key = self.names.routing_key(&message.destination);
            return match self.letter(&message, self.names.topics(), key) {
                Ok(letter) => take(&self.events, letter, None),
                Err(why) => Forward::Refused(why),
            };
        }
        message.stamp = self.stamp(broker, &message, None);
        let key = self.names.routing_key(&message.destination);
        let letter = match self.letter(&message, self.names.topics(), key) {
            Ok(letter) => letter,
            Err(why) => return Forward::Refused(why),
        };
        self.take_or_drop(&self.topics, letter, message)
    }

    /// A message to a user or a connection.
    fn forward_address(&self, message: Message) -> Forward {
        let key = self.names.address_key(&message.destination);
        match self.letter(&message, self.names.direct(), key) {
            Ok(letter) => self.take_or_drop(&self.direct, Letter { mandatory: true, ..letter }, message),
            Err(why) => Forward::Refused(why),
        }
    }

    /// A message to a queue, which is made if there is none.
    fn forward_queue(&self, message: &Message) -> Forward {
        let queue = message.destination.detached();
        let letter = match self.letter(message, "", self.names.queue_name(&queue)) {
            Ok(letter) => {
                Letter { mandatory: true, properties: expiring(letter.properties, message), ..letter }
            }
            Err(why) => return Forward::Refused(why),
        };
        let Some(node) = self.this.upgrade() else { return Forward::Refused(Unconfirmed::Late) };
        if self.queues.is_known(&queue) {
            return match self.queue_sends.put(letter.clone()) {
                Ok(answer) => Forward::Taken(node.queued(queue, letter, answer)),
                Err(letter) => Forward::Waits(Box::pin(node.queue(queue, *letter))),
            };
        }
        Forward::Waits(Box::pin(async move {
            node.make(&queue).await;
            node.queue(queue, letter).await
        }))
    }

    async fn queue(self: Arc<Self>, queue: Destination, letter: Letter) -> Result<Forwarded, Unconfirmed> {
        let answer = self.queue_sends.put_patiently(letter.clone()).await?;
        Ok(self.queued(queue, letter, answer))
    }

    /// A letter that is on its way to a queue. If that is gone, it is made and the letter sent once more.
    fn queued(self: Arc<Self>, queue: Destination, letter: Letter, answer: Answer) -> Forwarded {
        let confirmed = Box::pin(async move {
            let first = answer.await.unwrap_or(Err(Unconfirmed::Late))?;
            if !first.nobody_elsewhere {
                return Ok(first);
            }
            self.queues.forget(&queue);
            self.make(&queue).await;
            let again = self.queue_sends.put_patiently(letter).await?;
            match again.await.unwrap_or(Err(Unconfirmed::Late))? {
                Confirmed { nobody_elsewhere: true } => {
                    Err(Unconfirmed::Refused("the queue is not there, and could not be made".to_owned()))
                }
                confirmed => Ok(confirmed),
            }
        });
        Forwarded { message: None, confirmed: Some(confirmed) }
    }

    /// Makes a queue, if RabbitMQ is in reach.
    async fn make(&self, queue: &Destination) {
        let lines = self.lines.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(lines) = lines
            && let Err(trouble) = self.queues.declare(&lines.consuming, queue).await
        {
            warn!(%trouble, queue = queue.name(), "a queue could not be made");
        }
    }

    fn publishers(&self) -> [&Arc<Publisher>; 5] {
        [&self.topics, &self.events, &self.direct, &self.notes, &self.queue_sends]
    }

    /// The queues, for the core.
    pub(crate) fn remote_queues(&self) -> Arc<dyn RemoteQueues> {
        self.queues.clone()
    }

    /// Has a message that is delivered here in any case go to others too, if that can be.
    fn take_or_drop(&self, publisher: &Arc<Publisher>, letter: Letter, message: Message) -> Forward {
        if publisher.is_connected() {
            return take(publisher, letter, Some(message));
        }
        let confirmed: Promise<Result<Confirmed, Unconfirmed>> = match publisher.put(letter) {
            Ok(answer) => confirmed(answer),
            Err(_) => {
                self.metrics.dropped("too_many_unconfirmed", 1);
                Box::pin(std::future::ready(Err(Unconfirmed::TooMany)))
            }
        };
        Forward::Taken(Forwarded { message: Some(message), confirmed: Some(confirmed) })
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

/// Puts a letter on its way, or has it wait for room.
fn take(publisher: &Arc<Publisher>, letter: Letter, message: Option<Message>) -> Forward {
    match publisher.put(letter) {
        Ok(answer) => Forward::Taken(Forwarded { message, confirmed: Some(confirmed(answer)) }),
        Err(letter) => {
            let publisher = publisher.clone();
            Forward::Waits(Box::pin(async move {
                let answer = publisher.put_patiently(*letter).await?;
                Ok(Forwarded { message, confirmed: Some(confirmed(answer)) })
            }))
        }
    }
}

fn confirmed(answer: Answer) -> Promise<Result<Confirmed, Unconfirmed>> {
    Box::pin(async move { answer.await.unwrap_or(Err(Unconfirmed::Late)) })
}

/// The queue of a name, in the default tenant.
fn queue_of(name: &str) -> Option<Destination> {
    Destination::parse(crate::broker::Tenant::DEFAULT, format!("{}{name}", Kind::Queue.prefix()).into()).ok()
}

/// `expires` is a time since 1970, which RabbitMQ knows as one from now on.
fn expiring(properties: BasicProperties, message: &Message) -> BasicProperties {
    let header = |name: &str| message.headers.get(name).and_then(|value| value.trim().parse::<u64>().ok());
    let Some(expires) = header("expires") else { return properties };
    let left = expires.saturating_sub(millis());
    let left = header("expiration").map_or(left, |expiration| expiration.min(left));
    properties.with_expiration(left.to_string().into())
}

fn topics_arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    let outlives = i64::try_from(OUTLIVES.as_millis()).unwrap_or(i64::MAX);
    arguments.insert("x-expires".into(), AMQPValue::LongLongInt(outlives));
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(QUEUE_MESSAGES));
    arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(QUEUE_OCTETS));
    arguments
}

fn ended(result: Result<(), Trouble>) -> Trouble {
    result.err().unwrap_or(Trouble::Ended("a task"))
}

/// Milliseconds since 1970.
fn millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
