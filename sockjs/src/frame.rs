//! SockJS frames as they go out, complete on the wire of each transport.
//!
//! Who gets a frame and when is decided elsewhere; what clients send is read in
//! [`message`](crate::message).

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    error::NotRepresentable,
    quote::quote,
    ws::{self, Opcode},
};

/// The form in which a receiver wants its messages: one for each kind of wire. A message encoded
/// for a framing is good for every session with that framing, octet for octet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Framing {
    /// Raw WebSocket: a message is a WebSocket message.
    WebSocket,
    /// SockJS over WebSocket: a WebSocket text message holds a SockJS frame such as `a["message"]`.
    SockJsWebSocket,
    /// SockJS over HTTP: a line for each SockJS frame such as `a["message"]`. Each transport puts around it what its
    /// responses have, without looking into it.
    SockJsHttp,
}

/// What goes before and after the quoted text of one message in a SockJS frame.
const ARRAY: (&[u8], &[u8]) = (b"a[\"", b"\"]");

impl Framing {
    /// How many framings there are; [`index`](Self::index) is below it.
    pub(crate) const COUNT: usize = 3;

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// Appends one complete frame that carries `text`.
    ///
    /// ```
    /// use sockjs::Framing;
    ///
    /// let mut out = bytes::BytesMut::new();
    /// Framing::SockJsWebSocket.text("a\nb", &mut out);
    /// assert_eq!(&out[..], b"\x81\x09a[\"a\\nb\"]");
    /// ```
    pub fn text(self, text: &str, out: &mut BytesMut) {
        match self {
            Framing::WebSocket => {
                self.begin(text.len(), out);
                out.put_slice(text.as_bytes());
            }
            Framing::SockJsWebSocket => {
                // The header's length depends on that of the quoted text. Guess from below, and
                // move the text where the guess was wrong, which it is only just above a boundary
                // or where much was escaped.
                let start = out.len();
                self.begin(text.len(), out);
                let body = out.len();
                quote(text, out);
                let quoted = out.len() - body;
                let mut head = BytesMut::new();
                self.begin(quoted, &mut head);
                let grown = head.len() - (body - start);
                if grown > 0 {
                    out.resize(out.len() + grown, 0);
                    out.copy_within(body..body + quoted, body + grown);
                }
                out[start..start + head.len()].copy_from_slice(&head);
                out.put_slice(self.end());
            }
            Framing::SockJsHttp => {
                self.begin(0, out);
                quote(text, out);
                out.put_slice(self.end());
            }
        }
    }

    /// Appends one complete frame that carries `body` as a binary message.
    ///
    /// # Errors
    /// SockJS carries text only; nothing is appended then.
    pub fn binary(self, body: &[u8], out: &mut BytesMut) -> Result<(), NotRepresentable> {
        match self {
            Framing::WebSocket => {
                ws::put_header(Opcode::Binary, body.len(), out);
                out.put_slice(body);
                Ok(())
            }
            Framing::SockJsWebSocket | Framing::SockJsHttp => Err(NotRepresentable),
        }
    }

    /// Appends `text` as it stands inside a frame of this framing: quoted for SockJS, as it is for
    /// a raw WebSocket.
    ///
    /// With [`begin`](Self::begin) and [`end`](Self::end), the way to make many frames that share
    /// most of their text: it is represented once, and the texts before and after it for each
    /// frame. Quoting two halves of a text gives the quoted text.
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use sockjs::Framing;
    ///
    /// let framing = Framing::SockJsWebSocket;
    /// let (mut shared, mut own) = (BytesMut::new(), BytesMut::new());
    /// let (mut frame, mut whole) = (BytesMut::new(), BytesMut::new());
    /// framing.put(" \"world\"", &mut shared);
    /// framing.put("hello", &mut own);
    /// framing.begin(own.len() + shared.len(), &mut frame);
    /// frame.extend_from_slice(&own);
    /// frame.extend_from_slice(&shared);
    /// frame.extend_from_slice(framing.end());
    /// framing.text("hello \"world\"", &mut whole);
    /// assert_eq!(frame, whole);
    /// ```
    pub fn put(self, text: &str, out: &mut BytesMut) {
        match self {
            Framing::WebSocket => out.put_slice(text.as_bytes()),
            Framing::SockJsWebSocket | Framing::SockJsHttp => quote(text, out),
        }
    }

    /// Appends what stands before the text in a frame whose text, [as it stands there](Self::put),
    /// has `len` octets.
    pub fn begin(self, len: usize, out: &mut BytesMut) {
        match self {
            Framing::WebSocket => ws::put_header(Opcode::Text, len, out),
            Framing::SockJsWebSocket => {
                ws::put_header(Opcode::Text, ARRAY.0.len() + len + ARRAY.1.len(), out);
                out.put_slice(ARRAY.0);
            }
            Framing::SockJsHttp => out.put_slice(ARRAY.0),
        }
    }

