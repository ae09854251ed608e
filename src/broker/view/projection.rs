//! Projections: of a JSON object only the members that a subscription names.
//!
//! Owns how members are named and what is left of a body. Leaves to the door where the names are written, and to its
//! caller what becomes of a body that is no JSON object.
//!
//! ```text
//! fields = path *( "," path )
//! path   = name *( "." name )
//! name   = 1*( any but "," / "." )     ; blanks belong to it
//! ```

use std::ops::Range;
use std::sync::Arc;

use super::json::{Reader, write_name};

/// The names that [`Fields`] may have altogether.
const MAX_NAMES: usize = 256;

/// The names that a path may have: what a projection costs in stack grows with it.
const MAX_DEPTH: usize = 32;

/// Which members of a JSON object are wanted: `summary,throughput.current`.
///
/// Two are equal if they ask for the same: neither the order of paths nor a repetition counts, and `a,a.b` is `a`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::broker) struct Fields {
    root: Arc<Node>,
}

/// Why a text names no fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFields {
    /// There is nothing between two separators, or the text is empty.
    #[error(
        "a name is empty: write the members as in 'summary,throughput.current', with one ',' between two of them and \
         one '.' between a member and one within it"
    )]
    EmptyName,
    /// More than 256 names, repeated ones included.
    #[error(
        "there are more than 256 names: ask for a member that holds several of these, or leave the header away"
    )]
    TooMany,
    /// A path of more than 32 names.
    #[error(
        "names are nested more than 32 deep: end at a member further out, which is sent with all that it holds"
    )]
    TooDeep,
}

/// A member that is wanted: whole if nothing is named within it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Node {
    /// Its number among all nodes, from the root's, 0.
    id: usize,
    name: Box<str>,
    /// In the order of their names.
    within: Box<[Node]>,
}

impl Fields {
    /// Parses the text of a header.
    ///
    /// # Errors
    ///
    /// When a name is empty, there are too many of them, or they are nested too deeply.
    pub(in crate::broker) fn parse(text: &str) -> Result<Fields, InvalidFields> {
        let mut paths = Vec::new();
        let mut names = 0;
        for path in text.split(',') {
            let path: Vec<&str> = path.split('.').take(MAX_NAMES + 1).collect();
            names += path.len();
            if names > MAX_NAMES {
                return Err(InvalidFields::TooMany);
            }
            if path.contains(&"") {
                return Err(InvalidFields::EmptyName);
            }
            if path.len() > MAX_DEPTH {
                return Err(InvalidFields::TooDeep);
            }
            paths.push(path);
        }
        paths.sort_unstable();
        // In this order all that is within a member comes right behind it.
        paths.dedup_by(|path, wider| path.starts_with(wider));
        Ok(Fields { root: Arc::new(Node::of("", &paths, 0, &mut 0)) })
    }

    /// What the fields leave of a JSON object, in the order and with the values that it was written with. `None` if
    /// `json` is none, which is then to be sent whole.
    ///
    /// Of a repeated name the last counts. A name that is no Unicode text, as `"\ud800"`, makes `None` too if it stands
    /// beside a member that is looked for.
    pub(in crate::broker) fn project(&self, json: &[u8]) -> Option<Vec<u8>> {
        let mut reader = Reader::new(json)?;
        let mut places = vec![0..0; self.root.count()];
        if reader.peek()? != b'{' {
            return None;
        }
        self.root.find(&mut reader, &mut places)?;
        reader.end()?;
        let mut out = Vec::new();
        self.root.write(&reader, &places, &mut out)?;
        Some(out)
    }
}

impl Node {
    /// Of paths that are sorted, and alike up to `depth`.
    fn of(name: &str, paths: &[Vec<&str>], depth: usize, next: &mut usize) -> Node {
        let id = *next;
        *next += 1;
        let within = paths
            .chunk_by(|one, other| one.get(depth) == other.get(depth))
            .filter_map(|paths| Some(Node::of(paths.first()?.get(depth)?, paths, depth + 1, next)))
            .collect();
        Node { id, name: name.into(), within }
    }

    /// How many nodes there are from here on.
    fn count(&self) -> usize {
        1 + self.within.iter().map(Node::count).sum::<usize>()
    }

    /// Takes the value that the reader is at, and notes where it and all that is wanted within it stand.
    fn find(&self, reader: &mut Reader<'_>, places: &mut [Range<usize>]) -> Option<()> {
        let place = if self.within.is_empty() || reader.peek()? != b'{' {
            reader.value()?
        } else {
            reader.object(|reader, name| {
                match self.within.binary_search_by(|node| node.name.as_ref().cmp(name.as_ref())) {
                    Ok(at) => self.within[at].find(reader, places),
                    Err(_) => reader.value().map(drop),
                }
            })?
        };
        places[self.id] = place;
        Some(())
    }

