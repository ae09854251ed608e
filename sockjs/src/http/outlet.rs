//! The response of one receiver, as a session writes to it: whole frames, in order, until the response has what it can
//! take.

use std::{
    io::{self, IoSlice},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::sync::oneshot;

use super::wrapping::Wrapping;
use crate::carrier::{pipe::Pipe, response::TakenResponse};

/// One receiver's response.
pub(super) enum Outlet {
    /// One frame, and that is all.
    Poll(PollAnswer),
    /// Frames up to a limit, in the response's body.
    Stream(Streaming),
    /// Frames up to a limit, on a socket taken from the HTTP server.
    Taken(Box<TakenResponse>),
}

/// What an outlet did with what it was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// Octets of what was offered.
    pub(super) octets: usize,
    /// Whether the response is over.
    pub(super) done: bool,
}

impl Outlet {
    /// Offers frames, each with its line feed; the first may be the rest of one.
    ///
    /// # Errors
    /// `WouldBlock` if it takes nothing now; any other if the client is gone.
    pub(super) fn offer(&mut self, frames: &[IoSlice<'_>]) -> io::Result<Taken> {
        match self {
            Outlet::Poll(poll) => poll.offer(frames),
            Outlet::Stream(stream) => stream.offer(frames),
            Outlet::Taken(response) => {
                let octets = response.offer(frames)?;
                Ok(Taken { octets, done: response.is_done() })
            }
        }
    }

    /// Ends the response behind one more frame, its line feed included.
    pub(super) fn last(self, frame: &[u8]) {
        match self {
            Outlet::Taken(response) => response.finish(frame),
            mut outlet => {
                // A client that does not take even this hears nothing more, which is an end too.
                let _ = outlet.offer(&[IoSlice::new(frame)]);
                outlet.finish();
            }
        }
    }

    /// Ends the response.
    pub(super) fn finish(self) {
        match self {
            Outlet::Poll(_) => {}
            Outlet::Stream(stream) => stream.pipe.shutdown(),
            Outlet::Taken(response) => response.finish(b""),
        }
    }

    /// Ends the connection that carries the response.
    pub(super) fn abort(self) {
        match self {
            Outlet::Poll(_) => {}
            Outlet::Stream(stream) => stream.pipe.abort(),
            Outlet::Taken(response) => response.abort(),
        }
    }

    /// Ready when something may be offered again.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Outlet::Poll(_) => Poll::Ready(()),
            Outlet::Stream(stream) => stream.pipe.poll_writable(cx),
            Outlet::Taken(response) => response.poll_writable(cx),
        }
    }

    /// Ready when the client is gone.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Outlet::Poll(poll) => poll.poll_gone(cx),
            Outlet::Stream(stream) => stream.pipe.poll_gone(cx),
            Outlet::Taken(response) => response.poll_gone(cx),
        }
    }
}

/// An answer with one frame, which may have the messages of several.
pub(super) struct PollAnswer {
    answer: Option<oneshot::Sender<Bytes>>,
    wrapping: Wrapping,
    /// Octets after which no more messages are added.
    limit: usize,
    frame: Joined,
}

impl PollAnswer {
    pub(super) fn new(answer: oneshot::Sender<Bytes>, wrapping: Wrapping, limit: usize) -> PollAnswer {
        PollAnswer { answer: Some(answer), wrapping, limit, frame: Joined::default() }
    }

