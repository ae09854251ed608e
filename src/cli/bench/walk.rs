//! Goes through what was read from a connection, WebSocket frame by WebSocket frame, or STOMP frame by STOMP frame on plain
//! TCP, and looks no further into a frame than its end, where a message has its stamp. What has none, or an unexpected one,
//! is looked at in full.

use bytes::Bytes;
use memchr::memchr;
use stomp_parser::{Command, Decoder, Limits, Version};

use super::stamp::Stamp;
use crate::client::websocket::{self, Header};
use crate::client::{Carrier, LARGEST_MESSAGE, Said, said};

/// One WebSocket frame; on plain TCP, what is there up to the next NUL, as if it were a text message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) opcode: u8,
    pub(super) payload: &'a [u8],
    /// The stamp at its end, if it is where the end of one message is.
    pub(super) stamp: Option<Stamp>,
}

/// Calls `each` with every whole frame. Returns how many octets they took; the rest is the beginning of another.
///
/// # Errors
/// The rule that the server breaks, or that of a server that cuts its messages up, which is not supported here.
#[inline]
pub(super) fn walk<'a>(
    octets: &'a [u8],
    carrier: Carrier,
    mut each: impl FnMut(Found<'a>),
) -> Result<usize, &'static str> {
    if carrier == Carrier::Tcp {
        return Ok(walk_plain(octets, each));
    }
    let mut at = 0;
    while let Some(header) = Header::parse(&octets[at..])? {
        if header.payload > LARGEST_MESSAGE {
            return Err("a message is larger than 64 MiB");
        }
        if !header.fin {
            return Err("a message comes in several WebSocket frames, which this tool does not put together");
        }
        let start = at + header.len;
        let Some(payload) = octets.get(start..start + header.payload) else {
            break;
        };
        at = start + header.payload;
        each(Found {
            opcode: header.opcode,
            payload,
            stamp: end_of_body(payload, carrier).and_then(Stamp::at_end_of),
        });
    }
    Ok(at)
}

/// The same on plain TCP, where a NUL ends a frame: the bodies of this tool have none inside.
#[inline]
fn walk_plain<'a>(octets: &'a [u8], mut each: impl FnMut(Found<'a>)) -> usize {
    let mut at = 0;
    while let Some(nul) = memchr(0, &octets[at..]) {
        let payload = &octets[at..=at + nul];
        at += nul + 1;
        let stamp = end_of_body(payload, Carrier::Tcp).and_then(Stamp::at_end_of);
        each(Found { opcode: websocket::TEXT, payload, stamp });
    }
    at
}

/// The payload up to where the body of its last message ends, if it looks like one.
#[inline]
fn end_of_body(payload: &[u8], carrier: Carrier) -> Option<&[u8]> {
    match carrier {
        Carrier::Raw | Carrier::Tcp => payload.strip_suffix(b"\0"),
        Carrier::SockJs => payload.strip_suffix(b"\\u0000\"]"),
    }
}

/// What a frame holds that is not just the expected message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inside {
    /// A message of this run.
    Stamp(Stamp),
    /// The broker says that something is wrong.
    Refused(String),
    /// The connection is closed: why.
    Closed(String),
    /// To be answered with a pong.
    Ping(Vec<u8>),
}

/// Looks at all of a frame. Heart-beats, receipts and messages of others are passed over.
pub(super) fn look_inside(found: Found<'_>, carrier: Carrier) -> Vec<Inside> {
    match (found.opcode, carrier) {
        (websocket::CLOSE, _) => {
            let text = String::from_utf8_lossy(found.payload.get(2..).unwrap_or_default());
            let code = found.payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
            vec![Inside::Closed(format!("closed: {code} {text}").trim_end().to_owned())]
        }
        (websocket::PING, _) => vec![Inside::Ping(found.payload.to_vec())],
        (websocket::PONG, _) => Vec::new(),
        (_, Carrier::Raw | Carrier::Tcp) => look_at_stomp(found.payload),
        (_, Carrier::SockJs) => match said(found.payload) {
            Some(Said::Messages(messages)) => {
                messages.iter().flat_map(|message| look_at_stomp(message.as_bytes())).collect()
            }
            Some(Said::Close(code, reason)) => {
                vec![Inside::Closed(format!("closed: {code} {reason}").trim_end().to_owned())]
            }
            Some(Said::Open | Said::Heartbeat) => Vec::new(),
            None => vec![Inside::Refused("a message is no SockJS frame".to_owned())],
        },
    }
}

