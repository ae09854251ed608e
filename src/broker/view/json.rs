//! JSON as text: objects are walked member by member, every other value is skipped and known by where it stands.
//!
//! Owns what the views need of JSON's grammar, so that they can pass on a value octet for octet: no number is read, no
//! string of a value unescaped. Leaves to them how deep they walk, and what a repeated name means.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A place in a JSON text. What is read is valid, or the answer is `None` and the reader of no more use.
///
/// It goes over each octet once. Skipping a value takes no stack, however deeply it is nested.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// Begins at the body's first octet; `None` if it is not UTF-8.
    pub(super) fn new(body: &'a [u8]) -> Option<Reader<'a>> {
        Some(Reader { text: str::from_utf8(body).ok()?, at: 0 })
    }

    /// The next octet that is not blank; `None` at the end.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let blank = rest.iter().take_while(|octet| matches!(octet, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.at += blank;
        rest.get(blank).copied()
    }

    /// Succeeds if nothing follows.
    pub(super) fn end(&mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }

    /// Skips a value of any kind.
    pub(super) fn value(&mut self) -> Option<Range<usize>> {
        self.peek()?;
        let from = self.at;
        self.next::<&RawValue>()?;
        Some(from..self.at)
    }

    /// Walks an object. `member` is called for each name, unescaped, and must take the value behind it.
    ///
    /// A name that is no Unicode text, as `"\ud800"`, is an error here; in a value that is skipped it is none.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Reader<'a>, Cow<'a, str>) -> Option<()>,
    ) -> Option<Range<usize>> {
        self.peek()?;
        let from = self.at;
        self.mark(b'{')?;
        if self.peek()? != b'}' {
            loop {
                let Name(name) = self.next()?;
                self.mark(b':')?;
                member(self, name)?;
                if self.peek()? == b'}' {
                    break;
                }
                self.mark(b',')?;
            }
        }
        self.mark(b'}')?;
        Some(from..self.at)
    }

    /// The text of something that was read.
    pub(super) fn text(&self, place: Range<usize>) -> &'a str {
        &self.text[place]
    }

    fn mark(&mut self, octet: u8) -> Option<()> {
        (self.peek()? == octet).then(|| self.at += 1)
    }

    fn next<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let mut values = serde_json::Deserializer::from_str(&self.text[self.at..]).into_iter();
        let value = values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(value)
    }
}

/// A member's name; borrowed, unless it was written with escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Writes a name and its colon into an object that was opened, behind a comma unless it is the object's first.
pub(super) fn write_name(out: &mut Vec<u8>, name: &str) -> Option<()> {
    // No value ends with this octet, so that it tells.
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    serde_json::to_writer(&mut *out, name).ok()?;
    out.push(b':');
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The names and values of an object with nothing around it.
    fn members(body: &str) -> Option<Vec<(String, String)>> {
        let mut reader = Reader::new(body.as_bytes())?;
        let mut members = Vec::new();
        reader.object(|reader, name| {
            let place = reader.value()?;
            members.push((name.into_owned(), reader.text(place).to_owned()));
            Some(())
        })?;
        reader.end()?;
        Some(members)
    }

    #[test]
    fn values_are_what_was_written() {
        for value in
            ["1.0", "-0", "1e400", "[ 1 , {\"a\" : null} ]", r#""\ud800""#, r#"{"\ud800":1}"#, "{ }", "true"]
        {
            let body = format!(" {{ \"n\" : {value}\n,\r\"\\u006e\":{value}\t}} ");
            let member = ("n".to_owned(), value.to_owned());
            assert_eq!(members(&body), Some(vec![member.clone(), member]), "{value}");
        }
        assert_eq!(members("{}"), Some(vec![]));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in [
            "",
            " ",
            "1",
            "[]",
            "{",
            "}",
            "{}{}",
            "{} x",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":1\"b\":2}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":+1}",
            "{\"a\":nul}",
            "{\"a\":truex}",
            "{\"a\":[1,]}",
            "{\"a\":[1}",
            "{\"a\":'b'}",
            "{\"a\":\"\n\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":NaN}",
            "{\"\\ud800\":1}",
            "{\"a\":1/**/}",
            "{\"a\":\"\\u12\"}",
            "\u{feff}{}",
            "{\u{a0}}",
            "{\"a\":1:2}",
        ] {
            assert_eq!(members(body), None, "{body}");
        }
        assert!(Reader::new(b"{\"a\":\"\xff\"}").is_none());
    }

    #[test]
    fn skipping_takes_no_stack() {
        let levels = 4_000_000;
        let array = format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(members(&array).map(|members| members.len()), Some(1));
        let object = format!("{{\"a\":{}1{}}}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert_eq!(members(&object).map(|members| members.len()), Some(1));
        assert_eq!(members(&object[..object.len() - 1]), None);
    }
}
