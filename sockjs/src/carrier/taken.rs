//! A socket of its own: read and written here directly, after the HTTP server gave it up.
//!
//! A connection at rest holds no buffer. One buffer of the worker is read into by all, and messages
//! are pieces of it.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;

use super::Inbound;
use crate::{
    receiver::{End, Receive, Received, Transmit},
    server::{Counted, Stream},
};

/// Octets of the read buffer. As much as one read gets at most.
const READ_BUFFER: usize = 64 * 1024;

/// The room that a read needs at least; with less, another buffer is taken while pieces of this one
/// are still in use.
const LEAST_ROOM: usize = 8 * 1024;

/// Reads after which others get their turn, with messages still coming.
const READS_AT_ONCE: u8 = 4;

thread_local! {
    static BUFFER: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// A taken socket, shared by its two halves.
pub(crate) struct Socket {
    /// None once it is closed, which happens before both halves are dropped only when it was
    /// aborted.
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
            // A read that does not fill the buffer tells tokio that the socket is empty, which
            // saves asking again.
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

    /// Closes an aborted socket once no read waits on it: dropping it under a waiting read would
    /// not wake that one.
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
        // Discards what is unsent when the socket is closed; the shutdown wakes both halves until
        // then.
        let _ = self.with(Stream::cut);
        self.aborted.set(true);
        if self.reader_gone.get() {
            self.close_if_aborted();
        }
    }
}

/// The read half of a socket, whatever is spoken on it.
pub struct Octets {
    socket: Rc<Socket>,
    /// Reads since this last waited.
    reads: u8,
}

impl Octets {
    pub(crate) fn new(socket: Rc<Socket>) -> Self {
        Octets { socket, reads: 0 }
    }

    /// What comes next, in a piece of the worker's read buffer: who keeps some of it for longer copies that, or it keeps up
    /// to 64 KiB. `None` when the peer ended its direction, or the connection was [aborted](crate::Writer::abort).
    ///
    /// Cancel-safe. A peer that sends without a pause does not keep the worker for itself: from time to time this yields.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let read = poll_fn(|cx| if self.is_aborted() { Poll::Ready(Ok(None)) } else { self.poll_read(cx) });
        Ok(read.await?.map(BytesMut::freeze))
    }

    /// Whether the connection was aborted. If so, its socket is closed now.
    fn is_aborted(&self) -> bool {
        self.socket.close_if_aborted();
        self.socket.aborted.get()
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

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Octets").finish_non_exhaustive()
    }
}

impl Drop for Octets {
    fn drop(&mut self) {
        self.socket.reader_gone.set(true);
        self.socket.close_if_aborted();
    }
}

/// The read half of a WebSocket on a taken socket.
pub(crate) struct Reader {
    octets: Octets,
    inbound: Inbound,
    /// Octets came that were not told of yet.
    fresh: bool,
}

impl Reader {
    /// `rest` is what was read behind the handshake.
    pub(crate) fn new(socket: Rc<Socket>, mut inbound: Inbound, rest: BytesMut) -> Self {
        let fresh = !rest.is_empty();
        inbound.feed(rest);
        Reader { octets: Octets::new(socket), inbound, fresh }
    }
}

impl Receive for Reader {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, End>> {
        loop {
            if self.octets.is_aborted() {
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
            match ready!(self.octets.poll_read(cx)) {
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
        while let Ok(Some(_)) = ready!(self.octets.poll_read(cx)) {}
        Poll::Ready(())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{
        io::ErrorKind,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Wake, Waker},
        time::Duration,
    };

    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::{config::Config, frame::Framing, server::Connections};

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[actix_web::test]
    async fn a_peer_that_sends_without_end_leaves_others_their_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = Stream::Tcp(listener.accept().await.unwrap().0);
        let counted = Connections::unbounded().enter().unwrap();
        let inbound = Inbound::new(Framing::WebSocket, &Config::default());
        let mut reader = Reader::new(Socket::new(stream, counted), inbound, BytesMut::new());

        // Messages of 1000 octets, as many as the kernel holds.
        let mut message = vec![0x82, 0x80 | 126, 0x03, 0xe8, 0, 0, 0, 0];
        message.resize(message.len() + 1000, b'x');
        let flood = message.repeat(64 * 1024);
        let mut sent = 0;
        while sent <= 2 * usize::from(READS_AT_ONCE) * READ_BUFFER {
            // It may have to make room first, on a busy machine.
            let room = tokio::time::timeout(Duration::from_secs(10), peer.writable()).await;
            room.unwrap_or_else(|_| panic!("the kernel holds {sent} octets only")).unwrap();
            while let Ok(taken) = peer.try_write(&flood[sent..]) {
                sent += taken;
            }
        }

        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut cx = Context::from_waker(&waker);
        let mut messages = 0;
        while messages * message.len() < sent / 2 {
            // Ready when the kernel says so, which is for the runtime to hear.
            tokio::task::yield_now().await;
            let mut turn = 0;
            while let Poll::Ready(received) = reader.poll_next(&mut cx) {
                turn += usize::from(matches!(received.unwrap(), Received::Binary(_)));
            }
            // The first of a turn may have begun in the one before.
            let most = usize::from(READS_AT_ONCE) * READ_BUFFER / message.len() + 1;
            assert!(turn <= most, "{turn} messages in one turn");
            messages += turn;
        }
        assert!(wakes.0.load(Ordering::SeqCst) > 0, "with more to read, it comes back by itself");
        assert_eq!(peer.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}
