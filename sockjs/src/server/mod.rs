//! An HTTP server that gives up its sockets.
//!
//! [`Http`] serves an actix-web `App` as actix-web's `HttpServer` does, but takes the WebSockets and the streaming responses
//! of the SockJS services it is [told of](Http::take) out of the server: such a connection is a socket
//! and a task, without the HTTP server's buffers, and without its dispatcher between a message and
//! the wire. An idle session that was taken apart then holds 1 KiB, against 14 KiB mounted in a
//! plain `HttpServer` (5,000 connections, one worker).
//!
//! ```no_run
//! use actix_web::{App, web};
//! use sockjs::{Message, SockJs, server::{Connections, Http}};
//!
//! #[actix_web::main]
//! async fn main() -> std::io::Result<()> {
//!     let connections = Connections::at_most(20_000);
//!     let echo = SockJs::new(|mut session: sockjs::Session| async move {
//!         let sender = session.sender();
//!         while let Some(Message::Text(text)) = session.recv().await {
//!             if sender.text(text).is_err() {
//!                 break;
//!             }
//!         }
//!     });
//!     actix_server::Server::build()
//!         .bind("http", ("127.0.0.1", 8080), move || {
//!             let app = App::new()
//!                 .service(echo.mount("/echo"))
//!                 .route("/", web::get().to(|| async { "hello" }));
//!             Http::new().connections(&connections).take("/echo", &echo).serve(app)
//!         })?
//!         .run()
//!         .await
//! }
//! ```
//!
//! What a program must know:
//! - Connections that were taken are no longer actix-server's: they do not count towards its
//!   limits, and its graceful stop does not wait for them. [`Connections`] counts them; ending
//!   their sessions is up to the program. When a worker ends, its sessions are dropped and their
//!   sockets closed.
//! - A listener of the same workers may serve something else than HTTP on sockets that are counted with these:
//!   [`Connections::take`].
//! - Other protocols behind `Upgrade` cannot be served: an upgrade request that is for none of the
//!   services named gets the `App`'s answer, and then the connection is closed. An `App` that
//!   answers with 101 there makes a 501.

mod connections;
mod exchange;
mod io;
mod upgrade;

use std::{fmt, time::Duration};

use actix_http::{HttpService, KeepAlive, Request, Response, body::MessageBody, error::DispatchError};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, map_config};
use actix_web::{Error, dev::AppConfig};
use tokio::net::TcpStream;

pub use self::connections::Connections;
pub(crate) use self::{
    connections::Counted,
    exchange::Exchange,
    io::{Io, Stream},
};
use self::{
    exchange::Factory,
    upgrade::{Mount, Shared, Upgrade},
};
use crate::SockJs;
pub use crate::carrier::taken::Octets;

/// Builds the service for the connections of one listener on one worker: what
/// `actix_server::ServerBuilder::bind` and `listen` ask their closures for. See the [module](self)
/// for an example.
#[derive(Debug)]
#[must_use]
pub struct Http {
    mounts: Vec<Mount>,
    connections: Connections,
    keep_alive: KeepAlive,
    request_timeout: Duration,
    disconnect_timeout: Duration,
}

impl Default for Http {
    fn default() -> Self {
        Http::new()
    }
}

impl Http {
    /// A server that takes no sockets yet, with the time-outs of actix-web's `HttpServer`.
    pub fn new() -> Self {
        Http {
            mounts: Vec::new(),
            connections: Connections::unbounded(),
            keep_alive: KeepAlive::default(),
            request_timeout: Duration::from_secs(5),
            disconnect_timeout: Duration::from_secs(1),
        }
    }

    /// Takes the WebSockets of `sockjs` below `prefix`: the whole path it is mounted at, that of
    /// surrounding scopes included. Must be mounted there in the `App` as well, which serves
    /// everything else of it.
    pub fn take(mut self, prefix: &str, sockjs: &SockJs) -> Self {
        self.mounts.push(Mount::new(prefix, sockjs.clone()));
        self
    }

    /// Counts the connections taken, over all workers, and bounds them. By default they are not
    /// bounded.
    pub fn connections(mut self, connections: &Connections) -> Self {
        self.connections = connections.clone();
        self
    }

    /// How long a connection may rest between requests. Default: 5 s.
    pub fn keep_alive(mut self, keep_alive: impl Into<KeepAlive>) -> Self {
        self.keep_alive = keep_alive.into();
        self
    }

    /// How long the head of the first request may take; 0 is for ever. Default: 5 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long closing a connection may take; 0 is for ever. Default: 1 s.
    pub fn disconnect_timeout(mut self, timeout: Duration) -> Self {
        self.disconnect_timeout = timeout;
        self
    }

    /// The service: `app` for requests, and the sessions of the services named for their
    /// WebSockets.
    pub fn serve<I, S, B>(
        self,
        app: I,
    ) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()>
    where
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<Error> + 'static,
        S::InitError: fmt::Debug,
        S::Response: Into<Response<B>> + 'static,
        S::Service: 'static,
        S::Future: 'static,
        <S::Service as Service<Request>>::Future: 'static,
        B: MessageBody + 'static,
    {
        let app = app.into_factory().map_err(|error| Response::from(error.into().error_response()));
        // Used for the host and the scheme only where a request does not name its host.
        let app = Shared::new(map_config(app, |()| AppConfig::default()));
        let exchange = Exchange::new(self.connections);
        for mount in &self.mounts {
            mount.worker.set_exchange(&exchange);
        }
        let upgrade = Upgrade::new(app.service(), self.mounts, exchange.connections.clone());
        let http = HttpService::build()
            .keep_alive(self.keep_alive)
            .client_request_timeout(self.request_timeout)
            .client_disconnect_timeout(self.disconnect_timeout)
            .on_connect_ext(|io: &Io, facts| {
                facts.insert(io.clone());
            })
            .upgrade(upgrade)
            .finish(app);
        Factory { http, exchange }
    }
}
