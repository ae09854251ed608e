//! Selectors: whatever the text, and whatever the headers.
//!
//! Input: lines. The first is a selector, in which `\n` is written for a line's end; each further one a header, its
//! name and its value on either side of the first `:`.
#![no_main]
#![allow(dead_code)]

#[path = "../../src/broker"]
mod broker {
    mod destination;
    mod routing_key;
    mod selector;

    use destination::excerpt;
    use selector::Selector;

    pub fn check(input: &str) {
        let (text, rest) = input.split_once('\n').unwrap_or((input, ""));
        let text = text.replace("\\n", "\n");
        let headers: Vec<(&str, &str)> = rest.lines().filter_map(|line| line.split_once(':')).collect();
        let header = |name: &str| headers.iter().find(|(have, _)| *have == name).map(|(_, value)| *value);
        let selector = match Selector::parse(&text) {
            Ok(selector) => selector,
            Err(error) => {
                assert!(!error.to_string().chars().any(char::is_control));
                assert!(error.to_string().len() < 2_000);
                return;
            }
        };
        let matches = selector.matches(header);
        assert!(selector.text().len() <= text.len());

        let again = Selector::parse(selector.text()).expect("a normal form is a selector");
        assert_eq!(again.text(), selector.text());
        assert_eq!(again, selector);
        assert_eq!(again.matches(header), matches);

        // May be too long, or too deep.
        let derived = |text: String| Selector::parse(&text).ok().map(|selector| selector.matches(header));
        let opposite = derived(format!("NOT({text})"));
        assert!(!(matches && opposite == Some(true)), "it is true and false");
        for (same, how) in [
            (format!("({text})"), "in parentheses"),
            (format!("NOT(NOT({text}))"), "by double negation"),
            (format!("({text})AND({text})"), "AND is idempotent"),
            (format!("({text})OR({text})"), "OR is idempotent"),
            (format!("NOT(NOT({text})OR NOT({text}))"), "by De Morgan"),
            (format!("({text})=TRUE"), "what is true is TRUE"),
        ] {
            assert!(derived(same).is_none_or(|same| same == matches), "{how}");
        }
        assert_ne!(derived(format!("({text})OR TRUE")), Some(false));
        assert_ne!(derived(format!("({text})AND FALSE")), Some(true));
    }
}

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| broker::check(input));
