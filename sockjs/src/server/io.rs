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

use super::{Counted, Exchange};

/// A socket. One variant for each way to speak on it.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
}

/// Asked after two minutes of silence, and given up two minutes after that.
const KEEP_ALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(120)).with_interval(Duration::from_secs(30));

impl Stream {
    /// Waits until there is something to read, or the end.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(tcp) => tcp.readable().await,
        }
    }

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
    /// What was read and not yet given to the HTTP server.
    early: RefCell<BytesMut>,
    /// The last octets that it was given.
    last: Cell<[u8; 3]>,
    /// It was given the end of a head, and is to look at that before it gets more.
    pauses: Cell<bool>,
    /// The client ended its direction.
    has_ended: Cell<bool>,
    /// Who waits for the client to end.
    waits: Cell<Option<Waker>>,
    /// Who wants the socket when all that the server has written is out.
    heir: Cell<Option<Heir>>,
    counted: Cell<Option<Counted>>,
}

/// Takes the socket, and what was read from it behind the request.
type Heir = Box<dyn FnOnce(Stream, BytesMut)>;

impl Io {
    pub(super) fn new(stream: Stream, early: BytesMut, exchange: Rc<Exchange>) -> Self {
        Io(Rc::new(Inner {
            stream: RefCell::new(Some(stream)),
            exchange,
            early: RefCell::new(early),
            last: Cell::new([0; 3]),
            pauses: Cell::new(false),
            has_ended: Cell::new(false),
            waits: Cell::new(None),
            heir: Cell::new(None),
            counted: Cell::new(None),
        }))
    }

    /// Takes the socket out, and what was read from it and not given to the server.
    pub(super) fn give_up(&self) -> Option<(Stream, BytesMut)> {
        let stream = self.0.stream.take()?;
        Some((stream, self.0.early.take()))
    }

    /// The server that the connection is one of.
    pub(crate) fn exchange(&self) -> &Rc<Exchange> {
        &self.0.exchange
    }

    /// Keeps a place among the connections that are out for as long as this one lasts.
    pub(crate) fn keep_counted(&self, counted: Counted) {
        self.0.counted.set(Some(counted));
    }

    /// Takes the place of a connection that came back, if it is one.
    pub(crate) fn take_counted(&self) -> Option<Counted> {
        self.0.counted.take()
    }

    /// Leaves the socket to `heir` as soon as all is written that the server has to write.
    pub(crate) fn leave_to(&self, heir: impl FnOnce(Stream, BytesMut) + 'static) {
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

    fn note_end(&self) {
        self.0.has_ended.set(true);
        if let Some(waits) = self.0.waits.take() {
            waits.wake();
        }
    }

    /// Keeps back what was read behind the end of a head: the server shall look at one request at a time, so that
    /// nothing of the next is lost when the socket is taken with this one.
    fn keep_back(&self, buf: &mut ReadBuf<'_>, before: usize) {
        let read = &buf.filled()[before..];
        let mut early = self.0.early.borrow_mut();
        if let Some(end) = end_of_head(self.0.last.get(), read) {
            self.0.pauses.set(true);
            let rest = std::mem::take(&mut *early);
            early.extend_from_slice(&read[end..]);
            early.unsplit(rest);
            buf.set_filled(before + end);
        }
        let given = &buf.filled()[before..];
        let mut last = self.0.last.get();
        for octet in &given[given.len().saturating_sub(3)..] {
            last = [last[1], last[2], *octet];
        }
        self.0.last.set(last);
    }

    /// To be called when all that the server wanted to write was written.
    fn note_written(&self) {
        if let Some(heir) = self.0.heir.take()
            && let Some((stream, early)) = self.give_up()
        {
            heir(stream, early);
        }
    }
}

/// Where the first head ends within what was read behind these octets.
fn end_of_head(last: [u8; 3], read: &[u8]) -> Option<usize> {
    let at = |index: usize| if index < 3 { last[index] } else { read[index - 3] };
    memchr::memchr_iter(b'\n', read)
        .find(|&end| [at(end), at(end + 1), at(end + 2)] == *b"\r\n\r")
        .map(|end| end + 1)
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.0.pauses.replace(false) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let mut early = self.0.early.borrow_mut();
        if !early.is_empty() {
            let mut len = early.len().min(buf.remaining());
            // No more than is looked at, so that the rest is not copied there and back for each head.
            if let Some(end) = end_of_head(self.0.last.get(), &early[..len]) {
                len = end;
            }
            buf.put_slice(&early.split_to(len));
            drop(early);
            self.keep_back(buf, before);
            return Poll::Ready(Ok(()));
        }
        drop(early);
        let mut stream = self.0.stream.borrow_mut();
        let Some(stream) = stream.as_mut() else {
            return Poll::Ready(Ok(()));
        };
        ready!(Pin::new(stream).poll_read(cx, buf))?;
        if buf.filled().len() == before {
            self.note_end();
        } else {
            self.keep_back(buf, before);
        }
        Poll::Ready(Ok(()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_head_is_found_however_it_was_cut() {
        let text = b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest\r\n\r\n";
        for cut in 3..text.len() {
            let last = [text[cut - 3], text[cut - 2], text[cut - 1]];
            let end = [24, 32].into_iter().find(|end| *end > cut).map(|end| end - cut);
            assert_eq!(end_of_head(last, &text[cut..]), end, "{cut}");
        }
        assert_eq!(end_of_head([0; 3], b"\r\n\r"), None);
        assert_eq!(end_of_head(*b"\r\n\r", b"\n"), Some(1));
    }
}
