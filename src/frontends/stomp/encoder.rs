//! STOMP on the wire: MESSAGE for groups, and the frames of single sessions.
//!
//! Owns what the broker writes. A frame is made complete, framing included, by one call for all who get the same.

use std::cell::RefCell;
use std::fmt::Write as _;

use base64::Engine as _;
use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use sockjs::Framing;
use stomp_parser::{Command, Frame, Version, encode, encode_header};

use crate::broker::{AckMode, CloseReason, Copy, Encoder, Message, MessageId, Says, Subscription};

/// The form in which frames stand on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As they are, one behind the other: on a socket of their own.
    Plain,
    /// Each in a message of the carrier's.
    Carried(Framing),
}

impl From<Framing> for Form {
    fn from(framing: Framing) -> Form {
        Form::Carried(framing)
    }
}

impl Form {
    /// The heartbeat that the carrier has of its own, if it has one.
    pub(super) fn own_beat(self) -> Option<&'static [u8]> {
        match self {
            Form::Plain => None,
            Form::Carried(framing) => framing.heartbeat(),
        }
    }
}

/// A version in a form.
#[derive(Debug)]
pub(super) struct StompEncoder {
    version: Version,
    form: Form,
    id: u16,
}

const fn row(form: Form, first: u16) -> [StompEncoder; 3] {
    [
        StompEncoder { version: Version::V1_0, form, id: first },
        StompEncoder { version: Version::V1_1, form, id: first + 1 },
        StompEncoder { version: Version::V1_2, form, id: first + 2 },
    ]
}

static WEBSOCKET: [StompEncoder; 3] = row(Form::Carried(Framing::WebSocket), 0);
static SOCKJS_WEBSOCKET: [StompEncoder; 3] = row(Form::Carried(Framing::SockJsWebSocket), 3);
static SOCKJS_HTTP: [StompEncoder; 3] = row(Form::Carried(Framing::SockJsHttp), 6);
static PLAIN: [StompEncoder; 3] = row(Form::Plain, 9);

