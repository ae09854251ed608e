//! Destinations of messages that name a routing key and no spelling.
//!
//! Owns what `/topic/a.b`, `/topic/a/b` and `/topic/a:b` have in common: their key. They are three channels, but what a foreign
//! publisher sends to the exchange says no more than the key, and is for the subscribers of all three. Such a message has a
//! destination of its own, *by key*: unequal to each spelling, matched by each, with the segments of the key.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use bytestring::ByteString;

use super::{Destination, InvalidDestination, Kind, Tenant};
use crate::broker::routing_key::key;

impl Destination {
    /// Where a message goes that came under a routing key and says no more: to all subscriptions whose key it is, however they
    /// are spelled. What is no key of ours (`host-metrics:web1`, as RabbitMQ's own STOMP plug-in has it) is taken for a name.
    ///
    /// # Errors
    /// As [`Destination::parse`]: nobody can subscribe to such a key.
    pub fn foreign(tenant: Tenant, routing_key: &str) -> Result<Destination, InvalidDestination> {
        let name = name_of(routing_key).map_or(Cow::Borrowed(routing_key), Cow::Owned);
        Ok(Destination { by_key: true, ..Destination::topic(tenant, &dotted(&name))? })
    }

    /// Whether it stands for all spellings of its key.
    pub fn is_by_key(&self) -> bool {
        self.by_key
    }

    /// The one that stands for all spellings of this one's key, this one included.
    pub(in crate::broker) fn with_key(&self) -> Destination {
        let text = match dotted(self.name()) {
            Cow::Borrowed(_) => self.text.clone(),
            Cow::Owned(name) => format!("{}{name}", self.kind.prefix()).into(),
        };
        Destination { text, by_key: true, ..*self }
    }

    /// The one spelling that is shown where this stands for several.
    pub(in crate::broker) fn as_shown(&self) -> Destination {
        Destination { text: self.shown().into_owned().into(), by_key: false, ..*self }
    }

    /// Whether `other` is a topic with the same key.
    pub(super) fn is_key_of(&self, other: &Destination) -> bool {
        let kinds = (self.kind, other.kind);
        kinds == (Kind::Topic, Kind::Topic)
            && self.tenant == other.tenant
            && same_key(self.name(), other.name())
    }

    pub(super) fn shown_by_key(&self) -> Cow<'_, str> {
        let key = self.key();
        if key == self.name() {
            return Cow::Borrowed(&self.text);
        }
        Cow::Owned(format!("{}{key}", self.kind.prefix()))
    }
}

/// A text by which all spellings of one key are equal.
#[derive(Debug, Clone)]
pub(in crate::broker) struct Key(ByteString);

impl From<&Destination> for Key {
    fn from(destination: &Destination) -> Key {
        Key(destination.text.clone())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        same_key(&self.0, &other.0)
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut octets = [0; 64];
        for part in self.0.as_bytes().chunks(octets.len()) {
            for (to, from) in octets.iter_mut().zip(part) {
                *to = spelled_with_dot(*from);
            }
            state.write(&octets[..part.len()]);
        }
        state.write_u8(0xff);
    }
}

/// The spelling of a name that has dots for all separators. There is one for each key.
pub(in crate::broker) fn dotted(name: &str) -> Cow<'_, str> {
    match name.contains([':', '/']) {
        true => Cow::Owned(name.replace([':', '/'], ".")),
        false => Cow::Borrowed(name),
    }
}

/// Whether two names map to one key: only separators are mapped to what another octet is mapped to.
fn same_key(one: &str, other: &str) -> bool {
    let with_dots = one.bytes().map(spelled_with_dot);
    one == other || one.len() == other.len() && with_dots.eq(other.bytes().map(spelled_with_dot))
}

fn spelled_with_dot(octet: u8) -> u8 {
    if matches!(octet, b':' | b'/') { b'.' } else { octet }
}

