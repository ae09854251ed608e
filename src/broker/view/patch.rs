//! Merge patches: what of a JSON object became different, as RFC 7396 writes it.
//!
//! Owns the difference of two objects, and when it can't be written: a patch says by `null` that a member goes, so
//! that it can't give a member the value `null`. Leaves to its caller what is sent then, and whether a patch is worth
//! it.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::json::{Reader, write_name};

/// How deeply objects may be nested, the outermost included: what a patch costs in stack grows with it.
const MAX_DEPTH: usize = 64;

/// The patch that makes `new` of `base`: `{}` if nothing changed.
///
/// `None` if one of them is no JSON object, nests objects too deeply or has a name that is no Unicode text, and if a
/// `null` would have to be written as a value. Arrays are values: they are replaced whole, and anything may stand in
/// them. Values are compared as they are written, so that `1` and `1.0` differ. Of a repeated name the last counts.
pub(in crate::broker) fn merge_patch(base: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    let base = read_body(base)?;
    let new = read_body(new)?;
    let mut out = Vec::new();
    write_difference(&base, &new, &mut out)?;
    Some(out)
}

/// An object's members, in the order of their names, each once.
///
/// Sorted rather than hashed: it needs less room, and there are no names that make it slow.
type Members<'a> = Box<[Member<'a>]>;

struct Member<'a> {
    name: Cow<'a, str>,
    value: Value<'a>,
}

enum Value<'a> {
    /// Its text, and what it was read as.
    Object(&'a str, Members<'a>),
    /// Anything else, as text.
    Other(&'a str),
}

impl Value<'_> {
    /// Whether it may be written as a value of a patch, where a `null` would have another meaning.
    fn is_patch(&self) -> bool {
        match self {
            Value::Object(_, members) => members.iter().all(|member| member.value.is_patch()),
            Value::Other(text) => *text != "null",
        }
    }
}

fn read_body(body: &[u8]) -> Option<Members<'_>> {
    let mut reader = Reader::new(body)?;
    let Value::Object(_, members) = read(&mut reader, 0)? else { return None };
    reader.end()?;
    Some(members)
}

/// Takes the value that the reader is at, within `depth` objects.
fn read<'a>(reader: &mut Reader<'a>, depth: usize) -> Option<Value<'a>> {
    if reader.peek()? != b'{' {
        let place = reader.value()?;
        return Some(Value::Other(reader.text(place)));
    }
    if depth == MAX_DEPTH {
        return None;
    }
    let mut members = Vec::new();
    let place = reader.object(|reader, name| {
        members.push(Member { name, value: read(reader, depth + 1)? });
        Some(())
    })?;
    // Stable, so that of equal names the last written is the last here.
    members.sort_by(|one, other| one.name.cmp(&other.name));
    members.dedup_by(|later, earlier| {
        let repeated = later.name == earlier.name;
        if repeated {
            std::mem::swap(later, earlier);
        }
        repeated
    });
    Some(Value::Object(reader.text(place), members.into()))
}

/// Writes what makes `new` of `base`, going through both in the order of names.
fn write_difference(base: &[Member<'_>], new: &[Member<'_>], out: &mut Vec<u8>) -> Option<()> {
    let (mut base, mut new) = (base.iter().peekable(), new.iter().peekable());
    out.push(b'{');
    loop {
        let order = match (base.peek(), new.peek()) {
            (Some(old), Some(member)) => old.name.cmp(&member.name),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => break,
        };
        let old = base.next_if(|_| order.is_le());
        let member = new.next_if(|_| order.is_ge());
        write_member(old, member, out)?;
    }
    out.push(b'}');
    Some(())
}

