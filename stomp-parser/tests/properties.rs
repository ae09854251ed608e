//! What holds for all frames and all octets.

#![allow(clippy::unwrap_used)]

mod support;

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use stomp_parser::{Command, Frame, Limits, Version, encode};
use support::{Outcome, Peer, decode_within};

/// Characters that some rule treats apart, and some that none does.
const CHARS: [char; 18] =
    ['a', 'n', 'c', 'r', 't', ':', '\\', '\n', '\r', ' ', '\t', '-', '/', '0', 'é', '€', '🐎', '\u{202e}'];

/// Pieces of which streams are made that are nearly right.
const TOKENS: [&str; 40] = [
    "CONNECT",
    "STOMP",
    "SEND",
    "SUBSCRIBE",
    "MESSAGE",
    "ERROR",
    "NONE",
    "\n",
    "\n",
    "\n",
    "\n",
    "\n\n",
    "\n\n",
    "\n\n",
    "\r\n",
    "\r\n",
    "\r\n\r\n",
    "\r",
    "\0",
    "\0",
    "\0",
    "\n\n\0",
    "\n\n\0",
    ":",
    "\\",
    "\\n",
    "\\r",
    "\\t",
    " ",
    "a:b",
    "a:",
    "accept-version:1.0",
    "accept-version:1.1,1.2",
    "content-length:0",
    "content-length:3",
    "content-length:12",
    "content-length:-1",
    "receipt:7",
    "body",
    "é",
];

fn version() -> impl Strategy<Value = Version> {
    select(&Version::ALL[..])
}

/// A text that this version can carry in this place.
fn text(version: Version, command: Command, is_name: bool) -> impl Strategy<Value = String> {
    let chars = prop_oneof![3 => select(&CHARS[..]), 1 => any::<char>()];
    vec(chars, usize::from(is_name)..12).prop_map(move |chars| {
        let can_say = |c: &char| match c {
            '\0' => false,
            '\n' => version > Version::V1_0 && !command.opens_session(),
            '\r' => !command.opens_session(),
            ':' => !is_name || (version > Version::V1_0 && !command.opens_session()),
            _ => true,
        };
        let text: String = chars.into_iter().filter(can_say).collect();
        let text = if version == Version::V1_0 { text.trim_matches(' ') } else { &text };
        if is_name && text.trim_matches(' ').is_empty() { "x".to_owned() } else { text.to_owned() }
    })
}

/// A text that no version may be able to carry.
fn awkward_text() -> impl Strategy<Value = String> {
    let special = vec(select(&['\0', '\n', '\r', ':', '\\', ' ', 'a'][..]), 0..6);
    prop_oneof![any::<String>(), special.prop_map(String::from_iter)]
}

fn frame(version: Version) -> impl Strategy<Value = Frame> {
    select(&Command::ALL[..]).prop_flat_map(move |command| {
        let header = (text(version, command, true), text(version, command, false));
        let octets = if command.may_have_body() { 0..64 } else { 0..1 };
        (vec(header, 0..6), vec(any::<u8>(), octets)).prop_map(move |(headers, body)| Frame {
            command,
            headers: headers.into_iter().collect(),
            body: body.into(),
        })
    })
}

/// Frames of one version as they go over the wire, with line ends before, between and behind them.
fn stream(version: Version) -> impl Strategy<Value = (Vec<Frame>, u64, Vec<u8>)> {
    let line_ends = vec(select(&["\n", "\r\n"][..]), 0..4);
    vec((line_ends, frame(version)), 0..5).prop_map(move |parts| {
        let mut wire = BytesMut::new();
        let mut beats = 0;
        let mut frames = Vec::new();
        for (line_ends, frame) in parts {
            beats += line_ends.len() as u64;
            wire.extend_from_slice(line_ends.concat().as_bytes());
            encode(&frame, version, &mut wire);
            frames.push(frame);
        }
        wire.extend_from_slice(b"\n");
        (frames, beats + 1, wire.to_vec())
    })
}

/// A frame as it comes out again: with the `content-length` that the encoder added.
fn with_length(mut frame: Frame) -> Frame {
    if !frame.body.is_empty() {
        frame.headers.push("content-length", frame.body.len().to_string());
    }
    frame
}

fn in_pieces(version: Option<Version>, limits: Limits, wire: &[u8], cuts: &[Index]) -> Outcome {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
    cuts.push(wire.len());
    cuts.sort_unstable();
    let mut peer = Peer::new(version, limits);
    let mut from = 0;
    for to in cuts {
        peer.feed(&wire[from..to]);
        from = to;
    }
    peer.finish()
}

fn octet_by_octet(version: Option<Version>, limits: Limits, wire: &[u8]) -> Outcome {
    let mut peer = Peer::new(version, limits);
    wire.iter().for_each(|octet| peer.feed(&[*octet]));
    peer.finish()
}

