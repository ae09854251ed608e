//! The index: which filters match a destination.
//!
//! Owns the look-up from one destination to everything filed under the filters that match it, at a cost of
//! what matches, whole or by its first segments, not of what is filed. What is filed is the caller's: groups of
//! subscriptions in a hub, workers in the router.

use std::borrow::Cow;
use std::collections::HashMap;

use super::destination::{Destination, Filter, Kind, Tenant, dotted, segments};

/// What is filed under one filter. An empty leaf is forgotten.
pub(super) trait Leaf: Default {
    /// Whether nothing is filed any more.
    fn is_empty(&self) -> bool;
}

impl<T> Leaf for Vec<T> {
    fn is_empty(&self) -> bool {
        Vec::is_empty(self)
    }
}

/// Filters of all tenants and kinds, each with a leaf.
#[derive(Debug)]
pub(super) struct Index<L> {
    names: HashMap<(Tenant, Kind), Names<L>>,
}

/// The filters of one tenant and kind: single destinations by their text, patterns by their segments.
#[derive(Debug)]
struct Names<L> {
    exact: HashMap<Box<str>, L>,
    /// The single destinations that are not spelled with dots, by the name with dots that has the same key. Only asked for
    /// destinations by key.
    spellings: HashMap<Box<str>, Vec<Box<str>>>,
    patterns: Node<L>,
}

#[derive(Debug)]
struct Node<L> {
    /// Boxed, since most nodes have one child and a table has room for three.
    literal: HashMap<Box<str>, Box<Node<L>>>,
    star: Option<Box<Node<L>>>,
    /// Filed under a pattern that ends here.
    here: L,
    /// Filed under a pattern whose `#` follows here.
    rest: L,
}

impl<L: Leaf> Index<L> {
    /// An index with nothing in it.
    pub(super) fn new() -> Self {
        Index { names: HashMap::new() }
    }

    /// Changes what is filed under `filter`, and forgets the filter if nothing is left.
    pub(super) fn update<R>(&mut self, filter: &Filter, change: impl FnOnce(&mut L) -> R) -> R {
        let names = self.names.entry((filter.tenant(), filter.kind())).or_insert_with(Names::new);
        let result = if filter.exact().is_some() {
            names.update(filter.name(), change)
        } else {
            let parts: Vec<&str> = segments(filter.name()).collect();
            names.patterns.update(&parts, change)
        };
        if names.is_empty() {
            self.names.remove(&(filter.tenant(), filter.kind()));
        }
        result
    }

    /// Shows every leaf whose filter matches `destination`.
    pub(super) fn matches(&self, destination: &Destination, mut show: impl FnMut(&L)) {
        let Some(names) = self.names.get(&(destination.tenant(), destination.kind())) else {
            return;
        };
        if let Some(leaf) = names.exact.get(destination.name()) {
            show(leaf);
        }
        if destination.is_by_key() {
            let others = names.spellings.get(destination.name()).into_iter().flatten();
            others.filter_map(|name| names.exact.get(name)).for_each(&mut show);
        }
        if !names.patterns.is_empty() {
            names.patterns.matches(segments(destination.name()), &mut show);
        }
    }
}

impl<L: Leaf> Names<L> {
    fn new() -> Self {
        Names { exact: HashMap::new(), spellings: HashMap::new(), patterns: Node::new() }
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.patterns.is_empty()
    }

    fn update<R>(&mut self, name: &str, change: impl FnOnce(&mut L) -> R) -> R {
        let before = self.exact.len();
        let leaf = self.exact.entry(name.into()).or_default();
        let result = change(leaf);
        let is_gone = leaf.is_empty();
        let is_new = self.exact.len() > before;
        if is_gone {
            self.exact.remove(name);
        }
        if is_gone != is_new {
            self.spell(name, is_new);
        }
        result
    }

    /// Remembers how a key is spelled, or forgets it.
    fn spell(&mut self, name: &str, is_new: bool) {
        let Cow::Owned(key) = dotted(name) else { return };
        let spellings = self.spellings.entry(key.as_str().into()).or_default();
        if is_new {
            spellings.push(name.into());
        } else {
            spellings.retain(|other| **other != *name);
        }
        if spellings.is_empty() {
            self.spellings.remove(key.as_str());
        }
    }
}

impl<L: Leaf> Node<L> {
    fn new() -> Self {
        Node { literal: HashMap::new(), star: None, here: L::default(), rest: L::default() }
    }

    fn is_empty(&self) -> bool {
        self.literal.is_empty() && self.star.is_none() && self.here.is_empty() && self.rest.is_empty()
    }

    fn update<R>(&mut self, parts: &[&str], change: impl FnOnce(&mut L) -> R) -> R {
        match parts {
            [] => change(&mut self.here),
            ["#"] => change(&mut self.rest),
            ["*", behind @ ..] => {
                let star = self.star.get_or_insert_with(|| Box::new(Node::new()));
                let result = star.update(behind, change);
                if star.is_empty() {
                    self.star = None;
                }
                result
            }
            [part, behind @ ..] => {
                let node = self.literal.entry((*part).into()).or_insert_with(|| Box::new(Node::new()));
                let result = node.update(behind, change);
                if node.is_empty() {
                    self.literal.remove(*part);
                }
                result
            }
        }
    }

