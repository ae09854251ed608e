//! What can be wrong with a frame: the rule that was broken, and a sentence for whoever wrote the
//! client.
//!
//! Every error here is the peer's fault and fatal for its connection. How to answer is the
//! session's business.

use std::fmt;

use crate::Version;

/// Octets of the peer's text that an error shows at most.
const EXCERPT: usize = 32;

/// A frame that broke a rule. [`Display`](fmt::Display) gives one sentence that says what is wrong
/// and what to do about it, fit for the body of an `ERROR` frame: it has no line breaks and no
/// control characters, and shows no more than a few dozen octets of what the peer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: Box<str>,
    receipt: Option<Box<str>>,
}

impl Error {
    /// Which rule was broken.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The `receipt` header of the offending frame, where it could still be read: an `ERROR` frame
    /// repeats it as `receipt-id` (1.2 specification, *ERROR*).
    pub fn receipt(&self) -> Option<&str> {
        self.receipt.as_deref()
    }

    fn new(kind: ErrorKind, message: impl Into<Box<str>>) -> Self {
        Self { kind, message: message.into(), receipt: None }
    }

    pub(crate) fn with_receipt(mut self, receipt: Option<String>) -> Self {
        self.receipt = receipt.map(String::into_boxed_str);
        self
    }

    pub(crate) fn unknown_command(line: &[u8]) -> Self {
        Self::new(
            ErrorKind::UnknownCommand,
            format!(
                "unknown command {}: a frame begins with a command such as CONNECT, SUBSCRIBE or \
                 SEND, in capital letters and alone on its line",
                Excerpt(line)
            ),
        )
    }

    pub(crate) fn line_ending(line: &[u8]) -> Self {
        Self::new(
            ErrorKind::LineEnding,
            format!(
                "the line {} ends with CR LF, which only STOMP 1.2 allows: end lines with LF \
                 alone, or offer version 1.2 in accept-version",
                Excerpt(line)
            ),
        )
    }

    pub(crate) fn raw_carriage_return(line: &[u8]) -> Self {
        Self::new(
            ErrorKind::RawCarriageReturn,
            format!(
                "the header line {} has a carriage return inside: STOMP 1.2 writes it as the \
                 escape \\r",
                Excerpt(line)
            ),
        )
    }

    pub(crate) fn header_without_colon(line: &[u8]) -> Self {
        Self::new(
            ErrorKind::HeaderWithoutColon,
            format!(
                "the header line {} has no colon: write headers as name:value, and leave one \
                 empty line between them and the body",
                Excerpt(line)
            ),
        )
    }

    pub(crate) fn empty_header_name(line: &[u8]) -> Self {
        Self::new(
            ErrorKind::EmptyHeaderName,
            format!(
                "the header line {} has no name before its colon: write headers as name:value",
                Excerpt(line)
            ),
        )
    }

    pub(crate) fn nul_in_headers(line: &[u8], at_start: bool) -> Self {
        let message = if at_start {
            "a NUL octet stands where a frame should begin: end each frame with exactly one NUL, \
             and give a body that holds NUL octets a content-length header"
                .to_owned()
        } else {
            format!(
                "a NUL octet follows {} in the header section: end the headers with an empty line \
                 before the body and the NUL",
                Excerpt(line)
            )
        };
        Self::new(ErrorKind::NulInHeaders, message)
    }

    pub(crate) fn not_utf8(line: &[u8]) -> Self {
        Self::new(
            ErrorKind::NotUtf8,
            format!("the header line {} is not UTF-8: encode command and headers as UTF-8", Excerpt(line)),
        )
    }

    pub(crate) fn invalid_escape(line: &[u8], escape: &str, version: Version) -> Self {
        let known = match version {
            Version::V1_0 => "none",
            Version::V1_1 => "\\n, \\c and \\\\",
            Version::V1_2 => "\\r, \\n, \\c and \\\\",
        };
        let what = if escape.len() == 1 {
            "ends with a lone backslash".to_owned()
        } else {
            format!("has the escape {}", Excerpt(escape.as_bytes()))
        };
        Self::new(
            ErrorKind::InvalidEscape,
            format!(
                "the header line {} {what}: the escapes of STOMP {version} are {known}, so write \
                 a backslash as \\\\",
                Excerpt(line)
            ),
        )
    }

