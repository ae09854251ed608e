//! Connections that come back to the HTTP server after a response that was written without it.

use std::{
    cell::RefCell,
    net::SocketAddr,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_http::{Protocol, error::DispatchError};
use actix_service::{Service, ServiceFactory};
use bytes::BytesMut;
use futures_util::future::LocalBoxFuture;
use tokio::net::TcpStream;

use super::{
    Connections, Counted,
    io::{Io, Stream},
};

/// A connection as `actix_http::HttpService` takes it.
type Connection = (Io, Protocol, Option<SocketAddr>);

/// One server on one worker: where its connections come back to, and how many may be out.
pub(crate) struct Exchange {
    pub(crate) connections: Connections,
    /// None before the server is made and when it has stopped.
    serve: RefCell<Option<Serve>>,
}

type Serve = Rc<dyn Fn(Connection) -> LocalBoxFuture<'static, Result<(), DispatchError>>>;

impl Exchange {
    pub(super) fn new(connections: Connections) -> Rc<Exchange> {
        Rc::new(Exchange { connections, serve: RefCell::new(None) })
    }

    /// Goes on serving a connection. `counted` keeps it among those that are out: actix-server counts it no more.
    pub(crate) fn join(
        self: &Rc<Self>,
        stream: Stream,
        early: BytesMut,
        peer: Option<SocketAddr>,
        counted: Counted,
    ) {
        let exchange = Rc::clone(self);
        actix_rt::spawn(async move {
            if early.is_empty() && !exchange.has_more(&stream).await {
                return;
            }
            let Some(serve) = exchange.serve.borrow().clone() else { return };
            let io = Io::new(stream, early, exchange);
            io.keep_counted(counted);
            // The server logs what goes wrong.
            let _ = serve((io, Protocol::Http1, peer)).await;
        });
    }

    /// Waits for the next request. The HTTP server would answer 408 to a client that is still reading what it was sent.
    async fn has_more(&self, stream: &Stream) -> bool {
        tokio::select! {
            readable = stream.readable() => readable.is_ok(),
            () = self.connections.closing() => false,
            () = tokio::time::sleep(IDLE) => false,
        }
    }
}

/// How long a connection is kept whose client asks for nothing: as long as one that takes nothing is waited for.
const IDLE: Duration = Duration::from_secs(60);

/// Makes the service for a listener's connections out of that for [`Io`]s.
pub(super) struct Factory<F> {
    pub(super) http: F,
    pub(super) exchange: Rc<Exchange>,
}

impl<F> ServiceFactory<TcpStream> for Factory<F>
where
    F: ServiceFactory<Connection, Config = (), Response = (), Error = DispatchError, InitError = ()>,
    F::Service: 'static,
    F::Future: 'static,
    <F::Service as Service<Connection>>::Future: 'static,
{
    type Response = ();
    type Error = DispatchError;
    type Config = ();
    type Service = Server<F::Service>;
    type InitError = ();
    type Future = LocalBoxFuture<'static, Result<Self::Service, ()>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let (http, exchange) = (self.http.new_service(()), Rc::clone(&self.exchange));
        Box::pin(async move {
            let http = Rc::new(http.await?);
            let again = Rc::clone(&http);
            exchange.serve.replace(Some(Rc::new(move |connection| Box::pin(again.call(connection)))));
            Ok(Server { http, exchange })
        })
    }
}

/// Serves the connections of a listener.
pub(super) struct Server<S> {
    http: Rc<S>,
    exchange: Rc<Exchange>,
}

impl<S> Service<TcpStream> for Server<S>
where
    S: Service<Connection, Response = (), Error = DispatchError>,
{
    type Response = ();
    type Error = DispatchError;
    type Future = S::Future;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), DispatchError>> {
        self.http.poll_ready(cx)
    }

    fn call(&self, tcp: TcpStream) -> S::Future {
        let peer = tcp.peer_addr().ok();
        // Best effort. Answers are written whole, and what streams shall not wait for acknowledgements.
        let _ = tcp.set_nodelay(true);
        let io = Io::new(Stream::Tcp(tcp), BytesMut::new(), Rc::clone(&self.exchange));
        self.http.call((io, Protocol::Http1, peer))
    }
}

impl<S> Drop for Server<S> {
    fn drop(&mut self) {
        self.exchange.serve.take();
    }
}
