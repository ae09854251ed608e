//! What comes to this node: messages of topics, and what is for one of its clients or for the node itself.
//!
//! Owns what is done with each, and which copies are left out: this node's own, and what was delivered before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tracing::debug;

use super::arrived::Arrived;
use super::nodes::Note;
use super::trouble::Trouble;
use super::{DIRECT, RabbitMq, TOPICS};
use crate::broker::{Broker, ChannelKind, Filter, Message, MessageId, Stamp, Tenant};
use crate::telemetry::metrics::Traffic;

/// What is taken without being acknowledged.
const PREFETCH: u16 = 1000;

/// An acknowledgement for so many at the most; at rest for whatever there is.
const ACKNOWLEDGE: u64 = 200;

/// Starts of nodes that are remembered.
const STARTS: usize = 1024;

/// The type of a message, as AMQP's property has it.
pub(super) const NOTE: &str = "stentor.note";
pub(super) const ANSWER: &str = "stentor.answer";
pub(super) const ANSWERED: &str = "stentor.answered";
pub(super) const PART: &str = "stentor.part";
pub(super) const SESSION: &str = "stentor.session";

/// Up to which of its messages each node was heard. What one publishes comes in the order of its numbers.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<HashMap<u32, u64>>);

impl Heard {
    fn is_new(&self, id: MessageId) -> bool {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(&id.incarnation).is_none_or(|last| id.number > *last)
    }

    /// A message was delivered: not before, or one that is broken off in between would never be.
    fn add(&self, id: MessageId) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() >= STARTS && !heard.contains_key(&id.incarnation) {
            heard.clear();
        }
        let last = heard.entry(id.incarnation).or_default();
        *last = id.number.max(*last);
    }
}

/// A queue of this node that is consumed.
pub(super) struct Inbox {
    channel: Channel,
    consumer: Consumer,
    taken: u64,
    acknowledged: u64,
}

impl Inbox {
    /// Consumes a queue that no other may consume.
    pub(super) async fn open(channel: Channel, queue: ShortString) -> Result<Inbox, Trouble> {
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions { exclusive: true, ..BasicConsumeOptions::default() };
        let consumer =
            channel.basic_consume(queue, ShortString::from(""), options, FieldTable::default()).await?;
        Ok(Inbox { channel, consumer, taken: 0, acknowledged: 0 })
    }

    /// The next that came. What was taken before is done with.
    async fn next(&mut self) -> Result<Delivery, Trouble> {
        let mut next = self.consumer.next().now_or_never();
        if self.taken - self.acknowledged >= ACKNOWLEDGE || next.is_none() && self.taken > self.acknowledged {
            self.acknowledged = self.taken;
            self.channel.basic_ack(self.taken, BasicAckOptions { multiple: true }).await?;
        }
        if next.is_none() {
            next = Some(self.consumer.next().await);
        }
        let delivery = next.flatten().ok_or(Trouble::Ended("the node's queue"))??;
        self.taken = delivery.delivery_tag;
        Ok(delivery)
    }
}

impl RabbitMq {
    /// Takes messages of topics, until there are no more.
    pub(super) async fn take_topics(&self, broker: &Broker, mut inbox: Inbox) -> Result<(), Trouble> {
        loop {
            let delivery = inbox.next().await?;
            self.count(broker, &TOPICS, &delivery);
            let Some(arrived) = Arrived::of(&self.names, delivery) else {
                broker.metrics().dropped("no_destination", 1);
                continue;
            };
            // Events come by the log, and are numbered by themselves.
            let is_event = broker.channel_kind(&arrived.message.destination) == ChannelKind::Events;
            if is_event || arrived.from == Some(self.incarnation) {
                continue;
            }
            let id = arrived.id;
            if id.is_none_or(|id| self.heard.is_new(id)) {
                self.take_topic(broker, arrived).await;
                id.inspect(|id| self.heard.add(*id));
            }
        }
    }

    /// Delivers a message of a topic, unless it is an older value than what is kept.
    async fn take_topic(&self, broker: &Broker, arrived: Arrived) {
        let Arrived { mut message, stamp, .. } = arrived;
        message.stamp = self.stamp(broker, &message, stamp);
        // Topics are never full.
        let _ = broker.arrive(message).await;
    }

    /// The stamp of a message: its own if that can be, or that of now where it is kept.
    pub(super) fn stamp(&self, broker: &Broker, message: &Message, own: Option<Stamp>) -> Option<Stamp> {
        let is_kept = broker.channel_kind(&message.destination) == ChannelKind::Snapshot
            || message.headers.get("retain").is_some();
        match own.filter(|stamp| self.clock.observe(*stamp)) {
            Some(stamp) => Some(stamp),
            None => is_kept.then(|| self.clock.now()),
        }
    }

