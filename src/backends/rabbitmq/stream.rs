//! The log of all nodes: a RabbitMQ stream, which every node reads.
//!
//! Owns how far it was read, which stream it is (its epoch), and which of its messages came before. What is read goes to the core
//! under its number: the offset in the stream and one, so that numbers are the same on all nodes.
//!
//! ```text
//! offsets   0 ──── first ─────── warm ────── begin ─────────── mark ────────►
//!           gone   │ markers say │ only to   │ history          │ delivered
//!                  │ the epoch   │ know      │
//!                                  repeats
//! ```
//! A hole in the offsets is nothing: one is at each change of segment. Only what lies before the first message that the stream
//! has is missing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, Consumer};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::{info, warn};

use super::arrived::Arrived;
use super::link::Lines;
use super::marker::{Marker, Markers, mark_table, marker_table};
use super::names::Names;
use super::publisher::{Letter, Publisher};
use super::seen::{Seen, WARM};
use super::trouble::Trouble;
use crate::broker::{Broker, ChannelKind, Filter, Gap, LogIdentity};
use crate::telemetry::Health;

/// What is read without being acknowledged.
const PREFETCH: u16 = 2000;

/// An acknowledgement for so many.
const ACKNOWLEDGE: u64 = 100;

/// How long a stream that has a message may take to show it.
const SHOW: Duration = Duration::from_secs(10);

/// How long after a mark that could not be written the next is.
const AGAIN: Duration = Duration::from_millis(100);

/// What `/health` says under that events don't come.
const UNREADABLE: &str = "events";

/// How much of the stream is a node's history at most.
#[derive(Debug, Clone)]
pub(crate) struct StreamSettings {
    /// What it is to have.
    pub(crate) filters: Vec<Filter>,
    /// What all nodes are called together, of which cursors are.
    pub(crate) installation: String,
    /// What it keeps: RabbitMQ's `x-max-age`, `x-max-length-bytes` and `x-stream-max-segment-size-bytes`, for a new one.
    pub(crate) max_age: Duration,
    pub(crate) max_bytes: u64,
    pub(crate) segment_bytes: u64,
    /// What a node reads of it at start: no older, and no more.
    pub(crate) history_age: Duration,
    pub(crate) history_messages: u64,
}

/// The log as this node reads it.
#[derive(Debug)]
pub(super) struct LogStream {
    settings: StreamSettings,
    names: Arc<Names>,
    incarnation: u32,
    publisher: Arc<Publisher>,
    state: Mutex<State>,
    ready: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    /// Which stream it is, once that is known.
    epoch: Option<u32>,
    /// What numbers are ahead of offsets and one.
    base: u64,
    /// The offset behind the last that was read.
    next: u64,
    /// Messages that were read, by who published them.
    seen: Seen,
    /// Marks that are waited for, by their number.
    marks: HashMap<u64, oneshot::Sender<()>>,
    mark: u64,
    /// When this node is to write a marker.
    markers: Markers,
}

/// What a look at the whole stream tells.
struct Survey {
    /// The first offset that it has.
    first: u64,
    /// The first marker of somebody who knew, or else the first of all.
    epoch: Option<u32>,
}

impl LogStream {
    pub(super) fn new(
        settings: StreamSettings,
        names: Arc<Names>,
        incarnation: u32,
        publisher: Arc<Publisher>,
    ) -> Arc<LogStream> {
        let (ready, _) = watch::channel(false);
        Arc::new(LogStream { settings, names, incarnation, publisher, state: Mutex::default(), ready })
    }

    /// Ready when history is filled.
    pub(super) fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Ready when this node has read all that the stream had when this was asked.
    pub(super) async fn catch_up(&self) {
        let mut ready = self.ready();
        let _ = ready.wait_for(|ready| *ready).await;
        let (number, mut passed) = self.expect_mark();
        // However long RabbitMQ is away: to go on without would be to tell of a gap where there is none.
        loop {
            let letter = self.letter(mark_table(self.incarnation, number));
            let written = match self.publisher.put_patiently(letter).await {
                Ok(answer) => matches!(answer.await, Ok(Ok(_))),
                Err(_) => false,
            };
            let patience = if written { SHOW } else { AGAIN };
            if timeout(patience, &mut passed).await.is_ok() {
                break;
            }
        }
        self.lock().marks.remove(&number);
    }

    fn expect_mark(&self) -> (u64, oneshot::Receiver<()>) {
        let mut state = self.lock();
        state.mark += 1;
        let (passes, passed) = oneshot::channel();
        let number = state.mark;
        state.marks.insert(number, passes);
        (number, passed)
    }

