//! The two halves of a connection that carries a session, whatever carries it.
//!
//! A carrier implements [`Receive`] and [`Transmit`]; there are two, in
//! [`carrier`](crate::carrier). What the halves are used for is decided by who holds them:
//! [`Session`](crate::Session) in the plain way, or a program that writes by itself.

use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSlice},
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use bytestring::ByteString;

use crate::frame::Framing;

/// What came from the peer.
#[derive(Debug)]
pub enum Received {
    /// A text message. A piece of the read buffer: who keeps it for longer copies it, or it keeps
    /// up to 64 KiB.
    Text(ByteString),
    /// A binary message, from raw WebSockets only. As for the memory, see [`Text`](Received::Text).
    Binary(Bytes),
    /// A complete frame (the answer to a ping or to a close frame) that the owner of the [`Sink`]
    /// must write at the next frame boundary. Of several pongs not yet written only the last one is
    /// needed (RFC 6455, section 5.5.3).
    Reply(Bytes),
    /// Octets came, which proves that the peer lives, but no whole message yet.
    Partial,
}

/// How a session ended. After it, nothing more comes.
#[derive(Debug)]
pub enum End {
    /// The peer closed. The answer to its close frame came before, as [`Received::Reply`].
    Closed {
        /// The peer's close code; 1005 if it gave none.
        code: u16,
        /// The peer's reason, often empty.
        reason: ByteString,
    },
    /// The connection is gone without a close frame: ended, reset, or [aborted](Sink::abort).
    Gone,
    /// The peer broke the rules. The owner of the [`Sink`] sends [`Framing::close`] with these,
    /// then shuts down.
    Protocol {
        /// The close code to send.
        code: u16,
        /// The reason to send.
        reason: &'static str,
    },
    /// The connection failed in another way.
    Io(io::Error),
}

/// A read half.
pub(crate) trait Receive {
    /// See [`Incoming::next`].
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, End>>;
    /// See [`Incoming::drain`].
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A write half.
pub(crate) trait Transmit {
    /// See [`Sink::try_write`].
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// See [`Sink::try_write_vectored`].
    fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Ready when a write may be tried again, or the connection is gone. Of several tasks that ask,
    /// the last one is woken.
    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()>;
    /// See [`Sink::shutdown`].
    fn shutdown(&self);
    /// See [`Sink::abort`].
    fn abort(&self);
}

/// The read half of a session, for a program that reads by itself; see
/// [`Session::into_parts`](crate::Session::into_parts).
pub struct Incoming(Box<dyn Receive>);

impl Incoming {
    pub(crate) fn new(receiver: impl Receive + 'static) -> Self {
        Incoming(Box::new(receiver))
    }

    /// The read half of a session that is over.
    pub(crate) fn gone() -> Self {
        Incoming::new(Nothing)
    }

    /// What comes next. Cancel-safe: a future dropped before it is done loses nothing.
    ///
    /// A peer that sends without a pause does not keep the worker for itself: from time to time
    /// this yields.
    ///
    /// # Errors
    /// The [`End`] of the session. Asked again after that, it is [`End::Gone`].
    pub async fn next(&mut self) -> Result<Received, End> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Reads and drops whatever still comes, until the peer ends its direction of the connection or
    /// the connection is gone. To be called after [`Sink::shutdown`], with a deadline, where the
    /// peer may still be sending: closing a socket with unread input resets the connection, and a
    /// reset can destroy what was sent last, such as the reason of the close.
    pub async fn drain(&mut self) {
        poll_fn(|cx| self.0.poll_drain(cx)).await;
    }

    /// The same as [`next`](Self::next), for hand-written futures.
    ///
    /// # Errors
    /// See [`next`](Self::next).
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, End>> {
        self.0.poll_next(cx)
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}

/// The write half of a connection, without a word on what goes over it.
///
/// Nothing is queued here: what is not taken is offered again. When both halves are dropped, the connection is closed.
pub struct Writer(Rc<dyn Transmit>);

impl Writer {
    pub(crate) fn new(carrier: Rc<dyn Transmit>) -> Self {
        Writer(carrier)
    }

