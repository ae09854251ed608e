//! Frames and messages out of the octets of a connection.
//!
//! What came is looked at in the buffer it was read into, unmasked there and given out as pieces of
//! it. Only the rest of a frame that is not all there yet, and the parts of a fragmented message,
//! are copied into memory of the connection's own.

use bytes::{Buf, BytesMut};
use bytestring::ByteString;

use super::{
    header::{Header, Opcode, unmask},
    may_be_sent,
};

/// A rule of RFC 6455 that the peer broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The close code to answer with.
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

impl Violation {
    pub(crate) const fn protocol(reason: &'static str) -> Self {
        Violation { code: 1002, reason }
    }

    pub(crate) const NOT_UTF8: Self = Violation { code: 1007, reason: "text that is not UTF-8" };
    pub(crate) const TOO_BIG: Self = Violation { code: 1009, reason: "message too big" };
}

/// One message or control frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A whole text message, not yet known to be UTF-8.
    Text(BytesMut),
    Binary(BytesMut),
    Ping(BytesMut),
    Pong,
    Close {
        code: Option<u16>,
        reason: ByteString,
    },
}

/// Turns octets, in whatever pieces they come, into messages.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// The largest payload of a message, all its fragments together.
    max_payload: usize,
    /// Octets not yet used. Those of a read buffer, unless `own`.
    buf: BytesMut,
    /// Whether `buf` is memory of this connection alone and about as large as what it holds.
    own: bool,
    fragments: Option<Box<Fragments>>,
}

#[derive(Debug)]
struct Fragments {
    binary: bool,
    payload: BytesMut,
}

impl Decoder {
    pub(crate) fn new(max_payload: usize) -> Self {
        Decoder { max_payload, buf: BytesMut::new(), own: false, fragments: None }
    }

    /// Adds what was read. To be called when [`next`](Self::next) gave `None`.
    pub(crate) fn feed(&mut self, chunk: BytesMut) {
        if self.buf.is_empty() {
            self.buf = chunk;
            self.own = false;
        } else {
            self.buf.extend_from_slice(&chunk);
        }
    }

    /// The next message or control frame. `Ok(None)` if more octets are needed: then nothing but an
    /// unfinished frame or message is kept, in memory of its own.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, Violation> {
        loop {
            let Some((header, payload)) = self.take_frame()? else {
                return Ok(None);
            };
            let frame = match header.opcode {
                Opcode::Ping => Some(Frame::Ping(payload)),
                Opcode::Pong => Some(Frame::Pong),
                Opcode::Close => Some(close(&payload)?),
                Opcode::Text | Opcode::Binary if header.fin => {
                    Some(message(header.opcode == Opcode::Binary, payload))
                }
                _ => self.fragment(header, &payload),
            };
            if frame.is_some() {
                return Ok(frame);
            }
        }
    }

    /// Takes one frame from the buffer and its mask off.
    fn take_frame(&mut self) -> Result<Option<(Header, BytesMut)>, Violation> {
        let Some(header) = Header::parse(&self.buf)? else {
            self.keep_rest();
            return Ok(None);
        };
        let len = self.check(&header)?;
        if self.buf.len() - header.len < len {
            self.keep_rest();
            return Ok(None);
        }
        self.buf.advance(header.len);
        let mut payload = self.buf.split_to(len);
        self.own = false;
        unmask(&mut payload, header.mask);
        Ok(Some((header, payload)))
    }

    /// The rules that hold between frames; the length of the payload if it is bearable. Judged by
    /// the header alone, before any of the payload is kept.
    fn check(&self, header: &Header) -> Result<usize, Violation> {
        let before = match (header.opcode, &self.fragments) {
            (opcode, _) if opcode.is_control() => 0,
            (Opcode::Continuation, Some(fragments)) => fragments.payload.len(),
            (Opcode::Continuation, None) => {
                return Err(Violation::protocol("continuation of nothing"));
            }
            (_, Some(_)) => return Err(Violation::protocol("new message within a fragmented one")),
            (_, None) => 0,
        };
        match usize::try_from(header.payload) {
            Ok(len) if len <= self.max_payload - before || header.opcode.is_control() => Ok(len),
            _ => Err(Violation::TOO_BIG),
        }
    }

    /// Adds a fragment; the message, if it was the last one.
    fn fragment(&mut self, header: Header, payload: &[u8]) -> Option<Frame> {
        match &mut self.fragments {
            Some(fragments) => fragments.payload.extend_from_slice(payload),
            None => {
                let binary = header.opcode == Opcode::Binary;
                let payload = BytesMut::from(payload);
                self.fragments = Some(Box::new(Fragments { binary, payload }));
            }
        }
        if !header.fin {
            return None;
        }
        self.fragments.take().map(|whole| message(whole.binary, whole.payload))
    }

    /// Lets go of the read buffer.
    fn keep_rest(&mut self) {
        if self.buf.is_empty() {
            self.buf = BytesMut::new();
        } else if !self.own {
            self.buf = BytesMut::from(&self.buf[..]);
            self.own = true;
        }
    }

    /// Octets of memory held by what is unfinished.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.buf.capacity() + self.fragments.as_ref().map_or(0, |f| f.payload.capacity())
    }
}

