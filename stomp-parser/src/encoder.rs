//! Frames and parts of frames as the octets of each version.
//!
//! [`encode`] writes a whole [`Frame`]. A broker that writes the same head for many receivers puts
//! it together itself: [`encode_command`], any number of [`encode_header`], then [`encode_body`].
//!
//! # What a version cannot say
//!
//! | in a name or value | 1.0 | 1.1 | 1.2 | `CONNECT`, `STOMP`, `CONNECTED` |
//! | --- | --- | --- | --- | --- |
//! | LF | a space | `\n` | `\n` | left out |
//! | CR | as it is | as it is | `\r` | left out |
//! | `\` | as it is | `\\` | `\\` | as it is |
//! | `:` in a name | a space | `\c` | `\c` | left out |
//! | `:` in a value | as it is | `\c` | `\c` | as it is |
//! | NUL | a space | a space | a space | left out |
//!
//! Spaces at the ends of a name or value are padding to a 1.0 receiver. A header that then has no
//! name is left out of 1.0 frames and of those that open a session. Left out of every frame is one
//! whose name a receiver could take for `content-length` though it is not, such as `content-length`
//! with a line feed behind it: it would let one client break the framing of another.

use bytes::{BufMut, BytesMut};

use crate::{Command, Frame, Version, parser};

const CONTENT_LENGTH: &str = "content-length";

/// Appends one complete frame, which ends with exactly one NUL and no line end.
///
/// A frame with a body gets `content-length` unless it has that header, and a first
/// `content-length` that is not true is corrected. A body on a frame that may have none is left
/// out.
///
/// ```
/// use bytes::BytesMut;
/// use stomp_parser::{Command, Frame, Version, encode};
///
/// let frame = Frame::new(Command::Message)
///     .header("destination", "/topic/host-metrics:web1")
///     .body("{}");
/// let mut out = BytesMut::new();
/// encode(&frame, Version::V1_2, &mut out);
/// assert_eq!(out, "MESSAGE\ndestination:/topic/host-metrics\\cweb1\ncontent-length:2\n\n{}\0");
/// ```
pub fn encode(frame: &Frame, version: Version, out: &mut BytesMut) {
    let body = if frame.command.may_have_body() { &frame.body[..] } else { &[] };
    let style = Style::of(frame.command, version);
    let headers: usize = frame.headers.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    out.reserve(frame.command.as_str().len() + headers + body.len() + 32);
    encode_command(frame.command, out);
    let mut declared = false;
    for (name, value) in frame.headers.iter() {
        let is_length = *name == CONTENT_LENGTH;
        if is_length && !declared && !states(value, body.len()) {
            encode_content_length(body.len(), out);
        } else {
            style.header(name, value, out);
        }
        declared |= is_length;
    }
    if !declared && !body.is_empty() {
        encode_content_length(body.len(), out);
    }
    encode_body(body, out);
}

/// Appends the command line.
pub fn encode_command(command: Command, out: &mut BytesMut) {
    out.put_slice(command.as_str().as_bytes());
    out.put_u8(b'\n');
}

/// Appends a header line of any frame but `CONNECT`, `STOMP` and `CONNECTED`, with the escapes of
/// the version.
///
/// What the version cannot say is replaced as the [module](self) tells.
pub fn encode_header(name: &str, value: &str, version: Version, out: &mut BytesMut) {
    Style::Version(version).header(name, value, out);
}

/// Appends a header line of a `CONNECT`, `STOMP` or `CONNECTED` frame, which are never escaped: CR,
/// LF and NUL are left out.
pub fn encode_connect_header(name: &str, value: &str, out: &mut BytesMut) {
    Style::Connect.header(name, value, out);
}

/// Appends a `content-length` line.
pub fn encode_content_length(octets: usize, out: &mut BytesMut) {
    // Decimal digits from the last to the first; 64 bits have 20 at most.
    let (mut digits, mut first, mut rest) = ([0; 20], 20, octets);
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(CONTENT_LENGTH.as_bytes());
    out.put_u8(b':');
    out.put_slice(&digits[first..]);
    out.put_u8(b'\n');
}

/// Appends what is behind the headers: the blank line, the body and the NUL. A body that is not
/// empty needs a `content-length` among the headers, or a NUL in it ends the frame.
pub fn encode_body(body: &[u8], out: &mut BytesMut) {
    out.put_u8(b'\n');
    out.put_slice(body);
    out.put_u8(0);
}

/// How header text is written.
#[derive(Clone, Copy)]
enum Style {
    Connect,
    Version(Version),
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Name,
    Value,
}

impl Style {
    fn of(command: Command, version: Version) -> Self {
        if command.opens_session() { Self::Connect } else { Self::Version(version) }
    }

    fn header(self, name: &str, value: &str, out: &mut BytesMut) {
        if poses_as_content_length(name) {
            return;
        }
        let start = out.len();
        self.text(name, Part::Name, out);
        let written = &out[start..];
        let padded = matches!(self, Self::Connect | Self::Version(Version::V1_0));
        if written.is_empty() || (padded && written.iter().all(|octet| *octet == b' ')) {
            out.truncate(start);
            return;
        }
        out.put_u8(b':');
        self.text(value, Part::Value, out);
        out.put_u8(b'\n');
    }

    fn text(self, text: &str, part: Part, out: &mut BytesMut) {
        let octets = text.as_bytes();
        if !any_special(octets) {
            out.put_slice(octets);
            return;
        }
        let mut run = 0;
        for (at, octet) in octets.iter().enumerate() {
            if let Some(instead) = self.instead_of(*octet, part) {
                out.put_slice(&octets[run..at]);
                out.put_slice(instead);
                run = at + 1;
            }
        }
        out.put_slice(&octets[run..]);
    }

    /// What stands for an octet that can't go as it is.
    fn instead_of(self, octet: u8, part: Part) -> Option<&'static [u8]> {
        use Version::{V1_0, V1_1, V1_2};
        match (self, octet) {
            (Self::Connect, b'\r' | b'\n' | 0) => Some(b""),
            (Self::Connect, b':') if part == Part::Name => Some(b""),
            (Self::Version(_), 0) => Some(b" "),
            (Self::Version(V1_0), b'\n') => Some(b" "),
            (Self::Version(V1_0), b':') if part == Part::Name => Some(b" "),
            (Self::Version(V1_1 | V1_2), b'\n') => Some(b"\\n"),
            (Self::Version(V1_1 | V1_2), b':') => Some(b"\\c"),
            (Self::Version(V1_1 | V1_2), b'\\') => Some(b"\\\\"),
            (Self::Version(V1_2), b'\r') => Some(b"\\r"),
            _ => None,
        }
    }
}

/// Whether any octet is special in any style. Without an early exit, so that it is compiled to
/// vector instructions.
fn any_special(octets: &[u8]) -> bool {
    octets.iter().fold(false, |any, octet| any | matches!(*octet, 0 | b'\n' | b'\r' | b':' | b'\\'))
}

/// Whether a name is not `content-length`, but reads so once the octets are gone that one version
/// or another replaces, leaves out or trims, or that a receiver does (older stomp.js trims names in
/// every version).
fn poses_as_content_length(name: &str) -> bool {
    name.len() > CONTENT_LENGTH.len()
        && name
            .bytes()
            .filter(|octet| !matches!(octet, 0 | b'\n' | b'\r' | b'\t' | b' ' | b':'))
            .eq(CONTENT_LENGTH.bytes())
}

fn states(value: &str, octets: usize) -> bool {
    parser::content_length(value).is_some_and(|stated| stated == octets as u64)
}
