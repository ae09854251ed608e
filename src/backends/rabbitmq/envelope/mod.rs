//! Messages as AMQP carries them.
//!
//! Owns which header is a property, which an entry of the header table, and which the broker's own; bodies go to the octet
//! and need nothing. Leaves to others what a message is called ([`super::names`]) and what a `reply-to` stands for.
//!
//! | header | travels as |
//! | --- | --- |
//! | `content-type`, `content-encoding`, `correlation-id`, `reply-to`, `expiration`, `priority` | the property |
//! | `persistent` | the property `delivery-mode`: 2 if it is `true`, else 1 |
//! | one whose name RabbitMQ or the broker gives a meaning | a text under `x-stentor-header-` and its name |
//! | any other | a text under its name |
//!
//! A table has no order and no repeats: of repeated headers the first counts, as everywhere, and the others do not travel;
//! headers arrive with properties first, then by name.
//!
//! Foreign messages may have anything. Numbers and truth values become text as RabbitMQ's STOMP plug-in shows them, what has
//! no text is left out, and a header that only the broker gives a message is dropped. A text with a NUL in it is handed on: the
//! encoder knows what each version of STOMP can't say.

mod check;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::str::FromStr;

use bytestring::ByteString;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

pub(crate) use self::check::{Unsendable, check};
use crate::broker::{Headers, Message, MessageId, Stamp, is_handed_on};

/// What all internal names begin with. A client's header never travels under a name that does, but for `CARRIED`.
const OWN: &str = "x-stentor-";

/// What precedes the name of a client's header that can't travel under it.
const CARRIED: &str = "x-stentor-header-";

const DESTINATION: &str = "x-stentor-destination";
const KEY: &str = "x-stentor-key";
const FROM: &str = "x-stentor-from";
const ID: &str = "x-stentor-id";
const STAMP: &str = "x-stentor-stamp";

/// Names by which RabbitMQ is told something, or tells something. A text under the first two closes the channel; what is under
/// the last two a stream takes for properties.
const RABBITMQ: [&str; 7] =
    ["CC", "BCC", "x-death", "x-delivery-count", "x-stream-offset", "x-basic-type", "x-basic-app-id"];

/// What a message says of itself to other nodes. Of a foreign one all is absent, and what makes no sense is as absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Internal {
    /// Its exact destination, of which the routing key is a shadow. Not yet parsed: it belongs to the key's tenant.
    pub(crate) destination: Option<ByteString>,
    /// Of a value that one node tells another: the key that it came under, if it says no destination.
    pub(crate) key: Option<ByteString>,
    /// The incarnation of the node that published it.
    pub(crate) from: Option<u32>,
    /// Tells a repeat from another message.
    pub(crate) id: Option<MessageId>,
    /// Which of two values is the newer.
    pub(crate) stamp: Option<Stamp>,
}

/// A client's message as the properties that it travels with.
///
/// # Errors
/// As [`check`].
pub(crate) fn seal(message: &Message, internal: &Internal) -> Result<BasicProperties, Unsendable> {
    check(message)?;
    let mut sealed = Sealed::default();
    for (name, value) in message.headers.iter() {
        match Property::of(name) {
            Some(property) => sealed.property(property, value),
            None if is_carried(name) => sealed.text(&format!("{CARRIED}{name}"), value),
            None => sealed.text(name, value),
        }
    }
    if let Some(destination) = &internal.destination {
        sealed.text(DESTINATION, destination);
    }
    if let Some(key) = &internal.key {
        sealed.text(KEY, key);
    }
    if let Some(from) = internal.from {
        sealed.text(FROM, &format!("{from:08x}"));
    }
    if let Some(id) = internal.id {
        sealed.text(ID, &id.to_string());
    }
    if let Some(stamp) = internal.stamp {
        sealed.text(STAMP, &stamp.to_string());
    }
    let Sealed { properties, table, persistent, .. } = sealed;
    let mode = if persistent { PERSISTENT } else { TRANSIENT };
    Ok(properties.with_delivery_mode(mode).with_headers(table.into()))
}