    fn letter(&self, headers: FieldTable) -> Letter {
        Letter {
            exchange: ShortString::from(""),
            key: self.name(),
            properties: BasicProperties::default().with_headers(headers).with_delivery_mode(2),
            body: Bytes::new(),
            mandatory: false,
        }
    }

    fn name(&self) -> ShortString {
        ShortString::from(self.names.events())
    }

    /// Reads the stream until it can't be read any more.
    pub(super) async fn run(&self, lines: &Lines, broker: &Broker, health: &Health) -> Trouble {
        match self.read(lines, broker, health).await {
            Ok(()) => Trouble::Ended("the stream"),
            Err(trouble) => trouble,
        }
    }

    async fn read(&self, lines: &Lines, broker: &Broker, health: &Health) -> Result<(), Trouble> {
        let connection = &lines.consuming;
        self.declare(connection).await?;
        // What is confirmed before the stream is bound would be nowhere.
        let publishing = lines.publisher().await?;
        tokio::select! {
            error = self.publisher.run(&publishing) => Err(error.into()),
            read = self.read_on(lines, broker, health) => read,
        }
    }

    async fn read_on(&self, lines: &Lines, broker: &Broker, health: &Health) -> Result<(), Trouble> {
        let connection = &lines.consuming;
        let (mark, _passed) = self.expect_mark();
        self.publish_now(lines, mark_table(self.incarnation, mark)).await?;
        let survey = self.survey(connection, mark).await?;
        let survey = match survey.epoch {
            Some(_) => survey,
            None => self.propose(lines).await?,
        };
        let Some(epoch) = survey.epoch else { return Err(Trouble::Ended("the stream's epoch")) };
        let begin = self.begin(connection, broker, epoch, survey.first).await?;
        let from = begin.saturating_sub(if self.is_ready() { 0 } else { WARM }).max(survey.first);
        let channel = connection.create_channel().await?;
        let mut consumer = self.consume(&channel, offset(from), PREFETCH).await?;
        health.set(UNREADABLE, None);
        let mut acknowledged = 0;
        let mut next = timeout(SHOW, consumer.next()).await.unwrap_or_else(|_| {
            // This node's own mark is there, and is not shown: what was read before is not of this stream.
            self.lock().epoch = None;
            None
        });
        while let Some(delivery) = next {
            let delivery = delivery?;
            let tag = delivery.delivery_tag;
            self.lock().markers.count(delivery.data.len());
            self.take(broker, delivery, begin).await;
            if tag >= acknowledged + ACKNOWLEDGE {
                acknowledged = tag;
                channel.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
            }
            self.mark_again();
            next = consumer.next().await;
        }
        Ok(())
    }

    /// Says that events don't come for now.
    pub(super) fn say_unreadable(&self, trouble: &Trouble, health: &Health) {
        let stream = self.names.events();
        if health.set(UNREADABLE, Some(format!("the stream {stream} can't be read: {trouble}"))) {
            warn!(stream, %trouble, "events do not come for now, trying again");
        }
    }

    fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Makes the stream, unless it is there: one that is keeps the settings that it was made with.
    async fn declare(&self, connection: &Connection) -> Result<(), Trouble> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let look = connection.create_channel().await?;
        let found = look.queue_declare(self.name(), passive, FieldTable::default()).await;
        let channel = connection.create_channel().await?;
        if found.is_err() {
            let mut arguments = FieldTable::default();
            let age = format!("{}s", self.settings.max_age.as_secs().max(1));
            let bytes = |octets: u64| AMQPValue::LongLongInt(i64::try_from(octets).unwrap_or(i64::MAX));
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
            arguments.insert("x-max-age".into(), AMQPValue::LongString(age.into()));
            arguments.insert("x-max-length-bytes".into(), bytes(self.settings.max_bytes));
            arguments.insert("x-stream-max-segment-size-bytes".into(), bytes(self.settings.segment_bytes));
            let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(self.name(), durable, arguments).await?;
            info!(stream = self.names.events(), "made the stream that is the log of events channels");
        } else {
            look.close(200, ShortString::from("")).await?;
        }
        let keys = self.settings.filters.iter().filter_map(|filter| self.names.binding_keys(filter).ok());
        for key in keys.flatten() {
            let exchange = ShortString::from(self.names.topics());
            let key = ShortString::from(key.as_str());
            let options = QueueBindOptions::default();
            channel.queue_bind(self.name(), exchange, key, options, FieldTable::default()).await?;
        }
        channel.close(200, ShortString::from("")).await?;
        Ok(())
    }

    /// Writes into the stream, and waits until it has it.
    async fn publish_now(&self, lines: &Lines, headers: FieldTable) -> Result<(), Trouble> {
        let channel = lines.publisher().await?;
        let Letter { exchange, key, properties, body, .. } = self.letter(headers);
        let options = lapin::options::BasicPublishOptions::default();
        channel.basic_publish(exchange, key, options, &body, properties).await?.await?;
        channel.close(200, ShortString::from("")).await?;
        Ok(())
    }

    /// Looks for the first message of the stream, and for a marker that says which stream it is, as far as a mark.
    async fn survey(&self, connection: &Connection, mark: u64) -> Result<Survey, Trouble> {
        let channel = connection.create_channel().await?;
        let first = AMQPValue::LongString("first".into());
        let mut consumer = self.consume(&channel, first, PREFETCH).await?;
        let mut survey = Survey { first: 0, epoch: None };
        let mut is_first = true;
        loop {
            let Ok(next) = timeout(SHOW, consumer.next()).await else {
                return Err(Trouble::Ended("the stream shows nothing"));
            };
            let Some(delivery) = next else { return Err(Trouble::Ended("the stream")) };
            let delivery = delivery?;
            if std::mem::take(&mut is_first) {
                survey.first = offset_of(&delivery).unwrap_or(0);
            }
            let marker = Marker::of(&delivery);
            match marker {
                Some(Marker::Repeat(epoch)) => {
                    survey.epoch = Some(epoch);
                    break;
                }
                Some(Marker::Proposal(epoch)) => survey.epoch = survey.epoch.or(Some(epoch)),
                Some(Marker::Mark(incarnation, number))
                    if (incarnation, number) == (self.incarnation, mark) =>
                {
                    break;
                }
                _ => {}
            }
            if delivery.delivery_tag % ACKNOWLEDGE == 0 {
                let all = BasicAckOptions { multiple: true };
                channel.basic_ack(delivery.delivery_tag, all).await?;
            }
        }
        channel.close(200, ShortString::from("")).await?;
        Ok(survey)
    }

    /// Gives a stream without markers an epoch: the first proposal that it takes counts, of whichever node.
    async fn propose(&self, lines: &Lines) -> Result<Survey, Trouble> {
        let epoch = getrandom::u32().map_err(|_| Trouble::Ended("the source of random numbers"))?;
        self.publish_now(lines, marker_table(epoch, false)).await?;
        let (mark, _passed) = self.expect_mark();
        self.publish_now(lines, mark_table(self.incarnation, mark)).await?;
        self.survey(&lines.consuming, mark).await
    }

    /// Where reading begins: behind what was read, or where this node's history is to begin. Tells the core which log it is.
    async fn begin(
        &self,
        connection: &Connection,
        broker: &Broker,
        epoch: u32,
        first: u64,
    ) -> Result<u64, Trouble> {
        let (known, base, next) = {
            let state = self.lock();
            (state.epoch, state.base, state.next)
        };
        if known == Some(epoch) && next >= first && self.is_ready() {
            return Ok(next);
        }
        let is_same = known == Some(epoch);
        let (base, begin, gap) = match known {
            _ if !self.is_ready() => (base, self.oldest(connection, first).await?, None),
            Some(_) if is_same => (base, first, Some(Gap::Trimmed)),
            _ => (base + next, first, Some(Gap::Lost)),
        };
        if let Some(gap) = gap {
            let stream = self.names.events();
            warn!(stream, reason = gap.label(), "events are missing: subscribers are told of a gap");
        }
        {
            let mut state = self.lock();
            state.epoch = Some(epoch);
            state.base = base;
            state.next = begin;
            // What is read from here on was not read before, and marks may be gone.
            state.seen = Seen::default();
            state.marks.clear();
            state.markers = Markers::default();
        }
        let log = LogIdentity { base, ..LogIdentity::new(&self.settings.installation, epoch) };
        broker.begin_log(log, base + begin, gap).await;
        Ok(begin)
    }

    /// The first offset of a node's history: of those that the stream has, neither too old nor too many.
    async fn oldest(&self, connection: &Connection, first: u64) -> Result<u64, Trouble> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let young = now.saturating_sub(self.settings.history_age).as_secs();
        let young = self.peek(connection, AMQPValue::Timestamp(young)).await?;
        let last = self.peek(connection, AMQPValue::LongString("last".into())).await?;
        let few = last.saturating_sub(self.settings.history_messages);
        Ok(first.max(young).max(few))
    }

    /// The offset of the first message that is shown from a place on.
    async fn peek(&self, connection: &Connection, place: AMQPValue) -> Result<u64, Trouble> {
        let channel = connection.create_channel().await?;
        let mut consumer = self.consume(&channel, place, 1).await?;
        let shown = timeout(SHOW, consumer.next()).await.ok().flatten().transpose()?;
        let shown = shown.as_ref().and_then(offset_of);
        channel.close(200, ShortString::from("")).await?;
        shown.ok_or(Trouble::Ended("the stream shows nothing"))
    }

    async fn consume(
        &self,
        channel: &Channel,
        place: AMQPValue,
        prefetch: u16,
    ) -> Result<Consumer, lapin::Error> {
        channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let mut arguments = FieldTable::default();
        arguments.insert("x-stream-offset".into(), place);
        let tag = ShortString::from("");
        channel.basic_consume(self.name(), tag, BasicConsumeOptions::default(), arguments).await
    }

    /// Takes a message of the stream.
    async fn take(&self, broker: &Broker, delivery: Delivery, begin: u64) {
        let Some(offset) = offset_of(&delivery) else { return };
        broker.metrics().rabbitmq_received.get_or_create(&super::EVENTS).inc();
        broker.metrics().rabbitmq_received_bytes.inc_by(delivery.data.len() as u64);
        if let Some(marker) = Marker::of(&delivery) {
            self.pass(broker, marker, offset, begin).await;
            return;
        }
        let Some(Arrived { message, id, .. }) = Arrived::of(&self.names, delivery) else {
            return self.passed_by(offset, begin);
        };
        let is_event = broker.channel_kind(&message.destination) == ChannelKind::Events;
        let id = id.filter(|_| is_event).map(|id| (id.incarnation, id.number));
        let (is_new, number) = {
            let state = self.lock();
            (id.is_none_or(|id| state.seen.is_new(id)), state.base + offset + 1)
        };
        if !is_new {
            broker.metrics().log_repeats.inc();
        } else if is_event && offset >= begin {
            broker.metrics().log_position.set(number as i64);
            match self.is_ready() {
                true => broker.arrive_logged(message, number).await,
                false => broker.remember(&message, number),
            }
        }
        // Not before: what is broken off in between is read again.
        if let Some(id) = id {
            self.lock().seen.add(id);
        }
        self.passed_by(offset, begin);
    }

    fn passed_by(&self, offset: u64, begin: u64) {
        if offset >= begin {
            self.lock().next = offset + 1;
        }
    }

    /// What no client sees was read.
    async fn pass(&self, broker: &Broker, marker: Marker, offset: u64, begin: u64) {
        self.passed_by(offset, begin);
        let Marker::Mark(incarnation, number) = marker else { return };
        if incarnation != self.incarnation {
            return;
        }
        let passes = self.lock().marks.remove(&number);
        if let Some(passes) = passes {
            let _ = passes.send(());
        }
        // The first mark of its own that a node reads stands behind all that was there when it began. Who subscribed before,
        // and was not told that it is done, may have missed something of that.
        if !self.is_ready() {
            broker.tell_gap(Gap::Unknown).await;
            self.ready.send_replace(true);
        }
    }

    /// Writes a marker where the last is far behind, so that what the stream keeps always has one.
    fn mark_again(&self) {
        let epoch = {
            let mut state = self.lock();
            let Some(epoch) = state.epoch.filter(|_| self.is_ready()) else { return };
            let StreamSettings { segment_bytes, max_bytes, max_age, .. } = self.settings;
            if !state.markers.take_due(segment_bytes.min(max_bytes), max_age) {
                return;
            }
            epoch
        };
        // If there is no room for it, another will do.
        let _ = self.publisher.put(self.letter(marker_table(epoch, true)));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn offset(offset: u64) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(offset).unwrap_or(i64::MAX))
}

fn offset_of(delivery: &Delivery) -> Option<u64> {
    match delivery.properties.headers().as_ref()?.inner().get("x-stream-offset")? {
        AMQPValue::LongLongInt(offset) => u64::try_from(*offset).ok(),
        AMQPValue::LongInt(offset) => u64::try_from(*offset).ok(),
        AMQPValue::LongUInt(offset) => Some(u64::from(*offset)),
        _ => None,
    }
}
