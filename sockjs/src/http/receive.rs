//! The answer to a receiver: a request that waits for what the session has to say.

use std::{
    cell::Cell,
    future::{poll_fn, ready},
    io,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use actix_http::{
    ConnectionType,
    body::{BodySize, MessageBody},
};
use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{Version, header},
};
use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, LocalBoxFuture, select};
use tokio::sync::oneshot;

use super::{
    credentials::Credentials,
    home::{Home, INTERRUPTED},
    outlet::{Outlet, PollAnswer, Streaming},
    send::Refused,
    table::{May, Place, Refusal},
    wrapping::Wrapping,
};
use crate::{
    SockJs,
    carrier::{
        pipe::{Body, Pipe},
        response::{Facts, TakenResponse},
    },
    headers,
    peer::Peer,
    routes,
    server::{Counted, Io, Stream},
    worker::Worker,
};

/// How a transport answers its receivers.
pub(crate) struct Receiver {
    /// The transport's name, which sessions tell.
    pub(crate) transport: &'static str,
    pub(crate) content_type: &'static str,
    pub(crate) wrapping: Wrapping,
    /// What a streaming response begins with; none: each frame has a response of its own.
    pub(crate) prelude: Option<Bytes>,
}

/// Answers a receiver.
pub(crate) fn receive(
    sockjs: &SockJs,
    request: &HttpRequest,
    receiver: Receiver,
) -> LocalBoxFuture<'static, HttpResponse> {
    let worker = sockjs.worker();
    match answer(sockjs, &worker, request, receiver) {
        Ok(answer) => answer,
        Err(refused) => Box::pin(ready(refused.response(sockjs, request))),
    }
}

fn answer(
    sockjs: &SockJs,
    worker: &Rc<Worker>,
    request: &HttpRequest,
    receiver: Receiver,
) -> Result<LocalBoxFuture<'static, HttpResponse>, Refused> {
    let config = sockjs.settings();
    if !config.origins.allow(request.headers().get(header::ORIGIN)) {
        return Err(Refused::Origin);
    }
    let io = request.conn_data::<Io>().cloned();
    let taking = match &io {
        Some(io) if can_be_taken(request, &receiver) => {
            // One that comes back from a response still has its place.
            let place = io.take_counted().or_else(|| io.exchange().connections.enter());
            Some((io.clone(), place.ok_or(Refused::Connections)?))
        }
        _ => None,
    };
    let credentials = Credentials::of(request.head(), config);
    let home = worker.home();
    let may = May::of(request, sockjs);
    let place = home.open(routes::session_id(request), credentials, may, receiver.transport, || {
        Peer::of(request, receiver.transport, config)
    });
    let place = match (place, taking) {
        (Ok(place), taking) => (place, taking),
        (Err(refused), taking) => {
            if let Some((io, counted)) = taking {
                io.keep_counted(counted);
            }
            if refused == Refusal::Unclaimed {
                return Ok(Box::pin(ready(interrupted(sockjs, request, &receiver))));
            }
            return Err(refused.into());
        }
    };
    let (place, taking) = place;

    let mut response = head(sockjs, request, &receiver);
    let Some(prelude) = receiver.prelude else {
        let (answer, answered) = oneshot::channel();
        let poll = PollAnswer::new(answer, receiver.wrapping.clone(), config.response_limit);
        home.receive(place, Outlet::Poll(poll));
        return Ok(Box::pin(poll_answer(response, answered, receiver.wrapping, io)));
    };
    if request.version() < Version::HTTP_11 {
        // The end of the connection is that of the response.
        response.force_close();
    }
    let mut response = match taking {
        Some((io, counted)) => {
            let facts = Facts {
                chunked: request.version() >= Version::HTTP_11,
                keep_alive: request.head().connection_type() == ConnectionType::KeepAlive,
                peer: request.head().peer_addr,
                limit: config.response_limit,
            };
            let take = Take {
                worker: Rc::clone(worker),
                place,
                counted,
                facts,
                notsent_lowat: config.notsent_lowat,
            };
            response.body(Handover::new(prelude, io, take))
        }
        None => stream(response, &prelude, receiver.wrapping, config.response_limit, io, home, place),
    };
    response.head_mut().no_chunking(request.version() < Version::HTTP_11);
    Ok(Box::pin(ready(response)))
}

fn head(sockjs: &SockJs, request: &HttpRequest, receiver: &Receiver) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.content_type(receiver.content_type);
    headers::transport(request.head(), sockjs.settings(), &mut response);
    response
}

