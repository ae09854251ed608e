//! From octets to STOMP frames and back, without I/O: WebSocket frames, SockJS inside them, STOMP inside those; or STOMP
//! alone.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;
use stomp_parser::{Command, Decoder, Frame, Headers, Limits, Version, encode};

use super::websocket::{self, Header};
use super::{Carrier, Error, Said, random, said};

/// The largest message that is taken from a server.
pub const LARGEST_MESSAGE: usize = 64 << 20;

/// What comes out of the octets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The SockJS session is open.
    Open,
    /// A STOMP frame.
    Frame(Frame),
    /// The server closed the connection: code and reason.
    Closed(u16, String),
}

/// One connection after its handshake.
#[derive(Debug)]
pub(super) struct Wire {
    carrier: Carrier,
    decoder: Decoder,
    version: Version,
    /// What was read and is not used up.
    pub(super) input: BytesMut,
    /// What is to be written: frames that were [put](Self::put), and answers to pings.
    pub(super) output: BytesMut,
    /// The fragments so far of a message that comes in several.
    fragments: BytesMut,
    /// Of the input of plain TCP, how much has no NUL in it.
    searched: usize,
    events: VecDeque<Event>,
}

impl Wire {
    pub(super) fn new(carrier: Carrier, input: BytesMut) -> Wire {
        let limits = Limits { body: LARGEST_MESSAGE, ..Limits::default() };
        Wire {
            carrier,
            decoder: Decoder::new(limits),
            version: Version::V1_0,
            input,
            output: BytesMut::new(),
            fragments: BytesMut::new(),
            searched: 0,
            events: VecDeque::new(),
        }
    }

    /// From here on frames are of this version.
    pub(super) fn set_version(&mut self, version: Version) {
        self.version = version;
        self.decoder.set_version(version);
    }

    /// Appends a frame to the output.
    pub(super) fn put(&mut self, frame: &Frame) {
        let mut stomp = BytesMut::new();
        encode(frame, self.version, &mut stomp);
        if self.carrier == Carrier::Tcp {
            return self.output.extend_from_slice(&stomp);
        }
        match std::str::from_utf8(&stomp) {
            Ok(text) => encode_text(self.carrier, text, random() as u32, &mut self.output),
            Err(_) if self.carrier == Carrier::Raw => {
                websocket::put(websocket::BINARY, &stomp, random() as u32, &mut self.output);
            }
            Err(_) => self.put(&as_base64(frame)),
        }
    }

    /// The next thing that the server said; `None` if more input is needed.
    pub(super) fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if self.carrier == Carrier::Tcp {
                if self.plain()? {
                    continue;
                }
                return Ok(None);
            }
            let Some(header) = Header::parse(&self.input).map_err(protocol)? else {
                return Ok(None);
            };
            if header.payload.saturating_add(self.fragments.len()) > LARGEST_MESSAGE {
                return Err(protocol("a message is larger than 64 MiB"));
            }
            if self.input.len() < header.len + header.payload {
                return Ok(None);
            }
            self.input.advance(header.len);
            let payload = self.input.split_to(header.payload).freeze();
            self.take(header, payload)?;
        }
    }

    /// Takes a piece of plain TCP that ends with a NUL, as frames do; what is behind the last one stays in the input, for
    /// whoever takes the connection over. Says whether there was one.
    fn plain(&mut self) -> Result<bool, Error> {
        let Some(nul) = memchr(0, &self.input[self.searched..]) else {
            self.searched = self.input.len();
            // More than a body, all that is before it, and what is read at once.
            return if self.searched > LARGEST_MESSAGE + (1 << 20) {
                Err(protocol("a message is larger than 64 MiB"))
            } else {
                Ok(false)
            };
        };
        let piece = self.input.split_to(self.searched + nul + 1).freeze();
        self.searched = 0;
        self.stomp(piece)?;
        Ok(true)
    }

    /// What it means that nothing more comes without a word.
    pub(super) fn unexpected_end(&self) -> &'static str {
        match self.carrier {
            Carrier::Tcp => "the server ended it",
            Carrier::Raw | Carrier::SockJs => "it ended without a close frame",
        }
    }

    fn take(&mut self, header: Header, payload: Bytes) -> Result<(), Error> {
        match header.opcode {
            websocket::PING => {
                websocket::put(websocket::PONG, &payload, random() as u32, &mut self.output);
            }
            websocket::PONG => {}
            websocket::CLOSE => {
                let (code, reason) = close(&payload);
                self.events.push_back(Event::Closed(code, reason));
            }
            _ if header.fin && self.fragments.is_empty() => self.message(payload)?,
            _ => {
                self.fragments.extend_from_slice(&payload);
                if header.fin {
                    let message = self.fragments.split().freeze();
                    self.message(message)?;
                }
            }
        }
        Ok(())
    }

    fn message(&mut self, payload: Bytes) -> Result<(), Error> {
        if self.carrier == Carrier::Raw {
            return self.stomp(payload);
        }
        match said(&payload) {
            Some(Said::Open) => self.events.push_back(Event::Open),
            Some(Said::Heartbeat) => {}
            Some(Said::Messages(messages)) => {
                for message in messages {
                    self.stomp(message.into())?;
                }
            }
            Some(Said::Close(code, reason)) => self.events.push_back(Event::Closed(code, reason)),
            None => return Err(protocol("a message is no SockJS frame")),
        }
        Ok(())
    }

    fn stomp(&mut self, octets: Bytes) -> Result<(), Error> {
        self.decoder.feed(octets);
        while let Some(frame) = self.decoder.next().map_err(|error| protocol(error.to_string()))? {
            // What follows CONNECTED may stand in the same message, and is of the version that it names.
            let version = frame.get("version").and_then(|text| text.parse().ok());
            if let (Command::Connected, Some(version)) = (frame.command, version) {
                self.set_version(version);
            }
            self.events.push_back(Event::Frame(from_base64(frame)));
        }
        Ok(())
    }
}

