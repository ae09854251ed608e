//! A message on its way through the broker.
//!
//! Owns what a message is made of. Headers are decoded once where they come in, and encoded by each door for
//! those it serves.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;

use super::destination::Destination;
use super::stamp::Stamp;
use super::view::Shown;

/// The headers of a message, in their order. Of repeated names the first counts.
#[derive(Debug, Clone, Default)]
pub struct Headers(Vec<(ByteString, ByteString)>);

impl Headers {
    /// No headers.
    pub fn new() -> Headers {
        Headers::default()
    }

    /// Adds a header behind the others.
    pub fn push(&mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) {
        self.0.push((name.into(), value.into()));
    }

    /// The first value under `name`.
    pub fn get(&self, name: &str) -> Option<&ByteString> {
        self.iter().find(|(have, _)| *have == name).map(|(_, value)| value)
    }

    /// All headers in order, repeats included.
    pub fn iter(&self) -> impl Iterator<Item = (&ByteString, &ByteString)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// Sets the first header of this name.
    pub fn set(&mut self, name: &str, value: impl Into<ByteString>) {
        match self.0.iter_mut().find(|(have, _)| *have == name) {
            Some((_, have)) => *have = value.into(),
            None => self.push(name, value),
        }
    }

    /// What they take in memory, about: names and values, and what it costs to keep each.
    pub fn octets(&self) -> usize {
        /// Two texts of their own, and what the system's memory needs beside those.
        const EACH: usize = 128;
        self.iter().map(|(name, value)| EACH + name.len() + value.len()).sum()
    }
}

impl FromIterator<(ByteString, ByteString)> for Headers {
    fn from_iter<I: IntoIterator<Item = (ByteString, ByteString)>>(headers: I) -> Headers {
        Headers(headers.into_iter().collect())
    }
}

/// Headers that a publisher can't hand on: those of its own frame, and those that only the broker gives a message.
const NOT_HANDED_ON: [&str; 15] = [
    "destination",
    "receipt",
    "content-length",
    "subscription",
    "message-id",
    "ack",
    "redelivered",
    "cursor",
    "gap",
    "gap-reason",
    "retained",
    "resumed",
    "delta",
    "delta-seq",
    "delta-base",
];

/// Whether a publisher's header of this name reaches subscribers.
pub fn is_handed_on(name: &str) -> bool {
    !NOT_HANDED_ON.contains(&name)
}

/// What a publisher asks of the last value of a topic, by the header `retain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retain {
    /// `true`: this message is it.
    Keep,
    /// `clear`: forget it.
    Clear,
}

/// What makes a message's id unique in an installation: the node's incarnation, new at every start, and a
/// number that rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MessageId {
    /// Drawn at random when the node starts.
    pub incarnation: u32,
    /// Counts the node's messages from 1.
    pub number: u64,
}

impl std::str::FromStr for MessageId {
    type Err = ();

    /// Reads what [`Display`](fmt::Display) wrote.
    fn from_str(text: &str) -> Result<MessageId, ()> {
        let (incarnation, number) = text.split_once('-').ok_or(())?;
        let is_plain =
            |text: &str| text.len() <= 20 && text.bytes().all(|octet| octet.is_ascii_alphanumeric());
        if incarnation.len() != 8 || !is_plain(incarnation) || !is_plain(number) {
            return Err(());
        }
        Ok(MessageId {
            incarnation: u32::from_str_radix(incarnation, 16).map_err(drop)?,
            number: number.parse().map_err(drop)?,
        })
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.incarnation, self.number)
    }
}

/// What a message is to those who get it, by the kind of its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Standing {
    /// One of many: each is delivered, and not kept.
    #[default]
    Plain,
    /// The newest value of a snapshot channel: a newer one takes its place.
    Value,
    /// One of an events channel, with its number in the log.
    Event(u64),
}

/// A message: where to, headers and body. Shared between workers as `Arc<Message>`.
#[derive(Debug)]
pub struct Message {
    /// Given by the place that orders; zero before.
    pub id: MessageId,
    /// Where it was sent.
    pub destination: Destination,
    /// The publisher's headers, without those of the frame that carried it.
    pub headers: Headers,
    /// Any octets.
    pub body: Bytes,
    /// How new it is among those that nodes keep; none where there is one node.
    pub stamp: Option<Stamp>,
    /// By the kind of its channel; given by the place that orders.
    pub(super) standing: Standing,
    /// What tells its channel from others; given by the place that orders.
    pub(super) channel: ChannelKey,
    /// What views made of it.
    pub(super) shown: Shown,
}

/// What tells one channel from all others, in one word: a keyed hash of tenant and text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct ChannelKey(pub(super) u64);

impl Message {
    /// A message that was not yet published.
    pub fn new(destination: Destination, headers: Headers, body: impl Into<Bytes>) -> Message {
        Message {
            id: MessageId::default(),
            destination,
            headers,
            body: body.into(),
            stamp: None,
            standing: Standing::default(),
            channel: ChannelKey::default(),
            shown: Shown::default(),
        }
    }

    /// A message whose body is JSON, with the `content-type` that says so.
    pub fn json(destination: Destination, body: impl Into<Bytes>) -> Message {
        let mut headers = Headers::new();
        headers.push(ByteString::from_static("content-type"), ByteString::from_static("application/json"));
        Message::new(destination, headers, body)
    }

    /// A copy that shares no memory with the frame that it came in, for whatever outlives that.
    #[must_use]
    pub fn detached(&self) -> Message {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (ByteString::from(&**name), ByteString::from(&**value)));
        let body = Bytes::copy_from_slice(&self.body);
        Message { stamp: self.stamp, ..Message::new(self.destination.detached(), headers.collect(), body) }
    }

    /// The channel that it is of for a subscription: one by key is of the subscription's `own`, if that has asked for one
    /// channel only.
    pub(super) fn channel_for(&self, own: Option<ChannelKey>) -> ChannelKey {
        own.filter(|_| self.destination.is_by_key()).unwrap_or(self.channel)
    }

    /// What it says of being kept, if anything.
    pub(super) fn retain(&self) -> Option<Retain> {
        match &**self.headers.get("retain")? {
            "true" => Some(Retain::Keep),
            "clear" => Some(Retain::Clear),
            _ => None,
        }
    }

    /// What it weighs in memory, about: body, headers and name.
    pub fn octets(&self) -> usize {
        self.body.len() + self.headers.octets() + self.destination.text().len()
    }
}
