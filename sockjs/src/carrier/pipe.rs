//! A bounded pipe of octets from a session to the response that carries it, which may be another thread's.

use std::{
    io, mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use actix_http::body::{BodySize, MessageBody};
use bytes::{Bytes, BytesMut};

/// Octets that the pipe holds before it is full. The HTTP server's dispatcher holds up to 32 KiB more, and the kernel its
/// own.
const PIPE: usize = 64 * 1024;

/// Between a session and the response's body.
#[derive(Default)]
pub(crate) struct Pipe(Mutex<State>);

#[derive(Default)]
struct State {
    octets: BytesMut,
    end: Option<End>,
    /// Who waits: the dispatcher for octets, the session for room and for the end.
    body: Option<Waker>,
    writer: Option<Waker>,
    reader: Option<Waker>,
}

/// How far it has ended, each including those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// Nothing more will be written; what is there goes out.
    Shutdown,
    /// The connection is gone. What came before can still be read.
    Gone,
    /// The connection is to go, and nothing of it matters any more.
    Aborted,
}

impl Pipe {
    /// Nothing panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `fill` append about as many octets as there is room for, or more where it must.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room; `BrokenPipe` if nothing can be written any more.
    pub(crate) fn fill(&self, fill: impl FnOnce(&mut BytesMut, usize)) -> io::Result<()> {
        let mut state = self.state();
        if state.end.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = PIPE.saturating_sub(state.octets.len());
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        fill(&mut state.octets, room);
        let body = state.body.take();
        drop(state);
        if let Some(body) = body {
            body.wake();
        }
        Ok(())
    }

    /// Ready when there is room, or will be none any more.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.end.is_some() || state.octets.len() < PIPE {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when the connection is gone.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.end >= Some(End::Gone) {
            return Poll::Ready(());
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.state().end == Some(End::Aborted)
    }

    /// Ends the response behind what was written.
    pub(crate) fn shutdown(&self) {
        self.end(End::Shutdown);
    }

    /// Ends the connection.
    pub(crate) fn abort(&self) {
        self.end(End::Aborted);
    }

    /// Ends the pipe, unless it was ended further before, and wakes who waits on it.
    fn end(&self, end: End) {
        let mut state = self.state();
        state.end = state.end.max(Some(end));
        let waiting = [state.body.take(), state.writer.take(), state.reader.take()];
        drop(state);
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    #[cfg(test)]
    pub(crate) fn take(&self) -> BytesMut {
        mem::take(&mut self.state().octets)
    }
}

/// The response's body, whose end is that of the connection.
pub(crate) struct Body(pub(crate) Arc<Pipe>);

impl MessageBody for Body {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, io::Error>>> {
        let mut state = self.0.state();
        if state.end >= Some(End::Gone) {
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
        }
        if !state.octets.is_empty() {
            let octets = mem::take(&mut state.octets).freeze();
            let writer = state.writer.take();
            drop(state);
            if let Some(writer) = writer {
                writer.wake();
            }
            return Poll::Ready(Some(Ok(octets)));
        }
        if state.end.is_some() {
            return Poll::Ready(None);
        }
        state.body = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.0.end(End::Gone);
    }
}
