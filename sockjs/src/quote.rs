//! Quoting of text as SockJS puts it into frames, and nothing of the frames themselves.

use bytes::{BufMut, BytesMut};

/// Octets that are looked at together.
const BLOCK: usize = 32;

/// The most octets of a character that is escaped.
const LONGEST: usize = 3;

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
    // What comes before `run` is written; between `run` and `at` nothing needs an escape.
    let (mut run, mut at) = (0, 0);
    while let Some(window) = bytes[at..].first_chunk() {
        let (needs, end) = (Needs::of(window), at + BLOCK);
        if needs == Needs::Nothing {
            at = end;
            continue;
        }
        out.put_slice(&bytes[run..at]);
        if needs == Needs::Letters {
            put_letters(&bytes[at..end], out);
            at = end;
        } else {
            at = put_any(bytes, at, end, out);
        }
        run = at;
    }
    out.put_slice(&bytes[run..at]);
    put_any(bytes, at, bytes.len(), out);
}

/// The escapes that a block needs.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Nothing,
    /// A backslash and a letter, as all that are frequent.
    Letters,
    /// `\uXXXX` too.
    Any,
}

impl Needs {
    /// Judges the block that a window begins with.
    fn of(window: &[u8; BLOCK + LONGEST - 1]) -> Needs {
        let block = &window[..BLOCK];
        if !any(block, is_special) {
            Needs::Nothing
        } else if any(block, may_need_unicode) && any_needs_unicode(window) {
            Needs::Any
        } else if any(block, has_letter) {
            Needs::Letters
        } else {
            Needs::Nothing
        }
    }
}

/// Of one flag and without a branch, so that the compiler makes vector code of it.
fn any(block: &[u8], test: impl Fn(u8) -> bool) -> bool {
    block.iter().fold(false, |any, &b| any | test(b))
}

/// As [`any`].
fn any_needs_unicode(window: &[u8; BLOCK + LONGEST - 1]) -> bool {
    (0..BLOCK).fold(false, |any, at| any | needs_unicode(window[at], window[at + 1], window[at + 2]))
}

/// Whether an escape may begin with this octet. Those of 0xE2 and 0xEF depend on what follows.
fn is_special(b: u8) -> bool {
    (b < 0x20) | (b == b'"') | (b == b'\\') | (b == 0xe2) | (b == 0xef)
}

/// Whether the octet is escaped by a backslash and a letter.
fn has_letter(b: u8) -> bool {
    (b == b'"') | (b == b'\\') | is_lettered_control(b)
}

/// `\b`, `\t`, `\n`, `\f`, `\r`.
fn is_lettered_control(b: u8) -> bool {
    (b.wrapping_sub(0x08) <= 5) & (b != 0x0b)
}

/// Whether `\uXXXX` may stand for a character that begins with this octet.
fn may_need_unicode(b: u8) -> bool {
    ((b < 0x20) & !is_lettered_control(b)) | (b == 0xe2) | (b == 0xef)
}

/// Whether it does stand for the character that begins here, by the octets that UTF-8 makes of the ranges.
fn needs_unicode(a: u8, b: u8, c: u8) -> bool {
    ((a < 0x20) & !is_lettered_control(a))
        | ((a == 0xe2) & (b == 0x80) & ((c & 0xfc == 0x8c) | (c & 0xf8 == 0xa8)))
        | ((a == 0xe2) & (b == 0x81) & (c & 0xf0 == 0xa0))
        | ((a == 0xef) & (b == 0xbf) & (c >= 0xb0))
}

/// What an octet becomes that needs no `\uXXXX`: itself and nothing, or a backslash and a letter.
static PAIRS: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut b = 0;
    while b < pairs.len() {
        pairs[b] = [b as u8, 0];
        b += 1;
    }
    pairs[b'"' as usize] = *b"\\\"";
    pairs[b'\\' as usize] = *b"\\\\";
    pairs[0x08] = *b"\\b";
    pairs[b'\t' as usize] = *b"\\t";
    pairs[b'\n' as usize] = *b"\\n";
    pairs[0x0c] = *b"\\f";
    pairs[b'\r' as usize] = *b"\\r";
    pairs
};

/// Appends a window, or less, without `\uXXXX`. There is no branch in it for a processor to guess wrong: where the next
/// quotation mark of a JSON text stands can't be foretold. Three times as fast as going from one to the next
/// (`benches/quoting`).
fn put_letters(block: &[u8], out: &mut BytesMut) {
    let mut quoted = [0; 2 * (BLOCK + LONGEST)];
    let mut len = 0;
    for &b in block {
        let pair = PAIRS[usize::from(b)];
        quoted[len..len + 2].copy_from_slice(&pair);
        len += 1 + usize::from(pair[1] != 0);
    }
    out.put_slice(&quoted[..len]);
}

/// Appends what begins from `at` on before `end`, a window or less; says where that ends.
fn put_any(bytes: &[u8], mut at: usize, end: usize, out: &mut BytesMut) -> usize {
    let mut run = at;
    while at < end {
        let Some((octets, unit)) = unicode(&bytes[at..]) else {
            at += 1;
            continue;
        };
        put_letters(&bytes[run..at], out);
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let digit = |shift: u16| HEX[usize::from(unit >> shift & 0xf)];
        out.put_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
        at += octets;
        run = at;
    }
    put_letters(&bytes[run..at], out);
    at
}

/// If the character that `rest` begins with needs `\uXXXX`: its octets, and its number.
fn unicode(rest: &[u8]) -> Option<(usize, u16)> {
    match *rest {
        [b, ..] if !may_need_unicode(b) => None,
        [b @ 0..0x20, ..] => Some((1, u16::from(b))),
        [a, b, c, ..] if needs_unicode(a, b, c) => {
            Some((3, u16::from(a & 0x0f) << 12 | u16::from(b & 0x3f) << 6 | u16::from(c & 0x3f)))
        }
        _ => None,
    }
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
        // The last is none, but begins like one.
        for (character, escape) in [("\n", "\\n"), ("\0", "\\u0000"), ("\u{2028}", "\\u2028"), ("“", "“")]
        {
            for before in 0..70 {
                for after in [0, 1, 31, 32, 33, 64] {
                    let (x, e) = ("x".repeat(before), "é".repeat(after));
                    assert_eq!(quoted(&format!("{x}{character}{e}")), format!("{x}{escape}{e}"));
                }
            }
        }
    }

    #[test]
    fn nothing_but_escapes_of_any_number() {
        for (character, escape) in [("\"", "\\\""), ("\u{7}", "\\u0007"), ("\u{fff0}", "\\ufff0")] {
            for number in 0..100 {
                assert_eq!(quoted(&character.repeat(number)), escape.repeat(number));
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
