//! How a transport writes a SockJS frame into its response.
//!
//! Sessions have their frames as lines (see [`Framing::SockJsHttp`](crate::Framing::SockJsHttp)). Some transports send these as they are, others put
//! something around them.

use bytes::{BufMut as _, Bytes, BytesMut};

/// What stands before and after each frame, and how its octets are written.
#[derive(Debug, Clone)]
pub(crate) struct Wrapping {
    pub(crate) begin: Bytes,
    /// Octet by octet, so that a frame can be written in pieces; none: as they are.
    pub(crate) escape: Option<fn(&[u8], &mut BytesMut)>,
    pub(crate) end: &'static [u8],
}

impl Wrapping {
    /// The frame and a line feed.
    pub(crate) const LINE: Wrapping = Wrapping { begin: Bytes::new(), escape: None, end: b"\n" };

    /// Whether frames go out as sessions have them.
    pub(super) fn is_line(&self) -> bool {
        self.escape.is_none() && self.begin.is_empty() && self.end == b"\n"
    }

    /// Appends a piece of a frame.
    pub(super) fn put(&self, piece: &[u8], out: &mut BytesMut) {
        match self.escape {
            Some(escape) => escape(piece, out),
            None => out.put_slice(piece),
        }
    }

    /// A frame as it goes out.
    pub(super) fn whole(&self, frame: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(self.begin.len() + frame.len() + self.end.len());
        out.put_slice(&self.begin);
        self.put(frame, &mut out);
        out.put_slice(self.end);
        out.freeze()
    }
}

/// Appends a frame, which is text without control characters, as the inside of a string of JavaScript that stands in a
/// `<script>` of a page: nothing in it ends the script or begins a comment of HTML.
pub(crate) fn escape_json(frame: &[u8], out: &mut BytesMut) {
    let mut run = 0;
    for (at, octet) in frame.iter().enumerate() {
        let escaped: &[u8] = match octet {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'<' if frame.get(at + 1) == Some(&b'/') => b"<\\",
            b'<' => b"\\u003c",
            _ => continue,
        };
        out.put_slice(&frame[run..at]);
        out.put_slice(escaped);
        run = at + 1;
    }
    out.put_slice(&frame[run..]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_frame_is_a_string_that_ends_no_script() {
        for frame in [r#"a["x"]"#, r#"a["</script><!--<script>\n\\\u2028"]"#, "h", r#"a["<"]"#] {
            // However it is cut.
            for cut in 0..frame.len() {
                let mut out = BytesMut::from("\"");
                escape_json(&frame.as_bytes()[..cut], &mut out);
                escape_json(&frame.as_bytes()[cut..], &mut out);
                out.put_u8(b'"');
                let text = std::str::from_utf8(&out).unwrap();
                assert_eq!(serde_json::from_str::<String>(text).unwrap(), frame);
                assert!(!text.contains("</") && !text.contains("<!") && !text.contains("<s"), "{text}");
            }
        }
        let mut out = BytesMut::new();
        escape_json(br#"a["</b>"]"#, &mut out);
        assert_eq!(out, r#"a[\"<\/b>\"]"#);
    }
}