    /// Takes what is for this node or one of its clients, until there is no more.
    pub(super) async fn take_direct(&self, broker: &Broker, mut inbox: Inbox) -> Result<(), Trouble> {
        loop {
            let delivery = inbox.next().await?;
            self.count(broker, &DIRECT, &delivery);
            let kind = delivery.properties.kind().as_ref().map(|kind| kind.as_str().to_owned());
            match kind.as_deref() {
                Some(NOTE) => self.take_note(broker, &delivery.data).await,
                Some(PART) => (self.settings.shared.take)(&delivery.data.into()),
                Some(SESSION) => self.take_session(&delivery.data),
                Some(ANSWER) => {
                    self.nodes.goes_on();
                    if let Some(arrived) = Arrived::of_answer(&self.names, delivery) {
                        self.take_topic(broker, arrived).await;
                    }
                }
                Some(ANSWERED) => self.take_answered(&delivery),
                _ => self.take_addressed(broker, delivery).await,
            }
        }
    }

    async fn take_addressed(&self, broker: &Broker, delivery: Delivery) {
        let Some(arrived) = Arrived::of_address(&self.names, delivery) else {
            broker.metrics().dropped("no_destination", 1);
            return;
        };
        let is_own = arrived.from == Some(self.incarnation);
        let id = arrived.id;
        if !is_own && id.is_none_or(|id| self.heard_direct.is_new(id)) {
            // Who is nobody's queue is never full.
            let _ = broker.arrive(arrived.message).await;
            id.inspect(|id| self.heard_direct.add(*id));
        }
    }

    /// Takes what AMQP clients answer to one connection, until its queue ends.
    pub(super) async fn take_replies(&self, mut consumer: Consumer) {
        while let Some(Ok(delivery)) = consumer.next().await {
            let Some(broker) = self.broker() else { return };
            self.count(&broker, &DIRECT, &delivery);
            let acker = delivery.acker.clone();
            if let Some(arrived) = Arrived::of_reply(&self.names, delivery) {
                // Who is nobody's queue is never full.
                let _ = broker.arrive(arrived.message).await;
            }
            // If it can't be said any more, the queue is gone too.
            let _ = acker.ack(BasicAckOptions::default()).await;
        }
    }

    async fn take_note(&self, broker: &Broker, octets: &[u8]) {
        let note = match serde_json::from_slice(octets) {
            Ok(note) => note,
            Err(error) => {
                debug!(%error, "a note of another node is not understood");
                return;
            }
        };
        match note {
            Note::Here(here) if here.incarnation == self.incarnation => {}
            Note::Here(here) => self.take_here(here),
            Note::Gone { incarnation } => {
                self.nodes.left(incarnation);
                self.nodes_changed();
            }
            Note::Ask { incarnation, .. } if incarnation == self.incarnation => {}
            Note::Ask { question, queue, filters, .. } => {
                self.answer(broker, question, queue, filters).await;
            }
        }
    }

    /// Tells another node the last values that are known here.
    async fn answer(&self, broker: &Broker, question: u64, queue: String, filters: Vec<String>) {
        let mut values: Vec<Arc<Message>> = Vec::new();
        for text in filters {
            let Ok(filter) = Filter::parse(Tenant::DEFAULT, text.into()) else { continue };
            // What has no stamp is each node's own.
            values
                .extend(broker.last_values(&filter).await.into_iter().filter(|value| value.stamp.is_some()));
        }
        // There may be many, and what comes meanwhile does not wait.
        let Some(node) = self.this.upgrade() else { return };
        tokio::spawn(async move {
            for value in values {
                node.send_value(&queue, &value).await;
            }
            node.send_answered(&queue, question).await;
        });
    }

    fn take_answered(&self, delivery: &Delivery) {
        let id = delivery.properties.correlation_id().as_ref();
        let id = id.and_then(|id| id.as_str().parse::<MessageId>().ok());
        if let Some(MessageId { incarnation, number }) = id {
            self.nodes.answered(number, incarnation);
        }
    }

    fn count(&self, broker: &Broker, traffic: &Traffic, delivery: &Delivery) {
        broker.metrics().rabbitmq_received.get_or_create(traffic).inc();
        broker.metrics().rabbitmq_received_bytes.inc_by(delivery.data.len() as u64);
    }
}
