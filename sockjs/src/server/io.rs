//! The connection as the HTTP server sees it: one that can be taken away from it.

use std::{
    cell::{Cell, RefCell},
    fmt,
    io::{self, IoSlice},
    net::Shutdown,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use actix_codec::{AsyncRead, AsyncWrite, ReadBuf};
use bytes::BytesMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::Exchange;

/// A socket. One variant for each way to speak on it.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
}

/// Asked after two minutes of silence, and given up two minutes after that.
const KEEP_ALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(120)).with_interval(Duration::from_secs(30));

impl Stream {
    fn socket(&self) -> SockRef<'_> {
        match self {
            Stream::Tcp(tcp) => SockRef::from(tcp),
        }
    }

    /// Prepares the socket for many small messages that shall not be late.
    pub(crate) fn tune(&self, notsent_lowat: Option<u32>) {
        let socket = self.socket();
        // Best effort: without these it is slower, not wrong.
        let _ = socket.set_tcp_nodelay(true);
        // A peer whose machine vanished without a word is found out by the kernel: a session that has nothing to send, and
        // expects no heart-beats, would never notice.
        let _ = socket.set_tcp_keepalive(&KEEP_ALIVE);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(octets) = notsent_lowat {
            let _ = socket.set_tcp_notsent_lowat(octets);
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = notsent_lowat;
    }

    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(tcp) => tcp.try_write(bytes),
        }
    }

    pub(crate) fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(tcp) => tcp.try_write_vectored(bufs),
        }
    }

    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(tcp) => tcp.poll_write_ready(cx),
        }
    }

    /// The socket, without the runtime of this thread.
    pub(crate) fn into_std(self) -> io::Result<std::net::TcpStream> {
        match self {
            Stream::Tcp(tcp) => tcp.into_std(),
        }
    }

    /// A socket for the runtime of this thread.
    pub(crate) fn from_std(socket: std::net::TcpStream) -> io::Result<Stream> {
        TcpStream::from_std(socket).map(Stream::Tcp)
    }

    /// FIN behind what was written.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        self.socket().shutdown(Shutdown::Write)
    }

    /// Makes both directions end, and the close that follows a reset that discards what is unsent.
    pub(crate) fn cut(&self) -> io::Result<()> {
        let socket = self.socket();
        socket.set_linger(Some(Duration::ZERO))?;
        socket.shutdown(Shutdown::Both)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
        }
    }
}

/// What the HTTP server holds in place of a socket. Once the socket is [given up](Io::give_up), it
/// reads as ended and swallows writes.
#[derive(Clone)]
pub(crate) struct Io(Rc<Inner>);

struct Inner {
    stream: RefCell<Option<Stream>>,
    exchange: Rc<Exchange>,
    /// What was read before the HTTP server had the connection.
    early: RefCell<BytesMut>,
    /// The client ended its direction.
    has_ended: Cell<bool>,
    /// What was read last ended like the head of a request.
    at_end_of_head: Cell<bool>,
    /// Who waits for the client to end.
    waits: Cell<Option<Waker>>,
    /// Who wants the socket when all that the server has written is out.
    heir: Cell<Option<Heir>>,
}

type Heir = Box<dyn FnOnce(Stream)>;

impl Io {
    pub(super) fn new(stream: Stream, early: BytesMut, exchange: Rc<Exchange>) -> Self {
        Io(Rc::new(Inner {
            stream: RefCell::new(Some(stream)),
            exchange,
            early: RefCell::new(early),
            has_ended: Cell::new(false),
            at_end_of_head: Cell::new(false),
            waits: Cell::new(None),
            heir: Cell::new(None),
        }))
    }

    /// Takes the socket out.
    pub(super) fn give_up(&self) -> Option<Stream> {
        self.0.stream.take()
    }

    /// The server that the connection is one of.
    pub(crate) fn exchange(&self) -> &Rc<Exchange> {
        &self.0.exchange
    }

    /// Whether the server has read nothing behind the head of a request without a body, as far as can be told: what it
    /// has read would be lost to whom the socket is left to.
    pub(crate) fn is_at_end_of_head(&self) -> bool {
        self.0.at_end_of_head.get()
    }

    /// Leaves the socket to `heir` as soon as all is written that the server has to write.
    pub(crate) fn leave_to(&self, heir: impl FnOnce(Stream) + 'static) {
        self.0.heir.set(Some(Box::new(heir)));
    }

    /// Nobody wants the socket any more.
    pub(crate) fn disinherit(&self) {
        drop(self.0.heir.take());
    }

    /// Ready when the client has ended its direction of the connection.
    pub(crate) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.has_ended.get() {
            return Poll::Ready(());
        }
        self.0.waits.set(Some(cx.waker().clone()));
        Poll::Pending
    }

    fn note_read(&self, read: &[u8]) {
        if read.is_empty() {
            self.0.has_ended.set(true);
            if let Some(waits) = self.0.waits.take() {
                waits.wake();
            }
        } else {
            self.0.at_end_of_head.set(read.ends_with(b"\r\n\r\n"));
        }
    }

    /// To be called when all that the server wanted to write was written.
    fn note_written(&self) {
        if let Some(heir) = self.0.heir.take()
            && let Some(stream) = self.give_up()
        {
            heir(stream);
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut early = self.0.early.borrow_mut();
        if !early.is_empty() {
            let len = early.len().min(buf.remaining());
            buf.put_slice(&early.split_to(len));
            self.note_read(buf.filled());
            return Poll::Ready(Ok(()));
        }
        match self.0.stream.borrow_mut().as_mut() {
            Some(stream) => {
                ready!(Pin::new(stream).poll_read(cx, buf))?;
                self.note_read(buf.filled());
                Poll::Ready(Ok(()))
            }
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = match self.0.stream.borrow_mut().as_mut() {
            Some(Stream::Tcp(tcp)) => ready!(Pin::new(tcp).poll_write(cx, buf))?,
            None => return Poll::Ready(Ok(buf.len())),
        };
        if written == buf.len() {
            self.note_written();
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.stream.borrow_mut().as_mut() {
            Some(Stream::Tcp(tcp)) => Pin::new(tcp).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.stream.borrow_mut().as_mut() {
            Some(Stream::Tcp(tcp)) => Pin::new(tcp).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("stream", &self.0.stream).finish_non_exhaustive()
    }
}