    pub(crate) fn invalid_content_length(value: &str) -> Self {
        Self::new(
            ErrorKind::InvalidContentLength,
            format!(
                "content-length {} is not a number of octets: write decimal digits only, without \
                 sign or spaces, or leave the header out",
                Excerpt(value.as_bytes())
            ),
        )
    }

    pub(crate) fn missing_nul(length: usize) -> Self {
        Self::new(
            ErrorKind::MissingNul,
            format!(
                "the body has {length} octets by its content-length, but the octet after them is \
                 not NUL: count the octets of the encoded body, not its characters, and end the \
                 frame with NUL"
            ),
        )
    }

    pub(crate) fn body_not_allowed(command: &str) -> Self {
        Self::new(
            ErrorKind::BodyNotAllowed,
            format!(
                "a {command} frame has no body, only SEND, MESSAGE and ERROR frames may: put the \
                 NUL right after the empty line that ends the headers"
            ),
        )
    }

    pub(crate) fn too_many_headers(limit: usize) -> Self {
        Self::new(
            ErrorKind::TooManyHeaders,
            format!(
                "the frame has more than {limit} headers, repeats counted: send fewer, or put the \
                 data into the body"
            ),
        )
    }

    pub(crate) fn line_too_long(limit: usize) -> Self {
        Self::new(
            ErrorKind::LineTooLong,
            format!(
                "a header line is longer than {limit} octets: shorten it, or put the data into \
                 the body"
            ),
        )
    }

    pub(crate) fn headers_too_large(limit: usize) -> Self {
        Self::new(
            ErrorKind::HeadersTooLarge,
            format!(
                "the headers of the frame take more than {limit} octets together: shorten them, \
                 or put the data into the body"
            ),
        )
    }

