//! SockJS for actix-web.
//!
//! [SockJS] gives browsers a WebSocket-like connection that also works where WebSockets do not. This
//! crate is the server's side of it: a [`SockJs`] service is made from a handler, mounted in an
//! actix-web `App`, and runs the handler on each session.
//!
//! ```no_run
//! use actix_web::{App, HttpServer};
//! use sockjs::{Message, Session, SockJs};
//!
//! async fn echo(mut session: Session) {
//!     let sender = session.sender();
//!     while let Some(Message::Text(text)) = session.recv().await {
//!         if sender.text(text).is_err() {
//!             break;
//!         }
//!     }
//! }
//!
//! #[actix_web::main]
//! async fn main() -> std::io::Result<()> {
//!     // Once, for all workers: they share its sessions.
//!     let echo = SockJs::new(echo);
//!     HttpServer::new(move || App::new().service(echo.mount("/echo")))
//!         .bind(("127.0.0.1", 8080))?
//!         .run()
//!         .await
//! }
//! ```
//!
//! # Sending to many
//! A message for many sessions is [`Prepared`] once: quoted once, and its wire frame made once for
//! each [`Framing`]. Sessions get the same octets.
//!
//! # Carriers
//! Mounted in a plain `HttpServer`, a session lives in requests and their responses. Served by
//! [`server::Http`], WebSockets and the responses of XHR streaming are taken out of the HTTP server, which saves most
//! of the memory and much of the time that a connection costs. Handlers do not notice.
//!
//! # Sessions over HTTP
//! Where WebSockets can't be had, a session outlives the requests that carry it: *receivers*, one at a time, wait for what
//! it sends, and what the client sends comes by requests of its own. It lives on the worker that its first request came to;
//! others hand on what reaches them. Without a receiver it ends after [`Config::session_timeout`]. What was sent meanwhile
//! waits, within [`Config::queue_messages`] and [`Config::queue_bytes`]; a receiver that vanishes ends it, since nobody can
//! know what that one still got.
//!
//! Where several processes share a load balancer that does not keep sessions in place, an [`Elsewhere`] tells them which of
//! them has a session, and brings its requests there.
//!
//! # What there is
//! All of SockJS 0.3.3: the transports `websocket`, `xhr-streaming`, `xhr-polling`, `eventsource`, `htmlfile` and
//! `jsonp-polling`, the raw WebSocket at `/websocket`, the greeting, `/info` and the iframe page. Texts, headers and codes are
//! the protocol's, and where that is silent those of sockjs-node.
//!
//! [SockJS]: https://github.com/sockjs/sockjs-client

mod carrier;
mod config;
mod elsewhere;
mod error;
mod frame;
mod greeting;
mod handshake;
mod headers;
mod heartbeat;
mod http;
mod iframe;
mod info;
mod link;
mod message;
mod peer;
mod prepared;
mod queue;
mod quote;
mod receiver;
mod routes;
pub mod server;
mod service;
mod session;
mod transport;
mod worker;
mod ws;

pub use self::{
    config::{Config, Origins},
    elsewhere::{Claim, Elsewhere, Forward, NotForwarded, Remote},
    error::{NotRepresentable, SendError},
    frame::Framing,
    peer::Peer,
    prepared::Prepared,
    quote::quote,
    receiver::{End, Incoming, Received, Sink, Writer},
    service::{SockJs, WeakSockJs},
    session::{Message, Sender, Session},
};
