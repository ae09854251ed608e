//! What AMQP would refuse, refused before.
//!
//! Owns the rules for one message. A client's message that RabbitMQ refuses closes a channel that all clients of a node
//! share, and one that can't be written at all is a fault in the program that writes it.

use super::{CARRIED, Property, Seen, is_carried};
use crate::broker::{Message, excerpt};

/// The octets of a name of the header table, and of a property that is a text (AMQP 0.9.1 short strings).
pub(crate) const MAX_SHORT: usize = 255;

/// The octets that headers may have together. They travel in one frame, of 128 KiB unless RabbitMQ is set otherwise, and what
/// the broker adds needs room too.
pub(crate) const MAX_HEADERS: usize = 124 * 1024;

/// The octets that a body may have: RabbitMQ's `max_message_size`, as it comes.
pub(crate) const MAX_BODY: usize = 128 * 1024 * 1024;

/// The milliseconds that an `expiration` may have: ten years. RabbitMQ closes the channel for more.
pub(crate) const MAX_EXPIRATION: u64 = 10 * 365 * 24 * 60 * 60 * 1000;

/// What an entry of the header table takes beside name and value: a length, a type, a length.
const ENTRY: usize = 6;

/// The one address that RabbitMQ takes for itself, and only from a channel that consumes from it.
const DIRECT_REPLY: &str = "amq.rabbitmq.reply-to";

/// Why a message can't travel by AMQP. The sender's fault, and the message says how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsendable {
    /// A name that is too long for a header table.
    #[error("the header name {} is too long: shorten it to at most {most} octets", excerpt(.name))]
    Name {
        /// The name.
        name: String,
        /// What it may have.
        most: usize,
    },
    /// A value that is too long for a property.
    #[error("the value of the header {name} has {octets} octets: shorten it to at most {MAX_SHORT}")]
    Value {
        /// The header.
        name: &'static str,
        /// What the value has.
        octets: usize,
    },
    /// An `expiration` that is no time.
    #[error("the header expiration is {}: give a number of milliseconds from 0 to {MAX_EXPIRATION}, in digits", excerpt(.0))]
    Expiration(String),
    /// A `priority` that is none.
    #[error("the header priority is {}: give a number from 0 to 255, in digits", excerpt(.0))]
    Priority(String),
    /// A `reply-to` that only RabbitMQ's own clients can have.
    #[error("the header reply-to can't be {DIRECT_REPLY}: give /temp-queue/<name>, or the name of a queue")]
    ReplyTo,
    /// Headers that do not fit in a frame.
    #[error("the headers have {0} octets together: send at most {MAX_HEADERS}, and the rest in the body")]
    Headers(usize),
    /// A body that RabbitMQ does not take.
    #[error("the body has {0} octets: send at most {MAX_BODY}")]
    Body(usize),
}

/// Whether a message can travel. One walk over its headers, without allocation: cheap enough for each SEND.
///
/// # Errors
/// [`Unsendable`] says what is wrong with it.
pub(crate) fn check(message: &Message) -> Result<(), Unsendable> {
    let mut octets = 0_usize;
    let mut seen = Seen::default();
    for (name, value) in message.headers.iter() {
        let before = if is_carried(name) { CARRIED.len() } else { 0 };
        octets += ENTRY + before + name.len() + value.len();
        match Property::of(name) {
            Some(property) if seen.first(property) => check_property(property, value)?,
            Some(_) => {}
            None => check_name(name, MAX_SHORT - before)?,
        }
    }
    if octets > MAX_HEADERS {
        return Err(Unsendable::Headers(octets));
    }
    if message.body.len() > MAX_BODY {
        return Err(Unsendable::Body(message.body.len()));
    }
    Ok(())
}

fn check_name(name: &str, most: usize) -> Result<(), Unsendable> {
    if name.len() > most {
        return Err(Unsendable::Name { name: name.to_owned(), most });
    }
    Ok(())
}

fn check_property(property: Property, value: &str) -> Result<(), Unsendable> {
    match property {
        // Any value that is not `true` is no.
        Property::Persistent => return Ok(()),
        Property::Priority if priority(value).is_none() => {
            return Err(Unsendable::Priority(value.to_owned()));
        }
        Property::Expiration if digits(value).is_none_or(|millis: u64| millis > MAX_EXPIRATION) => {
            return Err(Unsendable::Expiration(value.to_owned()));
        }
        Property::ReplyTo if value == DIRECT_REPLY => return Err(Unsendable::ReplyTo),
        _ => {}
    }
    if value.len() > MAX_SHORT {
        return Err(Unsendable::Value { name: property.name(), octets: value.len() });
    }
    Ok(())
}

/// The priority that a header names.
pub(super) fn priority(value: &str) -> Option<u8> {
    digits(value)
}

/// A number in digits, without a sign.
fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|octet| octet.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