    /// Writes without waiting and says how many octets were taken, which may be fewer than given:
    /// the rest must be offered again before anything else.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if nothing can be taken now
    /// ([`writable`](Self::writable) tells when). Any other error means that the connection is gone.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    /// The same from several buffers, in one system call where there is a socket. The kernel takes
    /// at most 1024 buffers at once.
    ///
    /// # Errors
    /// As for [`try_write`](Self::try_write).
    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bufs)
    }

    /// Done when a write that would have blocked may be tried again, or the connection is gone. It
    /// may be done too early: then the write says so again. It owns what it needs, and only one at
    /// a time may wait for a connection.
    pub fn writable(&self) -> impl Future<Output = ()> + use<> + 'static {
        let carrier = Rc::clone(&self.0);
        poll_fn(move |cx| carrier.poll_writable(cx))
    }

    /// The same as [`writable`](Self::writable), for hand-written futures.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_writable(cx)
    }

    /// Ends this direction of the connection behind what was written. The peer can still be heard.
    pub fn shutdown(&self) {
        self.0.shutdown();
    }

    /// Ends the connection now: what the kernel did not send yet is discarded, and who waits on
    /// either half is woken.
    ///
    /// Mounted in a plain `HttpServer`, a session has no socket to cut: there the connection ends
    /// once the server comes to write to it again, which a peer that does not read can put off.
    pub fn abort(&self) {
        self.0.abort();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// The write half of a session, for a program that writes by itself; see
/// [`Session::into_parts`](crate::Session::into_parts).
///
/// It takes complete frames of its [`framing`](Self::framing), in order. Nothing is queued here:
/// what is not taken is offered again. When both halves are dropped, the connection is closed.
pub struct Sink {
    writer: Writer,
    framing: Framing,
    transport: &'static str,
}

impl Sink {
    pub(crate) fn new(carrier: Rc<dyn Transmit>, framing: Framing, transport: &'static str) -> Self {
        Sink { writer: Writer::new(carrier), framing, transport }
    }

    /// The form in which this session's frames are.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// The transport's name; see [`Peer::transport`](crate::Peer::transport).
    pub fn transport(&self) -> &'static str {
        self.transport
    }

    /// The write half alone, for a program that knows the framing.
    pub fn into_writer(self) -> Writer {
        self.writer
    }

    /// See [`Writer::try_write`].
    ///
    /// # Errors
    /// As there.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.try_write(bytes)
    }

    /// See [`Writer::try_write_vectored`].
    ///
    /// # Errors
    /// As there.
    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writer.try_write_vectored(bufs)
    }

    /// See [`Writer::writable`].
    pub fn writable(&self) -> impl Future<Output = ()> + use<> + 'static {
        self.writer.writable()
    }

    /// See [`Writer::poll_writable`].
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.writer.poll_writable(cx)
    }

    /// See [`Writer::shutdown`].
    pub fn shutdown(&self) {
        self.writer.shutdown();
    }

    /// See [`Writer::abort`].
    pub fn abort(&self) {
        self.writer.abort();
    }
}

impl Sink {
    /// The write half of a session that is over.
    pub(crate) fn gone(framing: Framing, transport: &'static str) -> Self {
        Sink::new(Rc::new(Nothing), framing, transport)
    }
}

/// Both halves of no connection.
struct Nothing;

impl Receive for Nothing {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Result<Received, End>> {
        Poll::Ready(Err(End::Gone))
    }

    fn poll_drain(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

impl Transmit for Nothing {
    fn try_write(&self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn try_write_vectored(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::NotConnected.into())
    }

    fn poll_writable(&self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn shutdown(&self) {}

    fn abort(&self) {}
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("framing", &self.framing).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of_val;

    use super::*;
    use crate::{carrier, config::Config};

    /// What tens of thousands of idle connections hold each.
    #[test]
    fn waiting_takes_little_memory() {
        let mut incoming = Incoming::gone();
        let halves = size_of::<Incoming>() + size_of::<Sink>();
        let inbound = carrier::Inbound::new(Framing::WebSocket, &Config::default());
        let sizes = [
            ("both halves", halves, 64),
            ("Incoming::next", size_of_val(&incoming.next()), 32),
            ("Inbound", size_of_val(&inbound), 192),
            ("taken socket", size_of::<carrier::taken::Socket>(), 80),
        ];
        for (what, size, most) in sizes {
            println!("{what}: {size} octets");
            assert!(size <= most, "{what}: {size} octets, at most {most}");
        }
    }
}
