//! Views: fields and merge patches of any two bodies, beside what serde_json makes of the same.
//!
//! Input: three texts with a line's end between the first two, and a NUL between the last two: the header `fields`, and two
//! values of a channel.
#![no_main]
#![allow(dead_code)]

#[path = "../../src/broker"]
mod broker {
    pub mod view {
        mod json;
        mod patch;
        mod projection;

        /// What is shown of a body, and what is shown of that.
        pub fn project(fields: &str, body: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
            let fields = projection::Fields::parse(fields).ok()?;
            let shown = fields.project(body)?;
            let again = fields.project(&shown);
            Some((shown, again))
        }

        pub fn merge_patch(base: &[u8], new: &[u8]) -> Option<Vec<u8>> {
            patch::merge_patch(base, new)
        }
    }
}

use broker::view::{merge_patch, project};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|input: &[u8]| {
    let (fields, bodies) = split(input, b'\n');
    let (base, new) = split(bodies, b'\0');
    let Ok(fields) = std::str::from_utf8(fields) else { return };
    if let Some((shown, again)) = project(fields, new) {
        assert_eq!(again.as_ref(), Some(&shown), "what is shown shows itself");
        if let (Ok(whole), Ok(part)) = (read(new), read(&shown)) {
            assert!(is_part(&part, &whole), "{part} of {whole}");
        }
    }
    if let Some(patch) = merge_patch(base, new)
        && let (Ok(mut value), Ok(new), Ok(patch)) = (read(base), read(new), read(&patch))
    {
        apply(&mut value, &patch);
        assert_eq!(value, new, "patched by {patch}");
    }
});

fn split(input: &[u8], at: u8) -> (&[u8], &[u8]) {
    let end = input.iter().position(|octet| *octet == at);
    end.map_or((input, &[]), |end| (&input[..end], &input[end + 1..]))
}

fn read(text: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(text)
}

/// Whether all that is in one is in the other too, and the same.
fn is_part(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(name, value)| whole.get(name).is_some_and(|whole| is_part(value, whole)))
        }
        _ => part == whole,
    }
}

/// RFC 7396.
fn apply(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else { return *target = patch.clone() };
    if !target.is_object() {
        *target = Value::Object(Default::default());
    }
    let Some(members) = target.as_object_mut() else { return };
    for (name, value) in patch {
        match value {
            Value::Null => drop(members.remove(name)),
            value => apply(members.entry(name.clone()).or_insert(Value::Null), value),
        }
    }
}
