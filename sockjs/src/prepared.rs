//! Messages made ready once for however many sessions get them.

use std::{cell::OnceCell, rc::Rc};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use crate::{error::NotRepresentable, frame::Framing};

/// A message that is made ready for the wire at most once per [`Framing`], however many sessions it
/// goes to. Clones share it.
///
/// A frame is made when the first session asks for it and lives as long as the message.
///
/// ```
/// use sockjs::{Framing, Prepared};
///
/// let message = Prepared::text("hello");
/// let frame = message.frame(Framing::SockJsWebSocket)?;
/// assert_eq!(&frame[..], b"\x81\x0aa[\"hello\"]");
/// # Ok::<(), sockjs::NotRepresentable>(())
/// ```
#[derive(Debug, Clone)]
pub struct Prepared(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    content: Content,
    frames: [OnceCell<Bytes>; Framing::COUNT],
}

#[derive(Debug)]
enum Content {
    Text(ByteString),
    Binary(Bytes),
}

impl Prepared {
    /// A text message.
    pub fn text(text: impl Into<ByteString>) -> Self {
        Prepared::new(Content::Text(text.into()))
    }

    /// A binary message, which only raw WebSockets can carry.
    pub fn binary(body: impl Into<Bytes>) -> Self {
        Prepared::new(Content::Binary(body.into()))
    }

    fn new(content: Content) -> Self {
        Prepared(Rc::new(Inner { content, frames: Default::default() }))
    }

    /// The complete frame for this framing; every call gives the same octets in the same memory.
    ///
    /// # Errors
    /// The message is binary and the framing carries text only.
    pub fn frame(&self, framing: Framing) -> Result<Bytes, NotRepresentable> {
        let slot = &self.0.frames[framing.index()];
        if let Some(frame) = slot.get() {
            return Ok(frame.clone());
        }
        let frame = self.0.content.encode(framing)?;
        Ok(slot.get_or_init(|| frame).clone())
    }
}

impl Content {
    fn encode(&self, framing: Framing) -> Result<Bytes, NotRepresentable> {
        #[cfg(test)]
        tests::ENCODED.set(tests::ENCODED.get() + 1);
        let mut out = BytesMut::new();
        match self {
            Content::Text(text) => framing.text(text, &mut out),
            Content::Binary(body) => framing.binary(body, &mut out)?,
        }
        Ok(out.freeze())
    }
}

impl From<ByteString> for Prepared {
    fn from(text: ByteString) -> Self {
        Prepared::text(text)
    }
}

impl From<&str> for Prepared {
    fn from(text: &str) -> Self {
        Prepared::text(text)
    }
}

impl From<String> for Prepared {
    fn from(text: String) -> Self {
        Prepared::text(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::Cell;

    use super::*;

    thread_local! {
        pub(super) static ENCODED: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn a_frame_is_made_once() {
        let message = Prepared::text("hello");
        for framing in [Framing::WebSocket, Framing::SockJsWebSocket] {
            let first = message.frame(framing).unwrap();
            let again = message.clone().frame(framing).unwrap();
            assert_eq!(first.as_ptr(), again.as_ptr(), "{framing:?}");
        }
        assert_eq!(ENCODED.get(), 2);
    }

    #[test]
    fn binary_goes_raw_only() {
        let message = Prepared::binary(&b"\xff"[..]);
        assert_eq!(&message.frame(Framing::WebSocket).unwrap()[..], b"\x82\x01\xff");
        assert_eq!(message.frame(Framing::SockJsWebSocket), Err(NotRepresentable));
    }
}
