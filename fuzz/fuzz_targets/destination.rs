//! Destinations, filters and the index, beside naive readings of the same rules.
//!
//! Input: lines. Each is tried as a filter and as a destination; every filter is filed in the index, and every
//! destination looked up there.
#![no_main]
#![allow(dead_code)]

#[path = "../../src/broker"]
mod broker {
    mod destination;
    mod index;
    mod routing_key;

    use destination::{Destination, Filter, InvalidDestination, Tenant};
    use index::Index;

    pub fn check(input: &str) {
        // More lines try nothing that fewer don't.
        let lines: Vec<&str> = input.lines().take(16).collect();
        let mut filters = Vec::new();
        let mut destinations = Vec::new();
        for line in lines {
            match Filter::parse(Tenant::DEFAULT, line.into()) {
                Ok(filter) => {
                    assert!(is_filter(line), "{line:?}");
                    assert_eq!(filter.exact().is_some(), is_destination(line), "{line:?}");
                    filters.push(filter);
                }
                Err(error) => assert_says(&error, !is_filter(line)),
            }
            match Destination::parse(Tenant::DEFAULT, line.into()) {
                Ok(destination) => {
                    assert!(is_destination(line), "{line:?}");
                    assert!(Filter::from(&destination).matches(&destination));
                    destinations.push(destination);
                }
                Err(error) => assert_says(&error, !is_destination(line)),
            }
        }
        assert_matches(&filters, &destinations);
    }

    fn assert_says(error: &InvalidDestination, is_wrong: bool) {
        assert!(is_wrong, "{error}");
        assert!(!error.to_string().chars().any(char::is_control));
        assert!(error.to_string().len() < 2_000);
    }

    fn assert_matches(filters: &[Filter], destinations: &[Destination]) {
        let mut index: Index<Vec<usize>> = Index::new();
        for (at, filter) in filters.iter().enumerate() {
            index.update(filter, |leaf| leaf.push(at));
        }
        for destination in destinations {
            let mut found = Vec::new();
            index.matches(destination, |leaf| found.extend_from_slice(leaf));
            found.sort_unstable();
            let expected: Vec<usize> = (0..filters.len())
                .filter(|at| naive_match(filters[*at].text(), destination.text()))
                .collect();
            assert_eq!(found, expected, "{destination:?}");
            for (at, filter) in filters.iter().enumerate() {
                assert_eq!(filter.matches(destination), expected.contains(&at), "{filter:?} {destination:?}");
            }
        }
        for filter in filters {
            index.update(filter, Vec::clear);
        }
        for destination in destinations {
            index.matches(destination, |_| panic!("something is left in the index"));
        }
    }

    fn name_of(text: &str) -> Option<&str> {
        const PREFIXES: [&str; 5] = ["/topic/", "/queue/", "/user/", "/app/", "/reply-queue/"];
        let name = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix))?;
        let key: usize = name
            .bytes()
            .map(|octet| if octet.is_ascii_alphanumeric() || b"-_~./:".contains(&octet) { 1 } else { 3 })
            .sum();
        (key <= 255 && !name.contains('\0')).then_some(name)
    }

    fn parts(name: &str) -> Vec<&str> {
        name.split(|c| matches!(c, ':' | '.' | '/')).collect()
    }

    fn is_destination(text: &str) -> bool {
        let names_a_user = |name: &str| name.contains('/') && !name.starts_with("queue/");
        name_of(text).is_some_and(|name| {
            parts(name).iter().all(|part| !matches!(*part, "" | "*" | "#"))
                && (!text.starts_with("/user/") || names_a_user(name))
        })
    }

    fn is_filter(text: &str) -> bool {
        let Some(name) = name_of(text).filter(|_| text.starts_with("/topic/")) else { return false };
        let parts = parts(name);
        let hash = parts.iter().position(|part| *part == "#");
        let wild = hash.is_some() || parts.contains(&"*");
        !parts.contains(&"") && hash.is_none_or(|at| at == parts.len() - 1) && (!wild || parts.len() <= 16)
    }

    /// Exact filters by their text, patterns by their parts.
    fn naive_match(filter: &str, destination: &str) -> bool {
        if is_destination(filter) {
            return filter == destination;
        }
        let (Some(pattern), Some(name)) =
            (filter.strip_prefix("/topic/"), destination.strip_prefix("/topic/"))
        else {
            return false;
        };
        let (pattern, name) = (parts(pattern), parts(name));
        match pattern.split_last() {
            Some((&"#", before)) => name.len() >= before.len() && agree(before, &name[..before.len()]),
            _ => name.len() == pattern.len() && agree(&pattern, &name),
        }
    }

    fn agree(pattern: &[&str], name: &[&str]) -> bool {
        pattern.iter().zip(name).all(|(part, segment)| *part == "*" || part == segment)
    }
}

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| broker::check(input));
