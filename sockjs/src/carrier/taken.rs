//! A socket of its own: read and written here directly, after the HTTP server gave it up.
//!
//! A connection at rest holds no buffer. One buffer of the worker is read into by all, and messages are pieces of it.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;

use super::Inbound;
use crate::{
    receiver::{End, Receive, Received, Transmit},
    server::{Counted, Stream},
};

/// Octets of the read buffer. As much as one read gets at most.
const READ_BUFFER: usize = 64 * 1024;

/// The room that a read needs at least; with less, another buffer is taken while pieces of this one are still in use.
const LEAST_ROOM: usize = 8 * 1024;

/// Reads after which others get their turn, with messages still coming.
const READS_AT_ONCE: u8 = 4;

thread_local! {
    static BUFFER: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// A taken socket, shared by its two halves.
pub(crate) struct Socket {
    /// None once it is closed, which happens before both halves are dropped only when it was aborted.
    stream: RefCell<Option<Stream>>,
    aborted: Cell<bool>,
    reader_gone: Cell<bool>,
    _counted: Counted,
}

impl Socket {
    pub(crate) fn new(stream: Stream, counted: Counted) -> Rc<Self> {
        Rc::new(Socket {
            stream: RefCell::new(Some(stream)),
            aborted: Cell::new(false),
            reader_gone: Cell::new(false),
            _counted: counted,
        })
    }

    /// Reads once into the worker's buffer. `Ok(None)` at the end.
    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<BytesMut>>> {
        let mut stream = self.stream.borrow_mut();
        let Some(stream) = stream.as_mut() else {
            return Poll::Ready(Ok(None));
        };
        // At a thread's end its buffer may be gone before its tasks are.
        let read = BUFFER.try_with(|buffer| {
            let mut buffer = buffer.borrow_mut();
            if !buffer.try_reclaim(READ_BUFFER) && buffer.capacity() < LEAST_ROOM {
                *buffer = BytesMut::with_capacity(READ_BUFFER);
            }
            // A read that does not fill the buffer tells tokio that the socket is empty, which saves asking again.
            let n = ready!(pin!(stream.read_buf(&mut *buffer)).poll(cx))?;
            Poll::Ready(Ok((n > 0).then(|| buffer.split())))
        });
        read.unwrap_or(Poll::Ready(Ok(None)))
    }

    fn with<T>(&self, f: impl FnOnce(&Stream) -> io::Result<T>) -> io::Result<T> {
        match self.stream.borrow().as_ref() {
            Some(stream) if !self.aborted.get() => f(stream),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Closes an aborted socket once no read waits on it: dropping it under a waiting read would not wake that one.
    fn close_if_aborted(&self) {
        if self.aborted.get() {
            self.stream.take();
        }
    }
}

impl Transmit for Socket {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|stream| stream.try_write(bytes))
    }

    fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.with(|stream| stream.try_write_vectored(bufs))
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.stream.borrow().as_ref() {
            // An error here shows in the write that follows.
            Some(stream) if !self.aborted.get() => stream.poll_write_ready(cx).map(drop),
            _ => Poll::Ready(()),
        }
    }

    fn shutdown(&self) {
        // Only fails where the connection is gone, which the read half tells.
        let _ = self.with(Stream::shutdown_write);
    }

    fn abort(&self) {
        // Discards what is unsent when the socket is closed; the shutdown wakes both halves until then.
        let _ = self.with(Stream::cut);
        self.aborted.set(true);
        if self.reader_gone.get() {
            self.close_if_aborted();
        }
    }
}

/// The read half of a taken socket.
pub(crate) struct Reader {
    socket: Rc<Socket>,
    inbound: Inbound,
    /// Reads since this last waited.
    reads: u8,
    /// Octets came that were not told of yet.
    fresh: bool,
}

impl Reader {
    /// `rest` is what was read behind the handshake.
    pub(crate) fn new(socket: Rc<Socket>, mut inbound: Inbound, rest: BytesMut) -> Self {
        let fresh = !rest.is_empty();
        inbound.feed(rest);
        Reader {
            socket,
            inbound,
            reads: 0,
            fresh,
        }
    }

    /// Reads once. `Ok(None)` at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<BytesMut>>> {
        if self.reads == READS_AT_ONCE {
            self.reads = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = self.socket.poll_read(cx);
        self.reads = if read.is_pending() { 0 } else { self.reads + 1 };
        read
    }
}

impl Receive for Reader {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, End>> {
        loop {
            if self.socket.aborted.get() {
                self.socket.close_if_aborted();
                return Poll::Ready(Err(End::Gone));
            }
            if let Some(received) = self.inbound.next() {
                self.fresh = false;
                return Poll::Ready(received);
            }
            if self.fresh {
                self.fresh = false;
                return Poll::Ready(Ok(Received::Partial));
            }
            match ready!(self.poll_read(cx)) {
                Ok(Some(chunk)) => {
                    self.fresh = true;
                    self.inbound.feed(chunk);
                }
                Ok(None) => return Poll::Ready(Err(End::Gone)),
                Err(error) => return Poll::Ready(Err(failed(error))),
            }
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Ok(Some(_)) = ready!(self.poll_read(cx)) {}
        Poll::Ready(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.socket.reader_gone.set(true);
        self.socket.close_if_aborted();
    }
}

/// Resets and the like are ways for a peer to go.
fn failed(error: io::Error) -> End {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    match error.kind() {
        ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected => End::Gone,
        _ => End::Io(error),
    }
}
