//! Which messages of the log were read: a publish whose confirm was lost is sent again, and its second copy left out.
//!
//! Owns a window of numbers for each start of each node. It is a set, never a greatest number: what several publishers wait for
//! is not in order.

use std::collections::{HashMap, HashSet};

/// What is read before the history begins, only to know what came before: a repeat is no further from its first copy than a
/// publisher has messages unconfirmed.
pub(super) const WARM: u64 = 20_000;

/// Which messages of each node's start were read.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<u32, Window>);

/// Of the newest messages of one start of a node, those that were read.
#[derive(Debug, Default)]
struct Window {
    numbers: HashSet<u64>,
    newest: u64,
}

impl Seen {
    /// Starts of nodes that are remembered.
    const STARTS: usize = 1024;

    /// Whether a message is read for the first time.
    pub(super) fn is_new(&self, (incarnation, number): (u32, u64)) -> bool {
        self.0.get(&incarnation).is_none_or(|window| !window.numbers.contains(&number))
    }

    /// A message was read.
    pub(super) fn add(&mut self, (incarnation, number): (u32, u64)) {
        if self.0.len() >= Self::STARTS && !self.0.contains_key(&incarnation) {
            let least = self.0.iter().min_by_key(|(_, window)| window.numbers.len());
            if let Some(least) = least.map(|(incarnation, _)| *incarnation) {
                self.0.remove(&least);
            }
        }
        let window = self.0.entry(incarnation).or_default();
        window.newest = window.newest.max(number);
        window.numbers.insert(number);
        if window.numbers.len() as u64 > 2 * WARM {
            let oldest = window.newest.saturating_sub(WARM);
            window.numbers.retain(|number| *number >= oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_new_once() {
        let mut seen = Seen::default();
        let mut read = |id| {
            let is_new = seen.is_new(id);
            seen.add(id);
            is_new
        };
        assert!(read((1, 5)));
        assert!(read((1, 4)), "out of order is new");
        assert!(!read((1, 5)));
        assert!(read((2, 5)), "another start's");
        for number in 6..100_000 {
            assert!(read((1, number)), "{number}");
        }
        assert!(!seen.is_new((1, 90_000)));
        assert!(seen.0[&1].numbers.len() as u64 <= 2 * WARM + 1);
    }
}
