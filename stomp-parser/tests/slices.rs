//! What a frame and a decoder at rest keep alive.

#![allow(clippy::unwrap_used)]

use std::ops::Range;

use bytes::Bytes;
use stomp_parser::{Decoder, Frame, Limits, Version};

const FRAME: &[u8] = b"SEND\ndestination:/topic/a\nescaped:a\\nb\n\nhello\0";

fn decoder() -> Decoder {
    let mut decoder = Decoder::new(Limits::default());
    decoder.set_version(Version::V1_2);
    decoder
}

fn is_within(part: &[u8], whole: &Range<*const u8>) -> bool {
    let part = part.as_ptr_range();
    whole.start <= part.start && part.end <= whole.end
}

fn slices_of(frame: &Frame, whole: &Range<*const u8>) -> (bool, bool, bool) {
    (
        is_within(frame.get("destination").unwrap().as_bytes(), whole),
        is_within(frame.get("escaped").unwrap().as_bytes(), whole),
        is_within(&frame.body, whole),
    )
}

#[test]
fn a_frame_within_one_piece_is_slices_of_it() {
    let mut decoder = decoder();
    for wire in [FRAME.to_vec(), [FRAME, FRAME, b"\n"].concat()] {
        let piece = Bytes::from(wire);
        let whole = piece.as_ptr_range();
        decoder.feed(piece);
        while let Some(frame) = decoder.next().unwrap() {
            assert_eq!(slices_of(&frame, &whole), (true, false, true));
        }
    }
}

#[test]
fn pieces_fed_together_are_not_joined() {
    let mut decoder = decoder();
    let pieces = [(); 3].map(|()| Bytes::copy_from_slice(FRAME));
    pieces.iter().for_each(|piece| decoder.feed(piece.clone()));
    assert_eq!(decoder.buffered(), 3 * FRAME.len());
    for piece in &pieces {
        let frame = decoder.next().unwrap().unwrap();
        assert_eq!(slices_of(&frame, &piece.as_ptr_range()), (true, false, true));
    }
    assert_eq!(decoder.next().unwrap(), None);
}

#[test]
fn pieces_are_read_in_the_order_fed() {
    let mut decoder = decoder();
    let receipt = |id: u8| Bytes::from(format!("RECEIPT\nreceipt-id:{id}\n\n\0"));
    decoder.feed(receipt(0));
    decoder.feed(receipt(1));
    for id in 2..10 {
        let frame = decoder.next().unwrap().unwrap();
        assert_eq!(frame.get("receipt-id"), Some((id - 2).to_string().as_str()));
        decoder.feed(receipt(id));
    }
}

#[test]
fn a_body_within_a_later_piece_is_a_slice_of_it() {
    let mut decoder = decoder();
    for head in ["SEND\n\n", "SEND\ncontent-length:4\n\n"] {
        decoder.feed(Bytes::from(head));
        assert_eq!(decoder.next().unwrap(), None);
        let piece = Bytes::from_static(b"body\0");
        decoder.feed(piece.clone());
        let frame = decoder.next().unwrap().unwrap();
        assert!(is_within(&frame.body, &piece.as_ptr_range()));
    }
}

#[test]
fn a_frame_over_two_pieces_keeps_neither_alive() {
    for at in 1..FRAME.len() {
        let mut decoder = decoder();
        let first = Bytes::from([FRAME, &FRAME[..at]].concat());
        decoder.feed(first.clone());
        drop(decoder.next().unwrap().unwrap());
        assert_eq!(decoder.next().unwrap(), None);
        assert!(first.is_unique(), "the first piece is held at {at}");
        assert_eq!(decoder.buffered(), at);

        decoder.feed(Bytes::copy_from_slice(&FRAME[at..]));
        let frame = decoder.next().unwrap().unwrap();
        assert_eq!(frame.body, "hello");
        assert_eq!(slices_of(&frame, &first.as_ptr_range()), (false, false, false));
    }
}

#[test]
fn a_decoder_at_rest_holds_nothing() {
    assert!(size_of::<Decoder>() <= 64, "{} octets", size_of::<Decoder>());
    for end in ["", "\n", "\r\n\r\n"] {
        let mut decoder = decoder();
        let piece = Bytes::from([FRAME, end.as_bytes()].concat());
        decoder.feed(piece.clone());
        drop(decoder.next().unwrap().unwrap());
        assert_eq!(piece.is_unique(), end.is_empty());
        assert_eq!(decoder.next().unwrap(), None);
        assert_eq!(decoder.buffered(), 0);
        assert!(piece.is_unique(), "held after {end:?}");
    }
}

#[test]
fn a_dead_decoder_holds_nothing() {
    let mut decoder = decoder();
    let pieces = [&b"NONE\n\n\0"[..], FRAME].map(Bytes::copy_from_slice);
    pieces.iter().for_each(|piece| decoder.feed(piece.clone()));
    let error = decoder.next().unwrap_err();
    decoder.feed(pieces[1].clone());
    decoder.set_version(Version::V1_1);
    assert_eq!(decoder.next().unwrap_err(), error);
    assert_eq!(decoder.buffered(), 0);
    assert!(pieces.iter().all(Bytes::is_unique));
}

#[test]
fn a_version_set_late_holds_for_the_frame_under_way() {
    let wire = b"SEND\nh:a\\cb\ncontent-length:3\n\nxyz\0";
    for at in 1..wire.len() {
        let mut decoder = Decoder::new(Limits::default());
        decoder.feed(Bytes::copy_from_slice(&wire[..at]));
        assert_eq!(decoder.next().unwrap(), None);
        decoder.set_version(Version::V1_1);
        assert_eq!(decoder.buffered(), at);
        decoder.feed(Bytes::copy_from_slice(&wire[at..]));
        let frame = decoder.next().unwrap().unwrap();
        assert_eq!(frame.get("h"), Some("a:b"), "set after {at} octets");
        assert_eq!(frame.body, "xyz");
        assert_eq!(decoder.next().unwrap(), None);
        assert_eq!(decoder.buffered(), 0);
    }
}

#[test]
fn a_version_set_late_keeps_the_order_of_the_pieces() {
    let mut decoder = Decoder::new(Limits::default());
    decoder.feed(Bytes::from_static(b"SEND\nh:a"));
    assert_eq!(decoder.next().unwrap(), None);
    for piece in ["\\n", "b\n\n", "1", "23\0"] {
        decoder.feed(Bytes::from_static(piece.as_bytes()));
    }
    decoder.set_version(Version::V1_2);
    let frame = decoder.next().unwrap().unwrap();
    assert_eq!((frame.get("h"), &frame.body[..]), (Some("a\nb"), &b"123"[..]));
}

#[test]
fn decoders_and_frames_go_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Decoder>();
    is_send::<Frame>();
    is_send::<stomp_parser::Error>();
}
