//! The connection as the HTTP server sees it: one that can be taken away from it.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    net::Shutdown,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_codec::{AsyncRead, AsyncWrite, ReadBuf};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

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
    pub(super) fn tune(&self, notsent_lowat: Option<u32>) {
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
#[derive(Debug, Clone)]
pub(crate) struct Io(Rc<RefCell<Option<Stream>>>);

impl Io {
    pub(super) fn new(stream: Stream) -> Self {
        Io(Rc::new(RefCell::new(Some(stream))))
    }

    /// Takes the socket out.
    pub(super) fn give_up(&self) -> Option<Stream> {
        self.0.take()
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.0.borrow_mut().as_mut() {
            Some(stream) => Pin::new(stream).poll_read(cx, buf),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.0.borrow_mut().as_mut() {
            Some(Stream::Tcp(tcp)) => Pin::new(tcp).poll_write(cx, buf),
            None => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.borrow_mut().as_mut() {
            Some(Stream::Tcp(tcp)) => Pin::new(tcp).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.borrow_mut().as_mut() {
            Some(Stream::Tcp(tcp)) => Pin::new(tcp).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}