    fn offer(&mut self, frames: &[IoSlice<'_>]) -> io::Result<Taken> {
        let mut octets = 0;
        for frame in frames {
            let taken = self.frame.take(frame, self.limit);
            octets += taken;
            if taken < frame.len() {
                break;
            }
        }
        let done = self.frame.is_whole();
        if done && let Some(answer) = self.answer.take() {
            let sent = answer.send(self.wrapping.whole(&self.frame.text));
            sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(Taken { octets, done })
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.answer.as_mut().map_or(Poll::Ready(()), |answer| answer.poll_closed(cx))
    }
}

/// Frames made into one: `a["1"]` and `a["2"]` are `a["1","2"]`.
#[derive(Debug, Default)]
struct Joined {
    text: BytesMut,
    /// The end of a frame has not come.
    is_cut: bool,
    /// Octets to leave out of what comes: the `a[` of a frame whose messages are joined to those before.
    skip: usize,
}

impl Joined {
    fn is_whole(&self) -> bool {
        !self.is_cut && !self.text.is_empty()
    }

    /// Adds frames while they can be joined and the limit is not reached. Returns the octets taken.
    fn take(&mut self, frames: &[u8], limit: usize) -> usize {
        let mut at = 0;
        while at < frames.len() {
            if !self.is_cut && !self.text.is_empty() {
                let is_array = self.text[0] == b'a' && frames[at] == b'a';
                if !is_array || self.text.len() >= limit {
                    break;
                }
                self.text.truncate(self.text.len() - 1);
                self.text.put_u8(b',');
                self.skip = 2;
            }
            let rest = &frames[at..];
            let end = memchr::memchr(b'\n', rest);
            let piece = &rest[..end.unwrap_or(rest.len())];
            let skipped = self.skip.min(piece.len());
            self.skip -= skipped;
            self.text.put_slice(&piece[skipped..]);
            self.is_cut = end.is_none();
            at += piece.len() + usize::from(end.is_some());
        }
        at
    }
}

/// A response that goes on until it has had its limit.
pub(super) struct Streaming {
    pipe: Arc<Pipe>,
    wrapping: Wrapping,
    /// Octets until it ends.
    left: usize,
    /// The end of a frame has not come.
    is_cut: bool,
}

impl Streaming {
    pub(super) fn new(pipe: Arc<Pipe>, wrapping: Wrapping, limit: usize) -> Streaming {
        Streaming { pipe, wrapping, left: limit, is_cut: false }
    }

    fn offer(&mut self, frames: &[IoSlice<'_>]) -> io::Result<Taken> {
        let Streaming { pipe, wrapping, left, is_cut } = self;
        let (mut octets, mut done) = (0, false);
        pipe.fill(|out, room| {
            let before = out.len();
            for frame in frames {
                let mut rest: &[u8] = frame;
                while !rest.is_empty() && !done && out.len() - before < room {
                    if !*is_cut {
                        out.put_slice(&wrapping.begin);
                    }
                    let end = memchr::memchr(b'\n', rest);
                    let most = room.saturating_sub(out.len() - before).max(1);
                    let len = end.unwrap_or(rest.len()).min(most);
                    wrapping.put(&rest[..len], out);
                    *is_cut = end != Some(len);
                    if !*is_cut {
                        out.put_slice(wrapping.end);
                        done = out.len() - before >= *left;
                    }
                    let taken = len + usize::from(!*is_cut);
                    octets += taken;
                    rest = &rest[taken..];
                }
            }
            *left = left.saturating_sub(out.len() - before);
        })?;
        if done {
            pipe.shutdown();
        }
        Ok(Taken { octets, done })
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.pipe.shutdown();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_joined_and_nothing_else() {
        let mut joined = Joined::default();
        assert_eq!(joined.take(b"a[\"1\"]\na[\"2\",\"3\"]\nh\na[\"4\"]\n", 100), 18);
        assert!(joined.is_whole());
        assert_eq!(joined.text, "a[\"1\",\"2\",\"3\"]");
        let mut joined = Joined::default();
        assert_eq!(joined.take(b"h\na[\"1\"]\n", 100), 2);
        assert_eq!(joined.text, "h");
        let mut joined = Joined::default();
        assert_eq!(joined.take(b"a[\"1\"]\na[\"2\"]\na[\"3\"]\n", 7), 14, "whole frames up to the limit");
        assert_eq!(joined.text, "a[\"1\",\"2\"]");
    }

    proptest! {
        /// However frames are cut, the same comes out.
        #[test]
        fn pieces_make_the_whole(cuts in prop::collection::vec(0..30usize, 0..6)) {
            let frames = b"a[\"one\"]\na[\"two\"]\na[\"three\"]\n";
            let mut cuts = cuts;
            cuts.extend([0, frames.len()]);
            cuts.iter_mut().for_each(|cut| *cut = (*cut).min(frames.len()));
            cuts.sort_unstable();
            let mut joined = Joined::default();
            for pair in cuts.windows(2) {
                prop_assert_eq!(joined.take(&frames[pair[0]..pair[1]], 1000), pair[1] - pair[0]);
            }
            prop_assert!(joined.is_whole());
            prop_assert_eq!(&joined.text[..], &b"a[\"one\",\"two\",\"three\"]"[..]);

            let pipe = Arc::new(Pipe::default());
            let escape: fn(&[u8], &mut BytesMut) = |piece, out| out.put_slice(&piece.to_ascii_uppercase());
            let wrapping = Wrapping { begin: Bytes::from_static(b"<"), escape: Some(escape), end: b">" };
            let mut stream = Streaming::new(Arc::clone(&pipe), wrapping, 1000);
            for pair in cuts.windows(2) {
                let taken = stream.offer(&[IoSlice::new(&frames[pair[0]..pair[1]])]);
                prop_assert_eq!(taken.map_err(|e| e.kind()), Ok(Taken { octets: pair[1] - pair[0], done: false }));
            }
            prop_assert_eq!(&pipe.take()[..], &b"<A[\"ONE\"]><A[\"TWO\"]><A[\"THREE\"]>"[..]);
        }
    }

    #[test]
    fn a_stream_ends_with_the_frame_that_reaches_its_limit() {
        let pipe = Arc::new(Pipe::default());
        let mut stream = Streaming::new(Arc::clone(&pipe), Wrapping::LINE, 8);
        let frames = [IoSlice::new(b"a[\"1\"]\na["), IoSlice::new(b"\"2\"]\na[\"3\"]\n")];
        let taken = stream.offer(&frames).map_err(|error| error.kind());
        assert_eq!(taken, Ok(Taken { octets: 14, done: true }));
        assert_eq!(&pipe.take()[..], b"a[\"1\"]\na[\"2\"]\n");
    }
}
