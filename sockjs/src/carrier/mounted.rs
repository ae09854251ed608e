//! A session within a plain `HttpServer`: reads are the request's body, writes the response's,
//! which the server's dispatcher moves.
//!
//! The body is a bounded pipe of octets ([`pipe`](super::pipe)). It stands in place of actix-ws, whose codec would encode
//! every frame anew for each session and does not check what this crate's does; frames made once
//! pass through here as they are.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use actix_web::{HttpRequest, HttpResponse, dev::Payload, http::StatusCode};
use bytes::{Bytes, BytesMut};
use futures_util::Stream as _;

use super::{
    Inbound,
    pipe::{Body, Pipe},
};
use crate::{
    SockJs,
    frame::Framing,
    handshake::Accepted,
    peer::Peer,
    receiver::{End, Incoming, Receive, Received, Sink, Transmit},
};

/// Opens a session on a verified handshake; the answer carries it.
pub(crate) fn open(
    sockjs: &SockJs,
    request: &HttpRequest,
    payload: Payload,
    accepted: Accepted,
    framing: Framing,
    transport: &'static str,
) -> HttpResponse {
    let pipe = Arc::new(Pipe::default());
    // An empty pipe has room.
    let _ = pipe.fill(|out, _| out.extend_from_slice(framing.open()));
    let incoming = Incoming::new(Reader {
        payload,
        pipe: Arc::clone(&pipe),
        inbound: Inbound::new(framing, sockjs.settings()),
        fresh: false,
    });
    let sink = Sink::new(Rc::new(Writer(Arc::clone(&pipe))), framing, transport);
    let (uri, headers) = (request.uri().clone(), request.headers().clone());
    let config = sockjs.settings();
    let peer = Peer::new(transport, request.peer_addr(), uri, headers, accepted.protocol, config);
    sockjs.open(incoming, sink, peer);

    let mut response = HttpResponse::build(StatusCode::SWITCHING_PROTOCOLS);
    response.upgrade("websocket");
    for header in accepted.headers {
        response.insert_header(header);
    }
    response.body(Body(pipe))
}

/// The write half.
struct Writer(Arc<Pipe>);

impl Transmit for Writer {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write_vectored(&[IoSlice::new(bytes)])
    }

    fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut taken = 0;
        self.0.fill(|out, room| {
            for buf in bufs {
                let len = buf.len().min(room - taken);
                out.extend_from_slice(&buf[..len]);
                taken += len;
            }
        })?;
        Ok(taken)
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_writable(cx)
    }

    fn shutdown(&self) {
        self.0.shutdown();
    }

    fn abort(&self) {
        self.0.abort();
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
    pipe: Arc<Pipe>,
    inbound: Inbound,
    /// Octets came that were not told of yet.
    fresh: bool,
}

impl Reader {
    /// What came of the request's body; none when it has ended, as it does with the connection.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.pipe.is_aborted() {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.payload).poll_next(cx) {
            Poll::Ready(chunk) => Poll::Ready(chunk.and_then(Result::ok)),
            Poll::Pending => self.pipe.poll_gone(cx).map(|()| None),
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
