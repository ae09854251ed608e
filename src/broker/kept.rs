//! Last values: what topics keep for whoever subscribes next.
//!
//! Owns one section's values, found by name or by pattern, and which of them counts for a spelling of a key: its own, or one
//! that came by key. When a value is kept is `channel.rs`'s business.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::destination::{Destination, Filter, Key, Tenant, segments};
use super::message::{Message, Retain};
use super::stamp::Stamp;

/// What a value takes in memory beside itself.
const EACH: usize = 256;

/// The last values of some topics.
#[derive(Debug, Default)]
pub(super) struct KeptValues {
    /// By the first segment, which most patterns have, then by key.
    families: HashMap<(Tenant, Box<str>), HashMap<Key, Values>>,
}

/// What is kept under one key: one value for each spelling at most, and one that came by key. Beside that one, a spelling's
/// clear is kept like a value, so that its spelling has none.
type Values = SmallVec<[Arc<Message>; 1]>;

/// What a value takes in memory, about.
pub(super) fn weight(message: &Message) -> usize {
    message.octets() + EACH
}

/// The first segment of a name.
pub(super) fn family(name: &str) -> &str {
    segments(name).next().unwrap_or_default()
}

impl KeptValues {
    /// Keeps a value. What it takes the place of was removed.
    pub(super) fn put(&mut self, message: Arc<Message>) {
        let destination = &message.destination;
        let family = (destination.tenant(), family(destination.name()).into());
        let key = Key::from(destination);
        self.families.entry(family).or_default().entry(key).or_default().push(message);
    }

    /// Forgets what a newer value takes the place of, and gives it back: by key, the older values of all spellings.
    pub(super) fn remove(&mut self, newer: &Message) -> Values {
        let destination = &newer.destination;
        let is_older = |one: &Message| destination.is_by_key() && newness(one) < newness(newer);
        self.remove_where(destination, |one| one.destination == *destination || is_older(one))
    }

    /// Forgets the value that came by the key of a destination, and gives it back.
    pub(super) fn remove_by_key(&mut self, destination: &Destination) -> Values {
        self.remove_where(destination, |one| one.destination.is_by_key())
    }

    /// Whether, without a value of its own, a destination would have an older one that came by its key.
    pub(super) fn has_by_key(&self, destination: &Destination) -> bool {
        let mut values = self.values(destination).into_iter().flatten();
        !destination.is_by_key() && values.any(|one| one.destination.is_by_key())
    }

    /// The value of a destination, or what cleared it.
    pub(super) fn get(&self, destination: &Destination) -> Option<&Arc<Message>> {
        let counts = |one: &&Arc<Message>| one.destination == *destination || one.destination.is_by_key();
        self.values(destination)?.iter().filter(counts).max_by_key(|one| newness(one))
    }

    /// How new the value of a destination is, or that it was cleared.
    pub(super) fn stamp(&self, destination: &Destination) -> Option<Stamp> {
        self.get(destination)?.stamp
    }

    /// Adds the values that a filter matches.
    pub(super) fn matching(&self, filter: &Filter, found: &mut Vec<Arc<Message>>) {
        self.find(filter, found, |one, all| !is_clear(one) && !is_outdated(one, all));
    }

    /// The same, those included that were cleared.
    pub(super) fn all_matching(&self, filter: &Filter, found: &mut Vec<Arc<Message>>) {
        self.find(filter, found, |_, _| true);
    }

    fn find(
        &self,
        filter: &Filter,
        found: &mut Vec<Arc<Message>>,
        is_shown: impl Fn(&Message, &Values) -> bool,
    ) {
        if let Some(destination) = filter.exact() {
            let one = self.get(destination);
            found.extend(one.filter(|one| is_shown(one, &Values::new())).cloned());
            return;
        }
        let first = family(filter.name());
        let is_wild = matches!(first, "*" | "#");
        let key = (filter.tenant(), Box::from(first));
        let named = if is_wild { None } else { self.families.get(&key) };
        let any = self.families.iter().filter(|((tenant, _), _)| is_wild && *tenant == filter.tenant());
        let families = named.into_iter().chain(any.map(|(_, keys)| keys));
        for values in families.flat_map(HashMap::values) {
            let matching = values.iter().filter(|one| filter.matches(&one.destination));
            found.extend(matching.filter(|one| is_shown(one, values)).cloned());
        }
    }

    fn values(&self, destination: &Destination) -> Option<&Values> {
        let family = (destination.tenant(), Box::from(family(destination.name())));
        self.families.get(&family)?.get(&Key::from(destination))
    }

    fn remove_where(&mut self, destination: &Destination, goes: impl Fn(&Message) -> bool) -> Values {
        let family = (destination.tenant(), Box::from(family(destination.name())));
        let key = Key::from(destination);
        let Some(keys) = self.families.get_mut(&family) else { return Values::new() };
        let Some(values) = keys.get_mut(&key) else { return Values::new() };
        let (removed, left): (Values, Values) = values.drain(..).partition(|one| goes(one));
        *values = left;
        if values.is_empty() {
            keys.remove(&key);
        }
        if keys.is_empty() {
            self.families.remove(&family);
        }
        removed
    }

    /// Forgets the values up to this number, and gives them back.
    pub(super) fn remove_up_to(&mut self, number: u64) -> Vec<Arc<Message>> {
        let mut removed = Vec::new();
        self.families.retain(|_, keys| {
            keys.retain(|_, values| {
                values.retain(|message| {
                    let stays = message.id.number > number;
                    if !stays {
                        removed.push(message.clone());
                    }
                    stays
                });
                !values.is_empty()
            });
            !keys.is_empty()
        });
        removed
    }

