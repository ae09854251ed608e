//! A node's life on RabbitMQ: it connects, does everything that takes a connection, and begins anew when that is lost.
//!
//! Owns which tasks run on which connection, and what ends with what. The stream and the queues fail alone: while RabbitMQ can't
//! give one of them, topics go on.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::RabbitMq;
use super::incoming::Inbox;
use super::interest::Queues;
use super::link::{Backoff, Lines, Reach};
use super::nodes::EVERY;
use super::trouble::Trouble;
use crate::broker::{Broker, Destination, Kind, Tenant};

/// How long a node's queue outlives its connection: what is published meanwhile is there when it comes back.
const OUTLIVES: Duration = Duration::from_secs(60);

/// What waits in a node's queue, at the most.
const QUEUE_MESSAGES: i64 = 200_000;
const QUEUE_OCTETS: i64 = 256 * 1024 * 1024;

/// Messages that wait there when a node says that it can't keep up.
const BEHIND: u32 = 10_000;

/// How long a node that starts listens for others before it asks them.
const LISTEN: Duration = Duration::from_millis(300);

/// How long beginning may take.
const BEGIN: Duration = Duration::from_secs(15);

/// A connection that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(10);

/// What `/health` says under.
const OUT_OF_REACH: &str = "rabbitmq";
const OVERTAKEN: &str = "node queue";

impl RabbitMq {
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

    /// Waits until it turns out that this node can't be one with the others.
    pub(crate) async fn misfit(&self) {
        let _ = self.misfit.subscribe().wait_for(|misfit| *misfit).await;
    }

    /// The node goes: says so, and hands over what only it has.
    pub(crate) async fn leave(self: Arc<Self>) {
        if *self.reach.borrow() != Reach::Here {
            return;
        }
        if let Some(broker) = self.broker() {
            self.bequeath(&broker).await;
        }
        self.say_gone();
        let empty = self.publishers().map(|publisher| publisher.empty());
        futures_util::future::join_all(empty).await;
        let lines = self.lines.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(lines) = lines
            && let Ok(channel) = lines.consuming.create_channel().await
        {
            let queue = ShortString::from(self.topics_queue());
            let _ = channel.queue_delete(queue, QueueDeleteOptions::default()).await;
            lines.close().await;
        }
    }

    async fn connect_for_ever(self: &Arc<Self>, broker: &Arc<Broker>) {
        let mut backoff = Backoff::default();
        let mut tells = true;
        loop {
            let name = format!("stentor {} {:08x}", self.settings.node, self.incarnation);
            let begun = Instant::now();
            let trouble = match Lines::open(&self.settings.url, &name).await {
                Ok(lines) => self.serve(&Arc::new(lines), broker).await,
                Err(trouble) => trouble,
            };
            let was_good = begun.elapsed() >= GOOD;
            if was_good {
                backoff.reset();
            }
            if tells || was_good {
                tells = false;
                let rabbitmq = self.settings.shown_url.as_str();
                warn!(rabbitmq, %trouble, "RabbitMQ is out of reach, trying again");
            }
            let reason = format!("RabbitMQ at {} is out of reach: {trouble}", self.settings.shown_url);
            self.health.set(OUT_OF_REACH, Some(reason));
            backoff.rest().await;
        }
    }

    /// Does everything that takes a connection, until that fails.
    async fn serve(self: &Arc<Self>, lines: &Arc<Lines>, broker: &Arc<Broker>) -> Trouble {
        self.metrics.rabbitmq_connects.inc();
        let mut tasks = JoinSet::new();
        let begun = timeout(BEGIN, self.begin(lines, broker, &mut tasks)).await;
        let trouble = match begun.unwrap_or(Err(Trouble::Silent)) {
            Ok(()) => {
                *self.lines.write().unwrap_or_else(PoisonError::into_inner) = Some(lines.clone());
                self.health.set(OUT_OF_REACH, None);
                self.reach.send_replace(Reach::Here);
                self.metrics.rabbitmq_connected.set(1);
                info!(rabbitmq = self.settings.shown_url, "connected to RabbitMQ");
                tokio::select! {
                    never = self.read_stream(lines, broker) => never,
                    never = self.consume_queues(lines, broker) => never,
                    trouble = lines.watch(&self.reach, &self.health) => trouble,
                    ended = tasks.join_next() => match ended {
                        Some(Ok(trouble)) => trouble,
                        _ => Trouble::Ended("a task"),
                    },
                }
            }
            Err(trouble) => trouble,
        };
        *self.lines.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.metrics.rabbitmq_connected.set(0);
        self.reach.send_replace(Reach::Away);
        tasks.shutdown().await;
        lines.close().await;
        trouble
    }