/// Writes what became of one name's member, which is there before, after, or both; nothing if it is unchanged.
fn write_member(old: Option<&Member<'_>>, new: Option<&Member<'_>>, out: &mut Vec<u8>) -> Option<()> {
    let before = out.len();
    match (old, new) {
        (
            Some(Member { value: Value::Object(_, old), .. }),
            Some(Member { name, value: Value::Object(_, new) }),
        ) => {
            write_name(out, name)?;
            let value = out.len();
            write_difference(old, new, out)?;
            if &out[value..] == b"{}" {
                out.truncate(before);
            }
        }
        (Some(Member { value: Value::Other(old), .. }), Some(Member { value: Value::Other(new), .. }))
            if old == new => {}
        (_, Some(Member { name, value })) if value.is_patch() => {
            write_name(out, name)?;
            let (Value::Object(text, _) | Value::Other(text)) = value;
            out.extend_from_slice(text.as_bytes());
        }
        (_, Some(_)) => return None,
        (Some(Member { name, .. }), None) => {
            write_name(out, name)?;
            out.extend_from_slice(b"null");
        }
        (None, None) => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn patch(base: &str, new: &str) -> Option<String> {
        Some(String::from_utf8(merge_patch(base.as_bytes(), new.as_bytes())?).unwrap())
    }

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Section 2 of RFC 7396.
    fn apply(target: Value, patch: &Value) -> Value {
        let Value::Object(changes) = patch else { return patch.clone() };
        let mut object = match target {
            Value::Object(object) => object,
            _ => Map::new(),
        };
        for (name, change) in changes {
            let old = object.remove(name).unwrap_or(Value::Null);
            if !change.is_null() {
                object.insert(name.clone(), apply(old, change));
            }
        }
        object.into()
    }

    /// Whether there is a patch, by the rule itself.
    fn expressible(base: &Value, new: &Value) -> bool {
        let (Value::Object(base), Value::Object(new)) = (base, new) else { return false };
        new.iter().all(|(name, value)| match (base.get(name), value) {
            (Some(old @ Value::Object(_)), Value::Object(_)) => expressible(old, value),
            (Some(Value::Null), Value::Null) => true,
            _ => without_null(value),
        })
    }

    fn without_null(value: &Value) -> bool {
        match value {
            Value::Object(object) => object.values().all(without_null),
            other => !other.is_null(),
        }
    }

    #[test]
    fn only_what_changed_is_written() {
        for (base, new, expected) in [
            ("{}", "{}", "{}"),
            (r#"{"a":1,"b":{"c":[1]}}"#, r#" { "b" : {"c":[1]} , "\u0061":1 } "#, "{}"),
            (r#"{"a":1,"b":2}"#, r#"{"a":1,"b":3}"#, r#"{"b":3}"#),
            (r#"{"a":{"x":1,"y":2},"b":0}"#, r#"{"a":{"x":1,"y":3},"b":0}"#, r#"{"a":{"y":3}}"#),
            (r#"{"a":1,"b":2}"#, r#"{"b":2}"#, r#"{"a":null}"#),
            (r#"{"b":2}"#, r#"{"a":1,"b":2,"c":3}"#, r#"{"a":1,"c":3}"#),
            (r#"{"a":{"x":1}}"#, r#"{"a":{}}"#, r#"{"a":{"x":null}}"#),
            (r#"{"a":1}"#, r#"{"a":{ "x": {} }}"#, r#"{"a":{ "x": {} }}"#),
            (r#"{"a":{"x":1}}"#, r#"{"a":[ null ]}"#, r#"{"a":[ null ]}"#),
            (r#"{"a":[1]}"#, r#"{"a":[{"x":null}]}"#, r#"{"a":[{"x":null}]}"#),
            (r#"{"a":1}"#, r#"{"a":1.0}"#, r#"{"a":1.0}"#),
            (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#, r#"{"a":9007199254740992}"#),
            (r#"{"a":1e400}"#, r#"{"a":"\ud800"}"#, r#"{"a":"\ud800"}"#),
            (r#"{"\n\"":1}"#, r#"{"\n\"":2}"#, r#"{"\n\"":2}"#),
        ] {
            assert_eq!(patch(base, new).as_deref(), Some(expected), "{base} to {new}");
        }
    }

    #[test]
    fn a_null_stays_or_goes_but_does_not_come() {
        for (base, new, expected) in [
            (r#"{"a":null,"b":1}"#, r#"{"a":null,"b":2}"#, Some(r#"{"b":2}"#)),
            (r#"{"a":{"x":null}}"#, r#"{"a":{"x":null,"y":1}}"#, Some(r#"{"a":{"y":1}}"#)),
            (r#"{"a":null}"#, r#"{}"#, Some(r#"{"a":null}"#)),
            (r#"{"a":null}"#, r#"{"a":1}"#, Some(r#"{"a":1}"#)),
            (r#"{"a":1}"#, r#"{"a":null}"#, None),
            ("{}", r#"{"a":null}"#, None),
            ("{}", r#"{"a":{"b":{"c":null}}}"#, None),
            (r#"{"a":null}"#, r#"{"a":{"b":null}}"#, None),
            (r#"{"a":[]}"#, r#"{"a":{"b":null}}"#, None),
            (r#"{"a":{}}"#, r#"{"a":{"b":null}}"#, None),
        ] {
            assert_eq!(patch(base, new).as_deref(), expected, "{base} to {new}");
        }
    }

    #[test]
    fn of_repeated_members_the_last_counts() {
        for (base, new, expected) in [
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#, "{}"),
            (r#"{"a":2}"#, r#"{"a":null,"a":1,"\u0061":2}"#, "{}"),
            (r#"{"a":{"x":1},"a":{"y":1}}"#, r#"{"a":{"x":1}}"#, r#"{"a":{"x":1,"y":null}}"#),
        ] {
            assert_eq!(patch(base, new).as_deref(), Some(expected), "{base} to {new}");
        }
        assert_eq!(patch("{}", r#"{"a":1,"a":null}"#), None);
        let twice = patch("{}", r#"{"a":{"b":null,"b":1}}"#).unwrap();
        assert_eq!(apply(value("{}"), &value(&twice)), value(r#"{"a":{"b":1}}"#));
    }

    #[test]
    fn only_objects_have_patches() {
        for body in
            ["", "1", "null", "[]", "\"a\"", "{\"a\":1} 2", "{\"a\":tru}", "{\"a\":1", "{\"\\ud800\":1}"]
        {
            assert_eq!(patch(body, "{}"), None, "{body}");
            assert_eq!(patch("{}", body), None, "{body}");
        }
        assert_eq!(merge_patch(b"{}", b"{\"a\":\"\xff\"}"), None);
    }

    #[test]
    fn examples_of_the_standard() {
        for (base, change, new) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            assert_eq!(apply(value(base), &value(change)), value(new), "{base} by {change}");
            let patch = patch(base, new).unwrap();
            assert_eq!(apply(value(base), &value(&patch)), value(new), "{base} by {patch}");
        }
        for (base, new) in
            [(r#"["a","b"]"#, r#"["c","d"]"#), (r#"{"a":"b"}"#, r#"["c"]"#), (r#"{"a":"foo"}"#, "null")]
        {
            assert_eq!(patch(base, new), None);
        }
        assert_eq!(patch("[1,2]", r#"{"a":"b"}"#), None);
    }

    #[test]
    fn depth_has_a_bound() {
        let nested = |depth, value| format!("{}{value}{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert_eq!(patch(&nested(64, 1), &nested(64, 2)), Some(nested(64, 2)));
        assert_eq!(patch(&nested(65, 1), &nested(65, 1)), None);
        assert_eq!(patch("{}", &nested(65, 1)), None);
        assert_eq!(patch(&nested(65, 1), "{}"), None);
        assert_eq!(patch(&nested(1_400_000, 1), "{}"), None);
        let arrays = format!("{{\"a\":{}{}}}", "[".repeat(4_000_000), "]".repeat(4_000_000));
        assert_eq!(patch("{}", &arrays), Some(arrays.clone()));
        assert_eq!(patch(&arrays, &arrays).as_deref(), Some("{}"));
    }

    #[test]
    fn many_members_are_as_good_as_few() {
        let object = |members: &mut dyn Iterator<Item = usize>, value| {
            let members: Vec<String> = members.map(|member| format!("\"{member}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        };
        let up = object(&mut (0..500_000), 1);
        let down = object(&mut (0..500_000).rev(), 1);
        assert_eq!(patch(&up, &down).as_deref(), Some("{}"));
        assert_eq!(patch(&up, "{}").unwrap().matches("null").count(), 500_000);
        assert_eq!(patch("{}", &down).unwrap().len(), down.len());
        let again = format!("{{{}\"a\":2}}", "\"a\":{\"b\":1},".repeat(600_000));
        assert_eq!(patch("{\"a\":1}", &again).as_deref(), Some("{\"a\":2}"));
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf =
            prop::sample::select(vec!["0", "1", "1.0", "null", "\"a\"", "\"\\u0061\"", "[]", "[null]", "{}"]);
        let name = prop::sample::select(vec!["a", "b", "c", "\\u0061", "a b", "\\n"]);
        let blank = prop::sample::select(vec!["", "", " ", "\n\t"]);
        leaf.prop_map(str::to_owned).prop_recursive(4, 40, 5, move |inner| {
            prop::collection::vec((name.clone(), inner, blank.clone()), 0..5).prop_map(|members| {
                let members: Vec<String> = members
                    .iter()
                    .map(|(name, value, blank)| format!("{blank}\"{name}\"{blank}:{blank}{value}{blank}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            })
        })
    }

    /// That what the patch says is new everywhere.
    fn says_nothing_twice(base: &Value, patch: &Value) -> bool {
        let Value::Object(patch) = patch else { return true };
        patch.iter().all(|(name, change)| match (base.get(name), change) {
            (None, Value::Null) => false,
            (Some(Value::Object(_)), Value::Object(changes)) if changes.is_empty() => false,
            (Some(old @ Value::Object(_)), Value::Object(_)) => says_nothing_twice(old, change),
            (Some(Value::Null), Value::Null) | (None, _) => true,
            (Some(old), _) => old != change,
        })
    }

    proptest! {
        #[test]
        fn makes_the_new_of_the_base(base in json(), new in json()) {
            let (before, after) = (value(&base), value(&new));
            match patch(&base, &new) {
                Some(patch) => {
                    prop_assert!(expressible(&before, &after), "a null was lost in {}", patch);
                    prop_assert_eq!(apply(before, &value(&patch)), after, "{}", patch);
                }
                None => prop_assert!(!expressible(&before, &after)),
            }
        }

        #[test]
        fn is_no_larger_than_it_must_be(base in json(), new in json()) {
            // Written by one hand, so that what is equal looks equal.
            let (base, new) = (value(&base), value(&new));
            let patch = patch(&base.to_string(), &new.to_string());
            prop_assert!(patch.is_none_or(|patch| says_nothing_twice(&base, &value(&patch))));
        }

        #[test]
        fn of_the_same_is_empty(body in json()) {
            prop_assert_eq!(patch(&body, &body), value(&body).is_object().then(|| "{}".to_owned()));
        }

        #[test]
        fn any_octets_do_no_harm(body in "\\{[{}\\[\\]\",:\\\\ab1 .en]{0,12}\\}", raw in any::<Vec<u8>>()) {
            let valid = serde_json::from_str::<Map<String, Value>>(&body).is_ok();
            prop_assert_eq!(patch(&body, "{}").is_some(), valid);
            let _ = merge_patch(&raw, body.as_bytes());
        }
    }
}
