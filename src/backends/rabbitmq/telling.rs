//! What this node says to the others, and what it does when they say something.
//!
//! Owns the notes' way out. What is known of other nodes is in `nodes.rs`.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::ShortString;
use tokio::time::{interval, sleep};
use tracing::error;

use super::RabbitMq;
use super::envelope;
use super::incoming::{ANSWER, ANSWERED, NOTE};
use super::interest::Queues;
use super::link::Reach;
use super::nodes::{EVERY, Here, Note};
use super::publisher::Letter;
use super::trouble::Trouble;
use crate::broker::{Broker, Destination, Filter, MAX_KEY, Message, MessageId, Tenant};
use crate::telemetry::health::Status;

/// A message that waits so long for its confirm is told of.
const PATIENCE: Duration = Duration::from_secs(2);

/// What `/health` says that under.
const SLOW: &str = "rabbitmq slow";

/// Between two announcements, however much changes.
const PAUSE: Duration = Duration::from_millis(50);

/// Filters that others are asked for in one go.
const ASKED: usize = 256;

impl RabbitMq {
    /// Says once a second that this node is there, and when something changed.
    pub(super) async fn announce(&self, queues: &Queues) -> Trouble {
        let mut ticks = interval(EVERY);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.announce.notified() => {}
            }
            self.say_here(queues);
            // However often something changes.
            sleep(PAUSE).await;
        }
    }

    /// Asks nodes that have come, or come back, what they know, for ever: they may have newer values.
    pub(super) async fn ask_newcomers(&self, queues: &Queues) -> Trouble {
        loop {
            self.newcomer.notified().await;
            sleep(PAUSE).await;
            for topics in self.interest.topics().chunks(ASKED) {
                self.ask(queues, topics).await;
            }
        }
    }

    pub(super) fn say_here(&self, queues: &Queues) {
        if self.has_left.load(Ordering::Relaxed) {
            return;
        }
        if let Some(here) = self.here(queues.direct.as_str()) {
            self.say(&Note::Here(here));
        }
    }

    /// All nodes, this one first.
    pub(crate) fn all_nodes(&self) -> Vec<Here> {
        self.here("").into_iter().chain(self.nodes.others()).collect()
    }

    fn here(&self, queue: &str) -> Option<Here> {
        let broker = self.broker()?;
        let is_wanted = |feed: &String| {
            let destination = Destination::parse(Tenant::DEFAULT, feed.as_str().into());
            destination.is_ok_and(|destination| broker.wanted(&destination))
        };
        Some(Here {
            node: self.settings.node.clone(),
            incarnation: self.incarnation,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            connections: self.metrics.open.get(),
            since: self.since,
            status: self.health.status().label().to_owned(),
            queue: queue.to_owned(),
            feeds: broker.feeds().iter().map(|feed| feed.text().to_string()).collect(),
            wants: self.nodes.feeds().into_iter().filter(is_wanted).collect(),
            kinds: self.settings.kinds,
        })
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
    pub(super) async fn ask(&self, queues: &Queues, filters: &[Filter]) {
        let Some((question, answered)) = self.nodes.ask() else { return };
        let filters = filters.iter().map(|filter| filter.text().to_string()).collect();
        let queue = queues.direct.as_str().to_owned();
        self.say(&Note::Ask { incarnation: self.incarnation, question, queue, filters });
        answered.await;
    }

    /// Sends another node a last value.
    pub(super) async fn send_value(&self, queue: &str, value: &Message) {
        let internal = self.internal(value);
        if let Ok(properties) = envelope::seal(value, &internal) {
            self.send(queue, properties.with_type(ANSWER.into()), value.body.clone()).await;
        }
    }

    /// Says that there are no more.
    pub(super) async fn send_answered(&self, queue: &str, question: u64) {
        let id = MessageId { incarnation: self.incarnation, number: question };
        let properties = BasicProperties::default()
            .with_type(ANSWERED.into())
            .with_correlation_id(ShortString::from(id.to_string()));
        self.send(queue, properties, Bytes::new()).await;
    }

    async fn send(&self, queue: &str, properties: BasicProperties, body: Bytes) {
        // What others say may be anything.
        if queue.len() > MAX_KEY {
            return;
        }
        let exchange = ShortString::from("");
        let letter = Letter { exchange, key: queue.into(), properties, body, mandatory: false };
        if self.values.put_patiently(letter).await.is_err() {
            self.metrics.dropped("values", 1);
        }
    }

    pub(super) fn take_here(&self, here: Here) {
        if here.kinds != self.settings.kinds && here.since < self.since {
            self.refuse_to_join(&here);
        }
        let queue = here.queue.clone();
        let is_new = self.nodes.heard(here);
        self.nodes_changed();
        if is_new {
            // It does not know this one.
            self.announce.notify_one();
            self.newcomer.notify_one();
            self.hand_over(&queue);
        }
    }

    /// Looks which nodes are silent, for ever.
    pub(super) async fn look_after_nodes(&self) {
        let mut ticks = interval(EVERY);
        loop {
            ticks.tick().await;
            self.nodes.expire(*self.reach.borrow() == Reach::Here);
            self.look_at_delay();
            self.nodes_changed();
        }
    }

    /// Says if RabbitMQ takes its time.
    fn look_at_delay(&self) {
        let delay = self.publishers().iter().map(|publisher| publisher.delay()).max().unwrap_or_default();
        let reason = format!("RabbitMQ has not confirmed a message for {} s", delay.as_secs());
        self.health.set(SLOW, (delay >= PATIENCE).then_some(reason));
    }

    pub(super) fn nodes_changed(&self) {
        let parse = |text: String| Destination::parse(Tenant::DEFAULT, text.into()).ok();
        let feeds: Vec<Destination> = self.nodes.feeds().into_iter().filter_map(parse).collect();
        *self.feeds.write().unwrap_or_else(PoisonError::into_inner) = feeds;
        self.metrics.nodes.set(self.nodes.others().len() as i64 + 1);
    }

    /// Another node, which was there before, has channels of other kinds: the two can't be one broker.
    fn refuse_to_join(&self, other: &Here) {
        error!(
            other = other.node,
            "the kinds of channels differ from those of a node that runs; fix: give all nodes the same [channels]"
        );
        self.misfit.send_replace(true);
    }

    /// Says that this node is no more.
    pub(super) fn say_gone(&self) {
        self.has_left.store(true, Ordering::Relaxed);
        self.say(&Note::Gone { incarnation: self.incarnation });
    }

    /// Hands the last values that this node has to one that stays: it may be the only one that has them.
    pub(super) async fn bequeath(&self, broker: &Broker) {
        let others = self.nodes.others();
        let heir = others
            .iter()
            .filter(|here| here.status != Status::Draining.label())
            .min_by_key(|here| here.since);
        let Some(heir) = heir else { return };
        let Ok(all) = Filter::parse(Tenant::DEFAULT, "/topic/#".into()) else { return };
        for value in broker.kept_values(&all) {
            if value.stamp.is_some() {
                self.send_value(&heir.queue, &value).await;
            }
        }
        if let Some(part) = (self.settings.shared.own)(true) {
            self.send_part(self.names.nodes(), "", part);
        }
    }
}
