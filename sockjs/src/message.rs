//! What SockJS clients send: a JSON array of strings, or one string.
//!
//! ```text
//! message = ws ( string / "[" ws [ string ws *( "," ws string ws ) ] "]" ) ws
//! ```
//! with `ws` and `string` of RFC 8259. Strings are unescaped where they stand, which never makes
//! them longer, and given out as pieces of the buffer they came in.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

/// Strings of one message at most, behind its first. Each takes some memory beside its octets.
const MAX_STRINGS: usize = 1 << 18;

/// Why a message was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Not JSON, or not strings, or a string with half of a surrogate pair, which UTF-8 has no form
    /// for.
    Broken,
    /// A string that is not UTF-8.
    NotUtf8,
    /// A string above the limit, or too many.
    TooBig,
}

/// The strings of one message, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Strings {
    first: Option<ByteString>,
    /// Those after the first, the last one first. Apart, since most messages have one string alone.
    rest: Vec<ByteString>,
}

impl Iterator for Strings {
    type Item = ByteString;

    fn next(&mut self) -> Option<ByteString> {
        self.first.take().or_else(|| {
            let next = self.rest.pop();
            if self.rest.is_empty() {
                self.rest = Vec::new();
            }
            next
        })
    }
}

/// Reads one message, of which no string may have more than `limit` octets. An empty payload has no
/// strings: clients send it, and the protocol ignores it.
pub(crate) fn read(mut payload: BytesMut, limit: usize) -> Result<Strings, Refused> {
    if payload.is_empty() {
        return Ok(Strings::default());
    }
    let (first, rest) = Parser { text: &mut payload, at: 0, limit }.message()?;
    let payload = payload.freeze();
    Ok(Strings {
        first: first.map(|at| slice(&payload, at)).transpose()?,
        rest: rest.into_iter().rev().map(|at| slice(&payload, at)).collect::<Result<_, _>>()?,
    })
}

/// Where an unescaped string stands in the payload.
type Span = (usize, usize);

fn slice(payload: &Bytes, (start, end): Span) -> Result<ByteString, Refused> {
    ByteString::try_from(payload.slice(start..end)).map_err(|_| Refused::NotUtf8)
}

struct Parser<'a> {
    text: &'a mut [u8],
    at: usize,
    limit: usize,
}

