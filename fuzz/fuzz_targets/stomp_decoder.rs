//! The STOMP decoder, in all versions.
//!
//! Input: a digit (`0` takes the version from CONNECT, `1` to `3` are 1.0 to 1.2; four more for small limits), an
//! octet that decides the pieces, and the wire. However the wire is cut, the same frames, heart-beats and error come
//! of it; never is more held than the limits allow; a frame encoded again is the same frame.
#![no_main]

mod pieces;

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use stomp_parser::{Decoder, Error, Frame, Limits, Version, encode};

const SMALL: Limits = Limits { headers: 3, line: 24, header_bytes: 64, body: 16 };

fuzz_target!(|input: &[u8]| {
    let [settings, seed, wire @ ..] = input else { return };
    let version = match settings % 4 {
        0 => None,
        1 => Some(Version::V1_0),
        2 => Some(Version::V1_1),
        _ => Some(Version::V1_2),
    };
    let limits = if settings / 4 % 2 == 0 { Limits::DEFAULT } else { SMALL };
    let whole = Outcome::of(&[wire], version, limits);
    let cut = Outcome::of(&pieces::pieces(wire, *seed), version, limits);
    assert_eq!(cut, whole);
    for (frame, version) in &whole.frames {
        if let Some(version) = version {
            assert_encodes(frame, *version);
        }
    }
});

/// All that came of a wire. Frames with the version that they were read by.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    frames: Vec<(Frame, Option<Version>)>,
    error: Option<Error>,
    heartbeats: u64,
}

impl Outcome {
    fn of(pieces: &[&[u8]], version: Option<Version>, limits: Limits) -> Outcome {
        let mut decoder = Decoder::new(limits);
        if let Some(version) = version {
            decoder.set_version(version);
        }
        let most = (limits.header_bytes + limits.body).max(1);
        let mut outcome = Outcome::default();
        for piece in pieces {
            decoder.feed(Bytes::copy_from_slice(piece));
            outcome.take(&mut decoder);
            assert!(decoder.buffered() <= most, "{} octets held", decoder.buffered());
        }
        outcome.heartbeats = decoder.heartbeats();
        outcome
    }

    fn take(&mut self, decoder: &mut Decoder) {
        loop {
            match decoder.next() {
                Ok(Some(frame)) => {
                    let version = decoder.version();
                    if version.is_none() && frame.command.opens_session() {
                        let agreed = Version::negotiate(frame.get("accept-version"));
                        decoder.set_version(agreed.unwrap_or(Version::V1_2));
                    }
                    self.frames.push((frame, version));
                }
                Ok(None) => return,
                Err(error) => {
                    assert_eq!(decoder.buffered(), 0, "held after an error");
                    assert!(!error.to_string().chars().any(char::is_control));
                    assert_eq!(self.error.get_or_insert_with(|| error.clone()), &error);
                    return;
                }
            }
        }
    }
}

fn assert_encodes(frame: &Frame, version: Version) {
    let (again, wire) = encoded(frame, version);
    // Frames that open a session can't say all that a lenient reader takes.
    if !frame.command.opens_session() {
        assert_eq!(again, with_length(frame));
        assert_eq!(encoded(&again, version).1, wire);
    }
}

fn encoded(frame: &Frame, version: Version) -> (Frame, BytesMut) {
    let mut wire = BytesMut::new();
    encode(frame, version, &mut wire);
    let mut decoder = Decoder::new(Limits { header_bytes: 1 << 20, line: 1 << 20, ..Limits::DEFAULT });
    decoder.set_version(version);
    decoder.feed(wire.clone().freeze());
    let again = decoder.next().expect("a frame without fault").expect("a whole frame");
    assert_eq!(decoder.buffered(), 0, "something behind the frame");
    (again, wire)
}

/// The frame as an encoder should say it: with a `content-length`, and without what could pass for one.
fn with_length(frame: &Frame) -> Frame {
    let mut frame = frame.clone();
    frame.headers.retain(|name, _| {
        let bare = name.replace(['\0', '\n', '\r', '\t', ' ', ':'], "");
        name == "content-length" || bare != "content-length"
    });
    if !frame.body.is_empty() && !frame.headers.contains("content-length") {
        frame.headers.push("content-length", frame.body.len().to_string());
    }
    frame
}