fn look_at_stomp(octets: &[u8]) -> Vec<Inside> {
    let mut decoder = Decoder::new(Limits { body: LARGEST_MESSAGE, ..Limits::default() });
    decoder.set_version(Version::V1_2);
    decoder.feed(Bytes::copy_from_slice(octets));
    let mut inside = Vec::new();
    loop {
        match decoder.next() {
            Ok(Some(frame)) if frame.command == Command::Message => {
                inside.extend(Stamp::at_end_of(&frame.body).map(Inside::Stamp));
            }
            Ok(Some(frame)) if frame.command == Command::Error => {
                let message = frame.get("message").unwrap_or("an ERROR frame");
                inside.push(Inside::Refused(message.to_owned()));
            }
            Ok(Some(_)) => {}
            Ok(None) => return inside,
            Err(error) => {
                inside.push(Inside::Refused(format!("no STOMP: {error}")));
                return inside;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::BytesMut;
    use sockjs::Framing;

    use super::*;

    fn stamp(number: u64) -> Stamp {
        Stamp { topic: 0, number, due: 7 }
    }

    fn message(number: u64) -> String {
        let stamp = stamp(number).text();
        format!("MESSAGE\nsubscription:s\nmessage-id:1\ndestination:/topic/a\n\nx\"y{stamp}\0")
    }

    fn wire(carrier: Carrier, texts: &[&str]) -> Vec<u8> {
        let framing = match carrier {
            Carrier::Raw => Framing::WebSocket,
            Carrier::SockJs => Framing::SockJsWebSocket,
            Carrier::Tcp => return texts.concat().into_bytes(),
        };
        let mut out = BytesMut::new();
        for text in texts {
            framing.text(text, &mut out);
        }
        out.to_vec()
    }

    fn stamps(octets: &[u8], carrier: Carrier) -> (usize, Vec<Option<u64>>) {
        let mut stamps = Vec::new();
        let used = walk(octets, carrier, |found| stamps.push(found.stamp.map(|stamp| stamp.number)));
        (used.unwrap(), stamps)
    }

    #[test]
    fn messages_are_known_by_their_end_on_both_carriers() {
        for carrier in [Carrier::Raw, Carrier::SockJs] {
            let texts = [&message(1)[..], "\n", &message(2), "RECEIPT\nreceipt-id:a\n\n\0"];
            let octets = wire(carrier, &texts);
            let (used, found) = stamps(&octets, carrier);
            assert_eq!(used, octets.len());
            assert_eq!(found, [Some(1), None, Some(2), None]);
            // However the octets are cut, what is whole is found, and what is not is left.
            for cut in 0..octets.len() {
                let (used, found) = stamps(&octets[..cut], carrier);
                let (_, rest) = stamps(&octets[used..], carrier);
                assert_eq!(found.len() + rest.len(), 4, "cut at {cut}");
            }
        }
    }

    #[test]
    fn messages_are_known_by_their_end_on_plain_tcp() {
        let octets = wire(
            Carrier::Tcp,
            &[&message(1), "\n", &message(2), "RECEIPT\nreceipt-id:a\n\n\0", "ERROR\nmessage:no\n\n\0"],
        );
        for cut in 0..octets.len() {
            let (used, mut found) = stamps(&octets[..cut], Carrier::Tcp);
            let (_, rest) = stamps(&octets[used..], Carrier::Tcp);
            found.extend(rest);
            assert_eq!(found, [Some(1), Some(2), None, None], "cut at {cut}");
        }
        let mut inside = Vec::new();
        walk(&octets, Carrier::Tcp, |found| inside.extend(look_inside(found, Carrier::Tcp))).unwrap();
        let refused = Inside::Refused("no".to_owned());
        assert_eq!(inside, [Inside::Stamp(stamp(1)), Inside::Stamp(stamp(2)), refused]);
    }

    #[test]
    fn several_messages_in_one_frame_are_found_by_looking_inside() {
        let two = format!("{}\n{}", message(1), message(2));
        let raw = wire(Carrier::Raw, &[&two]);
        let json = format!("a{}", serde_json::to_string(&[message(1), message(2)]).unwrap());
        let mut sockjs = vec![0x81, 126];
        sockjs.extend_from_slice(&u16::try_from(json.len()).unwrap().to_be_bytes());
        sockjs.extend_from_slice(json.as_bytes());
        for (carrier, octets) in [(Carrier::Raw, raw), (Carrier::SockJs, sockjs)] {
            let mut inside = Vec::new();
            walk(&octets, carrier, |found| {
                assert_eq!(found.stamp, Some(stamp(2)));
                inside.extend(look_inside(found, carrier));
            })
            .unwrap();
            assert_eq!(inside, [Inside::Stamp(stamp(1)), Inside::Stamp(stamp(2))]);
        }
    }

    #[test]
    fn what_the_server_says_is_told() {
        let inside = |octets: &[u8], carrier| {
            let mut all = Vec::new();
            walk(octets, carrier, |found| all.extend(look_inside(found, carrier))).unwrap();
            all
        };
        for carrier in [Carrier::Raw, Carrier::SockJs] {
            let octets = wire(carrier, &["ERROR\nmessage:slow consumer\n\nx\0"]);
            assert_eq!(inside(&octets, carrier), [Inside::Refused("slow consumer".to_owned())]);
            assert_eq!(
                inside(b"\x88\x05\x03\xe8bye", carrier),
                [Inside::Closed("closed: 1000 bye".to_owned())]
            );
            assert_eq!(inside(b"\x88\x00", carrier), [Inside::Closed("closed: 1005".to_owned())]);
            assert_eq!(inside(b"\x89\x01x", carrier), [Inside::Ping(b"x".to_vec())]);
            assert_eq!(inside(b"\x8a\x00", carrier), []);
        }
        assert_eq!(inside(b"\x81\x01h", Carrier::SockJs), []);
        assert_eq!(
            inside(b"\x81\x0dc[3000,\"bye\"]", Carrier::SockJs),
            [Inside::Closed("closed: 3000 bye".to_owned())]
        );
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        let refused = |octets: &[u8]| walk(octets, Carrier::Raw, |_| {}).unwrap_err();
        assert!(refused(b"\x01\x01x").contains("several WebSocket frames"));
        assert!(refused(b"\x81\x7f\0\0\0\0\xff\0\0\0").contains("64 MiB"));
        assert!(refused(b"\x81\x81").contains("masked"));
    }
}