/// The dotted name that maps to a key; `None` if it is no name's key.
fn name_of(routing_key: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(routing_key.len());
    let mut rest = routing_key.as_bytes();
    while let [octet, behind @ ..] = rest {
        rest = behind;
        if *octet != b'%' {
            octets.push(*octet);
            continue;
        }
        let (code, behind) = rest.split_at_checked(2)?;
        octets.push(u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok()?);
        rest = behind;
    }
    String::from_utf8(octets).ok().filter(|name| key(name) == routing_key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::broker::destination::Filter;
    use proptest::prelude::*;
    use std::hash::{BuildHasher, RandomState};

    fn foreign(key: &str) -> Destination {
        Destination::foreign(Tenant::DEFAULT, key).unwrap()
    }

    fn topic(name: &str) -> Destination {
        Destination::topic(Tenant::DEFAULT, name).unwrap()
    }

    fn matches(pattern: &str, key: &str) -> bool {
        Filter::parse(Tenant::DEFAULT, format!("/topic/{pattern}").into()).unwrap().matches(&foreign(key))
    }

    #[test]
    fn every_spelling_of_a_key_matches_and_nothing_else() {
        for name in ["a.b", "a/b", "a:b", "*.b", "a/#", "#"] {
            assert!(matches(name, "a.b"), "{name}");
            assert!(!matches(name, "c.d.e") || name == "#", "{name}");
        }
        for name in ["a", "a.b.c", "a-b", "b.a", "a:c", "*"] {
            assert!(!matches(name, "a.b"), "{name}");
        }
        assert!(matches("host-metrics/web1", "host-metrics:web1"), "as another's plug-in spells it");
        let other = Filter::parse(Tenant(1), "/topic/a.b".into()).unwrap();
        assert!(!other.matches(&foreign("a.b")));
        let user = Destination::parse(Tenant::DEFAULT, "/user/a/b".into()).unwrap();
        assert!(!Filter::from(&user).matches(&foreign("a.b")), "topics only");
    }

    #[test]
    fn escapes_are_those_of_our_names() {
        assert!(matches("a b/ü", "a%20b.%C3%BC") && matches("a b.*", "a%20b.x"));
        assert!(!matches("a%20b", "a%20b") && !matches("a%20b.#", "a%20b.x"), "whose key is a%2520b");
        assert!(matches("a%20b", "a%2520b"));
        // No name has these keys: they are taken for names.
        for name in ["a%2fb", "%41", "a%", "%2", "%FF", "%2E", "%+1", "a b", "%%", "%é"] {
            assert!(matches(name, name), "{name}");
        }
        assert!(!matches("A", "%41") && !matches("a.b", "a%2Eb"));
    }

    #[test]
    fn it_is_none_of_the_spellings() {
        let by_key = foreign("a.b");
        let (hasher, spelled) = (RandomState::new(), topic("a.b"));
        assert_ne!(by_key, spelled);
        assert_ne!(hasher.hash_one(&by_key), hasher.hash_one(&spelled));
        for name in ["a.b", "a/b", "a:b"] {
            assert_eq!(topic(name).with_key(), by_key);
            assert_eq!(hasher.hash_one(Key::from(&topic(name))), hasher.hash_one(Key::from(&by_key)));
        }
        assert_eq!(by_key.detached(), by_key);
        assert_eq!(by_key.as_shown(), spelled);
        assert_eq!((&*by_key.shown(), &*foreign("a%20b").shown()), ("/topic/a.b", "/topic/a%20b"));
        assert_eq!(foreign("host-metrics:web1"), foreign("host-metrics.web1"));
    }

    #[test]
    fn what_nobody_can_subscribe_to_is_refused() {
        let rule = |key: &str| Destination::foreign(Tenant::DEFAULT, key).unwrap_err().rule();
        for (key, expected) in [
            ("", "empty_segment"),
            ("a..b", "empty_segment"),
            ("a.*", "wildcard_in_send"),
            ("%00", "nul_in_destination"),
        ] {
            assert_eq!(rule(key), expected, "{key}");
        }
        assert_eq!(rule(&"é".repeat(100)), "destination_too_long");
    }

    proptest! {
        /// By its key a name is found, and by no other's.
        #[test]
        fn keys_and_names_agree(one in "[ab%2.:/é ]{1,6}", other in "[ab%2.:/é ]{1,6}") {
            let parse = |name: &str| Destination::topic(Tenant::DEFAULT, name);
            let (Ok(one), Ok(other)) = (parse(&one), parse(&other)) else { return Ok(()) };
            prop_assert_eq!(foreign(&one.key()), one.with_key());
            let same = one.key() == other.key();
            prop_assert_eq!(Filter::from(&one).matches(&foreign(&other.key())), same);
            prop_assert_eq!(Key::from(&one) == Key::from(&other), same);
            prop_assert_eq!(one.with_key() == other.with_key(), same);
        }
    }
}
