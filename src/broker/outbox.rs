//! The outbox: a session's own queue of ready frames.
//!
//! Owns its bounds and the frame under way. Empty (and without memory of its own) while the client keeps up;
//! what is pending for such clients stands in the groups.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// How much an outbox holds. Whichever comes first fills it.
#[derive(Debug, Clone, Copy)]
pub struct OutboxLimits {
    /// Frames.
    pub messages: usize,
    /// Octets of all frames.
    pub bytes: usize,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        OutboxLimits { messages: 256, bytes: 1024 * 1024 }
    }
}

/// The outbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// Frames that wait for their socket, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Part of the first frame is on the wire already.
    begun: bool,
}

impl Outbox {
    /// Puts a frame behind the others. An empty outbox takes any one frame.
    ///
    /// # Errors
    /// [`Full`] if a limit would be passed; the frame is dropped.
    pub(super) fn push(&mut self, frame: Bytes, limits: OutboxLimits) -> Result<(), Full> {
        let full = self.frames.len() >= limits.messages || self.bytes + frame.len() > limits.bytes;
        if full && !self.is_empty() {
            return Err(Full);
        }
        self.force(frame);
        Ok(())
    }

    /// Puts a frame behind the others without regard to limits: last words.
    pub(super) fn force(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// Puts what is left of a frame whose first part is on the wire into an empty outbox.
    pub(super) fn force_rest(&mut self, rest: Bytes) {
        debug_assert!(self.is_empty());
        self.begun = true;
        self.force(rest);
    }

    /// Takes `written` octets off the front.
    pub(super) fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(first) = self.frames.front_mut() {
            if written < first.len() {
                first.advance(written);
                self.begun |= written > 0;
                break;
            }
            written -= first.len();
            self.frames.pop_front();
            self.begun = false;
        }
        if self.frames.is_empty() {
            self.frames = VecDeque::new();
        }
    }

    /// Fills `pieces` from the front; returns how many.
    pub(super) fn gather<'o>(&'o self, pieces: &mut [IoSlice<'o>]) -> usize {
        let mut filled = 0;
        for (piece, frame) in pieces.iter_mut().zip(&self.frames) {
            *piece = IoSlice::new(frame);
            filled += 1;
        }
        filled
    }

    /// Drops every frame but one whose first part is on the wire; returns how many were dropped.
    pub(super) fn drop_unsent(&mut self) -> usize {
        let keep = usize::from(self.begun);
        let dropped = self.frames.len() - keep;
        self.frames.truncate(keep);
        self.bytes = self.frames.front().map_or(0, Bytes::len);
        dropped
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether more than half of either limit is used, so that a client that does not read is not read from.
    pub(super) fn is_half_full(&self, limits: OutboxLimits) -> bool {
        self.frames.len() * 2 > limits.messages || self.bytes * 2 > limits.bytes
    }

    /// The frames that wait.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// The octets that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LIMITS: OutboxLimits = OutboxLimits { messages: 3, bytes: 10 };

    fn frame(length: usize) -> Bytes {
        Bytes::from(vec![b'x'; length])
    }

    #[test]
    fn is_full_by_messages_or_by_bytes() {
        let mut outbox = Outbox::default();
        for _ in 0..3 {
            outbox.push(frame(1), LIMITS).unwrap();
        }
        assert_eq!(outbox.push(frame(1), LIMITS), Err(Full));
        let mut outbox = Outbox::default();
        outbox.push(frame(6), LIMITS).unwrap();
        outbox.push(frame(4), LIMITS).unwrap();
        assert_eq!(outbox.push(frame(1), LIMITS), Err(Full));
    }

    #[test]
    fn an_empty_one_takes_any_one_message() {
        let mut outbox = Outbox::default();
        outbox.push(frame(1000), LIMITS).unwrap();
        assert_eq!(outbox.push(frame(1), LIMITS), Err(Full));
        outbox.advance(1000);
        outbox.push(frame(1000), LIMITS).unwrap();
    }

    #[test]
    fn the_frame_under_way_is_finished() {
        let mut outbox = Outbox::default();
        outbox.push(frame(4), LIMITS).unwrap();
        outbox.push(frame(4), LIMITS).unwrap();
        outbox.advance(1);
        assert_eq!(outbox.drop_unsent(), 1);
        assert_eq!((outbox.len(), outbox.bytes()), (1, 3));
        outbox.advance(3);
        outbox.push(frame(4), LIMITS).unwrap();
        assert_eq!(outbox.drop_unsent(), 1, "nothing of it was on the wire");
        assert!(outbox.is_empty());
    }

    #[test]
    fn advances_over_several_frames() {
        let mut outbox = Outbox::default();
        for length in [2, 3, 4] {
            outbox.push(frame(length), LIMITS).unwrap();
        }
        outbox.advance(6);
        assert_eq!((outbox.len(), outbox.bytes()), (1, 3));
        assert!(outbox.begun);
    }
}
