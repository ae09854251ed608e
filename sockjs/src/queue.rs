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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{
        cell::{Cell, RefCell},
        rc::Rc,
        task::{Context, Poll},
    };

    use proptest::prelude::*;

    use super::*;
    use crate::{frame::Framing, receiver::Transmit};

    /// Takes so many octets at each write, and none at every second one.
    #[derive(Default)]
    struct Narrow {
        width: Cell<usize>,
        blocked: Cell<bool>,
        taken: RefCell<Vec<u8>>,
    }

    impl Transmit for Narrow {
        fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
            self.try_write_vectored(&[IoSlice::new(bytes)])
        }

        fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
            if self.blocked.replace(!self.blocked.get()) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let offered = bufs.iter().flat_map(|buf| buf.iter().copied());
            let before = self.taken.borrow().len();
            self.taken.borrow_mut().extend(offered.take(self.width.get()));
            Ok(self.taken.borrow().len() - before)
        }

        fn poll_writable(&self, _: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }

        fn shutdown(&self) {}

        fn abort(&self) {}
    }

    proptest! {
        /// However little is written at a time, frames come whole and in order, and a reply between
        /// two of them. Frame `n` is `n` octets of `n`; replies are zeros.
        #[test]
        fn replies_pass_frames_but_do_not_cut_them(width in 1..40usize, replies: u32) {
            let narrow = Rc::new(Narrow { width: Cell::new(width), ..Narrow::default() });
            let sink = Sink::new(Rc::clone(&narrow) as Rc<dyn Transmit>, Framing::WebSocket, "");
            let mut queue = Queue::default();
            let mut sent = 0;
            for n in 1..32u8 {
                queue.push(Bytes::from(vec![n; usize::from(n)]));
                if replies >> n & 1 == 1 {
                    queue.reply(Bytes::from_static(&[0; 3]));
                    sent += 1;
                }
                let _ = queue.write(&sink);
            }
            while queue.write(&sink).is_err() {}
            prop_assert!(queue.is_empty() && queue.bytes == 0);

            let taken = narrow.taken.borrow();
            let (mut rest, mut next, mut replied) = (&taken[..], 1, 0);
            while let Some(&first) = rest.first() {
                let len = if first == 0 { 3 } else { usize::from(first) };
                prop_assert!(rest.len() >= len && rest[..len].iter().all(|&b| b == first));
                if first == 0 {
                    replied += 1;
                } else {
                    prop_assert_eq!(first, next);
                    next += 1;
                }
                rest = &rest[len..];
            }
            prop_assert_eq!(next, 32);
            prop_assert!(replied <= sent && (replied > 0) == (sent > 0));
        }
    }

    #[test]
    fn an_empty_queue_takes_any_one_frame() {
        let mut queue = Queue::default();
        assert!(!queue.is_full_for(1_000_000, 2, 10));
        queue.push(Bytes::from_static(b"12345"));
        assert!(!queue.is_full_for(5, 2, 10));
        assert!(queue.is_full_for(6, 2, 10), "octets");
        queue.push(Bytes::from_static(b"1"));
        assert!(queue.is_full_for(1, 2, 10), "frames");
    }
}