impl Parser<'_> {
    fn message(mut self) -> Result<(Option<Span>, Vec<Span>), Refused> {
        self.blank();
        let (mut first, mut rest) = (None, Vec::new());
        if self.eat(b'[') {
            self.blank();
            if !self.eat(b']') {
                first = Some(self.string()?);
                self.blank();
                while !self.eat(b']') {
                    self.expect(b',')?;
                    self.blank();
                    if rest.len() == MAX_STRINGS {
                        return Err(Refused::TooBig);
                    }
                    rest.push(self.string()?);
                    self.blank();
                }
            }
        } else {
            first = Some(self.string()?);
        }
        self.blank();
        if self.at == self.text.len() { Ok((first, rest)) } else { Err(Refused::Broken) }
    }

    fn blank(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
    }

    fn eat(&mut self, octet: u8) -> bool {
        let found = self.text.get(self.at) == Some(&octet);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, octet: u8) -> Result<(), Refused> {
        if self.eat(octet) { Ok(()) } else { Err(Refused::Broken) }
    }

    /// Unescapes the string that begins here.
    fn string(&mut self) -> Result<Span, Refused> {
        self.expect(b'"')?;
        let start = self.at;
        let mut end = start;
        loop {
            let run = self.at;
            self.at += self.text[run..]
                .iter()
                .position(|&b| b == b'"' || b == b'\\' || b < 0x20)
                .ok_or(Refused::Broken)?;
            if end != run {
                self.text.copy_within(run..self.at, end);
            }
            end += self.at - run;
            if end - start > self.limit {
                return Err(Refused::TooBig);
            }
            if self.eat(b'"') {
                return Ok((start, end));
            }
            // Either an escape, or a control character, which JSON does not allow here.
            self.expect(b'\\')?;
            let c = self.escape()?;
            end += c.encode_utf8(&mut self.text[end..self.at]).len();
        }
    }

    /// The character that the escape here, behind its backslash, stands for. It has at most as many
    /// octets as its escape.
    fn escape(&mut self) -> Result<char, Refused> {
        let letter = *self.text.get(self.at).ok_or(Refused::Broken)?;
        self.at += 1;
        Ok(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.unit()?;
                let low = if unit & 0xfc00 == 0xd800 && self.text[self.at..].starts_with(b"\\u") {
                    self.at += 2;
                    Some(self.unit()?)
                } else {
                    None
                };
                char::decode_utf16([Some(unit), low].into_iter().flatten())
                    .next()
                    .and_then(Result::ok)
                    .ok_or(Refused::Broken)?
            }
            _ => return Err(Refused::Broken),
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Result<u16, Refused> {
        let digits = self.text.get(self.at..self.at + 4).ok_or(Refused::Broken)?;
        self.at += 4;
        digits.iter().try_fold(0, |unit, &digit| {
            let value = char::from(digit).to_digit(16).ok_or(Refused::Broken)?;
            Ok(unit << 4 | value as u16)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn read_str(text: &str) -> Result<Vec<String>, Refused> {
        Ok(read(BytesMut::from(text), 1 << 20)?.map(|s| s.to_string()).collect())
    }

    #[test]
    fn arrays_and_single_strings() {
        assert_eq!(read_str(r#"["a"]"#).unwrap(), ["a"]);
        assert_eq!(read_str(r#"["a","b\n\"","\u00e9\ud83d\ude00\/"]"#).unwrap(), ["a", "b\n\"", "é😀/"]);
        assert_eq!(read_str(" [ \"a\" , \"b\" ] \n").unwrap(), ["a", "b"]);
        assert_eq!(read_str(r#""one""#).unwrap(), ["one"]);
        assert!(read_str("[]").unwrap().is_empty());
        assert!(read_str("").unwrap().is_empty());
    }

    #[test]
    fn refuses_what_is_not_a_message() {
        for broken in [
            "[",
            "]",
            "[\"a\"",
            "[\"a\",]",
            "[,\"a\"]",
            "[1]",
            "1",
            "null",
            "{}",
            "[\"a\" \"b\"]",
            "[\"a\"]x",
            "\"a",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "[[\"a\"]]",
            "x",
            " ",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\u0041\"",
            "\"\\ud800x\"",
            "\"\\ud800\\n\"",
            "\"\\u+123\"",
        ] {
            assert_eq!(read_str(broken), Err(Refused::Broken), "{broken}");
        }
        assert_eq!(read(BytesMut::from(&b"[\"\xff\"]"[..]), 9), Err(Refused::NotUtf8));
        assert_eq!(read(BytesMut::from(r#"["1234"]"#), 3), Err(Refused::TooBig));
        assert!(
            read(BytesMut::from(r#"["\u0001\u0001\u0001"]"#), 3).is_ok(),
            "the limit is one of decoded octets"
        );
    }

    proptest! {
        #[test]
        fn reads_what_a_json_writer_wrote(strings in prop::collection::vec("(?s).{0,40}", 0..5)) {
            prop_assert_eq!(read_str(&serde_json::to_string(&strings).unwrap()).unwrap(), strings);
        }

        #[test]
        fn reads_fully_escaped_strings(text in "(?s).{0,40}") {
            let units = text.encode_utf16();
            let escaped: String = units.map(|unit| format!("\\u{unit:04X}")).collect();
            prop_assert_eq!(read_str(&format!("[\"{escaped}\"]")).unwrap(), vec![text]);
        }

        #[test]
        fn agrees_with_a_json_reader_on_anything(text in r#"[\[\]", \\unad8c01x\n]{0,24}"#) {
            let expected = serde_json::from_str::<Vec<String>>(&text)
                .or_else(|_| serde_json::from_str(&text).map(|single| vec![single]));
            match read_str(&text) {
                Ok(strings) if !text.is_empty() => prop_assert_eq!(strings, expected.unwrap()),
                Ok(_) => {}
                Err(_) => prop_assert!(expected.is_err()),
            }
        }
    }
}