/// The answer for a session that is no more, and is not opened anew.
fn interrupted(sockjs: &SockJs, request: &HttpRequest, receiver: &Receiver) -> HttpResponse {
    let mut body = BytesMut::from(receiver.prelude.as_deref().unwrap_or_default());
    body.extend_from_slice(&receiver.wrapping.whole(INTERRUPTED.trim_ascii_end()));
    head(sockjs, request, receiver).body(body.freeze())
}

/// Whether the response can do without the HTTP server behind its head: frames go out as they are, and the request has
/// no body, which is still to be read. One that asks for another protocol is not served by the part that would notice.
fn can_be_taken(request: &HttpRequest, receiver: &Receiver) -> bool {
    let headers = request.headers();
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    let upgrades = headers.contains_key(header::UPGRADE);
    receiver.prelude.is_some() && receiver.wrapping.is_line() && !has_body && !upgrades
}

/// One frame. A client that went before it was there is not waited for.
async fn poll_answer(
    mut response: HttpResponseBuilder,
    answered: oneshot::Receiver<Bytes>,
    wrapping: Wrapping,
    io: Option<Io>,
) -> HttpResponse {
    let gone = pin!(poll_fn(|cx| io.as_ref().map_or(Poll::Pending, |io| io.poll_ended(cx))));
    let frame = match select(answered, gone).await {
        Either::Left((frame, _)) => frame.ok(),
        Either::Right(_) => None,
    };
    // No frame: what would have sent it is no more.
    response.body(frame.unwrap_or_else(|| wrapping.whole(INTERRUPTED.trim_ascii_end())))
}

/// Frames within the HTTP server's response.
fn stream(
    mut response: HttpResponseBuilder,
    prelude: &Bytes,
    wrapping: Wrapping,
    limit: usize,
    io: Option<Io>,
    home: &Rc<Home>,
    place: Place,
) -> HttpResponse {
    let pipe = Arc::new(Pipe::default());
    // An empty pipe has room.
    let _ = pipe.fill(|out, _| out.extend_from_slice(prelude));
    home.receive(place, Outlet::Stream(Streaming::new(Arc::clone(&pipe), wrapping, limit)));
    response.body(Watched { body: Body(pipe), io })
}

/// A body that ends when its client does.
pub(super) struct Watched<B> {
    pub(super) body: B,
    /// Under a plain `HttpServer`, that shows only when something is written.
    pub(super) io: Option<Io>,
}

impl<B: MessageBody + Unpin> MessageBody for Watched<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, B::Error>>> {
        if self.io.as_ref().is_some_and(|io| io.poll_ended(cx).is_ready()) {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_next(cx)
    }
}

/// What becomes of a socket that is left to a session.
struct Take {
    worker: Rc<Worker>,
    place: Place,
    counted: Counted,
    facts: Facts,
    notsent_lowat: Option<u32>,
}

impl Take {
    fn take(self, stream: Stream, early: BytesMut) {
        stream.tune(self.notsent_lowat);
        let exchange = self.worker.exchange();
        let response = TakenResponse::new(stream, early, self.counted, self.facts, exchange);
        self.worker.home().receive(self.place, Outlet::Taken(Box::new(response)));
    }
}

/// The beginning of a response, behind which the socket is taken from the HTTP server.
struct Handover {
    prelude: Option<Bytes>,
    io: Io,
    take: Option<Take>,
    taken: Rc<Taken>,
}

#[derive(Default)]
struct Taken {
    is_taken: Cell<bool>,
    body: Cell<Option<Waker>>,
}

impl Handover {
    fn new(prelude: Bytes, io: Io, take: Take) -> Handover {
        Handover { prelude: Some(prelude), io, take: Some(take), taken: Rc::default() }
    }
}

impl MessageBody for Handover {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, io::Error>>> {
        // Before the prelude is in the server's buffer: when that is empty, the prelude is written, and so are the answers to
        // earlier requests. The server writes nothing between this and the prelude.
        if let Some(take) = self.take.take() {
            let taken = Rc::clone(&self.taken);
            self.io.leave_to(move |stream, early| {
                taken.is_taken.set(true);
                if let Some(body) = taken.body.take() {
                    body.wake();
                }
                take.take(stream, early);
            });
        }
        if let Some(prelude) = self.prelude.take() {
            return Poll::Ready(Some(Ok(prelude)));
        }
        if self.taken.is_taken.get() {
            // What the server makes of this goes nowhere.
            return Poll::Ready(None);
        }
        self.taken.body.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        if !self.taken.is_taken.get() {
            self.io.disinherit();
        }
    }
}
