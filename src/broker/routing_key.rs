//! Names as AMQP routing keys.
//!
//! Owns the one mapping: separators become `.`, unreserved octets stand, every other octet is `%XX`. What bounds the
//! length of names and what goes to RabbitMQ both come from it.

use super::destination::{Destination, Filter, segments};

impl Destination {
    /// Its name as a routing key.
    pub fn key(&self) -> String {
        key(self.name())
    }
}

impl Filter {
    /// What it asks for as a binding key: `*` and the `#` at the end stand for what they do here.
    pub fn key(&self) -> String {
        key(self.name())
    }
}

/// The octets of the key that a name maps to, where a wildcard counts like any octet that does not stand.
pub(super) fn key_length(name: &str) -> usize {
    name.bytes().map(|octet| if mapped(octet).is_some() { 1 } else { 3 }).sum()
}

pub(super) fn key(name: &str) -> String {
    let mut key = String::with_capacity(key_length(name));
    for (at, segment) in segments(name).enumerate() {
        if at > 0 {
            key.push('.');
        }
        match segment {
            "*" | "#" => key.push_str(segment),
            _ => segment.bytes().for_each(|octet| push(octet, &mut key)),
        }
    }
    key
}

fn push(octet: u8, key: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    match mapped(octet) {
        Some(octet) => key.push(char::from(octet)),
        None => key.extend(['%', DIGITS[usize::from(octet >> 4)], DIGITS[usize::from(octet & 15)]]),
    }
}

/// The octet that stands for this one in a key, if one can.
fn mapped(octet: u8) -> Option<u8> {
    match octet {
        b'.' | b'/' | b':' => Some(b'.'),
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => Some(octet),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::broker::destination::{MAX_KEY, Tenant};

    fn destination(name: &str) -> Option<Destination> {
        Destination::topic(Tenant::DEFAULT, name).ok()
    }

    #[test]
    fn keys_are_as_written_down() {
        for (name, key) in [
            ("a.b", "a.b"),
            ("a/b:c.d", "a.b.c.d"),
            ("host-metrics:web1.example.org", "host-metrics.web1.example.org"),
            ("AZaz09-_~", "AZaz09-_~"),
            ("a b", "a%20b"),
            ("a%20b", "a%2520b"),
            ("a*b.#c.**", "a%2Ab.%23c.%2A%2A"),
            ("grün", "gr%C3%BCn"),
            ("a\u{1}\u{7f}", "a%01%7F"),
        ] {
            assert_eq!(destination(name).unwrap().key(), key);
        }
    }

    #[test]
    fn wildcards_of_a_pattern_stand() {
        for (name, key) in [
            ("#", "#"),
            ("*", "*"),
            ("host-metrics:#", "host-metrics.#"),
            ("a/*:b*.#", "a.*.b%2A.#"),
            ("a#.b", "a%23.b"),
        ] {
            let filter = Filter::parse(Tenant::DEFAULT, format!("/topic/{name}").into()).unwrap();
            assert_eq!(filter.key(), key);
        }
    }

    fn is_plain(octet: u8) -> bool {
        octet.is_ascii_alphanumeric() || b"-_~.%".contains(&octet)
    }

    proptest! {
        #[test]
        fn a_key_is_as_long_as_it_is_reckoned(name in "[-a-c.:/*#%é \u{0}]{1,120}|\\PC{1,120}") {
            if let Some(destination) = destination(&name) {
                let key = destination.key();
                prop_assert_eq!(key.len(), key_length(&name));
                prop_assert!(key.len() <= MAX_KEY);
                prop_assert!(key.bytes().all(is_plain), "{}", key);
            }
        }

        #[test]
        fn only_the_same_segments_share_a_key(one in "[a%2F.:/*é]{1,8}", other in "[a%2F.:/*é]{1,8}") {
            if let (Some(a), Some(b)) = (destination(&one), destination(&other)) {
                let same = segments(&one).eq(segments(&other));
                prop_assert_eq!(a.key() == b.key(), same);
            }
        }
    }
}