    fn matches<'n>(&self, mut name: impl Iterator<Item = &'n str> + Clone, show: &mut impl FnMut(&L)) {
        if !self.rest.is_empty() {
            show(&self.rest);
        }
        let Some(segment) = name.next() else {
            if !self.here.is_empty() {
                show(&self.here);
            }
            return;
        };
        if let Some(node) = self.literal.get(segment) {
            node.matches(name.clone(), show);
        }
        if let Some(star) = &self.star {
            star.matches(name, show);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn filter(text: &str) -> Filter {
        Filter::parse(Tenant::DEFAULT, text.into()).unwrap()
    }

    fn found(index: &Index<Vec<usize>>, name: &str) -> Vec<usize> {
        found_by(index, &Destination::parse(Tenant::DEFAULT, name.into()).unwrap())
    }

    fn found_by(index: &Index<Vec<usize>>, destination: &Destination) -> Vec<usize> {
        let mut all = Vec::new();
        index.matches(destination, |leaf| all.extend_from_slice(leaf));
        all.sort_unstable();
        all
    }

    #[test]
    fn a_forgotten_filter_leaves_nothing_behind() {
        let mut index: Index<Vec<usize>> = Index::new();
        for text in ["/topic/a.b", "/topic/a.*.c", "/topic/a.#", "/topic/#"] {
            index.update(&filter(text), |leaf| leaf.push(1));
        }
        assert_eq!(found(&index, "/topic/a.b"), [1, 1, 1]);
        for text in ["/topic/a.b", "/topic/a.*.c", "/topic/a.#", "/topic/#"] {
            index.update(&filter(text), Vec::clear);
        }
        assert!(index.names.is_empty());
    }

    /// Found by fuzzing: topics' patterns took in what is no topic.
    #[test]
    fn only_topics_are_found() {
        let mut index: Index<Vec<usize>> = Index::new();
        for text in ["/topic/a", "/topic/*", "/topic/#"] {
            index.update(&filter(text), |leaf| leaf.push(1));
        }
        assert_eq!(found(&index, "/topic/a"), [1, 1, 1]);
        assert!(found(&index, "/app/a").is_empty());
    }

    #[test]
    fn a_key_finds_every_spelling_while_somebody_has_it() {
        let mut index: Index<Vec<usize>> = Index::new();
        let texts = ["/topic/a.b", "/topic/a/b", "/topic/a:b", "/topic/a:c", "/topic/a:*", "/topic/a b"];
        for (at, text) in texts.iter().enumerate() {
            index.update(&filter(text), |leaf| leaf.push(at));
            index.update(&filter(text), |leaf| leaf.push(at));
        }
        let by_key = |key: &str| Destination::foreign(Tenant::DEFAULT, key).unwrap();
        assert_eq!(found_by(&index, &by_key("a.b")), [0, 0, 1, 1, 2, 2, 4, 4]);
        assert_eq!(found_by(&index, &by_key("a%20b")), [5, 5]);
        assert_eq!(found(&index, "/topic/a:b"), [2, 2, 4, 4]);
        for text in texts {
            index.update(&filter(text), |leaf| leaf.truncate(1));
        }
        assert_eq!(found_by(&index, &by_key("a.b")), [0, 1, 2, 4]);
        for text in &texts[1..] {
            index.update(&filter(text), Vec::clear);
        }
        assert_eq!(found_by(&index, &by_key("a.b")), [0]);
        // One that nobody has is asked for in vain.
        index.update(&filter("/topic/a/b"), Vec::clear);
        assert!(index.names.values().all(|names| names.spellings.is_empty()));
    }

    fn name() -> impl Strategy<Value = String> {
        proptest::collection::vec("[ab]", 1..5)
            .prop_flat_map(|parts| (Just(parts), "[.:/]"))
            .prop_map(|(parts, separator)| format!("/topic/{}", parts.join(&separator)))
    }

    fn pattern() -> impl Strategy<Value = String> {
        (proptest::collection::vec("[ab*]", 0..5), any::<bool>())
            .prop_filter("not empty", |(parts, hash)| *hash || !parts.is_empty())
            .prop_map(|(mut parts, hash)| {
                if hash {
                    parts.push("#".into());
                }
                format!("/topic/{}", parts.join(":"))
            })
    }

    proptest! {
        /// The index finds what asking every filter would find, before and after some are taken out.
        #[test]
        fn finds_what_each_filter_would(patterns in proptest::collection::vec(prop_oneof![name(), pattern()], 0..20), names in proptest::collection::vec(name(), 1..10), gone in 0usize..20) {
            let mut index: Index<Vec<usize>> = Index::new();
            for (at, text) in patterns.iter().enumerate() {
                index.update(&filter(text), |leaf| leaf.push(at));
            }
            for (at, text) in patterns.iter().enumerate().take(gone) {
                index.update(&filter(text), |leaf| leaf.retain(|one| *one != at));
            }
            for name in &names {
                let destination = Destination::parse(Tenant::DEFAULT, name.as_str().into()).unwrap();
                let expected: Vec<usize> = patterns.iter().enumerate().skip(gone)
                    .filter(|(_, text)| filter(text).matches(&destination))
                    .map(|(at, _)| at).collect();
                prop_assert_eq!(found(&index, name), expected);
                let by_key = destination.with_key();
                let expected: Vec<usize> = patterns.iter().enumerate().skip(gone)
                    .filter(|(_, text)| filter(text).matches(&by_key))
                    .map(|(at, _)| at).collect();
                prop_assert_eq!(found_by(&index, &by_key), expected);
            }
        }
    }
}
