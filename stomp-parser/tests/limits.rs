//! Limits are kept before anything is held beyond them, and exactly.

#![allow(clippy::unwrap_used)]

mod support;

use stomp_parser::Version::{V1_1, V1_2};
use stomp_parser::{ErrorKind, Limits};
use support::{Outcome, Peer, decode_within};

const LIMITS: Limits = Limits { headers: 3, line: 20, header_bytes: 50, body: 10 };

/// Decodes whole and octet by octet, which must come to the same.
fn within(limits: Limits, wire: &str) -> Outcome {
    let whole = decode_within(Some(V1_2), limits, wire.as_bytes());
    let mut peer = Peer::new(Some(V1_2), limits);
    wire.as_bytes().iter().for_each(|octet| peer.feed(&[*octet]));
    assert_eq!(peer.finish(), whole, "{wire:?}");
    whole
}

#[track_caller]
fn accepted(limits: Limits, wire: &str) {
    let outcome = within(limits, wire);
    assert_eq!((outcome.error, outcome.frames.len()), (None, 1), "{wire:?}");
}

#[track_caller]
fn refused(limits: Limits, wire: &str, kind: ErrorKind) {
    let outcome = within(limits, wire);
    assert_eq!(outcome.error.map(|error| error.kind()), Some(kind), "{wire:?}");
}

#[test]
fn the_defaults_are_those_documented() {
    let Limits { headers, line, header_bytes, body } = Limits::default();
    assert_eq!((headers, line, header_bytes, body), (128, 16_384, 65_536, 8_388_608));
}

#[test]
fn headers_are_counted_with_their_repeats() {
    accepted(LIMITS, "SEND\na:1\na:1\na:1\n\n\0");
    accepted(LIMITS, "SEND\r\na:1\r\na:1\r\na:1\r\n\r\n\0");
    refused(LIMITS, "SEND\na:1\na:1\na:1\na:1\n\n\0", ErrorKind::TooManyHeaders);
    refused(LIMITS, "SEND\na:1\na:1\na:1\na", ErrorKind::TooManyHeaders);
    refused(LIMITS, "SEND\na:1\na:1\na:1\n\ra", ErrorKind::TooManyHeaders);
}

#[test]
fn a_line_is_bounded() {
    accepted(LIMITS, "SEND\na:345678901234567890\n\n\0");
    refused(LIMITS, "SEND\na:3456789012345678901\n\n\0", ErrorKind::LineTooLong);
    refused(LIMITS, "SEND\na:3456789012345678901", ErrorKind::LineTooLong);
    refused(LIMITS, "SEND\na:3456789012345678901\0", ErrorKind::LineTooLong);
}

#[test]
fn all_lines_together_are_bounded() {
    // 5 octets of command line, two lines, the blank line.
    accepted(LIMITS, &format!("SEND\n{}\n{}\n\n\0", "a:345678901234567890", "b:345678901234567890"));
    let wire = format!("SEND\n{0}\n{0}\nc:\n\n\0", "a:345678901234567890");
    accepted(Limits { header_bytes: 51, ..LIMITS }, &wire);
    refused(LIMITS, &wire, ErrorKind::HeadersTooLarge);
    refused(LIMITS, &wire.replace("c:\n\n\0", "c:xy"), ErrorKind::HeadersTooLarge);
}

#[test]
fn bodies_are_bounded_with_and_without_content_length() {
    accepted(LIMITS, "SEND\n\n1234567890\0");
    accepted(LIMITS, "SEND\ncontent-length:10\n\n1234567890\0");
    refused(LIMITS, "SEND\n\n12345678901\0", ErrorKind::BodyTooLarge);
    refused(LIMITS, "SEND\n\n12345678901", ErrorKind::BodyTooLarge);
}

#[test]
fn a_content_length_beyond_the_limit_is_refused_with_the_headers() {
    refused(LIMITS, "SEND\ncontent-length:11\n\n", ErrorKind::BodyTooLarge);
    refused(LIMITS, "SUBSCRIBE\ncontent-length:1\n\n", ErrorKind::BodyNotAllowed);
}

#[test]
fn the_limit_broken_first_is_the_one_named() {
    let zero = Limits { headers: 0, line: 0, header_bytes: 0, body: 0 };
    refused(zero, "SEND\n\n\0", ErrorKind::LineTooLong);
    refused(Limits { line: 4, ..zero }, "SEND\n\n\0", ErrorKind::HeadersTooLarge);
    accepted(Limits { line: 4, header_bytes: 6, ..zero }, "SEND\n\n\0");
    refused(Limits { line: 4, header_bytes: 6, ..zero }, "SEND\na\n\n\0", ErrorKind::TooManyHeaders);
    let none = Limits { headers: usize::MAX, line: usize::MAX, header_bytes: usize::MAX, body: usize::MAX };
    accepted(none, "SEND\na:b\n\nbody\0");
    refused(none, &"S".repeat(40), ErrorKind::UnknownCommand);
}

#[test]
fn heartbeats_between_frames_are_never_held() {
    for beats in ["\n".repeat(100_000), "\r\n".repeat(100_000)] {
        let mut peer = Peer::new(Some(V1_1), LIMITS);
        for piece in beats.as_bytes().chunks(1_001) {
            peer.feed(piece);
            assert!(peer.buffered() <= 1, "{} octets held", peer.buffered());
        }
        assert_eq!(peer.finish().heartbeats, 100_000);
    }
}