fn small_limits() -> impl Strategy<Value = Limits> {
    (0..4_usize, 0..24_usize, 0..80_usize, 0..16_usize)
        .prop_map(|(headers, line, header_bytes, body)| Limits { headers, line, header_bytes, body })
}

fn limits() -> impl Strategy<Value = Limits> {
    prop_oneof![Just(Limits::default()), small_limits()]
}

fn nearly_right() -> impl Strategy<Value = Vec<u8>> {
    vec(select(&TOKENS[..]), 0..40).prop_map(|tokens| tokens.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_encoded_is_decoded(
        (version, (frames, beats, wire)) in version().prop_flat_map(|v| (Just(v), stream(v))),
    ) {
        let outcome = decode_within(Some(version), Limits::default(), &wire);
        prop_assert_eq!(outcome.error, None);
        let expected: Vec<_> = frames.into_iter().map(with_length).collect();
        prop_assert_eq!(outcome.frames, expected);
        prop_assert_eq!(outcome.heartbeats, beats);
    }

    #[test]
    fn any_split_gives_the_same_frames(
        (version, (_, _, wire)) in version().prop_flat_map(|v| (Just(v), stream(v))),
        limits in limits(),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        let whole = decode_within(Some(version), limits, &wire);
        prop_assert_eq!(&in_pieces(Some(version), limits, &wire, &cuts), &whole);
        prop_assert_eq!(&octet_by_octet(Some(version), limits, &wire), &whole);
    }

    #[test]
    fn any_split_of_a_damaged_stream_gives_the_same(
        (version, (_, _, mut wire)) in version().prop_flat_map(|v| (Just(v), stream(v))),
        damage in vec((any::<Index>(), select(&b"\0\n\r:\\ \xffx"[..])), 1..4),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        for (at, octet) in damage {
            let at = at.index(wire.len());
            wire[at] = octet;
        }
        let whole = decode_within(Some(version), Limits::default(), &wire);
        prop_assert_eq!(&in_pieces(Some(version), Limits::default(), &wire, &cuts), &whole);
        prop_assert_eq!(&octet_by_octet(Some(version), Limits::default(), &wire), &whole);
    }

    #[test]
    fn any_split_of_near_frames_gives_the_same(
        version in proptest::option::of(version()),
        wire in nearly_right(),
        limits in limits(),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        let whole = decode_within(version, limits, &wire);
        prop_assert_eq!(&in_pieces(version, limits, &wire, &cuts), &whole);
        prop_assert_eq!(&octet_by_octet(version, limits, &wire), &whole);
    }

    /// `Peer` fails when more is held than the limits allow.
    #[test]
    fn arbitrary_octets_neither_panic_nor_pile_up(
        version in proptest::option::of(version()),
        limits in limits(),
        pieces in vec(vec(any::<u8>(), 0..200), 0..4),
    ) {
        let mut peer = Peer::new(version, limits);
        pieces.iter().for_each(|piece| peer.feed(piece));
    }

    #[test]
    fn octets_behind_a_valid_head_neither_panic_nor_pile_up(
        version in version(),
        limits in small_limits(),
        pieces in vec(vec(1..=255_u8, 0..40), 0..4),
    ) {
        let limits = Limits { line: 30, header_bytes: 40, headers: 2, ..limits };
        let mut peer = Peer::new(Some(version), limits);
        peer.feed(b"SEND\ndestination:/topic/a\n\n");
        pieces.iter().for_each(|piece| peer.feed(piece));
    }

    /// Whatever a header holds, the frame stays one frame, and no header comes of it that was not
    /// there.
    #[test]
    fn no_text_breaks_the_framing(
        version in version(),
        command in select(&Command::ALL[..]),
        headers in vec((awkward_text(), awkward_text()), 0..6),
    ) {
        let sent = Frame { headers: headers.into_iter().collect(), ..Frame::new(command) };
        let mut wire = BytesMut::new();
        encode(&sent, version, &mut wire);
        let outcome = decode_within(Some(version), Limits::default(), &wire);
        prop_assert_eq!(outcome.error, None);
        prop_assert_eq!(outcome.frames.len(), 1);
        prop_assert_eq!(outcome.frames[0].command, command);
        prop_assert!(outcome.frames[0].headers.len() <= sent.headers.len());
    }

    #[test]
    fn errors_are_one_line_of_plain_text(wire in nearly_right(), noise in vec(any::<u8>(), 0..60)) {
        for wire in [wire, noise] {
            let outcome = decode_within(Some(Version::V1_2), Limits::default(), &wire);
            if let Some(error) = outcome.error {
                let text = error.to_string();
                prop_assert!(text.len() < 500 && !text.chars().any(char::is_control), "{}", text);
            }
        }
    }
}
