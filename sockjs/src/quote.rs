//! Quoting of text as SockJS puts it into frames, and nothing of the frames themselves.

use bytes::{BufMut, BytesMut};

/// Appends `text` as the inside of a JSON string (without the quotation marks).
///
/// Escaped are `"`, `\`, U+0000–001F (as `\b`, `\t`, `\n`, `\f`, `\r` where JSON has a short form)
/// and, since browsers lost or changed them on the way, U+200C–200F, U+2028–202F, U+2060–206F and
/// U+FFF0–FFFF, as lower-case `\uXXXX`. The ranges are those of the SockJS protocol 0.3.3; all else
/// stays as it is.
///
/// ```
/// let mut out = bytes::BytesMut::new();
/// sockjs::quote("say \"hi\"\n\u{2028}", &mut out);
/// assert_eq!(&out[..], br#"say \"hi\"\n\u2028"#);
/// ```
pub fn quote(text: &str, out: &mut BytesMut) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len());
    let mut run = 0;
    let mut at = 0;
    while let Some(found) = next_special(bytes, at) {
        let (taken, escape) = match Escape::of(&bytes[found..]) {
            Some(escape) => escape,
            None => {
                at = found + 1;
                continue;
            }
        };
        out.put_slice(&bytes[run..found]);
        escape.put(out);
        at = found + taken;
        run = at;
    }
    out.put_slice(&bytes[run..]);
}

/// How one character is written.
enum Escape {
    Short(u8),
    Unicode(u16),
}

impl Escape {
    /// The escape for the character that `rest` begins with and the octets it stands for; none if
    /// it stays as it is.
    fn of(rest: &[u8]) -> Option<(usize, Escape)> {
        Some(match *rest {
            [b @ (b'"' | b'\\'), ..] => (1, Escape::Short(b)),
            [0x08, ..] => (1, Escape::Short(b'b')),
            [b'\t', ..] => (1, Escape::Short(b't')),
            [b'\n', ..] => (1, Escape::Short(b'n')),
            [0x0c, ..] => (1, Escape::Short(b'f')),
            [b'\r', ..] => (1, Escape::Short(b'r')),
            [b @ 0..0x20, ..] => (1, Escape::Unicode(u16::from(b))),
            // The ranges beyond ASCII, as the octets that UTF-8 makes of them.
            [0xe2, b @ 0x80, c @ (0x8c..=0x8f | 0xa8..=0xaf), ..] | [0xe2, b @ 0x81, c @ 0xa0..=0xaf, ..] => {
                (3, Escape::Unicode(0x2000 | u16::from(b & 0x3f) << 6 | u16::from(c & 0x3f)))
            }
            [0xef, 0xbf, c @ 0xb0..=0xbf, ..] => (3, Escape::Unicode(0xffc0 | u16::from(c & 0x3f))),
            _ => return None,
        })
    }

    fn put(&self, out: &mut BytesMut) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        match *self {
            Escape::Short(c) => out.put_slice(&[b'\\', c]),
            Escape::Unicode(unit) => {
                let digit = |shift: u16| HEX[usize::from(unit >> shift & 0xf)];
                out.put_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
            }
        }
    }
}

/// The first octet from `at` on that may begin an escape.
fn next_special(bytes: &[u8], at: usize) -> Option<usize> {
    // Blocks without any are passed over whole: the fold has no branch, so the compiler makes
    // vector code of it.
    let (blocks, _) = bytes[at..].as_chunks::<32>();
    let clean =
        blocks.iter().take_while(|block| !block.iter().fold(false, |any, &b| any | is_special(b))).count();
    let from = at + clean * 32;
    bytes[from..].iter().position(|&b| is_special(b)).map(|offset| from + offset)
}

/// Whether an escape may begin with this octet. Those of 0xE2 and 0xEF depend on what follows.
fn is_special(b: u8) -> bool {
    (b < 0x20) | (b == b'"') | (b == b'\\') | (b == 0xe2) | (b == 0xef)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::quote;

    fn quoted(text: &str) -> String {
        let mut out = BytesMut::new();
        quote(text, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    /// The rule of the protocol, character by character.
    fn must_escape(c: char) -> bool {
        matches!(c, '\0'..='\u{1f}' | '\u{200c}'..='\u{200f}' | '\u{2028}'..='\u{202f}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fff0}'..='\u{ffff}' | '"' | '\\')
    }

    #[test]
    fn escapes_what_the_protocol_lists_and_nothing_else() {
        for c in (0..=0x10ffff).filter_map(char::from_u32) {
            let out = quoted(c.encode_utf8(&mut [0; 4]));
            let expected = match c {
                '\u{8}' => r"\b".to_owned(),
                '\t' => r"\t".to_owned(),
                '\n' => r"\n".to_owned(),
                '\u{c}' => r"\f".to_owned(),
                '\r' => r"\r".to_owned(),
                '"' => r#"\""#.to_owned(),
                '\\' => r"\\".to_owned(),
                c if must_escape(c) => format!("\\u{:04x}", c as u32),
                c => c.to_string(),
            };
            assert_eq!(out, expected, "U+{:04X}", c as u32);
        }
    }

    #[test]
    fn runs_of_any_length_around_an_escape_survive() {
        for before in 0..70 {
            for after in [0, 1, 31, 32, 33, 64] {
                let text = format!("{}\n{}", "x".repeat(before), "é".repeat(after));
                assert_eq!(quoted(&text), text.replace('\n', "\\n"));
            }
        }
    }

    const ODD: &str = r#"[\x00-\x1f"\\a-cé\u{2000}-\u{2070}\u{ff80}-\u{ffff}\u{1f600}]{0,100}"#;

    proptest! {
        #[test]
        fn a_json_reader_gives_the_text_back(text in "(?s).*") {
            let json = format!("\"{}\"", quoted(&text));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        #[test]
        fn odd_characters_survive_too(text in ODD) {
            let out = quoted(&text);
            prop_assert_eq!(serde_json::from_str::<String>(&format!("\"{out}\"")).unwrap(), text);
            prop_assert!(!out.chars().any(|c| must_escape(c) && c != '"' && c != '\\'));
        }
    }
}
