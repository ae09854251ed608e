//! The quoting of what SockJS clients are sent, and the frames around it, beside serde_json.
//!
//! Input: text.
#![no_main]
#![allow(dead_code, unused_imports)]

#[path = "../../sockjs/src/error.rs"]
mod error;
#[path = "../../sockjs/src/frame.rs"]
mod frame;
#[path = "../../sockjs/src/quote.rs"]
mod quote;
#[path = "../../sockjs/src/ws/mod.rs"]
mod ws;

use bytes::BytesMut;
use frame::Framing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut quoted = BytesMut::new();
    quote::quote(text, &mut quoted);
    let quoted = std::str::from_utf8(&quoted).expect("UTF-8 of UTF-8");
    let json = serde_json::from_str::<String>(&format!("\"{quoted}\""));
    assert_eq!(json.expect("a JSON string"), text);
    assert!(!quoted.chars().any(must_be_escaped));
    let plain = |c: char| !must_be_escaped(c) && c != '"' && c != '\\';
    if text.chars().all(plain) {
        assert_eq!(quoted, text, "nothing to escape");
    }

    let payload = format!("a[\"{quoted}\"]");
    let mut wire = BytesMut::new();
    Framing::SockJsWebSocket.text(text, &mut wire);
    assert_eq!(payload_of(&wire), payload.as_bytes());
    wire.clear();
    Framing::WebSocket.text(text, &mut wire);
    assert_eq!(payload_of(&wire), text.as_bytes());

    let close = Framing::SockJsWebSocket.close(3000, text);
    let (payload, rest) = split_frame(&close);
    let said: (u16, String) = serde_json::from_slice(&payload[1..]).expect("a JSON array behind the c");
    assert_eq!(said, (3000, text.to_owned()));
    assert!(payload_of(rest).len() <= 125, "a control frame");
    assert!(payload_of(&Framing::WebSocket.close(1000, text)).len() <= 125, "a control frame");
});

/// SockJS 0.3.3, the characters that browsers lost or changed; without `"` and `\`, which an escape begins with.
fn must_be_escaped(c: char) -> bool {
    matches!(c, '\0'..='\u{1f}' | '\u{200c}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{2060}'..='\u{206f}'
        | '\u{fff0}'..='\u{ffff}')
}

/// The payload of the one frame that is there.
fn payload_of(wire: &[u8]) -> &[u8] {
    let (payload, rest) = split_frame(wire);
    assert!(rest.is_empty(), "something behind the frame");
    payload
}

/// The payload of the first frame, unmasked as servers send it, and what follows.
fn split_frame(wire: &[u8]) -> (&[u8], &[u8]) {
    let (header, length) = match wire[1] {
        126 => (4, usize::from(u16::from_be_bytes([wire[2], wire[3]]))),
        127 => (10, u64::from_be_bytes(wire[2..10].try_into().expect("eight")) as usize),
        short => (2, usize::from(short)),
    };
    assert!(length > 125 || header == 2, "a longer header than it takes");
    assert!(length > 0xffff || header < 10, "a longer header than it takes");
    wire[header..].split_at(length)
}
