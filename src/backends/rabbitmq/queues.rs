//! Queues, which are RabbitMQ's: how they are made, and how this node's clients consume them.
//!
//! Owns the consumers that this node has of each queue, so that it never has more unsettled than its clients asked for: RabbitMQ
//! counts a try for each of them when the node dies. What becomes of a delivery the core says ([`RemoteQueues`]).

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{SelectAll, Stream, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::arrived::Arrived;
use super::link::Lines;
use super::names::Names;
use super::trouble::Trouble;
use crate::broker::{Broker, Destination, Fate, Filter, Origin, RemoteQueues};

/// Channels that queues are consumed by. However many queues there are, they share these.
const CHANNELS: usize = 16;

/// How long a queue rests that could not be consumed.
const REST: Duration = Duration::from_secs(1);

/// The highest priority, as with one node.
const MOST_URGENT: i32 = 9;

/// Messages of classic queues of which this node knows how often they were tried.
const TRIED: usize = 10_000;

/// How new queues are made.
#[derive(Debug, Clone)]
pub(crate) struct QueueSettings {
    /// Queues that this node may have to do with.
    pub(crate) queues: usize,
    /// Messages of one queue, and their octets.
    pub(crate) messages: usize,
    pub(crate) octets: usize,
    /// How often a message is tried before it is a dead letter; 0 for as often as it takes.
    pub(crate) deliveries: u32,
    /// Whether a full queue forgets its oldest message, rather than take no more.
    pub(crate) drops_oldest: bool,
    /// Those that order by priority, which take classic ones.
    pub(crate) by_priority: Vec<Filter>,
}

/// The queues that this node has to do with.
#[derive(Debug)]
pub(super) struct RabbitQueues {
    names: Arc<Names>,
    settings: QueueSettings,
    state: Mutex<State>,
    changed: Notify,
    /// How often messages of classic queues were tried, by their ids, and these in order.
    tried: Mutex<(HashMap<String, u32>, VecDeque<String>)>,
}

#[derive(Debug, Default)]
struct State {
    wanted: HashMap<Destination, u32>,
    /// Where the task of a queue hears what became of deliveries, and the number of its channel.
    tasks: HashMap<Destination, (u64, mpsc::UnboundedSender<Say>)>,
    /// Queues that are known to be there, by name.
    known: HashSet<String>,
    /// Those that failed a moment ago, and until when they rest.
    resting: HashMap<Destination, Instant>,
    generation: u64,
}

/// What is told to the task of a queue.
#[derive(Debug)]
enum Say {
    /// How many deliveries may be unsettled.
    Prefetch(u32),
    Settle(Origin, Fate),
}

impl RemoteQueues for RabbitQueues {
    fn consume(&self, queue: &Destination, prefetch: u32) {
        let mut state = self.lock();
        if prefetch == 0 {
            state.wanted.remove(queue);
        } else {
            state.wanted.insert(queue.clone(), prefetch);
        }
        match state.tasks.get(queue) {
            Some((_, task)) => drop(task.send(Say::Prefetch(prefetch))),
            None => self.changed.notify_one(),
        }
    }

    fn settle(&self, queue: &Destination, origin: Origin, fate: Fate) {
        let state = self.lock();
        // One whose channel was lost comes again.
        if let Some((channel, task)) = state.tasks.get(queue)
            && *channel == origin.channel
        {
            let _ = task.send(Say::Settle(origin, fate));
        }
    }
}

impl RabbitQueues {
    pub(super) fn new(names: Arc<Names>, settings: QueueSettings) -> Arc<RabbitQueues> {
        Arc::new(RabbitQueues {
            names,
            settings,
            state: Mutex::default(),
            changed: Notify::new(),
            tried: Mutex::default(),
        })
    }

    /// Whether a queue was seen by this connection.
    pub(super) fn is_known(&self, queue: &Destination) -> bool {
        self.names.queue_name(queue).is_ok_and(|name| self.lock().known.contains(&name))
    }

    /// A queue that was there is not.
    pub(super) fn forget(&self, queue: &Destination) {
        if let Ok(name) = self.names.queue_name(queue) {
            self.lock().known.remove(&name);
        }
    }

    /// A new connection knows of no queue.
    pub(super) fn begin_anew(&self) {
        self.lock().known.clear();
    }

    /// Consumes what is wanted, as long as the connection lasts. What was delivered by then comes again. A queue that fails rests
    /// for itself.
    pub(super) async fn run(
        self: &Arc<Self>,
        lines: &Arc<Lines>,
        broker: &Arc<Broker>,
    ) -> Result<(), Trouble> {
        let mut channels = Vec::new();
        for _ in 0..CHANNELS {
            channels.push(Arc::new(tokio::sync::Mutex::new(lines.consuming.create_channel().await?)));
        }
        let mut tasks = JoinSet::new();
        let _end = End { queues: self, broker };
        loop {
            let changed = self.changed.notified();
            for (queue, number, say) in self.start_new() {
                let Ok(name) = self.names.queue_name(&queue) else { continue };
                let slot = wyhash::wyhash(name.as_bytes(), 0) as usize % CHANNELS;
                let task = Task {
                    queues: self.clone(),
                    broker: broker.clone(),
                    lines: lines.clone(),
                    queue: queue.clone(),
                    name: name.into(),
                    number,
                    channel: channels[slot].clone(),
                    credits: HashMap::new(),
                    unsettled: HashMap::new(),
                    wanted: 0,
                    deliveries: SelectAll::new(),
                };
                tasks.spawn(async move { (queue, number, task.run(say).await) });
            }
            tokio::select! {
                () = changed => {}
                () = sleep(REST) => {}
                Some(ended) = tasks.join_next() => {
                    let (queue, number, ended) = ended.map_err(|_| Trouble::Ended("a queue's consumer"))?;
                    if let Err(trouble) = ended {
                        if !lines.consuming.status().connected() {
                            return Err(trouble);
                        }
                        warn!(%trouble, queue = queue.name(), "a queue can't be consumed, trying again");
                        self.give_up(&queue, number);
                        broker.channel_lost(&queue, number);
                    }
                }
            }
        }
    }

    /// The consumption of a queue failed: it rests a little.
    fn give_up(&self, queue: &Destination, number: u64) {
        let mut state = self.lock();
        if state.tasks.get(queue).is_some_and(|(have, _)| *have == number) {
            state.tasks.remove(queue);
        }
        state.resting.insert(queue.clone(), Instant::now() + REST);
        if let Ok(name) = self.names.queue_name(queue) {
            state.known.remove(&name);
        }
    }

    /// The wanted queues that nobody consumes yet.
    fn start_new(&self) -> Vec<(Destination, u64, mpsc::UnboundedReceiver<Say>)> {
        let mut state = self.lock();
        let State { wanted, tasks, generation, resting, .. } = &mut *state;
        resting.retain(|_, until| *until > Instant::now());
        let mut new = Vec::new();
        for (queue, prefetch) in wanted.iter() {
            if tasks.contains_key(queue) || resting.contains_key(queue) {
                continue;
            }
            *generation += 1;
            let (tell, hear) = mpsc::unbounded_channel();
            let _ = tell.send(Say::Prefetch(*prefetch));
            tasks.insert(queue.clone(), (*generation, tell));
            new.push((queue.clone(), *generation, hear));
        }
        new
    }

    /// Makes a queue and that of its dead letters, unless they are there: one that is stays as it is.
    pub(super) async fn declare(&self, connection: &Connection, queue: &Destination) -> Result<(), Trouble> {
        let Ok(name) = self.names.queue_name(queue) else { return Ok(()) };
        {
            let state = self.lock();
            if state.known.contains(&name) {
                return Ok(());
            }
            if state.known.len() >= self.settings.queues {
                return Err(Trouble::TooMany);
            }
        }
        let dead = self.names.dead_letters(queue);
        if let Some(dead) = &dead {
            self.make(connection, dead, dead_letters(&self.settings)).await?;
        }
        let by_priority = self.settings.by_priority.iter().any(|filter| selects(filter, queue.name()));
        self.make(connection, &name, arguments(&self.settings, by_priority, dead.as_deref())).await?;
        self.lock().known.insert(name);
        Ok(())
    }

    async fn make(&self, connection: &Connection, name: &str, arguments: FieldTable) -> Result<(), Trouble> {
        let looking = connection.create_channel().await?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        if looking.queue_declare(name.into(), passive, FieldTable::default()).await.is_ok() {
            looking.close(200, ShortString::from("")).await?;
            return Ok(());
        }
        let making = connection.create_channel().await?;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        making.queue_declare(name.into(), durable, arguments).await?;
        making.close(200, ShortString::from("")).await?;
        Ok(())
    }

    /// Whether a message of a classic queue was tried as often as it may. Quorum queues count themselves, on all nodes.
    fn is_tried_out(&self, delivery: &Delivery) -> bool {
        let headers = delivery.properties.headers().as_ref();
        let is_counted = headers.is_some_and(|headers| headers.inner().contains_key("x-delivery-count"));
        let id = delivery.properties.message_id().as_ref();
        let (Some(id), false, true) = (id, is_counted, delivery.redelivered && self.settings.deliveries > 0)
        else {
            return false;
        };
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let (counts, order) = &mut *tried;
        if !counts.contains_key(id.as_str()) {
            order.push_back(id.as_str().to_owned());
            if order.len() > TRIED
                && let Some(oldest) = order.pop_front()
            {
                counts.remove(&oldest);
            }
        }
        let count = counts.entry(id.as_str().to_owned()).or_insert(0);
        *count += 1;
        *count >= self.settings.deliveries
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a connection ends, all that came by it and was not settled comes again.
struct End<'e> {
    queues: &'e RabbitQueues,
    broker: &'e Broker,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let tasks = std::mem::take(&mut self.queues.lock().tasks);
        for (queue, (channel, _)) in tasks {
            self.broker.channel_lost(&queue, channel);
        }
    }
}

/// The consumption of one queue.
struct Task {
    queues: Arc<RabbitQueues>,
    broker: Arc<Broker>,
    lines: Arc<Lines>,
    queue: Destination,
    name: ShortString,
    /// Tells its deliveries from those of tasks before it.
    number: u64,
    channel: Arc<tokio::sync::Mutex<Channel>>,
    /// Consumers by tag, and how many deliveries each may have unsettled.
    credits: HashMap<String, u32>,
    /// Deliveries that are not settled, each with its consumer's tag.
    unsettled: HashMap<u64, String>,
    /// How many there may be.
    wanted: u32,
    deliveries: SelectAll<Tagged>,
}

/// What one consumer gets, with its tag; nothing, at last.
type Tagged = std::pin::Pin<Box<dyn Stream<Item = (String, Option<Result<Delivery, lapin::Error>>)> + Send>>;

impl Task {
    async fn run(mut self, mut say: mpsc::UnboundedReceiver<Say>) -> Result<(), Trouble> {
        self.queues.declare(&self.lines.consuming, &self.queue).await?;
        let mut channel = self.channel.lock().await;
        // Another queue's trouble may have closed it.
        if !channel.status().connected() {
            *channel = self.lines.consuming.create_channel().await?;
        }
        drop(channel);
        loop {
            tokio::select! {
                biased;
                heard = say.recv() => match heard {
                    Some(Say::Prefetch(prefetch)) => self.wanted = prefetch,
                    Some(Say::Settle(origin, fate)) => self.settle(origin.tag, fate).await?,
                    None => return Ok(()),
                },
                Some((tag, delivery)) = self.deliveries.next(), if !self.deliveries.is_empty() => match delivery {
                    Some(delivery) => self.deliver(tag, delivery?).await?,
                    // One that this node did not cancel: the queue was deleted.
                    None if self.credits.contains_key(&tag) => return Err(Trouble::Ended("a queue")),
                    None => {}
                },
            }
            self.balance().await?;
            if self.is_done() {
                return Ok(());
            }
        }
    }

    /// Whether nobody wants anything any more; then the next who does has a new task.
    fn is_done(&self) -> bool {
        if self.wanted > 0 || !self.unsettled.is_empty() || !self.deliveries.is_empty() {
            return false;
        }
        let mut state = self.queues.lock();
        let is_done = !state.wanted.contains_key(&self.queue);
        if is_done {
            state.tasks.remove(&self.queue);
        }
        is_done
    }

    async fn deliver(&mut self, tag: String, delivery: Delivery) -> Result<(), Trouble> {
        let (number, redelivered) = (delivery.delivery_tag, delivery.redelivered);
        self.unsettled.insert(number, tag);
        if self.queues.is_tried_out(&delivery) {
            return self.settle(number, Fate::Rejected).await;
        }
        if let Some(arrived) = Arrived::of_queue(&self.queues.names, &self.queue, delivery) {
            let origin = Origin { channel: self.number, tag: number };
            self.broker.delivered(&self.queue, origin, arrived.message, redelivered);
        }
        Ok(())
    }

    async fn settle(&mut self, number: u64, fate: Fate) -> Result<(), Trouble> {
        if self.unsettled.remove(&number).is_none() {
            return Ok(());
        }
        let channel = self.channel.lock().await;
        let nack = |requeue| BasicNackOptions { requeue, ..BasicNackOptions::default() };
        match fate {
            Fate::Acknowledged => channel.basic_ack(number, BasicAckOptions::default()).await?,
            Fate::Returned => channel.basic_nack(number, nack(true)).await?,
            Fate::Rejected => channel.basic_nack(number, nack(false)).await?,
        }
        Ok(())
    }

    /// Has consumers such that no more deliveries can be unsettled than are wanted, and as many as that allows.
    async fn balance(&mut self) -> Result<(), Trouble> {
        let credit: u32 = self.credits.values().sum();
        if credit > self.wanted {
            let channel = self.channel.lock().await;
            for tag in std::mem::take(&mut self.credits).into_keys() {
                channel.basic_cancel(tag.into(), BasicCancelOptions::default()).await?;
            }
        }
        let credit: u32 = self.credits.values().sum();
        // What came by consumers that were cancelled counts until it is settled.
        let stale = self.unsettled.values().filter(|tag| !self.credits.contains_key(*tag)).count() as u32;
        let more = self.wanted.saturating_sub(stale).saturating_sub(credit);
        // Not for every one that is settled a consumer of its own.
        if more > 0 && (stale == 0 || credit == 0) {
            self.consume(more.min(u32::from(u16::MAX))).await?;
        }
        Ok(())
    }

    async fn consume(&mut self, prefetch: u32) -> Result<(), Trouble> {
        // A prefetch goes for the consumers that follow on its channel: both together.
        let channel = self.channel.lock().await;
        channel.basic_qos(prefetch as u16, BasicQosOptions::default()).await?;
        let (name, tag) = (self.name.clone(), ShortString::from(""));
        let options = BasicConsumeOptions::default();
        let consumer: Consumer = channel.basic_consume(name, tag, options, FieldTable::default()).await?;
        let tag = consumer.tag().as_str().to_owned();
        self.credits.insert(tag.clone(), prefetch);
        let end = (tag.clone(), None);
        let deliveries = consumer.map(move |delivery| (tag.clone(), Some(delivery)));
        self.deliveries.push(Box::pin(deliveries.chain(futures_util::stream::once(ready(end)))));
        Ok(())
    }
}

/// What a new queue is made with.
fn arguments(settings: &QueueSettings, by_priority: bool, dead: Option<&str>) -> FieldTable {
    let mut arguments = FieldTable::default();
    let text = |text: &str| AMQPValue::LongString(text.into());
    if by_priority {
        arguments.insert("x-max-priority".into(), AMQPValue::LongInt(MOST_URGENT));
    } else {
        arguments.insert("x-queue-type".into(), text("quorum"));
        if settings.deliveries > 0 {
            let limit = i64::from(settings.deliveries);
            arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(limit));
        }
    }
    if let Some(dead) = dead {
        arguments.insert("x-dead-letter-exchange".into(), text(""));
        arguments.insert("x-dead-letter-routing-key".into(), text(dead));
        if !by_priority && !settings.drops_oldest {
            arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
        }
    }
    let overflow = if settings.drops_oldest { "drop-head" } else { "reject-publish" };
    arguments.insert("x-overflow".into(), text(overflow));
    bound(&mut arguments, settings);
    arguments
}

/// What a new queue of dead letters is made with: nothing follows it, and its oldest go.
fn dead_letters(settings: &QueueSettings) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    bound(&mut arguments, settings);
    arguments
}

fn bound(arguments: &mut FieldTable, settings: &QueueSettings) {
    let number = |value: usize| AMQPValue::LongLongInt(i64::try_from(value).unwrap_or(i64::MAX));
    arguments.insert("x-max-length".into(), number(settings.messages));
    arguments.insert("x-max-length-bytes".into(), number(settings.octets));
}

/// Whether a queue of this name is one of those that a pattern of topics would select by it.
fn selects(filter: &Filter, name: &str) -> bool {
    Destination::topic(filter.tenant(), name).is_ok_and(|destination| filter.matches(&destination))
}
