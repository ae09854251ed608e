//! RFC 6455 frames: what a server sends, and (in [`decoder`]) what it reads. No I/O.
//!
//! An own small codec, since that of actix-http reserves memory by the length that a header
//! declares, refuses an oversized frame only after it came, and leaves reserved bits, fragments and
//! close codes unchecked.

mod decoder;
mod header;

use bytes::{BufMut, Bytes, BytesMut};

pub(crate) use self::{
    decoder::{Decoder, Frame, Violation},
    header::Opcode,
};

/// The largest payload of a control frame (RFC 6455, section 5.5).
const MAX_CONTROL: usize = 125;

/// Appends the header of a whole, unmasked frame, as servers send them.
pub(crate) fn put_header(opcode: Opcode, len: usize, out: &mut BytesMut) {
    out.reserve(10 + len);
    out.put_u8(0x80 | opcode as u8);
    match len {
        0..=125 => out.put_u8(len as u8),
        126..=0xffff => {
            out.put_u8(126);
            out.put_u16(len as u16);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(len as u64);
        }
    }
}

/// Appends a close frame, its reason cut at a character so that it fits.
pub(crate) fn put_close(code: u16, reason: &str, out: &mut BytesMut) {
    let reason = &reason[..reason.floor_char_boundary(MAX_CONTROL - 2)];
    put_header(Opcode::Close, 2 + reason.len(), out);
    out.put_u16(code);
    out.put_slice(reason.as_bytes());
}

/// The answer to a ping: the same payload, which is that of a control frame.
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(2 + payload.len());
    put_header(Opcode::Pong, payload.len(), &mut out);
    out.put_slice(payload);
    out.freeze()
}

/// The answer to a close frame: the same code, if it had one.
pub(crate) fn close_answer(code: Option<u16>) -> Bytes {
    let Some(code) = code else {
        return Bytes::from_static(&[0x88, 0]);
    };
    let mut out = BytesMut::with_capacity(4);
    put_close(code, "", &mut out);
    out.freeze()
}

/// Whether a close frame may carry this code (RFC 6455, section 7.4, and the registry it founded):
/// 1004 to 1006 and 1015 never go over the wire, 1016 to 2999 are not assigned.
pub(crate) fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}