/// Appends one STOMP frame, given as text, as it goes out: as the complete masked WebSocket frame that carries it, or as it is.
pub fn encode_text(carrier: Carrier, stomp: &str, key: u32, out: &mut BytesMut) {
    match carrier {
        Carrier::Tcp => out.extend_from_slice(stomp.as_bytes()),
        Carrier::Raw => websocket::put(websocket::TEXT, stomp.as_bytes(), key, out),
        Carrier::SockJs => {
            let mut array = BytesMut::with_capacity(stomp.len() + 32);
            array.extend_from_slice(b"[\"");
            sockjs::quote(stomp, &mut array);
            array.extend_from_slice(b"\"]");
            websocket::put(websocket::TEXT, &array, key, out);
        }
    }
}

/// A body that is no text, as it goes over SockJS, which carries text only.
fn as_base64(frame: &Frame) -> Frame {
    let mut frame = frame.clone();
    frame.headers.retain(|name, _| name != "content-length");
    let body = STANDARD.encode(&frame.body);
    frame.header("transfer-encoding", "base64").body(body)
}

/// Undoes what the server does with a body that its carrier could not take.
fn from_base64(mut frame: Frame) -> Frame {
    if frame.get("transfer-encoding") == Some("base64")
        && let Ok(body) = STANDARD.decode(&frame.body)
    {
        frame.body = body.into();
        let own = |name: &str| name == "transfer-encoding" || name == "content-length";
        let headers = frame.headers.iter().filter(|(name, _)| !own(name));
        let mut kept = Headers::new();
        for (name, value) in headers {
            kept.push(name.clone(), value.clone());
        }
        frame.headers = kept;
    }
    frame
}

/// The code and the reason of a WebSocket's close frame; 1005 stands for none.
fn close(payload: &[u8]) -> (u16, String) {
    match payload.split_first_chunk() {
        Some((code, reason)) => (u16::from_be_bytes(*code), String::from_utf8_lossy(reason).into_owned()),
        None => (1005, String::new()),
    }
}

