//! One session over HTTP: the two halves that its handler holds, on one side; receivers and what clients send, on the
//! other.

use std::{
    cell::{RefCell, RefMut},
    collections::VecDeque,
    future::poll_fn,
    io::{self, IoSlice},
    mem,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use bytestring::ByteString;

use super::{home::Home, outlet::Outlet, table::Place};
use crate::{
    frame::Framing,
    receiver::{End, Receive, Received, Transmit},
};

/// The longest close frame that is recognised, and repeated to receivers that come later.
const MAX_CLOSE: usize = 1024;

/// How long a client may take to read what its kernel and ours hold of a response that is over: as long as one that takes
/// nothing is waited for.
const SLOW: Duration = Duration::from_secs(60);

/// An answer to a poll that a slow client may read for longer than the time-out of its session.
const LARGE: usize = 16 * 1024;

/// A session that outlives the requests that carry it.
pub(super) struct HttpSession {
    home: Weak<Home>,
    place: Place,
    /// What may wait to be received by the handler before senders wait.
    max_inbox: usize,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// The receiver that is there now.
    outlet: Option<Outlet>,
    /// The first receiver got its `o`.
    is_open: bool,
    /// What receivers get since the session is closed.
    close: Option<Bytes>,
    /// The handler's side is over: nothing more comes to it, nothing more is taken.
    is_over: bool,
    /// The client's side is: its receiver went, or did not come.
    is_gone: bool,
    inbox: VecDeque<ByteString>,
    inbox_octets: usize,
    /// The last write ended within a frame.
    is_cut: bool,
    /// The receiver that is there does not read as fast as it is written to.
    is_slow: bool,
    /// Time-outs that are still to pass before the session's: its client may be reading what it was sent.
    grace: u32,
    /// Receivers that came or went, which tells a time-out whether it still holds.
    changes: u32,
    /// Who waits: the handler for messages and for a receiver, and senders for room.
    reader: Option<Waker>,
    writer: Option<Waker>,
    senders: Vec<Waker>,
}

/// A message did not reach a session, since that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Over;

impl HttpSession {
    pub(super) fn new(home: &Rc<Home>, place: Place, max_inbox: usize) -> Rc<Self> {
        Rc::new(HttpSession { home: Rc::downgrade(home), place, max_inbox, state: RefCell::default() })
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// A receiver came.
    pub(super) fn attach(&self, outlet: Outlet) {
        let mut state = self.state.borrow_mut();
        if let Some(close) = &state.close {
            outlet.last(close);
            return self.rest(&mut state);
        }
        if state.outlet.is_some() {
            return outlet.last(b"c[2010,\"Another connection still open\"]\n");
        }
        state.changes = state.changes.wrapping_add(1);
        (state.is_slow, state.grace) = (false, 0);
        state.outlet = Some(outlet);
        let Some(mut state) = self.open(state) else { return };
        let waiting = [state.writer.take(), state.reader.take()];
        drop(state);
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    /// Greets the first receiver, if that was not done. Gives the state back unless the session ends here.
    fn open<'a>(&self, mut state: RefMut<'a, State>) -> Option<RefMut<'a, State>> {
        if !state.is_open
            && let Some(outlet) = &mut state.outlet
        {
            match outlet.offer(&[IoSlice::new(b"o\n")]) {
                Ok(taken) => {
                    state.is_open = true;
                    if taken.done {
                        self.finish_outlet(&mut state);
                    }
                }
                // The read half tries again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => {
                    self.interrupt(state);
                    return None;
                }
            }
        }
        Some(state)
    }

    /// The receiver has what it can take.
    fn finish_outlet(&self, state: &mut State) {
        if let Some(outlet) = state.outlet.take() {
            outlet.finish();
        }
        self.rest(state);
        if let Some(home) = self.home.upgrade().filter(|_| state.is_slow) {
            state.grace = home.timeouts_in(SLOW);
        }
    }

    /// Hands messages to the handler, once there is room for them. A session that is closed drops them: its client is told
    /// so by the close frame, and would take an error for the end before it gets there.
    pub(super) async fn push(&self, messages: Vec<ByteString>) -> Result<(), Over> {
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            if state.is_gone {
                return Poll::Ready(Err(Over));
            }
            if state.inbox_octets < self.max_inbox || state.is_over {
                return Poll::Ready(Ok(()));
            }
            if !state.senders.iter().any(|waker| waker.will_wake(cx.waker())) {
                state.senders.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await?;
        let mut state = self.state.borrow_mut();
        if state.is_over {
            return Ok(());
        }
        // An empty message takes its place, too.
        state.inbox_octets += messages.iter().map(|message| message.len() + 32).sum::<usize>();
        state.inbox.extend(messages);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        Ok(())
    }

    /// The time-out that was set at a change has come. Returns whether the session is to be forgotten.
    pub(super) fn expire(&self, change: u32) -> bool {
        let mut state = self.state.borrow_mut();
        if state.changes != change || state.outlet.is_some() {
            return false;
        }
        if state.grace > 0
            && let Some(home) = self.home.upgrade()
        {
            state.grace -= 1;
            home.expire_later(self.place, change);
            return false;
        }
        state.is_gone = true;
        self.end(&mut state).into_iter().for_each(Waker::wake);
        true
    }

    /// There is no receiver: the session lives on for the time-out.
    fn rest(&self, state: &mut State) {
        state.changes = state.changes.wrapping_add(1);
        if let Some(home) = self.home.upgrade() {
            home.expire_later(self.place, state.changes);
        }
    }

    /// The session begins without a receiver, which is on its way.
    pub(super) fn begin(&self) {
        self.rest(&mut self.state.borrow_mut());
    }

    /// The receiver is gone, with what was sent to it: nobody knows how much of that arrived, so the session is over.
    fn interrupt(&self, mut state: RefMut<'_, State>) {
        state.outlet = None;
        state.grace = 0;
        if state.close.is_none() {
            state.is_gone = true;
            state.close = Some(Bytes::from_static(b"c[1002,\"Connection interrupted\"]\n"));
        }
        self.rest(&mut state);
        let waiting = self.end(&mut state);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Ends the handler's side; gives who waits for that.
    fn end(&self, state: &mut State) -> Vec<Waker> {
        state.is_over = true;
        let mut waiting = mem::take(&mut state.senders);
        waiting.extend([state.writer.take(), state.reader.take()].into_iter().flatten());
        waiting
    }

    /// The handler's side has sent its close frame.
    fn closed(&self, mut state: RefMut<'_, State>, close: Bytes) {
        state.close = Some(close);
        if let Some(outlet) = state.outlet.take() {
            outlet.finish();
        }
        self.rest(&mut state);
        let waiting = self.end(&mut state);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Neither side ends the session, but the service, with this close frame: what the handler has still to say is lost.
    pub(super) fn close(&self, close: Bytes) {
        let mut state = self.state.borrow_mut();
        if state.close.is_some() {
            return;
        }
        match state.outlet.take() {
            // Nothing more can be said in the middle of a frame.
            Some(outlet) if state.is_cut => outlet.abort(),
            Some(outlet) => outlet.last(&close),
            None => {}
        }
        state.is_gone = true;
        self.closed(state, close);
    }

    /// The handler's side says nothing more, and said no close frame: receivers are told to go.
    fn go_away(&self) {
        let mut state = self.state.borrow_mut();
        if state.close.is_some() {
            return;
        }
        let close = Framing::SockJsHttp.go_away();
        if let Some(outlet) = state.outlet.take() {
            outlet.last(&close);
        }
        self.closed(state, close);
    }
}

/// The close frame that these octets end with, if they do and it is whole. `is_cut`: the first is in the middle of a
/// frame.
fn close_frame(written: &[u8], is_cut: bool) -> Option<&[u8]> {
    let text = written.strip_suffix(b"]\n")?;
    let from = text.len().saturating_sub(MAX_CLOSE);
    let start = match memchr::memrchr(b'\n', &text[from..]) {
        Some(at) => from + at + 1,
        None if from == 0 && !is_cut => 0,
        None => return None,
    };
    let frame = &written[start..];
    frame.starts_with(b"c[").then_some(frame)
}

/// The write half.
pub(super) struct Writer(pub(super) Rc<HttpSession>);

impl Transmit for Writer {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write_vectored(&[IoSlice::new(bytes)])
    }

    fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let session = &self.0;
        let mut state = session.state.borrow_mut();
        if state.is_over {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let is_open = state.is_open;
        let Some(outlet) = state.outlet.as_mut().filter(|_| is_open) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let taken = match outlet.offer(bufs) {
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                state.is_slow = true;
                return Err(error);
            }
            Err(error) => {
                session.interrupt(state);
                return Err(error);
            }
        };
        state.is_slow |= taken.done && taken.octets >= LARGE;
        // Close frames come last, in a piece that begins with a frame.
        let (mut before, mut close) = (0, None);
        let mut is_cut = state.is_cut;
        for buf in bufs {
            let len = buf.len().min(taken.octets - before);
            before += len;
            if len > 0 {
                close = (before == taken.octets).then(|| close_frame(&buf[..len], is_cut)).flatten();
                is_cut = buf[len - 1] != b'\n';
            }
        }
        state.is_cut = is_cut;
        if let Some(close) = close {
            session.closed(state, Bytes::copy_from_slice(close));
        } else if taken.done {
            session.finish_outlet(&mut state);
        }
        Ok(taken.octets)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state.borrow_mut();
        if state.is_over {
            return Poll::Ready(());
        }
        // Also while it waits for an outlet, which may go.
        state.writer = Some(cx.waker().clone());
        match &state.outlet {
            Some(outlet) if state.is_open => outlet.poll_writable(cx),
            _ => Poll::Pending,
        }
    }

    fn shutdown(&self) {
        self.0.go_away();
    }

    fn abort(&self) {
        let mut state = self.0.state.borrow_mut();
        if let Some(outlet) = state.outlet.take() {
            outlet.abort();
        }
        self.0.interrupt(state);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.go_away();
    }
}

/// The read half.
pub(super) struct Reader(pub(super) Rc<HttpSession>);

impl Reader {
    /// Ready when the session is over.
    fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state.borrow_mut();
        if !state.is_over
            && let Some(outlet) = &mut state.outlet
        {
            if outlet.poll_gone(cx).is_ready() {
                self.0.interrupt(state);
                return Poll::Ready(());
            }
            if !state.is_open {
                match self.poll_open(state, cx) {
                    Some(opened) => state = opened,
                    None => return Poll::Ready(()),
                }
            }
        }
        if state.is_over {
            return Poll::Ready(());
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Reader {
    /// Greets a first receiver that took nothing when it came.
    fn poll_open<'a>(&self, state: RefMut<'a, State>, cx: &mut Context<'_>) -> Option<RefMut<'a, State>> {
        let mut state = state;
        while !state.is_open
            && state.outlet.as_ref().is_some_and(|outlet| outlet.poll_writable(cx).is_ready())
        {
            state = self.0.open(state)?;
        }
        if state.is_open
            && let Some(writer) = state.writer.take()
        {
            writer.wake();
        }
        Some(state)
    }
}

impl Receive for Reader {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, End>> {
        let mut state = self.0.state.borrow_mut();
        if let Some(message) = state.inbox.pop_front() {
            state.inbox_octets -= message.len() + 32;
            let mut senders = Vec::new();
            if state.inbox.is_empty() {
                state.inbox = VecDeque::new();
            }
            if state.inbox_octets < self.0.max_inbox {
                senders = mem::take(&mut state.senders);
            }
            drop(state);
            senders.into_iter().for_each(Waker::wake);
            return Poll::Ready(Ok(Received::Text(message)));
        }
        drop(state);
        ready!(self.poll_over(cx));
        Poll::Ready(Err(End::Gone))
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_over(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_frames_are_known_by_where_they_stand() {
        let close: Option<&[u8]> = Some(b"c[3000,\"x\"]\n");
        assert_eq!(close_frame(b"c[3000,\"x\"]\n", false), close);
        assert_eq!(close_frame(b"a[\"x\"]\nc[3000,\"x\"]\n", true), close);
        for other in [&b"a[\"c[3000]\"]\n"[..], b"h\n", b"c[3000,\"x\"]", b"c[3000,\"x\"]\nh\n", b""] {
            assert_eq!(close_frame(other, false), None);
        }
        assert_eq!(close_frame(b"c[3000,\"x\"]\n", true), None, "may be the end of a message");
        let long = [&b"a[\""[..], &[b'c'; 2 * MAX_CLOSE], b"\"]\n"].concat();
        assert_eq!(close_frame(&long, false), None);
    }
}