    /// All values.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.families.values().flat_map(HashMap::values).flatten()
    }
}

fn is_clear(message: &Message) -> bool {
    message.retain() == Some(Retain::Clear)
}

/// What a newer value has more of: by its stamp where nodes are joined, else by its number.
fn newness(message: &Message) -> (Option<Stamp>, u64) {
    (message.stamp, message.id.number)
}

/// Whether there is a newer one of the same text: what is by key is shown by a pattern like one of the spellings.
fn is_outdated(message: &Message, values: &Values) -> bool {
    let is_newer = |other: &Arc<Message>| {
        newness(other) > newness(message) && other.destination.shown() == message.destination.shown()
    };
    values.len() > 1 && values.iter().any(is_newer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::broker::message::{Headers, MessageId};
    use crate::broker::stamp::StampClock;

    /// What begins with `=` came by key.
    fn destination(name: &str) -> Destination {
        let spelled = || Destination::topic(Tenant::DEFAULT, name);
        name.strip_prefix('=').map_or_else(spelled, |key| Destination::foreign(Tenant::DEFAULT, key)).unwrap()
    }

    fn message(number: u64, name: &str, headers: Headers) -> Arc<Message> {
        let mut message = Message::new(destination(name), headers, "");
        message.id = MessageId { incarnation: 1, number };
        Arc::new(message)
    }

    fn replace(values: &mut KeptValues, number: u64, name: &str) -> Vec<u64> {
        let message = message(number, name, Headers::new());
        let mut removed: Vec<u64> = values.remove(&message).iter().map(|one| one.id.number).collect();
        values.put(message);
        removed.sort_unstable();
        removed
    }

    fn found(values: &KeptValues, pattern: &str) -> Vec<u64> {
        let filter = Filter::parse(Tenant::DEFAULT, format!("/topic/{pattern}").into()).unwrap();
        let mut found = Vec::new();
        values.matching(&filter, &mut found);
        let mut numbers: Vec<u64> = found.iter().map(|one| one.id.number).collect();
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn the_newer_of_two_counts_for_a_spelling() {
        let mut values = KeptValues::default();
        assert!(replace(&mut values, 1, "a:b").is_empty());
        assert!(replace(&mut values, 2, "a/b").is_empty());
        assert!(replace(&mut values, 3, "a.c").is_empty());
        assert_eq!(replace(&mut values, 4, "=a.b"), [1, 2], "older ones of its key");
        assert_eq!(replace(&mut values, 5, "a:b"), [] as [u64; 0]);
        let of = |values: &KeptValues, name: &str| values.get(&destination(name)).unwrap().id.number;
        assert_eq!(["a:b", "a/b", "a.b", "a.c"].map(|name| of(&values, name)), [5, 4, 4, 3]);
        assert_eq!(found(&values, "a.*"), [3, 4, 5]);
        // This one is shown as the one by key is.
        assert_eq!(replace(&mut values, 6, "a.b"), [] as [u64; 0]);
        assert_eq!(found(&values, "a.*"), [3, 5, 6]);
        assert_eq!((of(&values, "a/b"), values.all().count()), (4, 4));
        assert_eq!(replace(&mut values, 7, "=a.b"), [4, 5, 6]);
        assert_eq!(found(&values, "#"), [3, 7]);
    }

    #[test]
    fn the_newer_one_is_told_by_its_stamp_where_there_are_any() {
        let clock = StampClock::new(1);
        let (first, second, third) = (clock.now(), clock.now(), clock.now());
        let stamped = |number, name, stamp| {
            let mut message = Message::new(destination(name), Headers::new(), "");
            message.id = MessageId { incarnation: 1, number };
            message.stamp = Some(stamp);
            Arc::new(message)
        };
        let mut values = KeptValues::default();
        values.put(stamped(1, "a:b", third));
        values.put(stamped(2, "a/b", first));
        // It comes last, and is newer than one of them.
        let by_key = stamped(3, "=a.b", second);
        assert_eq!(values.remove(&by_key).len(), 1);
        values.put(by_key);
        assert_eq!((found(&values, "a:b"), found(&values, "a/b")), (vec![1], vec![3]));
        assert_eq!(values.stamp(&destination("a:b")), Some(third));
        assert_eq!(
            values.stamp(&destination("a.b")),
            Some(second),
            "an older one of this spelling comes late"
        );
    }

    #[test]
    fn a_clear_of_one_spelling_hides_what_is_by_key() {
        let mut values = KeptValues::default();
        replace(&mut values, 1, "=a.b");
        assert!(values.has_by_key(&destination("a:b")) && !values.has_by_key(&destination("a:c")));
        let clear = |name| message(2, name, [("retain".into(), "clear".into())].into_iter().collect());
        values.put(clear("a:b"));
        assert!(found(&values, "a:b").is_empty());
        assert_eq!((found(&values, "a/b"), found(&values, "a.*")), (vec![1], vec![1]));
        values.put(clear("a.b"));
        assert!(found(&values, "a.*").is_empty(), "it is shown as the one by key is");
        assert_eq!(found(&values, "a/b"), [1]);
        assert_eq!(values.remove_by_key(&destination("a/b")).len(), 1);
        assert!(found(&values, "a/b").is_empty());
        assert_eq!(replace(&mut values, 3, "=a.b"), [2, 2]);
        assert_eq!(values.remove(&message(4, "=a.b", Headers::new())).len(), 1);
        assert!(values.families.is_empty());
    }
}
