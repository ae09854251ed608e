//! Last values: what topics keep for whoever subscribes next.
//!
//! Owns one section's values, found by name or by pattern. When a value is kept is `channel.rs`'s business.

use std::collections::HashMap;
use std::sync::Arc;

use bytestring::ByteString;

use super::destination::{Destination, Filter, Tenant, segments};
use super::message::{Message, Retain};
use super::stamp::Stamp;

/// What a value takes in memory beside itself.
const EACH: usize = 256;

/// The last values of some topics.
#[derive(Debug, Default)]
pub(super) struct KeptValues {
    /// By the first segment, which most patterns have, then by name.
    families: HashMap<(Tenant, Box<str>), HashMap<ByteString, Arc<Message>>>,
}

/// What a value takes in memory, about.
pub(super) fn weight(message: &Message) -> usize {
    message.octets() + EACH
}

/// The first segment of a name.
pub(super) fn family(name: &str) -> &str {
    segments(name).next().unwrap_or_default()
}

impl KeptValues {
    /// Keeps a value, and gives back the one before.
    pub(super) fn put(&mut self, message: Arc<Message>) -> Option<Arc<Message>> {
        let destination = &message.destination;
        let name = destination.text().clone();
        let family = (destination.tenant(), family(destination.name()).into());
        self.families.entry(family).or_default().insert(name, message)
    }

    /// Forgets a value, and gives it back.
    pub(super) fn remove(&mut self, destination: &Destination) -> Option<Arc<Message>> {
        let family = (destination.tenant(), Box::from(family(destination.name())));
        let values = self.families.get_mut(&family)?;
        let removed = values.remove(destination.text());
        if values.is_empty() {
            self.families.remove(&family);
        }
        removed
    }

    /// The value of a destination.
    pub(super) fn get(&self, destination: &Destination) -> Option<&Arc<Message>> {
        let family = (destination.tenant(), Box::from(family(destination.name())));
        self.families.get(&family)?.get(destination.text())
    }

    /// How new the value of a destination is, or that it was cleared.
    pub(super) fn stamp(&self, destination: &Destination) -> Option<Stamp> {
        self.get(destination)?.stamp
    }

    /// Adds the values that a filter matches.
    pub(super) fn matching(&self, filter: &Filter, found: &mut Vec<Arc<Message>>) {
        self.all_matching(filter, found);
        found.retain(|message| message.stamp.is_none() || message.retain() != Some(Retain::Clear));
    }

    /// The same, those included that were cleared.
    pub(super) fn all_matching(&self, filter: &Filter, found: &mut Vec<Arc<Message>>) {
        if let Some(destination) = filter.exact() {
            found.extend(self.get(destination).cloned());
            return;
        }
        let first = family(filter.name());
        let is_wild = matches!(first, "*" | "#");
        let key = (filter.tenant(), Box::from(first));
        let named = if is_wild { None } else { self.families.get(&key) };
        let any = self.families.iter().filter(|((tenant, _), _)| is_wild && *tenant == filter.tenant());
        let families = named.into_iter().chain(any.map(|(_, values)| values));
        let values = families.flat_map(HashMap::values);
        found.extend(values.filter(|message| filter.matches(&message.destination)).cloned());
    }

    /// Forgets the values up to this number, and gives them back.
    pub(super) fn remove_up_to(&mut self, number: u64) -> Vec<Arc<Message>> {
        let mut removed = Vec::new();
        self.families.retain(|_, values| {
            values.retain(|_, message| {
                let stays = message.id.number > number;
                if !stays {
                    removed.push(message.clone());
                }
                stays
            });
            !values.is_empty()
        });
        removed
    }

    /// All values.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.families.values().flat_map(HashMap::values)
    }
}