fn protocol(what: impl Into<String>) -> Error {
    Error::Protocol(what.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn server(carrier: Carrier, opcode: u8, payload: &[u8], wire: &mut Wire) {
        let sockjs = carrier == Carrier::SockJs && opcode == websocket::TEXT;
        let payload = if sockjs {
            let text = std::str::from_utf8(payload).unwrap();
            format!("a{}", serde_json::to_string(&[text]).unwrap()).into_bytes()
        } else {
            payload.to_vec()
        };
        wire.input.extend_from_slice(&[0x80 | opcode, u8::try_from(payload.len()).unwrap()]);
        wire.input.extend_from_slice(&payload);
    }

    fn wire(carrier: Carrier) -> Wire {
        let mut wire = Wire::new(carrier, BytesMut::new());
        wire.set_version(Version::V1_2);
        wire
    }

    fn frame(wire: &mut Wire) -> Frame {
        match wire.next().unwrap() {
            Some(Event::Frame(frame)) => frame,
            other => panic!("{other:?}"),
        }
    }

    const BOTH: [Carrier; 2] = [Carrier::Raw, Carrier::SockJs];

    #[test]
    fn frames_come_however_they_are_cut() {
        for carrier in BOTH {
            let mut wire = wire(carrier);
            // A heart-beat, a frame in two messages, a ping between them.
            server(carrier, websocket::TEXT, b"\n", &mut wire);
            server(carrier, websocket::TEXT, b"MESSAGE\nsub", &mut wire);
            server(carrier, websocket::PING, b"hi", &mut wire);
            server(carrier, websocket::TEXT, b"scription:a\n\nbody\0", &mut wire);
            let whole = wire.input.split();
            for octet in &whole[..whole.len() - 1] {
                wire.input.extend_from_slice(&[*octet]);
                assert_eq!(wire.next().unwrap(), None);
            }
            wire.input.extend_from_slice(&whole[whole.len() - 1..]);
            let frame = frame(&mut wire);
            assert_eq!(frame.get("subscription"), Some("a"));
            assert_eq!(frame.body, "body");
            assert_eq!(wire.output[..2], [0x8a, 0x82], "the ping was answered");
        }
    }

    #[test]
    fn plain_frames_come_however_they_are_cut_and_the_next_is_left() {
        let octets = b"\nMESSAGE\ncontent-length:3\n\na\0b\0RECEIPT\nreceipt-id:r\n\n\0\nMESS";
        for cut in 0..octets.len() {
            let mut wire = wire(Carrier::Tcp);
            let mut frames = Vec::new();
            for piece in [&octets[..cut], &octets[cut..]] {
                wire.input.extend_from_slice(piece);
                while let Some(event) = wire.next().unwrap() {
                    frames.push(event);
                }
            }
            let [Event::Frame(message), Event::Frame(receipt)] = &frames[..] else { panic!("{frames:?}") };
            assert_eq!((&message.body[..], receipt.get("receipt-id")), (&b"a\0b"[..], Some("r")));
            assert_eq!(&wire.input[..], b"\nMESS");
        }
        let mut wire = wire(Carrier::Tcp);
        wire.put(&Frame::new(Command::Send).header("destination", "/topic/a").body(&b"\xff"[..]));
        assert!(wire.output.starts_with(b"SEND\n") && wire.output.ends_with(b"\n\n\xff\0"));
    }

    #[test]
    fn a_fragmented_message_is_put_together() {
        let mut wire = wire(Carrier::Raw);
        for (first, part) in [
            (websocket::TEXT, &b"RECEIPT\nrec"[..]),
            (websocket::CONTINUATION, b"eipt-id:1"),
            (0x80 | websocket::CONTINUATION, b"\n\n\0"),
        ] {
            wire.input.extend_from_slice(&[first, part.len() as u8]);
            wire.input.extend_from_slice(part);
        }
        assert_eq!(frame(&mut wire).get("receipt-id"), Some("1"));
    }

    #[test]
    fn every_kind_of_end_shows_code_and_reason() {
        let mut raw = wire(Carrier::Raw);
        server(Carrier::Raw, websocket::CLOSE, b"\x03\xe8bye", &mut raw);
        server(Carrier::Raw, websocket::CLOSE, b"", &mut raw);
        let closed = |code, reason: &str| Some(Event::Closed(code, reason.to_owned()));
        assert_eq!(raw.next().unwrap(), closed(1000, "bye"));
        assert_eq!(raw.next().unwrap(), closed(1005, ""));
        let mut sockjs = wire(Carrier::SockJs);
        sockjs.input.extend_from_slice(b"\x81\x01o\x81\x01h\x81\x0dc[3000,\"bye\"]");
        assert_eq!(sockjs.next().unwrap(), Some(Event::Open));
        assert_eq!(sockjs.next().unwrap(), closed(3000, "bye"));
    }

    #[test]
    fn a_body_that_is_no_text_survives_both_carriers() {
        let sent = Frame::new(Command::Send).header("destination", "/topic/a").body(&b"\xff\0\xfe"[..]);
        for carrier in BOTH {
            let mut client = wire(carrier);
            client.put(&sent);
            // Unmasked, and with the `a` that only servers write, it is what a server says.
            let masked = client.output.split();
            let header = Header::parse(&[masked[0], masked[1] & 0x7f]).unwrap().unwrap();
            let key = &masked[header.len..header.len + 4];
            let payload = masked[header.len + 4..].iter().zip(key.iter().cycle()).map(|(o, k)| o ^ k);
            let array: &[u8] = if carrier == Carrier::SockJs { b"a" } else { b"" };
            let payload = array.iter().copied().chain(payload).collect::<Vec<u8>>();
            client.input.extend_from_slice(&[0x80 | header.opcode, payload.len() as u8]);
            client.input.extend_from_slice(&payload);
            let got = frame(&mut client);
            assert_eq!(got.body, sent.body);
            assert_eq!(got.get("transfer-encoding"), None);
        }
    }

    #[test]
    fn what_is_no_protocol_is_said() {
        let mut sockjs = wire(Carrier::SockJs);
        sockjs.input.extend_from_slice(b"\x81\x02no");
        assert!(sockjs.next().unwrap_err().to_string().contains("no SockJS frame"));
        let mut raw = wire(Carrier::Raw);
        raw.input.extend_from_slice(b"\x81\x7f\0\0\0\0\xff\0\0\0");
        assert!(raw.next().unwrap_err().to_string().contains("64 MiB"));
    }
}
