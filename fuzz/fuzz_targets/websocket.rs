//! The reader of WebSocket frames, beside a naive one that has all octets at once.
//!
//! Input: the limit of a message divided by eight, an octet that decides the pieces, and the wire. However the wire is cut,
//! the same comes of it; what is held is bounded by what came and by the limit.
#![no_main]
#![allow(dead_code)]

mod pieces;
#[path = "../../sockjs/src/ws/mod.rs"]
mod ws;

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use ws::{Decoder, Frame};

fuzz_target!(|input: &[u8]| {
    let [limit, seed, wire @ ..] = input else { return };
    let limit = usize::from(*limit) * 8;
    let expected = naive(wire, limit);
    assert_eq!(read(&[wire], limit), expected);
    assert_eq!(read(&pieces::pieces(wire, *seed), limit), expected);
});

/// The frames, and the close code that answers what broke a rule.
type Outcome = (Vec<Frame>, Option<u16>);

fn read(pieces: &[&[u8]], limit: usize) -> Outcome {
    let mut decoder = Decoder::new(limit);
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.feed(BytesMut::from(*piece));
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(violation) => return (frames, Some(violation.code)),
            }
        }
    }
    (frames, None)
}

/// RFC 6455, sections 5.2 to 5.5, once over.
fn naive(mut wire: &[u8], limit: usize) -> Outcome {
    let mut frames = Vec::new();
    let mut message: Option<(bool, Vec<u8>)> = None;
    loop {
        let [first, second, rest @ ..] = wire else { return (frames, None) };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        let control = opcode >= 8;
        let known = matches!(opcode, 0..=2 | 8..=10);
        let short = second & 0x7f;
        if first & 0x70 != 0 || !known || second & 0x80 == 0 || (control && (!fin || short > 125)) {
            return (frames, Some(1002));
        }
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((length, rest)) = rest.split_at_checked(extended) else { return (frames, None) };
        let length = match extended {
            0 => u64::from(short),
            _ => length.iter().fold(0, |length, octet| length << 8 | u64::from(*octet)),
        };
        if length >> 63 != 0 {
            return (frames, Some(1002));
        }
        let Some((mask, rest)) = rest.split_at_checked(4) else { return (frames, None) };
        if !control && (opcode == 0) != message.is_some() {
            return (frames, Some(1002));
        }
        let before = message.as_ref().map_or(0, |(_, payload)| payload.len());
        if !control && length > (limit - before) as u64 {
            return (frames, Some(1009));
        }
        if (rest.len() as u64) < length {
            return (frames, None);
        }
        let (payload, rest) = rest.split_at(length as usize);
        let payload: Vec<u8> =
            payload.iter().zip(mask.iter().cycle()).map(|(octet, mask)| octet ^ mask).collect();
        wire = rest;
        match opcode {
            8 => match close(&payload) {
                Ok(frame) => frames.push(frame),
                Err(code) => return (frames, Some(code)),
            },
            9 => frames.push(Frame::Ping(BytesMut::from(&payload[..]))),
            10 => frames.push(Frame::Pong),
            _ => {
                let (_, whole) = message.get_or_insert((opcode == 2, Vec::new()));
                whole.extend(payload);
                if fin && let Some((binary, whole)) = message.take() {
                    let whole = BytesMut::from(&whole[..]);
                    frames.push(if binary { Frame::Binary(whole) } else { Frame::Text(whole) });
                }
            }
        }
    }
}

fn close(payload: &[u8]) -> Result<Frame, u16> {
    let (code, reason) = match payload {
        [] => (None, &[][..]),
        [_] => return Err(1002),
        [a, b, reason @ ..] => (Some(u16::from(*a) << 8 | u16::from(*b)), reason),
    };
    if code.is_some_and(|code| !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)) {
        return Err(1002);
    }
    let reason = std::str::from_utf8(reason).map_err(|_| 1007_u16)?;
    Ok(Frame::Close { code, reason: reason.into() })
}
