//! The reader of what SockJS clients send, beside serde_json.
//!
//! Input: the limit of a string's octets divided by four, then the message.
#![no_main]
#![allow(dead_code)]

#[path = "../../sockjs/src/message.rs"]
mod message;

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use message::Refused;

fuzz_target!(|input: &[u8]| {
    let [limit, payload @ ..] = input else { return };
    let limit = usize::from(*limit) * 4;
    let json = || {
        serde_json::from_slice::<Vec<String>>(payload)
            .or_else(|_| serde_json::from_slice(payload).map(|text| vec![text]))
    };
    match message::read(BytesMut::from(payload), limit) {
        Ok(strings) if payload.is_empty() => assert_eq!(strings.count(), 0),
        Ok(strings) => {
            let strings: Vec<String> = strings.map(|text| text.to_string()).collect();
            assert!(strings.iter().all(|text| text.len() <= limit));
            assert_eq!(strings, json().expect("JSON strings"));
        }
        Err(Refused::Broken | Refused::NotUtf8) => assert!(json().is_err()),
        Err(Refused::TooBig) => {
            if let Ok(strings) = json() {
                assert!(strings.iter().any(|text| text.len() > limit));
            }
        }
    }
});
