//! What the core asks of a door: to turn messages into octets, and to carry octets to a client.
//!
//! Owns the two traits that doors implement. The core knows nothing of what the octets mean.

use std::borrow::Cow;
use std::io;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::close::CloseReason;
use super::log::{Cursor, Gap};
use super::message::{Message, MessageId};

/// A protocol's version in one framing: all that decides, with the subscription, what a message looks like on
/// the wire. Encoders are values known at compile time, told apart by [`Encoder::id`].
pub trait Encoder: Sync {
    /// Two encoders with the same id write the same octets.
    fn id(&self) -> u16;

    /// Appends one complete wire frame that carries a message to a subscription.
    fn message(&self, copy: &Copy<'_>, out: &mut BytesMut);

    /// Appends one complete wire frame that carries `message`, delivered from a queue: `id` is that of the delivery, by which it is
    /// acknowledged.
    fn delivery(
        &self,
        message: &Message,
        subscription: &Subscription,
        id: MessageId,
        redelivered: bool,
        out: &mut BytesMut,
    );

    /// Appends the last words to a client that is cut off: an error that says why and what to do, where the
    /// reason has one, and the end of the connection.
    fn farewell(&self, reason: &CloseReason, out: &mut BytesMut);
}

/// A message as one subscription gets it.
#[derive(Debug, Clone, Copy)]
pub struct Copy<'a> {
    /// The message.
    pub message: &'a Message,
    /// Whose it is.
    pub subscription: &'a Subscription,
    /// The destination as its client asked for it, where the message itself has no one spelling.
    pub asked: Option<&'a str>,
    /// What stands in place of the message's body: the same, or what a view made of it.
    pub body: &'a Bytes,
    /// What the broker says of this copy.
    pub says: Says,
}

impl Copy<'_> {
    /// The destination that its client is shown.
    pub fn destination(&self) -> Cow<'_, str> {
        self.asked.map_or_else(|| self.message.destination.shown(), Cow::Borrowed)
    }
}

/// What the broker says of a copy of a message, in headers that no publisher can set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Says {
    /// It was kept, and is handed out by the SUBSCRIBE: `retained:true`.
    pub retained: bool,
    /// Something before it may be missing: `gap:true` and `gap-reason`.
    pub gap: Option<Gap>,
    /// How far the subscription has come with it: `cursor`.
    pub cursor: Option<Cursor>,
    /// It is one of a row of changes: `delta`, `delta-seq` and `delta-base`.
    pub delta: Option<Delta>,
}

/// Where a copy stands in a row of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delta {
    /// The number of the value, rising with the channel's values.
    pub sequence: u64,
    /// The number of the value that the body is a patch of; `None` if it is whole.
    pub base: Option<u64>,
}

/// How a session's connection is kept alive, as its door agreed with the client. Milliseconds; 0 for never.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beats {
    /// The time without a write after which the client is sent a beat.
    pub every: u32,
    /// The beat: a complete wire frame.
    pub frame: &'static [u8],
    /// The time of silence after which the client is given up.
    pub silence: u32,
}

/// One SUBSCRIBE, as much of it as its messages show.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subscription {
    /// The client's id for it, unique in its session.
    pub id: ByteString,
    /// How its messages are acknowledged.
    pub ack: AckMode,
}

/// How messages of a subscription are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AckMode {
    /// Delivered is acknowledged.
    #[default]
    Auto,
    /// An acknowledgement is for all deliveries of the subscription up to the one named.
    Client,
    /// An acknowledgement is for one delivery.
    ClientIndividual,
}

/// One client's end of the wire, as a hub sees it. Dropping it closes it.
pub trait Connection {
    /// Writes what it takes without waiting, whole wire frames in order; the rest is offered again first.
    ///
    /// # Errors
    /// `WouldBlock` if it takes nothing now; any other if it is broken.
    fn write(&self, octets: &[u8]) -> io::Result<usize>;

    /// As [`Connection::write`], from several pieces.
    ///
    /// # Errors
    /// As [`Connection::write`].
    fn write_vectored(&self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize>;

    /// Calls `wake` once when a write may be tried again or the connection is broken.
    fn when_writable(&self, wake: Box<dyn FnOnce()>);

    /// Nothing more is written: the peer reads the end behind what was written.
    fn finish(&self);

    /// The connection is gone now, with whatever the peer did not read.
    fn abort(&self);
}