    pub(crate) fn body_too_large(limit: usize) -> Self {
        Self::new(
            ErrorKind::BodyTooLarge,
            format!("the body is larger than {limit} octets: send it in several smaller frames"),
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// The rules that a frame can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The first line is none of the commands.
    UnknownCommand,
    /// A line ends with CR LF in STOMP 1.0 or 1.1.
    LineEnding,
    /// A carriage return stands unescaped inside of a STOMP 1.2 header line.
    RawCarriageReturn,
    /// A header line has no colon.
    HeaderWithoutColon,
    /// A header line begins with its colon.
    EmptyHeaderName,
    /// A NUL stands before the empty line that ends the headers.
    NulInHeaders,
    /// The header section is not UTF-8.
    NotUtf8,
    /// A header has an escape that the version does not know, or ends with a lone backslash.
    InvalidEscape,
    /// `content-length` is not a decimal number of octets, or does not fit 64 bits.
    InvalidContentLength,
    /// The octet after the number of octets given by `content-length` is not NUL.
    MissingNul,
    /// A body on a frame that is none of `SEND`, `MESSAGE` and `ERROR`.
    BodyNotAllowed,
    /// More than [`Limits::headers`](crate::Limits::headers).
    TooManyHeaders,
    /// A line of more than [`Limits::line`](crate::Limits::line).
    LineTooLong,
    /// More than [`Limits::header_bytes`](crate::Limits::header_bytes).
    HeadersTooLarge,
    /// More than [`Limits::body`](crate::Limits::body), sent or announced.
    BodyTooLarge,
}

impl ErrorKind {
    /// Every rule, for metrics that want their series from the start.
    pub const ALL: [Self; 15] = [
        Self::UnknownCommand,
        Self::LineEnding,
        Self::RawCarriageReturn,
        Self::HeaderWithoutColon,
        Self::EmptyHeaderName,
        Self::NulInHeaders,
        Self::NotUtf8,
        Self::InvalidEscape,
        Self::InvalidContentLength,
        Self::MissingNul,
        Self::BodyNotAllowed,
        Self::TooManyHeaders,
        Self::LineTooLong,
        Self::HeadersTooLarge,
        Self::BodyTooLarge,
    ];

    /// A short name in snake case that stays the same over releases, for metrics and logs.
    pub const fn rule(self) -> &'static str {
        match self {
            Self::UnknownCommand => "unknown_command",
            Self::LineEnding => "line_ending",
            Self::RawCarriageReturn => "raw_carriage_return",
            Self::HeaderWithoutColon => "header_without_colon",
            Self::EmptyHeaderName => "empty_header_name",
            Self::NulInHeaders => "nul_in_headers",
            Self::NotUtf8 => "not_utf8",
            Self::InvalidEscape => "invalid_escape",
            Self::InvalidContentLength => "invalid_content_length",
            Self::MissingNul => "missing_nul",
            Self::BodyNotAllowed => "body_not_allowed",
            Self::TooManyHeaders => "too_many_headers",
            Self::LineTooLong => "line_too_long",
            Self::HeadersTooLarge => "headers_too_large",
            Self::BodyTooLarge => "body_too_large",
        }
    }

    /// A few words, the same for every error of this kind, fit for the `message` header of an
    /// `ERROR` frame in any version: nothing in them needs an escape.
    pub const fn summary(self) -> &'static str {
        match self {
            Self::UnknownCommand => "unknown command",
            Self::LineEnding => "lines end with LF alone before STOMP 1.2",
            Self::RawCarriageReturn => "carriage return inside of a header",
            Self::HeaderWithoutColon => "header line without a colon",
            Self::EmptyHeaderName => "header without a name",
            Self::NulInHeaders => "NUL before the end of the headers",
            Self::NotUtf8 => "headers are not UTF-8",
            Self::InvalidEscape => "invalid escape in a header",
            Self::InvalidContentLength => "invalid content-length",
            Self::MissingNul => "no NUL after the body",
            Self::BodyNotAllowed => "body on a frame that has none",
            Self::TooManyHeaders => "too many headers",
            Self::LineTooLong => "header line too long",
            Self::HeadersTooLarge => "headers too large",
            Self::BodyTooLarge => "body too large",
        }
    }
}

/// The beginning of what a peer sent, quoted and harmless: control characters and the like are
/// shown as escapes.
struct Excerpt<'a>(&'a [u8]);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.len().min(EXCERPT)];
        f.write_str("\"")?;
        for chunk in shown.utf8_chunks() {
            // '"' would be escaped too, which reads badly in a sentence that is no Rust source.
            for char in chunk.valid().chars() {
                match char {
                    '\'' | '"' | '\\' => write!(f, "{char}")?,
                    _ => write!(f, "{}", char.escape_debug())?,
                }
            }
            for octet in chunk.invalid() {
                write!(f, "\\x{octet:02x}")?;
            }
        }
        f.write_str(if shown.len() < self.0.len() { "…\"" } else { "\"" })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn rules_have_a_name_and_a_summary_each() {
        let rules: HashSet<_> = ErrorKind::ALL.iter().map(|kind| kind.rule()).collect();
        assert_eq!(rules.len(), ErrorKind::ALL.len());
        for kind in ErrorKind::ALL {
            assert!(kind.rule().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
            assert!(!kind.summary().contains(['\\', ':', '\r', '\n']));
        }
    }

    #[test]
    fn excerpts_are_short_and_harmless() {
        for (octets, shown) in [
            (&b"GET / HTTP/1.1\r"[..], r#""GET / HTTP/1.1\r""#),
            (b"a\"b'c\\t", r#""a"b'c\t""#),
            ("caf\u{e9} \u{202e}x".as_bytes(), "\"caf\u{e9} \\u{202e}x\""),
            (b"\xff\0\x1b[2J", r#""\xff\0\u{1b}[2J""#),
            (&[b'x'; 33], "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…\""),
        ] {
            assert_eq!(Excerpt(octets).to_string(), shown);
        }
    }
}
