//! What happens to a request that asks for an upgrade: the socket of a WebSocket that is ours is
//! taken, the rest goes to the `App`.

use std::{
    cell::OnceCell,
    fmt,
    future::{Ready, poll_fn, ready},
    io,
    marker::PhantomData,
    mem,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_codec::{Framed, FramedParts};
use actix_http::{
    ConnectionType, Request, RequestHead, Response,
    body::{BodySize, BoxBody, MessageBody},
    h1::{Codec, Message},
};
use actix_service::{Service, ServiceFactory};
use actix_web::http::{Method, StatusCode, header};
use bytes::{Buf, BufMut, BytesMut};
use futures_util::future::{LocalBoxFuture, select};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{Connections, Counted, io::Io};
use crate::{
    SockJs,
    carrier::{
        Inbound,
        taken::{Reader, Socket},
    },
    frame::Framing,
    handshake::{self, Accepted},
    peer::Peer,
    receiver::{Incoming, Sink},
    routes::{self, Serve},
    worker::Worker,
};

/// How long a client may keep from reading: an answer that stands still for longer is given up.
const STALLED: Duration = Duration::from_secs(10);

/// How long a client that got its last answer may take to close.
const LINGER: Duration = Duration::from_secs(2);

/// A service whose WebSockets are taken, and where.
pub(super) struct Mount {
    prefix: String,
    sockjs: SockJs,
    pub(super) worker: Rc<Worker>,
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Mount {
    pub(super) fn new(prefix: &str, sockjs: SockJs) -> Self {
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
        let worker = sockjs.worker();
        Mount { prefix, sockjs, worker }
    }
}

/// A service that is used by the HTTP server and by [`Upgrade`] alike.
pub(super) struct Shared<F: ServiceFactory<Request>> {
    factory: F,
    service: Slot<F::Service>,
}

type Slot<S> = Rc<OnceCell<Rc<S>>>;

impl<F: ServiceFactory<Request>> Shared<F> {
    pub(super) fn new(factory: F) -> Self {
        Shared { factory, service: Rc::default() }
    }

    /// Where the service will be once it is made.
    pub(super) fn service(&self) -> Slot<F::Service> {
        Rc::clone(&self.service)
    }
}

impl<F> ServiceFactory<Request> for Shared<F>
where
    F: ServiceFactory<Request>,
    F::Future: 'static,
    F::Service: 'static,
{
    type Response = F::Response;
    type Error = F::Error;
    type Config = F::Config;
    type Service = Rc<F::Service>;
    type InitError = F::InitError;
    type Future = LocalBoxFuture<'static, Result<Self::Service, Self::InitError>>;

    fn new_service(&self, config: F::Config) -> Self::Future {
        let (service, slot) = (self.factory.new_service(config), Rc::clone(&self.service));
        Box::pin(async move {
            let service = Rc::new(service.await?);
            // Made once for each worker; a second one would serve its own requests and leave
            // upgrades to the first.
            let _ = slot.set(Rc::clone(&service));
            Ok(service)
        })
    }
}

/// The upgrade service.
pub(super) struct Upgrade<S, B>(Rc<Inner<S>>, PhantomData<B>);

struct Inner<S> {
    app: Slot<S>,
    mounts: Vec<Mount>,
    connections: Connections,
}

impl<S, B> Upgrade<S, B> {
    pub(super) fn new(app: Slot<S>, mounts: Vec<Mount>, connections: Connections) -> Self {
        Upgrade(Rc::new(Inner { app, mounts, connections }), PhantomData)
    }
}

impl<S, B> ServiceFactory<(Request, Framed<Io, Codec>)> for Upgrade<S, B>
where
    S: Service<Request> + 'static,
    S::Response: Into<Response<B>>,
    S::Error: Into<Response<BoxBody>>,
    B: MessageBody + 'static,
{
    type Response = ();
    type Error = actix_http::Error;
    type Config = ();
    type Service = Upgrade<S, B>;
    type InitError = ();
    type Future = Ready<Result<Self, ()>>;

    fn new_service(&self, (): ()) -> Self::Future {
        ready(Ok(Upgrade(Rc::clone(&self.0), PhantomData)))
    }
}

impl<S, B> Service<(Request, Framed<Io, Codec>)> for Upgrade<S, B>
where
    S: Service<Request> + 'static,
    S::Response: Into<Response<B>>,
    S::Error: Into<Response<BoxBody>>,
    B: MessageBody + 'static,
{
    type Response = ();
    type Error = actix_http::Error;
    type Future = LocalBoxFuture<'static, Result<(), actix_http::Error>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&self, (request, framed): (Request, Framed<Io, Codec>)) -> Self::Future {
        let Some(claim) = self.0.claim(request.head()) else {
            let app = Rc::clone(&self.0.app);
            return Box::pin(async move {
                let io = framed.io_ref().clone();
                let answered = async {
                    let response = ask(&app, request).await;
                    answer(framed, response).await;
                };
                // A body that waits for something hears of the end of its client by what is read here.
                select(pin!(answered), pin!(discard(io))).await;
                Ok(())
            });
        };
        let Some(counted) = self.0.connections.enter() else {
            return Box::pin(async move {
                answer(framed, text(StatusCode::SERVICE_UNAVAILABLE, "Too many connections.")).await;
                Ok(())
            });
        };
        claim.take(request, framed, counted);
        // The dispatcher ends here, and lets go of its memory.
        Box::pin(ready(Ok(())))
    }
}

/// A WebSocket handshake that is ours to answer with 101.
struct Claim {
    sockjs: SockJs,
    framing: Framing,
    transport: &'static str,
    accepted: Accepted,
}

impl<S> Inner<S> {
    /// Whether this request opens a session. What is refused is left to the `App`, which answers
    /// why.
    fn claim(&self, head: &RequestHead) -> Option<Claim> {
        let path = head.uri.path();
        self.mounts.iter().find_map(|mount| {
            let rest = path.strip_prefix(&*mount.prefix)?;
            let route = routes::find(rest)?;
            let config = mount.sockjs.settings();
            let Serve::WebSocket(framing) = route.serve else {
                return None;
            };
            if head.method != Method::GET || !(route.enabled)(config) {
                return None;
            }
            let accepted =
                handshake::verify(head, config, framing).ok().filter(|_| !mount.sockjs.is_draining())?;
            Some(Claim { sockjs: mount.sockjs.clone(), framing, transport: route.name, accepted })
        })
    }
}

impl Claim {
    /// Takes the socket and begins the session.
    fn take(self, mut request: Request, framed: Framed<Io, Codec>, counted: Counted) {
        let FramedParts { io, mut read_buf, write_buf, .. } = framed.into_parts();
        let Some((stream, early)) = io.give_up() else { return };
        read_buf.unsplit(early);
        let config = self.sockjs.settings();
        stream.tune(config.notsent_lowat);
        let head = request.head_mut();
        let peer = Peer::new(
            self.transport,
            head.peer_addr,
            mem::take(&mut head.uri),
            mem::take(&mut head.headers),
            self.accepted.protocol.clone(),
            config,
        );
        let socket = Socket::new(stream, counted);
        let inbound = Inbound::new(self.framing, config);
        let incoming = Incoming::new(Reader::new(Rc::clone(&socket), inbound, read_buf));
        let sink = Sink::new(socket, self.framing, self.transport);

        // Behind answers to earlier requests of the same connection that are not sent yet.
        let mut out = write_buf;
        self.put_answer(&mut out);
        match sink.try_write(&out) {
            Ok(taken) if taken == out.len() => self.sockjs.open(incoming, sink, peer),
            Ok(taken) => {
                out.advance(taken);
                actix_rt::spawn(self.take_slowly(out, incoming, sink, peer));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                actix_rt::spawn(self.take_slowly(out, incoming, sink, peer));
            }
            // Gone before it began.
            Err(_) => {}
        }
    }

    /// Begins the session once the client has read what comes before it.
    async fn take_slowly(self, mut out: BytesMut, incoming: Incoming, sink: Sink, peer: Peer) {
        while !out.is_empty() {
            if timeout(STALLED, sink.writable()).await.is_err() {
                return sink.abort();
            }
            match sink.try_write(&out) {
                Ok(taken) => out.advance(taken),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
        drop(out);
        self.sockjs.open(incoming, sink, peer);
    }

    /// The 101, and in the same write what opens the session.
    fn put_answer(&self, out: &mut BytesMut) {
        out.put_slice(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
        for (name, value) in &self.accepted.headers {
            out.put_slice(name.as_str().as_bytes());
            out.put_slice(b": ");
            out.put_slice(value.as_bytes());
            out.put_slice(b"\r\n");
        }
        out.put_slice(b"\r\n");
        out.put_slice(self.framing.open());
    }
}

/// The `App`'s answer to an upgrade.
async fn ask<S, B>(app: &OnceCell<Rc<S>>, request: Request) -> Response<BoxBody>
where
    S: Service<Request>,
    S::Response: Into<Response<B>>,
    S::Error: Into<Response<BoxBody>>,
    B: MessageBody + 'static,
{
    let Some(app) = app.get() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "Not started yet.");
    };
    let response = match app.call(request).await {
        Ok(response) => response.into().map_into_boxed_body(),
        Err(error) => error.into(),
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return text(
            StatusCode::NOT_IMPLEMENTED,
            "This server upgrades connections for its SockJS services only.",
        );
    }
    response
}

fn text(status: StatusCode, text: &'static str) -> Response<BoxBody> {
    Response::build(status)
        .insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"))
        .body(text)
        .map_into_boxed_body()
}

/// Sends the last answer of a connection and closes it. Apart from the HTTP server's own, since
/// that is behind.
async fn answer(mut framed: Framed<Io, Codec>, response: Response<BoxBody>) {
    if send(&mut framed, response).await.is_err() {
        return;
    }
    // What the client still sends is read, or closing would reset the connection and with it
    // destroy the answer.
    let mut io = framed.into_parts().io;
    let _ = timeout(LINGER, async {
        io.shutdown().await?;
        let mut rest = [0; 4096];
        while io.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
}

/// Reads what nobody waits for, so that the end is noticed.
async fn discard(mut io: Io) {
    let mut rest = [0; 1024];
    while let Ok(1..) = io.read(&mut rest).await {}
    std::future::pending::<()>().await;
}

async fn send(framed: &mut Framed<Io, Codec>, response: Response<BoxBody>) -> io::Result<()> {
    let (mut head, body) = response.into_parts();
    head.head_mut().set_connection_type(ConnectionType::Close);
    // What is written behind the head of an upgrade is written as it is; the end of the connection is that of the body.
    head.head_mut().no_chunking(true);
    let mut framed = Pin::new(framed);
    let size = body.size();
    framed.as_mut().write(Message::Item((head, size)))?;
    if !matches!(size, BodySize::None | BodySize::Sized(0)) {
        let mut body = pin!(body);
        while let Some(chunk) = poll_fn(|cx| body.as_mut().poll_next(cx)).await {
            framed
                .as_mut()
                .write(Message::Chunk(Some(chunk.map_err(|error| io::Error::other(error.to_string()))?)))?;
            flush(framed.as_mut()).await?;
        }
        framed.as_mut().write(Message::Chunk(None))?;
    }
    flush(framed).await
}

async fn flush(mut framed: Pin<&mut Framed<Io, Codec>>) -> io::Result<()> {
    let flushed = poll_fn(|cx| framed.as_mut().flush::<Message<(Response<()>, BodySize)>>(cx));
    timeout(STALLED, flushed).await.map_err(|_| io::ErrorKind::TimedOut)?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use actix_http::h1;
    use tokio::net::{TcpListener, TcpStream};

    use super::{
        super::{Exchange, io::Stream},
        *,
    };
    use crate::Session;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    async fn hello(session: Session) {
        session.sender().text("hello").unwrap();
    }

    /// Answers that the kernel does not take at once come to the upgrade in the HTTP server's write
    /// buffer.
    #[actix_web::test]
    async fn unsent_answers_go_before_the_handshakes() {
        for unsent in [0, 100, 20_000_000] {
            let (mut client, server) = pair().await;
            // As the HTTP server does, know that the socket can be written to.
            server.writable().await.unwrap();
            let mut parts = FramedParts::new(
                Io::new(Stream::Tcp(server), BytesMut::new(), Exchange::new(Connections::unbounded())),
                h1::Codec::default(),
            );
            parts.write_buf.resize(unsent, b'x');
            let claim = Claim {
                sockjs: SockJs::new(hello),
                framing: Framing::SockJsWebSocket,
                transport: "websocket",
                accepted: Accepted { headers: Vec::new(), protocol: None },
            };
            let counted = Connections::unbounded().enter().unwrap();
            claim.take(Request::new(), Framed::from_parts(parts), counted);
            let mut answers = vec![0; unsent];
            client.read_exact(&mut answers).await.unwrap();
            assert!(answers.iter().all(|&octet| octet == b'x'));
            let expected =
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\
                \x81\x01o\x81\x0aa[\"hello\"]";
            let mut answer = vec![0; expected.len()];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, expected);
        }
    }
}
