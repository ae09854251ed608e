//! What goes out: each message as a letter to the exchange or queue that its destination means.
//!
//! Owns which way a message takes, and whether it is delivered on this node at once. When it is sent, and when confirmed, is the
//! publisher's business.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lapin::BasicProperties;
use tokio::time::sleep;
use tracing::warn;

use super::envelope::{self, Internal};
use super::link::Reach;
use super::names::InvalidName;
use super::publisher::{Answer, Letter, Publisher};
use super::{RabbitMq, millis};
use crate::broker::{
    Backend as _, Broker, ChannelKind, Confirmed, Destination, Forward, Forwarded, Message, Promise,
    Unconfirmed,
};

/// How long a message that its queue refuses rests before it is tried again.
const AGAIN: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(300), Duration::from_millis(600)];

impl RabbitMq {
    pub(super) fn internal(&self, message: &Message) -> Internal {
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
        key: Result<String, InvalidName>,
    ) -> Result<Letter, Unconfirmed> {
        let unsendable = |why: String| Unconfirmed::Unsendable(why);
        let key = key.map_err(|why| unsendable(why.to_string()))?;
        let properties =
            envelope::seal(message, &self.internal(message)).map_err(|why| unsendable(why.to_string()))?;
        // Who answers by AMQP answers to a queue.
        let reply_to = message.headers.get("reply-to").and_then(|address| self.names.reply_queue(address));
        let properties = match reply_to {
            Some(queue) => properties.with_reply_to(queue.into()),
            None => properties,
        };
        // What outlives the frame that it came in does not keep its buffer.
        let body = Bytes::copy_from_slice(&message.body);
        Ok(Letter { exchange: exchange.into(), key: key.into(), properties, body, mandatory: false })
    }

    /// A message to a topic.
    pub(super) fn forward_topic(&self, broker: &Broker, mut message: Message) -> Forward {
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
    pub(super) fn forward_address(&self, message: Message) -> Forward {
        let key = self.names.address_key(&message.destination);
        match self.letter(&message, self.names.direct(), key) {
            Ok(letter) => self.take_or_drop(&self.direct, Letter { mandatory: true, ..letter }, message),
            Err(why) => Forward::Refused(why),
        }
    }

    /// A message to a queue, which is made if there is none.
    pub(super) fn forward_queue(&self, message: &Message) -> Forward {
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
            let mut answer = answer.await.unwrap_or(Err(Unconfirmed::Late));
            for pause in AGAIN {
                match answer {
                    Ok(Confirmed { nobody_elsewhere: true }) => {
                        self.queues.forget(&queue);
                        self.make(&queue).await;
                    }
                    // A quorum queue that was just made refuses until it has a leader.
                    Err(Unconfirmed::Refused(_)) => sleep(pause).await,
                    answer => return answer,
                }
                let again = self.queue_sends.put_patiently(letter.clone()).await?;
                answer = again.await.unwrap_or(Err(Unconfirmed::Late));
            }
            match answer? {
                Confirmed { nobody_elsewhere: true } => {
                    Err(Unconfirmed::Refused("the queue is not there, and could not be made".to_owned()))
                }
                confirmed => Ok(confirmed),
            }
        });
        Forwarded { message: None, confirmed: Some(confirmed) }
    }

    /// Waits until a queue is there, and makes it if it is not.
    pub(super) async fn wait_for_queue(&self, queue: &Destination) {
        let mut reach = self.reach.subscribe();
        for pause in AGAIN.into_iter().cycle() {
            let _ = reach.wait_for(|reach| *reach == Reach::Here).await;
            self.make(queue).await;
            if self.queues.is_known(queue) {
                return;
            }
            sleep(pause).await;
        }
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

    /// Has a message that is delivered here in any case go to others too, if that can be.
    fn take_or_drop(&self, publisher: &Arc<Publisher>, letter: Letter, message: Message) -> Forward {
        if publisher.is_connected() && !self.is_away() {
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

/// `expires` is a time since 1970, which RabbitMQ knows as one from now on.
fn expiring(properties: BasicProperties, message: &Message) -> BasicProperties {
    let header = |name: &str| message.headers.get(name).and_then(|value| value.trim().parse::<u64>().ok());
    let Some(expires) = header("expires") else { return properties };
    let left = expires.saturating_sub(millis());
    let left = header("expiration").map_or(left, |expiration| expiration.min(left));
    properties.with_expiration(left.to_string().into())
}
