//! Frames of one session that wait to be written, in the plain way. Bounded; no I/O but through the
//! sink it is given.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
};

use bytes::Bytes;

use crate::receiver::Sink;

/// Frames given to the kernel at once. Beyond some dozens a system call more or less does not show.
const AT_ONCE: usize = 64;

/// The queue. Frames leave it whole and in order; replies to the peer pass the others at the next
/// frame boundary.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    frames: VecDeque<Bytes>,
    /// Octets of `frames`, those already written of the first one included.
    bytes: usize,
    /// Octets of the first frame that were written.
    written: usize,
    /// The latest reply not yet written.
    reply: Option<Bytes>,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.reply.is_none()
    }

    /// Whether one more frame of this length would pass a bound. An empty queue takes any one.
    pub(crate) fn is_full_for(&self, len: usize, max_frames: usize, max_bytes: usize) -> bool {
        !self.frames.is_empty() && (self.frames.len() >= max_frames || self.bytes + len > max_bytes)
    }

    pub(crate) fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// Sets the reply to write next, in place of one that was not written yet.
    pub(crate) fn reply(&mut self, frame: Bytes) {
        self.reply = Some(frame);
    }

    /// Lets the reply wait for all frames instead.
    pub(crate) fn reply_last(&mut self) {
        if let Some(reply) = self.reply.take() {
            self.push(reply);
        }
    }

    /// Writes what the sink takes. `Ok` when all is written.
    pub(crate) fn write(&mut self, sink: &Sink) -> io::Result<()> {
        while !self.is_empty() {
            // A reply can go behind the frame that is under way, or first.
            if self.written == 0
                && let Some(reply) = self.reply.take()
            {
                self.bytes += reply.len();
                self.frames.push_front(reply);
            }
            let mut slices = [IoSlice::new(&[]); AT_ONCE];
            let mut count = 0;
            for (slice, frame) in slices.iter_mut().zip(&self.frames) {
                let from = if count == 0 { self.written } else { 0 };
                *slice = IoSlice::new(&frame[from..]);
                count += 1;
                if self.reply.is_some() {
                    break;
                }
            }
            let taken = sink.try_write_vectored(&slices[..count])?;
            self.advance(taken);
        }
        Ok(())
    }

    fn advance(&mut self, taken: usize) {
        self.written += taken;
        while let Some(first) = self.frames.front()
            && self.written >= first.len()
        {
            self.written -= first.len();
            self.bytes -= first.len();
            self.frames.pop_front();
        }
        if self.frames.is_empty() {
            // At rest a session holds no memory for its queue.
            self.frames = VecDeque::new();
        }
    }
}
