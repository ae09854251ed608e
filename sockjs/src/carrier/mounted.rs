//! A session within a plain `HttpServer`: reads are the request's body, writes the response's,
//! which the server's dispatcher moves.
//!
//! The body is a bounded pipe of octets. It stands in place of actix-ws, whose codec would encode
//! every frame anew for each session and does not check what this crate's does; frames made once
//! pass through here as they are.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use actix_http::body::{BodySize, MessageBody};
use actix_web::{HttpRequest, HttpResponse, dev::Payload, http::StatusCode};
use bytes::{Bytes, BytesMut};
use futures_util::Stream as _;

use super::Inbound;
use crate::{
    SockJs,
    frame::Framing,
    handshake::Accepted,
    peer::Peer,
    receiver::{End, Incoming, Receive, Received, Sink, Transmit},
};

/// Octets that the pipe holds before it is full. The dispatcher holds up to 32 KiB more, and the
/// kernel its own.
const PIPE: usize = 64 * 1024;

/// Opens a session on a verified handshake; the answer carries it.
pub(crate) fn open(
    sockjs: &SockJs,
    request: &HttpRequest,
    payload: Payload,
    accepted: Accepted,
    framing: Framing,
    transport: &'static str,
) -> HttpResponse {
    let pipe = Rc::new(Pipe::default());
    pipe.state.borrow_mut().buf.extend_from_slice(framing.open());
    let incoming = Incoming::new(Reader {
        payload,
        pipe: Rc::clone(&pipe),
        inbound: Inbound::new(framing, sockjs.settings()),
        fresh: false,
    });
    let sink = Sink::new(Rc::new(Writer(Rc::clone(&pipe))), framing, transport);
    let (uri, headers) = (request.uri().clone(), request.headers().clone());
    let peer = Peer::new(transport, request.peer_addr(), uri, headers, accepted.protocol);
    sockjs.open(incoming, sink, peer);

    let mut response = HttpResponse::build(StatusCode::SWITCHING_PROTOCOLS);
    response.upgrade("websocket");
    for header in accepted.headers {
        response.insert_header(header);
    }
    response.body(Body(pipe))
}

/// Between the session and the response's body.
#[derive(Default)]
struct Pipe {
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    buf: BytesMut,
    end: Option<Ended>,
    /// Who waits: the dispatcher for octets, the session for room and for octets from the peer.
    body: Option<Waker>,
    writer: Option<Waker>,
    reader: Option<Waker>,
}

/// How far it has ended, each including those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ended {
    /// Nothing more will be written; what is there goes out.
    Shutdown,
    /// The connection is gone. What came before can still be read.
    Gone,
    /// The connection is to go, and nothing of it matters any more.
    Aborted,
}

impl State {
    /// Ends the pipe, unless it was ended further before, and wakes who waits on it.
    fn end(&mut self, end: Ended) {
        self.end = self.end.max(Some(end));
        for waker in [self.body.take(), self.writer.take(), self.reader.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// The write half.
struct Writer(Rc<Pipe>);

impl Transmit for Writer {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state.borrow_mut();
        if state.end.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(PIPE - state.buf.len());
        if taken == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.buf.extend_from_slice(&bytes[..taken]);
        if let Some(body) = state.body.take() {
            body.wake();
        }
        Ok(taken)
    }

    fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut total = 0;
        for buf in bufs {
            match self.try_write(buf) {
                Ok(taken) => {
                    total += taken;
                    if taken < buf.len() {
                        break;
                    }
                }
                Err(error) if total == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(total)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.state.borrow_mut();
        if state.end.is_some() || state.buf.len() < PIPE {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn shutdown(&self) {
        self.0.state.borrow_mut().end(Ended::Shutdown);
    }

    fn abort(&self) {
        self.0.state.borrow_mut().end(Ended::Aborted);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// The read half.
struct Reader {
    payload: Payload,
    pipe: Rc<Pipe>,
    inbound: Inbound,
    /// Octets came that were not told of yet.
    fresh: bool,
}

impl Reader {
    /// What came of the request's body; none when it has ended, as it does with the connection.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.pipe.state.borrow().end == Some(Ended::Aborted) {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.payload).poll_next(cx) {
            Poll::Ready(chunk) => Poll::Ready(chunk.and_then(Result::ok)),
            Poll::Pending => {
                let mut state = self.pipe.state.borrow_mut();
                if state.end >= Some(Ended::Gone) {
                    return Poll::Ready(None);
                }
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Receive for Reader {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, End>> {
        loop {
            if let Some(received) = self.inbound.next() {
                self.fresh = false;
                return Poll::Ready(received);
            }
            if self.fresh {
                self.fresh = false;
                return Poll::Ready(Ok(Received::Partial));
            }
            match ready!(self.poll_read(cx)) {
                Some(chunk) => {
                    self.fresh = true;
                    self.inbound.feed(BytesMut::from(chunk));
                }
                None => return Poll::Ready(Err(End::Gone)),
            }
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while ready!(self.poll_read(cx)).is_some() {}
        Poll::Ready(())
    }
}

/// The response's body, whose end is that of the connection.
struct Body(Rc<Pipe>);

impl MessageBody for Body {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, io::Error>>> {
        let mut state = self.0.state.borrow_mut();
        if state.end >= Some(Ended::Gone) {
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())));
        }
        if !state.buf.is_empty() {
            if let Some(writer) = state.writer.take() {
                writer.wake();
            }
            return Poll::Ready(Some(Ok(mem::take(&mut state.buf).freeze())));
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
        self.0.state.borrow_mut().end(Ended::Gone);
    }
}