/// What arrived, as headers for those who subscribe, and what it says to this node.
pub(crate) fn open(properties: &BasicProperties) -> (Headers, Internal) {
    let nothing = FieldTable::default();
    let table = properties.headers().as_ref().unwrap_or(&nothing);
    let mut headers = Headers::new();
    open_properties(properties, table, &mut headers);
    let mut internal = Internal::default();
    for (name, value) in table {
        let name = name.as_str();
        if let Some(carried) = name.strip_prefix(CARRIED) {
            // No other name travels so, and it could be there twice.
            if is_carried(carried) || is_inexact(carried) && headers.get(carried).is_none() {
                add(&mut headers, carried, text_of(value));
            }
        } else if name.starts_with(OWN) {
            internal.read(name, value);
        } else if !RABBITMQ.contains(&name) {
            let is_told = PROPERTIES.contains(&name) && headers.get(name).is_some();
            add(&mut headers, name, text_of(value).filter(|_| !is_told));
        }
    }
    (headers, internal)
}

/// A header that is a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Property {
    ContentType,
    ContentEncoding,
    CorrelationId,
    ReplyTo,
    Expiration,
    Priority,
    Persistent,
}

impl Property {
    fn of(name: &str) -> Option<Property> {
        Some(match name {
            "content-type" => Property::ContentType,
            "content-encoding" => Property::ContentEncoding,
            "correlation-id" => Property::CorrelationId,
            "reply-to" => Property::ReplyTo,
            "expiration" => Property::Expiration,
            "priority" => Property::Priority,
            "persistent" => Property::Persistent,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Property::ContentType => "content-type",
            Property::ContentEncoding => "content-encoding",
            Property::CorrelationId => "correlation-id",
            Property::ReplyTo => "reply-to",
            Property::Expiration => "expiration",
            Property::Priority => "priority",
            Property::Persistent => "persistent",
        }
    }
}

const TRANSIENT: u8 = 1;
const PERSISTENT: u8 = 2;

/// The headers that may come from a property.
const PROPERTIES: [&str; 12] = [
    "content-type",
    "content-encoding",
    "correlation-id",
    "reply-to",
    "expiration",
    "priority",
    "persistent",
    "amqp-message-id",
    "timestamp",
    "type",
    "user-id",
    "app-id",
];

/// Whether a client's header of this name travels under another.
fn is_carried(name: &str) -> bool {
    name.starts_with(OWN) || RABBITMQ.contains(&name)
}

/// Whether the property of this name can't say every value, so that some travel beside it.
fn is_inexact(name: &str) -> bool {
    matches!(Property::of(name), Some(Property::Priority | Property::Persistent))
}

/// What is being sealed. Nothing in it panics: what does not fit was refused before.
#[derive(Default)]
struct Sealed {
    properties: BasicProperties,
    table: BTreeMap<ShortString, AMQPValue>,
    seen: Seen,
    persistent: bool,
}

impl Sealed {
    fn text(&mut self, name: &str, value: &str) {
        if let Ok(name) = ShortString::try_new(name) {
            self.table.entry(name).or_insert_with(|| AMQPValue::LongString(value.into()));
        }
    }

    fn property(&mut self, property: Property, value: &str) {
        if !self.seen.first(property) {
            return;
        }
        match property {
            Property::Persistent => {
                self.persistent = value == "true";
                self.beside(property, value, "true");
            }
            Property::Priority => {
                let Some(priority) = check::priority(value) else { return };
                self.properties = std::mem::take(&mut self.properties).with_priority(priority);
                self.beside(property, value, &priority.to_string());
            }
            _ => self.short(property, value),
        }
    }

    /// What the property does not say to the letter travels in full, so that all nodes show the same.
    fn beside(&mut self, property: Property, value: &str, said: &str) {
        if value != said {
            self.text(&format!("{CARRIED}{}", property.name()), value);
        }
    }