fn message(binary: bool, payload: BytesMut) -> Frame {
    if binary { Frame::Binary(payload) } else { Frame::Text(payload) }
}

/// Reads the payload of a close frame (RFC 6455, section 5.5.1): empty, or a code and a reason in
/// UTF-8.
fn close(payload: &[u8]) -> Result<Frame, Violation> {
    let (code, reason) = match payload {
        [] => (None, &b""[..]),
        [_] => return Err(Violation::protocol("close frame with half a code")),
        [a, b, reason @ ..] => (Some(u16::from_be_bytes([*a, *b])), reason),
    };
    if code.is_some_and(|code| !may_be_sent(code)) {
        return Err(Violation::protocol("close code that may not be sent"));
    }
    let reason = ByteString::try_from(reason).map_err(|_| Violation::NOT_UTF8)?;
    Ok(Frame::Close { code, reason })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 300;

    /// A frame as clients send it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x12, 0x9f, 0x00, 0xe7];
        let mut out = vec![first];
        match payload.len() {
            len @ 0..=125 => out.push(0x80 | len as u8),
            len @ 126..=0xffff => {
                out.push(0x80 | 126);
                out.extend((len as u16).to_be_bytes());
            }
            len => {
                out.push(0x80 | 127);
                out.extend((len as u64).to_be_bytes());
            }
        }
        out.extend(mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        out
    }

    /// Everything that a decoder makes of these pieces, and what it still holds then.
    fn decode(pieces: &[&[u8]]) -> (Vec<Frame>, Option<Violation>, usize) {
        let mut decoder = Decoder::new(MAX);
        let mut frames = Vec::new();
        for piece in pieces {
            decoder.feed(BytesMut::from(*piece));
            loop {
                match decoder.next() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(violation) => return (frames, Some(violation), decoder.held()),
                }
            }
        }
        (frames, None, decoder.held())
    }

    fn violation(bytes: &[u8]) -> Option<u16> {
        let whole = decode(&[bytes]);
        let split: Vec<&[u8]> = bytes.chunks(1).collect();
        let split = decode(&split);
        assert_eq!((&whole.0, whole.1), (&split.0, split.1));
        whole.1.map(|violation| violation.code)
    }

    #[test]
    fn rules_of_single_frames() {
        assert_eq!(violation(&[0x81, 0x01, b'x']), Some(1002), "unmasked");
        for reserved in [0x40, 0x20, 0x10] {
            assert_eq!(violation(&frame(0x81 | reserved, b"x")), Some(1002), "{reserved:x}");
        }
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            assert_eq!(violation(&frame(0x80 | opcode, b"")), Some(1002), "opcode {opcode}");
        }
        for control in [8, 9, 10] {
            assert_eq!(violation(&frame(control, b"")), Some(1002), "fragmented {control}");
            assert_eq!(violation(&frame(0x80 | control, &[b'x'; 126])), Some(1002), "long {control}");
        }
        assert_eq!(violation(&frame(0x89, &[b'x'; 125])), None);
        for length in [1 << 63, u64::MAX] {
            let head = [&[0x82, 0xff][..], &u64::to_be_bytes(length)].concat();
            assert_eq!(violation(&head), Some(1002), "{length:x} has its highest bit");
        }
    }

    #[test]
    fn rules_between_frames() {
        assert_eq!(violation(&frame(0x80, b"x")), Some(1002), "continuation of nothing");
        for second in [0x81, 0x01, 0x82] {
            let bytes = [frame(0x01, b"x"), frame(second, b"y")].concat();
            assert_eq!(violation(&bytes), Some(1002), "{second:x} within a message");
        }
    }

    #[test]
    fn close_frames() {
        let close = |payload: &[u8]| violation(&frame(0x88, payload));
        assert_eq!(close(b""), None);
        assert_eq!(close(b"\x03"), Some(1002));
        for code in 0..=u16::MAX {
            let valid = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            assert_eq!(close(&code.to_be_bytes()), (!valid).then_some(1002), "{code}");
        }
        assert_eq!(close(b"\x03\xe8\xff"), Some(1007));
        let (frames, ..) = decode(&[&frame(0x88, b"\x03\xe8bye")]);
        let reason = ByteString::from_static("bye");
        assert_eq!(frames, [Frame::Close { code: Some(1000), reason }]);
    }

    #[test]
    fn too_big_is_known_by_the_header() {
        assert_eq!(violation(&frame(0x82, &[0; MAX])), None);
        assert_eq!(violation(&frame(0x82, &[0; MAX + 1])[..8]), Some(1009));
        let rest = frame(0x80, &[0; MAX - 100]);
        assert_eq!(violation(&[frame(0x02, &[0; 100]), rest.clone()].concat()), None);
        assert_eq!(violation(&[frame(0x02, &[0; 101]), rest].concat()), Some(1009));
        let declared = [&[0x82, 0xff][..], &(1u64 << 40).to_be_bytes(), &[0; 4]].concat();
        let (_, violation, held) = decode(&[&declared]);
        assert_eq!(violation, Some(Violation::TOO_BIG));
        assert!(held < 100, "{held} octets held");
    }

    #[test]
    fn no_memory_is_taken_for_what_is_only_declared() {
        let mut decoder = Decoder::new(1 << 40);
        let declared = [&[0x82, 0xff][..], &(1u64 << 39).to_be_bytes(), &[0; 10]].concat();
        decoder.feed(BytesMut::from(&declared[..]));
        assert_eq!(decoder.next(), Ok(None));
        assert!(decoder.held() < 100);
    }

    #[test]
    fn at_rest_the_read_buffer_is_free() {
        let mut shared = BytesMut::with_capacity(1024);
        let mut decoder = Decoder::new(MAX);
        for rest in [0, 3] {
            let bytes = [frame(0x81, b"hello"), frame(0x81, b"world")].concat();
            shared.extend_from_slice(&bytes[..bytes.len() - rest]);
            decoder.feed(shared.split());
            while decoder.next().unwrap().is_some() {}
            assert!(shared.try_reclaim(1024), "with {rest} octets missing");
        }
    }

    /// Messages with fragments and control frames between these, and as octets.
    fn traffic() -> impl Strategy<Value = Vec<u8>> {
        let payload = || prop::collection::vec(any::<u8>(), 0..200);
        let control = || {
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..125).prop_map(|p| frame(0x89, &p)),
                Just(frame(0x8a, b"")),
            ]
        };
        let message = (any::<bool>(), prop::collection::vec((payload(), prop::option::of(control())), 1..4))
            .prop_map(|(binary, parts)| {
                let last = parts.len() - 1;
                let mut out = Vec::new();
                for (i, (payload, control)) in parts.into_iter().enumerate() {
                    let opcode = if i > 0 { 0 } else { 1 + u8::from(binary) };
                    let fin = if i == last { 0x80 } else { 0 };
                    out.extend(frame(fin | opcode, &payload));
                    out.extend(control.into_iter().flatten());
                }
                out
            });
        prop::collection::vec(message, 0..6).prop_map(|messages| messages.concat())
    }

    fn pieces(bytes: &[u8], mut cuts: Vec<prop::sample::Index>) -> Vec<&[u8]> {
        let mut at: Vec<usize> = cuts.drain(..).map(|cut| cut.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
    }

    fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
        prop::collection::vec(any::<prop::sample::Index>(), 0..20)
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(bytes in traffic(), cuts in cuts()) {
            let (whole, violation, _) = decode(&[&bytes]);
            let (split, split_violation, held) = decode(&pieces(&bytes, cuts));
            prop_assert_eq!(whole, split);
            prop_assert_eq!(violation, split_violation);
            prop_assert!(held == 0 || violation.is_some());
        }

        #[test]
        fn anything_is_survived(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            cuts in cuts(),
        ) {
            let (whole, violation, held) = decode(&[&bytes]);
            let (split, split_violation, _) = decode(&pieces(&bytes, cuts));
            prop_assert_eq!(whole, split);
            prop_assert_eq!(violation, split_violation);
            prop_assert!(held <= 2 * (MAX + 300));
        }
    }
}
