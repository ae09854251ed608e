//! Cursors: whatever text a client sends as one.
//!
//! Input: two lines, a destination and a cursor for it.
#![no_main]
#![allow(dead_code)]

#[path = "../../src/broker"]
mod broker {
    mod destination;
    mod log {
        pub(super) mod cursor;
    }
    mod routing_key;

    use destination::{Filter, Tenant};
    use log::cursor::{Claim, Cursor, LogIdentity};

    const LOG: LogIdentity = LogIdentity { installation: 0x0102_0304, epoch: 0x0506_0708, base: 0 };
    const LAST: u64 = 1 << 40;

    pub fn check(input: &str) {
        let (destination, text) = input.split_once('\n').unwrap_or(("/topic/a", input));
        let Ok(filter) = Filter::parse(Tenant::DEFAULT, destination.into()) else { return };
        if let Claim::UpTo(number) = Cursor::read(text, LOG, LAST, &filter) {
            assert!(number <= LAST);
            assert_eq!(
                Cursor::new(LOG, number, &filter).to_string(),
                text,
                "there is one text for each place"
            );
        }
        let number = text.len() as u64;
        let cursor = Cursor::new(LOG, number, &filter).to_string();
        assert!(cursor.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet)));
        assert_eq!(Cursor::read(&cursor, LOG, LAST, &filter), Claim::UpTo(number));
    }
}

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| broker::check(input));