    /// What stands behind the text in a frame.
    pub fn end(self) -> &'static [u8] {
        match self {
            Framing::WebSocket => b"",
            Framing::SockJsWebSocket => ARRAY.1,
            Framing::SockJsHttp => b"\"]\n",
        }
    }

    /// The frame that opens a session, complete on the wire; none on a raw WebSocket.
    pub(crate) fn open(self) -> &'static [u8] {
        match self {
            Framing::WebSocket => b"",
            Framing::SockJsWebSocket => b"\x81\x01o",
            Framing::SockJsHttp => b"o\n",
        }
    }

    /// The heartbeat frame, complete on the wire; none for a raw WebSocket, which has no
    /// heartbeats.
    pub fn heartbeat(self) -> Option<&'static [u8]> {
        match self {
            Framing::WebSocket => None,
            Framing::SockJsWebSocket => Some(b"\x81\x01h"),
            Framing::SockJsHttp => Some(b"h\n"),
        }
    }

    /// What ends a session, complete on the wire. Nothing may follow it.
    ///
    /// On a raw WebSocket this is a close frame with the code and the reason, cut at 123 octets
    /// (RFC 6455, section 5.5). A code that may not be sent there (section 7.4) becomes 1000.
    /// SockJS sends `c[code,"reason"]`, with any code; the WebSocket close frame after it says the
    /// same for codes that RFC 6455 defines, and 1000, "Normal closure", for others, as sockjs-node
    /// does.
    pub fn close(self, code: u16, reason: &str) -> Bytes {
        let mut out = BytesMut::with_capacity(reason.len() + 32);
        match self {
            Framing::WebSocket => {
                let code = if ws::may_be_sent(code) { code } else { 1000 };
                ws::put_close(code, reason, &mut out);
            }
            Framing::SockJsHttp => {
                put_close(code, reason, &mut out);
                out.put_u8(b'\n');
            }
            Framing::SockJsWebSocket => {
                let mut frame = BytesMut::with_capacity(reason.len() + 16);
                put_close(code, reason, &mut frame);
                ws::put_header(Opcode::Text, frame.len(), &mut out);
                out.put_slice(&frame);
                if ws::may_be_sent(code) && code < 3000 {
                    ws::put_close(code, reason, &mut out);
                } else {
                    ws::put_close(1000, "Normal closure", &mut out);
                }
            }
        }
        out.freeze()
    }

    /// What ends a session whose handler is done with it: SockJS says 3000, "Go away!", a raw
    /// WebSocket 1000.
    pub(crate) fn go_away(self) -> Bytes {
        match self {
            Framing::WebSocket => self.close(1000, ""),
            Framing::SockJsWebSocket | Framing::SockJsHttp => self.close(3000, "Go away!"),
        }
    }
}

/// The SockJS frame that closes a session.
fn put_close(code: u16, reason: &str, out: &mut BytesMut) {
    out.put_slice(format!("c[{code},\"").as_bytes());
    quote(reason, out);
    out.put_slice(b"\"]");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;

    fn text(framing: Framing, text: &str) -> BytesMut {
        let mut out = BytesMut::from(&b"before"[..]);
        framing.text(text, &mut out);
        out.split_off(6)
    }

    /// The payload of a server's frame, after checking that the header fits it.
    fn payload(frame: &[u8]) -> &[u8] {
        let (head, len) = match frame[1] {
            126 => (4, u64::from(u16::from_be_bytes([frame[2], frame[3]]))),
            127 => (10, u64::from_be_bytes(frame[2..10].try_into().unwrap())),
            n => (2, u64::from(n)),
        };
        assert_eq!(frame.len() as u64, head as u64 + len);
        &frame[head..]
    }

    #[test]
    fn the_header_fits_around_every_boundary() {
        for len in (0..140).chain(65_500..65_560) {
            for fill in ["x", "\n"] {
                let message = fill.repeat(len);
                let frame = text(Framing::SockJsWebSocket, &message);
                let expected = format!("a{}", serde_json::to_string(&[&message]).unwrap());
                assert_eq!(payload(&frame), expected.as_bytes());
                assert_eq!(payload(&text(Framing::WebSocket, &message)), message.as_bytes());
            }
        }
    }

    #[test]
    fn close_frames_say_what_each_wire_allows() {
        assert_eq!(
            &Framing::SockJsWebSocket.close(3000, "Go away!")[..],
            b"\x81\x12c[3000,\"Go away!\"]\x88\x10\x03\xe8Normal closure"
        );
        assert_eq!(
            &Framing::SockJsWebSocket.close(1009, "big")[..],
            b"\x81\x0dc[1009,\"big\"]\x88\x05\x03\xf1big"
        );
        assert_eq!(&Framing::WebSocket.close(4000, "bye")[..], b"\x88\x05\x0f\xa0bye");
        assert_eq!(&Framing::WebSocket.close(1006, "")[..], b"\x88\x02\x03\xe8");
        let long = Framing::WebSocket.close(1000, &"é".repeat(100));
        assert_eq!(long.len(), 2 + 2 + 122, "cut at a character, not within one");
    }

    proptest! {
        #[test]
        fn a_frame_holds_its_text(message in "(?s).{0,300}") {
            let frame = text(Framing::SockJsWebSocket, &message);
            let sockjs = payload(&frame);
            prop_assert_eq!(sockjs[0], b'a');
            let read: Vec<String> = serde_json::from_slice(&sockjs[1..]).unwrap();
            prop_assert_eq!(read, vec![message]);
        }
    }
}
