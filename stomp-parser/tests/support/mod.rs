//! Runs wire octets through a decoder, in whatever pieces.

#![allow(dead_code, reason = "each test file uses its part")]

use bytes::{Bytes, BytesMut};
use stomp_parser::{Command, Decoder, Error, ErrorKind, Frame, Limits, Version, encode};

/// All that came of a stream of octets.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) frames: Vec<Frame>,
    pub(crate) error: Option<Error>,
    pub(crate) heartbeats: u64,
}

/// A decoder for one version; for none it takes the version from CONNECT frames, as a server does.
pub(crate) struct Peer {
    decoder: Decoder,
    outcome: Outcome,
    bound: usize,
}

impl Peer {
    pub(crate) fn new(version: Option<Version>, limits: Limits) -> Self {
        let mut decoder = Decoder::new(limits);
        if let Some(version) = version {
            decoder.set_version(version);
        }
        Self {
            decoder,
            outcome: Outcome { frames: Vec::new(), error: None, heartbeats: 0 },
            bound: limits.header_bytes.saturating_add(limits.body).max(1),
        }
    }

    /// Feeds one piece and takes what there is to take. What is then held must be within the
    /// limits.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        self.decoder.feed(Bytes::copy_from_slice(piece));
        loop {
            match self.decoder.next() {
                Ok(Some(frame)) => {
                    if frame.command.opens_session() && self.decoder.version().is_none() {
                        let version = Version::negotiate(frame.get("accept-version"));
                        self.decoder.set_version(version.unwrap_or(Version::V1_2));
                    }
                    self.outcome.frames.push(frame);
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(self.decoder.buffered(), 0, "a dead decoder holds nothing");
                    let first = self.outcome.error.get_or_insert(error.clone());
                    assert_eq!(*first, error, "the first error stands");
                    break;
                }
            }
        }
        assert!(self.decoder.buffered() <= self.bound, "{} octets held", self.decoder.buffered());
    }

    pub(crate) fn finish(mut self) -> Outcome {
        self.outcome.heartbeats = self.decoder.heartbeats();
        self.outcome
    }

    pub(crate) fn buffered(&self) -> usize {
        self.decoder.buffered()
    }
}

/// Decodes a stream that comes in one piece.
pub(crate) fn decode_within(version: Option<Version>, limits: Limits, wire: &[u8]) -> Outcome {
    let mut peer = Peer::new(version, limits);
    peer.feed(wire);
    peer.finish()
}

/// Decodes a stream whole and octet by octet, which must come to the same.
pub(crate) fn decode(version: impl Into<Option<Version>>, wire: impl AsRef<[u8]>) -> Outcome {
    let version = version.into();
    let whole = decode_within(version, Limits::default(), wire.as_ref());
    let mut peer = Peer::new(version, Limits::default());
    for octet in wire.as_ref() {
        peer.feed(&[*octet]);
    }
    assert_eq!(peer.finish(), whole, "octet by octet");
    whole
}

/// The frames of a stream without fault.
pub(crate) fn frames(version: impl Into<Option<Version>>, wire: impl AsRef<[u8]>) -> Vec<Frame> {
    let outcome = decode(version, wire);
    assert_eq!(outcome.error, None);
    outcome.frames
}

/// The only frame of a stream without fault.
pub(crate) fn frame(version: impl Into<Option<Version>>, wire: impl AsRef<[u8]>) -> Frame {
    let mut frames = frames(version, wire);
    assert_eq!(frames.len(), 1, "{frames:?}");
    frames.remove(0)
}

/// The error of a stream that begins with it.
pub(crate) fn error(version: impl Into<Option<Version>>, wire: impl AsRef<[u8]>) -> Error {
    let outcome = decode(version, wire);
    assert_eq!(outcome.frames, [], "frames before the error");
    outcome.error.expect("an error")
}

pub(crate) fn kind(version: impl Into<Option<Version>>, wire: impl AsRef<[u8]>) -> ErrorKind {
    error(version, wire).kind()
}

/// The value of the header `h` of a SEND frame.
pub(crate) fn value_of_h(version: Version, line: &str) -> Result<String, ErrorKind> {
    let outcome = decode(version, format!("SEND\n{line}\n\n\0"));
    match outcome.error {
        Some(error) => Err(error.kind()),
        None => Ok(outcome.frames[0].get("h").expect("the header h").to_owned()),
    }
}

pub(crate) fn encoded(frame: &Frame, version: Version) -> String {
    let mut out = BytesMut::new();
    encode(frame, version, &mut out);
    String::from_utf8(out.to_vec()).expect("UTF-8")
}

pub(crate) fn send() -> Frame {
    Frame::new(Command::Send)
}