    fn short(&mut self, property: Property, value: &str) {
        let Ok(value) = ShortString::try_new(value) else { return };
        let properties = std::mem::take(&mut self.properties);
        self.properties = match property {
            Property::ContentType => properties.with_content_type(value),
            Property::ContentEncoding => properties.with_content_encoding(value),
            Property::CorrelationId => properties.with_correlation_id(value),
            Property::ReplyTo => properties.with_reply_to(value),
            Property::Expiration => properties.with_expiration(value),
            Property::Priority | Property::Persistent => properties,
        };
    }
}

/// The properties that a header was seen for. Of repeats the first counts.
#[derive(Default)]
struct Seen(u8);

impl Seen {
    fn first(&mut self, property: Property) -> bool {
        let bit = 1 << property as u8;
        let is_first = self.0 & bit == 0;
        self.0 |= bit;
        is_first
    }
}

impl Internal {
    fn read(&mut self, name: &str, value: &AMQPValue) {
        let Some(text) = exact_text(value) else { return };
        match name {
            DESTINATION => self.destination = Some(text.into()),
            KEY => self.key = Some(text.into()),
            FROM => self.from = incarnation(text),
            ID => self.id = MessageId::from_str(text).ok(),
            STAMP => self.stamp = Stamp::from_str(text).ok(),
            _ => {}
        }
    }
}

fn incarnation(text: &str) -> Option<u32> {
    let is_digit = |octet: u8| matches!(octet, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 8 || !text.bytes().all(is_digit) {
        return None;
    }
    u32::from_str_radix(text, 16).ok()
}

/// The properties as RabbitMQ's STOMP plug-in calls them.
fn open_properties(properties: &BasicProperties, table: &FieldTable, headers: &mut Headers) {
    let mut short = |name, value: &Option<ShortString>| {
        add(headers, name, value.as_ref().map(|value| ByteString::from(value.as_str())));
    };
    short("content-type", properties.content_type());
    short("content-encoding", properties.content_encoding());
    short("correlation-id", properties.correlation_id());
    short("reply-to", properties.reply_to());
    short("expiration", properties.expiration());
    // Those of nodes are for nodes.
    if !table.contains_key(FROM) {
        short("amqp-message-id", properties.message_id());
        short("type", properties.kind());
    }
    short("user-id", properties.user_id());
    short("app-id", properties.app_id());
    if let Some(timestamp) = properties.timestamp() {
        headers.push("timestamp", timestamp.to_string());
    }
    let says_more = |property: Property| table.contains_key(&format!("{CARRIED}{}", property.name()));
    if let Some(priority) = properties.priority().filter(|_| !says_more(Property::Priority)) {
        headers.push("priority", priority.to_string());
    }
    if *properties.delivery_mode() == Some(PERSISTENT) && !says_more(Property::Persistent) {
        headers.push("persistent", ByteString::from_static("true"));
    }
}

fn add(headers: &mut Headers, name: &str, value: Option<ByteString>) {
    if let Some(value) = value.filter(|_| is_handed_on(name)) {
        headers.push(name, value);
    }
}

/// A value as a header, if it has a text.
fn text_of(value: &AMQPValue) -> Option<ByteString> {
    Some(match value {
        AMQPValue::Boolean(value) => value.to_string().into(),
        AMQPValue::ShortShortInt(value) => value.to_string().into(),
        AMQPValue::ShortShortUInt(value) => value.to_string().into(),
        AMQPValue::ShortInt(value) => value.to_string().into(),
        AMQPValue::ShortUInt(value) => value.to_string().into(),
        AMQPValue::LongInt(value) => value.to_string().into(),
        AMQPValue::LongUInt(value) => value.to_string().into(),
        AMQPValue::LongLongInt(value) => value.to_string().into(),
        AMQPValue::Timestamp(value) => value.to_string().into(),
        AMQPValue::Float(value) => value.to_string().into(),
        AMQPValue::Double(value) => value.to_string().into(),
        AMQPValue::ShortString(value) => value.as_str().into(),
        AMQPValue::LongString(value) => String::from_utf8_lossy(value.as_bytes()).into_owned().into(),
        AMQPValue::ByteArray(value) => String::from_utf8_lossy(value.as_slice()).into_owned().into(),
        AMQPValue::DecimalValue(_)
        | AMQPValue::FieldArray(_)
        | AMQPValue::FieldTable(_)
        | AMQPValue::Void => {
            return None;
        }
    })
}

/// A value that is a text, to the octet.
fn exact_text(value: &AMQPValue) -> Option<&str> {
    match value {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str()),
        _ => None,
    }
}