impl StompEncoder {
    /// The encoder of a version in a form.
    pub(super) fn of(version: Version, form: Form) -> &'static StompEncoder {
        let row = match form {
            Form::Plain => &PLAIN,
            Form::Carried(Framing::WebSocket) => &WEBSOCKET,
            Form::Carried(Framing::SockJsWebSocket) => &SOCKJS_WEBSOCKET,
            Form::Carried(Framing::SockJsHttp) => &SOCKJS_HTTP,
        };
        match version {
            Version::V1_0 => &row[0],
            Version::V1_1 => &row[1],
            Version::V1_2 => &row[2],
        }
    }

    /// A heart-beat, complete on the wire.
    pub(super) fn heart_beat(&self) -> &'static [u8] {
        match self.form {
            Form::Plain => PLAIN_BEAT,
            Form::Carried(Framing::WebSocket) => RAW_BEAT,
            Form::Carried(Framing::SockJsWebSocket) => SOCKJS_BEAT,
            Form::Carried(Framing::SockJsHttp) => HTTP_BEAT,
        }
    }

    /// Any frame but MESSAGE, complete on the wire.
    pub(super) fn frame(&self, frame: &Frame) -> Bytes {
        let mut wire = BytesMut::new();
        self.frame_into(frame, &mut wire);
        wire.freeze()
    }

    fn frame_into(&self, frame: &Frame, wire: &mut BytesMut) {
        let Form::Carried(framing) = self.form else {
            encode(frame, self.version, wire);
            return wire.put_u8(PLAIN_END);
        };
        let mut stomp = BytesMut::new();
        encode(frame, self.version, &mut stomp);
        // Headers are text, and the broker's own bodies too.
        framing.text(&String::from_utf8_lossy(&stomp), wire);
    }

    /// An ERROR and the end of the connection.
    pub(super) fn error(
        &self,
        message: &'static str,
        headers: &[(&'static str, ByteString)],
        detail: &str,
        reason: &CloseReason,
        wire: &mut BytesMut,
    ) {
        let mut frame = Frame::new(Command::Error)
            .header("message", message)
            // stompit (1.0 at least) throws at a text without a charset, and its application never sees the ERROR.
            .header("content-type", "text/plain;charset=utf-8")
            .body(Bytes::copy_from_slice(detail.as_bytes()));
        for (name, value) in headers {
            frame = frame.header(*name, value.clone());
        }
        self.frame_into(&frame, wire);
        wire.extend_from_slice(&self.close(reason));
    }

    /// The end of the connection: where there is no frame for it, the end of the octets alone says so.
    pub(super) fn close(&self, reason: &CloseReason) -> Bytes {
        match self.form {
            Form::Plain => Bytes::new(),
            Form::Carried(framing) => framing.close(reason.code(), reason.text()),
        }
    }

    /// A MESSAGE, complete on the wire.
    fn copy(&self, copy: &Copy<'_>, which: Which, out: &mut BytesMut) {
        let whole = Body { octets: copy.body, base64: false };
        let Form::Carried(framing) = self.form else {
            self.message_frame(copy, which, whole, out);
            return out.put_u8(PLAIN_END);
        };
        SCRATCH.with_borrow_mut(|stomp| {
            stomp.clear();
            self.message_frame(copy, which, whole, stomp);
            match std::str::from_utf8(stomp) {
                Ok(text) => framing.text(text, out),
                Err(_) if framing.binary(stomp, out).is_ok() => {}
                Err(_) => {
                    // SockJS carries text only.
                    let text = base64::engine::general_purpose::STANDARD.encode(copy.body);
                    stomp.clear();
                    let encoded = Body { octets: text.as_bytes(), base64: true };
                    self.message_frame(copy, which, encoded, stomp);
                    framing.text(&String::from_utf8_lossy(stomp), out);
                }
            }
            if stomp.capacity() > LARGEST_SCRATCH {
                *stomp = BytesMut::new();
            }
        });
    }

    /// A MESSAGE, without framing.
    fn message_frame(&self, copy: &Copy<'_>, which: Which, body: Body<'_>, out: &mut BytesMut) {
        let Copy { message, subscription, says, .. } = copy;
        let mut text = Digits::default();
        out.reserve(body.octets.len() + message.headers.octets() + 256);
        out.put_slice(b"MESSAGE\n");
        encode_header("subscription", &subscription.id, self.version, out);
        encode_header("message-id", text.show(&which.id), self.version, out);
        encode_header("destination", &copy.destination(), self.version, out);
        if subscription.ack != AckMode::Auto && self.version == Version::V1_2 {
            match which.is_delivery {
                true => encode_header("ack", text.show(&which.id), self.version, out),
                // Of a topic, several subscriptions of a connection get the same message.
                false => {
                    encode_header("ack", &format!("{}@{}", which.id, subscription.id), self.version, out);
                }
            }
        }
        if which.redelivered {
            encode_header("redelivered", "true", self.version, out);
        }
        if body.base64 {
            encode_header("transfer-encoding", "base64", self.version, out);
        }
        self.says(says, out);
        for (name, value) in message.headers.iter() {
            encode_header(name, value, self.version, out);
        }
        encode_header("content-length", text.show(&body.octets.len()), self.version, out);
        out.put_u8(b'\n');
        out.put_slice(body.octets);
        out.put_u8(0);
    }

    /// The headers that are the broker's own.
    fn says(&self, says: &Says, out: &mut BytesMut) {
        let mut text = Digits::default();
        let mut header = |name, value: &str| encode_header(name, value, self.version, out);
        if says.retained {
            header("retained", "true");
        }
        if let Some(gap) = says.gap {
            header("gap", "true");
            header("gap-reason", gap.label());
        }
        if let Some(cursor) = says.cursor {
            header("cursor", text.show(&cursor));
        }
        if let Some(delta) = says.delta {
            header("delta", if delta.base.is_some() { "patch" } else { "full" });
            header("delta-seq", text.show(&delta.sequence));
            if let Some(base) = delta.base {
                header("delta-base", text.show(&base));
            }
        }
    }
}

impl Encoder for StompEncoder {
    fn id(&self) -> u16 {
        self.id
    }

    fn message(&self, copy: &Copy<'_>, out: &mut BytesMut) {
        self.copy(copy, Which { id: copy.message.id, is_delivery: false, redelivered: false }, out);
    }

    fn delivery(
        &self,
        message: &Message,
        subscription: &Subscription,
        id: MessageId,
        redelivered: bool,
        out: &mut BytesMut,
    ) {
        let copy = Copy { message, subscription, asked: None, body: &message.body, says: Says::default() };
        self.copy(&copy, Which { id, is_delivery: true, redelivered }, out);
    }

    fn farewell(&self, reason: &CloseReason, out: &mut BytesMut) {
        let Some(advice) = reason.advice() else {
            out.extend_from_slice(&self.close(reason));
            return;
        };
        let CloseReason::SlowConsumer { subscription, cursors } = reason else {
            return self.error(reason.text(), &[], &advice, reason, out);
        };
        let mut headers: Vec<(&'static str, ByteString)> = Vec::new();
        let mut detail = advice.into_owned();
        headers.extend(subscription.iter().map(|id| ("subscription", id.clone())));
        for (id, cursor) in cursors {
            if subscription.as_ref() == Some(id) {
                headers.push(("cursor", cursor.to_string().into()));
            } else {
                // Writing to a String can't fail.
                let _ = write!(detail, "\n{id} {cursor}");
            }
        }
        self.error(reason.text(), &headers, &detail, reason, out);
    }
}

/// A lone EOL.
const PLAIN_BEAT: &[u8] = b"\n";
/// The same as a WebSocket text message: FIN and opcode 1, one octet.
const RAW_BEAT: &[u8] = b"\x81\x01\n";
/// The same over SockJS: the eight octets of `a["\n"]`.
const SOCKJS_BEAT: &[u8] = b"\x81\x07a[\"\\n\"]";

/// The same over HTTP.
const HTTP_BEAT: &[u8] = b"a[\"\\n\"]\n";

/// What follows the NUL on plain TCP, in the same write, as with RabbitMQ: PHP's client takes an octet more if there is one.
const PLAIN_END: u8 = b'\n';

/// A scratch buffer beyond this is given back to the allocator.
const LARGEST_SCRATCH: usize = 1024 * 1024;

thread_local! {
    /// Where a STOMP frame stands between its making and its framing.
    static SCRATCH: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// Which copy of a message it is.
#[derive(Clone, Copy)]
struct Which {
    id: MessageId,
    /// It comes from a queue, which waits for its acknowledgement.
    is_delivery: bool,
    redelivered: bool,
}

/// A body as it goes out.
#[derive(Clone, Copy)]
struct Body<'a> {
    octets: &'a [u8],
    base64: bool,
}

/// A short text made without an allocation.
#[derive(Default)]
struct Digits(smallvec::SmallVec<[u8; 40]>);

impl Digits {
    fn show(&mut self, value: &impl std::fmt::Display) -> &str {
        self.0.clear();
        let _ = write!(self, "{value}");
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Write for Digits {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::broker::{AckMode, Destination, Headers, Tenant};

    fn wire(
        version: Version,
        form: impl Into<Form>,
        headers: &[(&str, &str)],
        body: &'static [u8],
    ) -> Vec<u8> {
        let form = form.into();
        let headers: Headers =
            headers.iter().map(|(n, v)| (ByteString::from(*n), ByteString::from(*v))).collect();
        let message = Message::new(Destination::topic(Tenant::DEFAULT, "a").unwrap(), headers, body);
        let subscription = Subscription { id: "s".into(), ack: AckMode::Auto };
        let mut out = BytesMut::new();
        let copy = Copy {
            message: &message,
            subscription: &subscription,
            asked: None,
            body: &message.body,
            says: Says::default(),
        };
        StompEncoder::of(version, form).message(&copy, &mut out);
        out.to_vec()
    }

    #[test]
    fn a_message_without_a_spelling_has_the_one_that_was_asked_for() {
        let by_key = Destination::foreign(Tenant::DEFAULT, "a.b").unwrap();
        let message = Message::new(by_key, Headers::new(), "");
        let subscription = Subscription { id: "s".into(), ack: AckMode::Auto };
        let frame = |asked| {
            let mut out = BytesMut::new();
            let (body, says) = (&message.body, Says::default());
            let copy = Copy { message: &message, subscription: &subscription, asked, body, says };
            StompEncoder::of(Version::V1_2, Form::Plain).message(&copy, &mut out);
            String::from_utf8(out.to_vec()).unwrap()
        };
        assert!(frame(Some("/topic/a:b")).contains("\ndestination:/topic/a\\cb\n"));
        assert!(frame(None).contains("\ndestination:/topic/a.b\n"));
    }

    #[test]
    fn the_beats_are_what_the_framing_makes_of_an_eol() {
        for (framing, beat) in [
            (Framing::WebSocket, RAW_BEAT),
            (Framing::SockJsWebSocket, SOCKJS_BEAT),
            (Framing::SockJsHttp, HTTP_BEAT),
        ] {
            let mut out = BytesMut::new();
            framing.text("\n", &mut out);
            assert_eq!(&out[..], beat);
        }
    }

    #[test]
    fn every_encoder_has_an_id_of_its_own() {
        let rows = [&WEBSOCKET, &SOCKJS_WEBSOCKET, &SOCKJS_HTTP, &PLAIN];
        let ids: Vec<u16> = rows.into_iter().flatten().map(Encoder::id).collect();
        assert_eq!(ids, Vec::from_iter(0..12));
    }

    #[test]
    fn a_message_shows_its_subscription_and_its_length() {
        let wire = wire(Version::V1_2, Framing::WebSocket, &[("content-type", "text/plain")], b"hello");
        let text = String::from_utf8(wire[2..].to_vec()).unwrap();
        assert_eq!(
            text,
            "MESSAGE\nsubscription:s\nmessage-id:00000000-0\ndestination:/topic/a\n\
             content-type:text/plain\ncontent-length:5\n\nhello\0"
        );
    }

    #[test]
    fn headers_are_escaped_as_the_version_can() {
        let headers = [("k", "a:b\nc\\d\re")];
        let line = |version| {
            let wire = wire(version, Framing::WebSocket, &headers, b"");
            let text = String::from_utf8(wire[4..].to_vec()).unwrap();
            text.split('\n').find(|line| line.starts_with("k:")).unwrap().to_owned()
        };
        assert_eq!(line(Version::V1_2), "k:a\\cb\\nc\\\\d\\re");
        assert_eq!(line(Version::V1_1), "k:a\\cb\\nc\\\\d\re");
        assert_eq!(line(Version::V1_0), "k:a:b c\\d\re");
    }

    #[test]
    fn a_body_that_is_no_text_goes_as_binary_or_base64() {
        let raw = wire(Version::V1_2, Framing::WebSocket, &[], b"\xff\xfe");
        assert_eq!(raw[0], 0x82, "a binary message");
        let sockjs = wire(Version::V1_2, Framing::SockJsWebSocket, &[], b"\xff\xfe");
        let text = String::from_utf8(sockjs[4..].to_vec()).unwrap();
        assert!(text.contains("transfer-encoding:base64\\ncontent-length:4\\n\\n//4="), "{text}");
        let plain = wire(Version::V1_2, Form::Plain, &[], b"\xff\xfe");
        assert!(plain.starts_with(b"MESSAGE\n") && plain.ends_with(b"\ncontent-length:2\n\n\xff\xfe\0\n"));
    }
}
