//! What arrived from RabbitMQ, as a message of the broker's.
//!
//! Owns who sent it and where it goes: messages of nodes say so themselves, of others it is what their key says.

use bytes::Bytes;
use lapin::message::Delivery;

use super::envelope;
use super::names::Names;
use crate::broker::{Destination, Kind, Message, MessageId, Stamp, Tenant};

/// A message that arrived.
pub(super) struct Arrived {
    pub(super) message: Message,
    /// The start of the node that published it; none of foreign ones.
    pub(super) from: Option<u32>,
    /// By which a second copy is known; none of foreign ones.
    pub(super) id: Option<MessageId>,
    /// How new a value of a node is.
    pub(super) stamp: Option<Stamp>,
}

impl Arrived {
    /// A message to a topic; none if its key names no destination.
    pub(super) fn of(names: &Names, delivery: Delivery) -> Option<Arrived> {
        let key = delivery.routing_key.as_str().to_owned();
        Arrived::read(names, delivery, |exact| names.destination(&key, exact))
    }

    /// A message to a user or a connection; none if it does not say to which, or came under another's key.
    pub(super) fn of_address(names: &Names, delivery: Delivery) -> Option<Arrived> {
        let key = delivery.routing_key.as_str().to_owned();
        Arrived::read(names, delivery, |exact| {
            let (tenant, _) = names.tenants().owner(&key);
            let destination = Destination::parse(tenant, exact?.into()).ok()?;
            let is_address = matches!(destination.kind(), Kind::User | Kind::Reply);
            (is_address && names.address_key(&destination).is_ok_and(|own| own == key)).then_some(destination)
        })
    }

    /// A message of a queue.
    pub(super) fn of_queue(names: &Names, queue: &Destination, delivery: Delivery) -> Option<Arrived> {
        Arrived::read(names, delivery, |_| Some(queue.clone()))
    }

    /// An answer to a question: a value, whatever key it came under.
    pub(super) fn of_answer(names: &Names, delivery: Delivery) -> Option<Arrived> {
        let (_, internal) = envelope::open(&delivery.properties);
        Arrived::read(names, delivery, |exact| match internal.key {
            Some(key) => Destination::foreign(Tenant::DEFAULT, &key).ok(),
            None => {
                let destination = Destination::parse(Tenant::DEFAULT, exact?.into()).ok()?;
                (destination.kind() == Kind::Topic).then_some(destination)
            }
        })
    }

    /// What an AMQP client answered to a connection.
    pub(super) fn of_reply(names: &Names, delivery: Delivery) -> Option<Arrived> {
        let address = names.reply_address(delivery.routing_key.as_str())?;
        Arrived::read(names, delivery, |_| Destination::parse(Tenant::DEFAULT, address.into()).ok())
    }

    fn read(
        names: &Names,
        delivery: Delivery,
        destination: impl FnOnce(Option<&str>) -> Option<Destination>,
    ) -> Option<Arrived> {
        let (mut headers, internal) = envelope::open(&delivery.properties);
        let reply_to = headers.get("reply-to").and_then(|queue| names.reply_address(queue));
        if let Some(address) = reply_to {
            headers.set("reply-to", address);
        }
        let destination = destination(internal.destination.as_deref())?;
        let id = delivery.properties.message_id().as_ref().filter(|_| internal.from.is_some());
        Some(Arrived {
            id: id.and_then(|id| id.as_str().parse().ok()),
            from: internal.from,
            stamp: internal.stamp,
            message: Message::new(destination, headers, Bytes::from(delivery.data)),
        })
    }
}