    /// Begins what lasts as long as the connection.
    async fn begin(
        self: &Arc<Self>,
        lines: &Arc<Lines>,
        broker: &Arc<Broker>,
        tasks: &mut JoinSet<Trouble>,
    ) -> Result<(), Trouble> {
        let queues = Arc::new(self.declare(lines).await?);
        let topics = Inbox::open(lines.consuming.create_channel().await?, queues.topics.clone()).await?;
        let direct = Inbox::open(lines.consuming.create_channel().await?, queues.direct.clone()).await?;
        *self.direct_queue.write().unwrap_or_else(PoisonError::into_inner) =
            Some(queues.direct.as_str().to_owned());
        self.interest.begin_anew();
        self.held.begin_anew();
        self.queues.begin_anew();
        for key in self.queue_sends.waiting_keys() {
            if let Some(queue) = queue_of(key.as_str())
                && let Err(trouble) = self.queues.declare(&lines.consuming, &queue).await
            {
                warn!(%trouble, queue = queue.name(), "a queue could not be made");
            }
        }
        // All channels first: when one publishes, RabbitMQ may stop reading. That of events begins with the stream.
        let mut publishing = Vec::new();
        for publisher in self.publishers().into_iter().filter(|one| !Arc::ptr_eq(one, &self.events)) {
            publishing.push((publisher.clone(), lines.publisher().await?));
        }
        let asking = lines.consuming.create_channel().await?;
        let looking = lines.consuming.create_channel().await?;
        let binding = lines.consuming.create_channel().await?;
        for (publisher, channel) in publishing {
            tasks.spawn(async move { publisher.run(&channel).await.into() });
        }
        let (node, of) = (self.clone(), broker.clone());
        tasks.spawn(async move { ended(node.take_topics(&of, topics).await) });
        let (node, of) = (self.clone(), broker.clone());
        tasks.spawn(async move { ended(node.take_direct(&of, direct).await) });
        let (node, own, channel) = (self.clone(), queues.clone(), asking);
        tasks.spawn(async move {
            node.say_here(&own);
            // The others answer; then it is known whom to ask.
            sleep(LISTEN).await;
            ended(node.interest.run(&channel, &own, &node).await)
        });
        let (node, own) = (self.clone(), queues.clone());
        tasks.spawn(async move { node.announce(&own).await });
        let (node, own) = (self.clone(), queues.clone());
        tasks.spawn(async move { node.ask_newcomers(&own).await });
        let (node, own, channel) = (self.clone(), queues.clone(), binding);
        tasks.spawn(async move { ended(node.bind_sessions(&channel, &own.direct).await) });
        let (node, own, channel) = (self.clone(), queues, looking);
        tasks.spawn(async move { ended(node.look_after_queue(&channel, &own).await) });
        Ok(())
    }

    /// Reads the stream, and begins anew when it can't be read, for as long as the connection lasts.
    async fn read_stream(&self, lines: &Lines, broker: &Broker) -> Trouble {
        let mut backoff = Backoff::default();
        loop {
            let trouble = self.stream.run(lines, broker, &self.health).await;
            if !lines.consuming.status().connected() {
                return trouble;
            }
            self.stream.say_unreadable(&trouble, &self.health);
            backoff.rest().await;
        }
    }

    /// Consumes queues, and begins anew when one of them fails.
    async fn consume_queues(&self, lines: &Arc<Lines>, broker: &Arc<Broker>) -> Trouble {
        let mut backoff = Backoff::default();
        loop {
            let trouble = ended(self.queues.run(lines, broker).await);
            if !lines.consuming.status().connected() {
                return trouble;
            }
            warn!(%trouble, "queues can't be consumed, trying again");
            self.queues.begin_anew();
            backoff.rest().await;
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
        let topics = self.topics_queue();
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

    /// The queue of what is published to topics that this node's clients want.
    fn topics_queue(&self) -> String {
        self.names.node_queue(&self.settings.node, self.incarnation)
    }

    /// Looks how much waits for this node, for ever.
    async fn look_after_queue(&self, channel: &lapin::Channel, queues: &Queues) -> Result<(), Trouble> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let mut most = 0;
        let mut overflowed = false;
        loop {
            sleep(EVERY).await;
            let queue = channel.queue_declare(queues.topics.clone(), passive, FieldTable::default()).await?;
            let waiting = queue.message_count();
            let is_behind = waiting >= BEHIND;
            if is_behind && most == 0 {
                warn!(waiting, "this node does not keep up with what is published to its subscribers");
            }
            let reason = is_behind.then(|| format!("{waiting} messages wait for this node"));
            self.health.set(OVERTAKEN, reason);
            most = if is_behind { waiting.max(most) } else { 0 };
            if i64::from(waiting) >= QUEUE_MESSAGES * 9 / 10 && !overflowed {
                overflowed = true;
                self.metrics.dropped("node_queue", 1);
                warn!(waiting, "what is published to this node's subscribers is lost for now");
            } else if !is_behind && std::mem::take(&mut overflowed) {
                // The last values can be had again, of others.
                self.newcomer.notify_one();
            }
        }
    }
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

/// The queue of a name, in the default tenant.
fn queue_of(name: &str) -> Option<Destination> {
    Destination::parse(Tenant::DEFAULT, format!("{}{name}", Kind::Queue.prefix()).into()).ok()
}
