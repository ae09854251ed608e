//! A whole frame, as a decoder gives it and an encoder takes it.

use bytes::Bytes;
use bytestring::ByteString;

use crate::{Command, Headers};

/// One STOMP frame. Header names and values are decoded; the body is the octets as they were sent.
///
/// ```
/// use stomp_parser::{Command, Frame};
///
/// let frame = Frame::new(Command::Send)
///     .header("destination", "/topic/metrics")
///     .body("hello");
/// assert_eq!(frame.get("destination"), Some("/topic/metrics"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the frame asks or says.
    pub command: Command,
    /// The header lines, repeats included.
    pub headers: Headers,
    /// The body, without the NUL behind it. Empty for all commands but `SEND`, `MESSAGE` and
    /// `ERROR`.
    pub body: Bytes,
}

impl Frame {
    /// A frame without headers and body.
    pub const fn new(command: Command) -> Self {
        Self { command, headers: Headers::new(), body: Bytes::new() }
    }

    /// The same frame with one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) -> Self {
        self.headers.push(name, value);
        self
    }

    /// The same frame with this body. `content-length` is added when the frame is encoded.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The value of the first header of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }
}