    /// Writes the object of what was found within this node.
    fn write(&self, reader: &Reader<'_>, places: &[Range<usize>], out: &mut Vec<u8>) -> Option<()> {
        // A place may be left from an earlier value under a name that was repeated: it is outside of the last one.
        let whole = &places[self.id];
        let inside = |place: &Range<usize>| whole.start < place.start && place.end < whole.end;
        let mut found: Vec<&Node> = self.within.iter().filter(|node| inside(&places[node.id])).collect();
        found.sort_unstable_by_key(|node| places[node.id].start);

        out.push(b'{');
        for node in found {
            let before = out.len();
            write_name(out, &node.name)?;
            if node.within.is_empty() {
                out.extend_from_slice(reader.text(places[node.id].clone()).as_bytes());
                continue;
            }
            let value = out.len();
            node.write(reader, places, out)?;
            if &out[value..] == b"{}" {
                out.truncate(before);
            }
        }
        out.push(b'}');
        Some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::HashSet;

    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn project(text: &str, json: &str) -> Option<String> {
        Some(String::from_utf8(fields(text).project(json.as_bytes())?).unwrap())
    }

    #[test]
    fn named_members_are_left_as_they_were() {
        for (text, json, left) in [
            ("a", r#"{"a":1,"b":2}"#, r#"{"a":1}"#),
            ("b,a", r#" { "a" : 1 , "b" : [ 1, 2 ] } "#, r#"{"a":1,"b":[ 1, 2 ]}"#),
            (
                "z,a.y,a.x",
                r#"{"z":0,"a":{"x":1,"w":2,"y":{ "v": 3 }}}"#,
                r#"{"z":0,"a":{"x":1,"y":{ "v": 3 }}}"#,
            ),
            (
                "a,b,c",
                r#"{"a":1.0,"b":1e400,"c":123456789012345678901234567890}"#,
                r#"{"a":1.0,"b":1e400,"c":123456789012345678901234567890}"#,
            ),
            ("a", r#"{"a":"\ud800\u0061"}"#, r#"{"a":"\ud800\u0061"}"#),
            ("a", r#"{"b":{"\ud800":1},"a":{"\ud800":1}}"#, r#"{"a":{"\ud800":1}}"#),
            ("a", r#"{"a":null}"#, r#"{"a":null}"#),
            ("a", r#"{"a":{}}"#, r#"{"a":{}}"#),
            ("a.b", r#"{"a":{"b":{}}}"#, r#"{"a":{"b":{}}}"#),
            ("\u{e4} \"", "{\"\\u00e4 \\\"\":1}", "{\"\u{e4} \\\"\":1}"),
            ("a", r#"{"\u0061":1,"A":2}"#, r#"{"a":1}"#),
        ] {
            assert_eq!(project(text, json).as_deref(), Some(left), "{text} of {json}");
        }
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        for (text, json, left) in [
            ("a", "{}", "{}"),
            ("a", r#"{"b":1}"#, "{}"),
            ("a.b.c,d", r#"{"a":{"b":{"x":1}},"d":1}"#, r#"{"d":1}"#),
            ("d,a.b.c", r#"{"d":1,"a":{"b":{"x":1}}}"#, r#"{"d":1}"#),
            ("a.b", r#"{"a":[{"b":1}]}"#, "{}"),
            ("a.0", r#"{"a":[1]}"#, "{}"),
            ("a.b", r#"{"a":"b"}"#, "{}"),
            ("a.b", r#"{"a.b":1}"#, "{}"),
            ("a, b", r#"{"a":1,"b":2}"#, r#"{"a":1}"#),
        ] {
            assert_eq!(project(text, json).as_deref(), Some(left), "{text} of {json}");
        }
    }

    #[test]
    fn of_repeated_members_the_last_counts() {
        for (text, json, left) in [
            ("a", r#"{"a":1,"\u0061":2}"#, r#"{"a":2}"#),
            ("a.x", r#"{"a":{"x":1},"a":{"y":2}}"#, "{}"),
            ("a.x,a.y", r#"{"a":{"x":1},"a":{"y":2}}"#, r#"{"a":{"y":2}}"#),
            ("a.x", r#"{"a":{"x":1},"a":2}"#, "{}"),
            ("a.x", r#"{"a":2,"a":{"x":1,"x":3}}"#, r#"{"a":{"x":3}}"#),
            ("a.b.c", r#"{"a":{"b":{"c":1}},"a":{"b":{}}}"#, "{}"),
        ] {
            assert_eq!(project(text, json).as_deref(), Some(left), "{text} of {json}");
        }
    }

    #[test]
    fn what_is_no_object_goes_whole() {
        for json in [
            "",
            "1",
            "null",
            "[{\"a\":1}]",
            "\"a\"",
            "{\"a\":1} 2",
            "{\"b\":tru}",
            "{\"a\":1",
            "{\"\\ud800\":1}",
        ] {
            assert_eq!(project("a", json), None, "{json}");
        }
        assert_eq!(project("a.b", r#"{"a":{"\ud800":1,"b":2}}"#), None);
        assert_eq!(fields("a").project(b"{\"a\":1,\"b\":\"\xc3\"}"), None);
    }

    #[test]
    fn equal_is_what_asks_for_the_same() {
        let all = ["a,b.c,b.d", "b.d,a,b.c", "b.c,b.d,a,a", "a.x,b.c,a,b.d,b.d.e,a.x.y"].map(fields);
        assert!(all.iter().all(|one| *one == all[0]));
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 1);
        for other in ["a,b", "a,b.c", "a,b.c.d", "a.b,c,d", "b.c,b.d,A", "aa,b.c,b.d"] {
            assert_ne!(fields(other), all[0]);
        }
        // `-` sorts before `.` does, which must not part a member from what is within it.
        assert_eq!(fields("a.b,a-b,a"), fields("a,a-b"));
    }

    #[test]
    fn wrong_texts_are_refused() {
        for text in ["", ",", ".", "a,", ",a", "a,,b", "a.", ".a", "a..b", "a,.b"] {
            assert_eq!(Fields::parse(text), Err(InvalidFields::EmptyName), "{text}");
        }
        let path = |names| vec!["a"; names].join(".");
        assert!(Fields::parse(&path(32)).is_ok());
        assert_eq!(Fields::parse(&path(33)), Err(InvalidFields::TooDeep));
        assert!(Fields::parse(&vec![path(32); 8].join(",")).is_ok());
        assert_eq!(Fields::parse(&vec!["a"; 257].join(",")), Err(InvalidFields::TooMany));
        assert_eq!(Fields::parse(&path(1_000_000)), Err(InvalidFields::TooMany));
    }

    #[test]
    fn hostile_bodies_are_as_good_as_any() {
        let levels = 1_400_000;
        let deep = format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        let path = vec!["a"; 32].join(".");
        assert_eq!(project(&path, &deep), Some(deep.clone()));
        assert_eq!(project(&path, &deep[1..]), None);

        let many: Vec<String> = (0..500_000).map(|member| format!("\"{member}\":{{}}")).collect();
        let many = format!("{{{}}}", many.join(","));
        assert_eq!(project("499999,7,x", &many).as_deref(), Some(r#"{"7":{},"499999":{}}"#));

        let names: Vec<String> = (0..100).map(|name| format!("a.{name}")).collect();
        let again = format!("{{{}\"a\":{{\"7\":1}}}}", "\"a\":{},".repeat(1_000_000));
        assert_eq!(project(&names.join(","), &again).as_deref(), Some(r#"{"a":{"7":1}}"#));
    }

    /// The same, with values that are read and by the rule itself.
    fn model(paths: &[Vec<&str>], object: &Map<String, Value>) -> Map<String, Value> {
        let mut left = Map::new();
        for (name, value) in object {
            let rests: Vec<Vec<&str>> =
                paths.iter().filter(|path| path[0] == name).map(|path| path[1..].to_vec()).collect();
            if rests.iter().any(Vec::is_empty) {
                left.insert(name.clone(), value.clone());
            } else if let Value::Object(object) = value {
                let within = model(&rests, object);
                if !within.is_empty() {
                    left.insert(name.clone(), within.into());
                }
            }
        }
        left
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "0",
            "1.5",
            "null",
            "true",
            "\"a\"",
            "\"\\u0062\"",
            "[]",
            "{}",
            "[{\"a\":1}]",
        ]);
        let name = prop::sample::select(vec!["a", "b", "c", "\\u0061", "a b"]);
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

    proptest! {
        #[test]
        fn is_what_the_rule_says(json in json(), text in "(a|b|c|a b)(\\.(a|b|c))?([.,](a|b|c)){0,4}") {
            let paths: Vec<Vec<&str>> = text.split(',').map(|path| path.split('.').collect()).collect();
            let expected = match serde_json::from_str(&json).unwrap() {
                Value::Object(object) => Some(Value::Object(model(&paths, &object))),
                _ => None,
            };
            let left = project(&text, &json);
            prop_assert_eq!(left.as_ref().map(|left| serde_json::from_str::<Value>(left).unwrap()), expected);
            if let Some(left) = left {
                prop_assert_eq!(project(&text, &left), Some(left), "it is not the same when projected again");
            }
        }

        #[test]
        fn any_octets_do_no_harm(json in "\\{[{}\\[\\]\",:\\\\ab1 .en]{0,12}\\}", raw in any::<Vec<u8>>()) {
            let valid = serde_json::from_str::<Map<String, Value>>(&json).is_ok();
            prop_assert_eq!(project("a,b.a", &json).is_some(), valid);
            let _ = fields("a.b").project(&raw);
        }

        #[test]
        fn any_text_does_no_harm(text in any::<String>()) {
            let _ = Fields::parse(&text);
        }
    }
}
