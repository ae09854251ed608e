//! WebSocket frames (RFC 6455, section 5.2) from the client's side: what servers send is read, what is sent is masked.
//!
//! ```text
//! octet 0   FIN, three reserved bits, four bits of opcode
//! octet 1   mask bit, seven bits of length: 126 means that two octets of length follow, 127 eight
//! ```

use bytes::{BufMut, BytesMut};

/// A continuation of a fragmented message.
pub const CONTINUATION: u8 = 0x0;
/// A text message.
pub const TEXT: u8 = 0x1;
/// A binary message.
pub const BINARY: u8 = 0x2;
/// The end of the connection.
pub const CLOSE: u8 = 0x8;
/// Asks for a pong.
pub const PING: u8 = 0x9;
/// The answer to a ping.
pub const PONG: u8 = 0xa;

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Octets of the header itself.
    pub len: usize,
    /// Octets of the payload behind it.
    pub payload: usize,
    /// What the frame is.
    pub opcode: u8,
    /// Whether it ends its message.
    pub fin: bool,
}

impl Header {
    /// Reads the header of a server's frame; `None` while it is not all there.
    ///
    /// # Errors
    /// The rule that it breaks.
    #[inline]
    pub fn parse(octets: &[u8]) -> Result<Option<Header>, &'static str> {
        let &[first, second, ref rest @ ..] = octets else {
            return Ok(None);
        };
        let (len, payload) = match second {
            0..126 => (2, usize::from(second)),
            126 => match rest.first_chunk() {
                Some(length) => (4, usize::from(u16::from_be_bytes(*length))),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(length) => match usize::try_from(u64::from_be_bytes(*length)) {
                    Ok(length) => (10, length),
                    Err(_) => return Err("a WebSocket frame is larger than memory"),
                },
                None => return Ok(None),
            },
            _ => return Err("a server's WebSocket frame is masked"),
        };
        if first & 0x70 != 0 {
            return Err("a WebSocket frame has reserved bits that nobody agreed on");
        }
        Ok(Some(Header { len, payload, opcode: first & 0x0f, fin: first & 0x80 != 0 }))
    }
}

/// Appends one unfragmented frame, masked with `key` as clients must.
pub fn put(opcode: u8, payload: &[u8], key: u32, out: &mut BytesMut) {
    out.reserve(payload.len() + 14);
    out.put_u8(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..126), _) => out.put_u8(0x80 | length),
        (_, Ok(length)) => {
            out.put_u8(0x80 | 126);
            out.put_u16(length);
        }
        _ => {
            out.put_u8(0x80 | 127);
            out.put_u64(payload.len() as u64);
        }
    }
    out.put_u32(key);
    let start = out.len();
    out.put_slice(payload);
    for (octet, mask) in out[start..].iter_mut().zip(key.to_be_bytes().into_iter().cycle()) {
        *octet ^= mask;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_put_reads_back_at_every_form_of_length() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_001] {
            let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut out = BytesMut::new();
            put(BINARY, &payload, 0x0102_0304, &mut out);
            // As a server would, take the mask off; then the header is one of a server.
            assert_eq!(out[1] & 0x80, 0x80);
            out[1] &= 0x7f;
            let header = Header::parse(&out).unwrap().unwrap();
            assert_eq!((header.payload, header.opcode, header.fin), (length, BINARY, true));
            let masked = &out[header.len + 4..];
            let unmasked: Vec<u8> = masked
                .iter()
                .zip([1, 2, 3, 4].into_iter().cycle())
                .map(|(octet, mask): (&u8, u8)| octet ^ mask)
                .collect();
            assert_eq!(unmasked, payload);
            for cut in 0..header.len {
                assert_eq!(Header::parse(&out[..cut]), Ok(None));
            }
        }
    }

    #[test]
    fn broken_rules_are_named() {
        assert!(Header::parse(&[0x81, 0x81]).unwrap_err().contains("masked"));
        assert!(Header::parse(&[0xc1, 0x01]).unwrap_err().contains("reserved"));
    }
}
