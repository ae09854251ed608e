//! The header of a frame that a client sends.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-------+-+-------------+-------------------------------+
//! |F|R|R|R| opcode|M| Payload len |    Extended payload length    |
//! |I|S|S|S|  (4)  |A|     (7)     |             (16/64)           |
//! |N|V|V|V|       |S|             |   (if payload len==126/127)   |
//! | |1|2|3|       |K|             |                               |
//! +-+-+-+-+-------+-+-------------+-------------------------------+
//! |           Masking-key (32), if M                              |
//! +---------------------------------------------------------------+
//! ```
//! (RFC 6455, section 5.2)

use super::{MAX_CONTROL, Violation};

/// What a frame is (RFC 6455, section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn of(nibble: u8) -> Option<Opcode> {
        Some(match nibble {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    pub(super) fn is_control(self) -> bool {
        self as u8 & 8 != 0
    }
}

/// A header that keeps the rules for a single frame from a client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    /// Octets of the header itself.
    pub(super) len: usize,
    /// Octets of payload behind it, as declared.
    pub(super) payload: u64,
    pub(super) mask: [u8; 4],
}

impl Header {
    /// Reads the header that `bytes` begin with. `Ok(None)` if more octets are needed; rules are
    /// checked as soon as the octets that break them are there.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, Violation> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(Violation::protocol("reserved bits set without an extension"));
        }
        let Some(opcode) = Opcode::of(first & 0x0f) else {
            return Err(Violation::protocol("unknown opcode"));
        };
        let fin = first & 0x80 != 0;
        if second & 0x80 == 0 {
            return Err(Violation::protocol("frame from a client without a mask"));
        }
        let short = second & 0x7f;
        if opcode.is_control() {
            if !fin {
                return Err(Violation::protocol("fragmented control frame"));
            }
            if usize::from(short) > MAX_CONTROL {
                return Err(Violation::protocol("control frame above 125 octets"));
            }
        }
        let (payload, rest) = match (short, rest) {
            (126, [a, b, rest @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), rest),
            (127, [a, b, c, d, e, f, g, h, rest @ ..]) => {
                (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), rest)
            }
            (126 | 127, _) => return Ok(None),
            (short, rest) => (u64::from(short), rest),
        };
        if payload > i64::MAX as u64 {
            return Err(Violation::protocol("payload length with its highest bit set"));
        }
        let [a, b, c, d, rest @ ..] = rest else {
            return Ok(None);
        };
        Ok(Some(Header { fin, opcode, len: bytes.len() - rest.len(), payload, mask: [*a, *b, *c, *d] }))
    }
}

/// Takes the mask off, in place.
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (octet, mask) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *octet ^= mask;
    }
}
