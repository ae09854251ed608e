//! The STOMP encoder: whatever the headers hold, a frame stays one frame, with nothing in it that was not there.
//!
//! Input: an octet that chooses the command, then name, value, name, value … and the body, split at 0xFF.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use stomp_parser::{Command, Decoder, Frame, Limits, Version, encode};

fuzz_target!(|input: &[u8]| {
    let [command, rest @ ..] = input else { return };
    let mut frame = Frame::new(Command::ALL[usize::from(*command) % Command::ALL.len()]);
    let mut texts: Vec<&[u8]> = rest.split(|octet| *octet == 0xff).collect();
    frame.body = Bytes::copy_from_slice(texts.pop().unwrap_or_default());
    for pair in texts.chunks_exact(2) {
        let text = |octets| String::from_utf8_lossy(octets).into_owned();
        frame.headers.push(text(pair[0]), text(pair[1]));
    }
    for version in Version::ALL {
        assert_one(&frame, version);
    }
});

fn assert_one(frame: &Frame, version: Version) {
    let mut wire = BytesMut::new();
    encode(frame, version, &mut wire);
    let any = Limits { headers: usize::MAX, line: usize::MAX, header_bytes: usize::MAX, body: usize::MAX };
    let mut decoder = Decoder::new(any);
    decoder.set_version(version);
    decoder.feed(wire.freeze());
    let read = decoder.next().expect("a frame without fault").expect("a whole frame");
    assert_eq!(decoder.buffered(), 0, "something behind the frame");
    assert_eq!(read.command, frame.command);
    if frame.command.may_have_body() {
        assert_eq!(read.body, frame.body);
    } else {
        assert!(read.body.is_empty());
    }
    let added = usize::from(!read.body.is_empty() && !frame.headers.contains("content-length"));
    assert!(read.headers.len() <= frame.headers.len() + added, "{read:?}");
    // Where nothing needs to be replaced, each header comes as it was.
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if frame.headers.iter().all(|(name, value)| plain(name) && plain(value) && *name != "content-length") {
        let sent = frame.headers.iter();
        assert!(sent.eq(read.headers.iter().take(frame.headers.len())));
    }
}
