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
//!     HttpServer::new(|| App::new().service(SockJs::new(echo).mount("/echo")))
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
//! Mounted in a plain `HttpServer`, a session lives in a request and its response. Served by
//! [`server::Http`], WebSockets are taken out of the HTTP server, which saves most of the memory
//! and much of the time that a connection costs. Handlers do not notice.
//!
//! # What there is
//! Transports: `websocket` and the raw WebSocket at `/websocket`; the greeting and `/info`. The
//! protocol's texts, headers and codes are those of SockJS 0.3.3, and where that is silent those of
//! sockjs-node.
//!
//! [SockJS]: https://github.com/sockjs/sockjs-client

mod carrier;
mod config;
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
    error::{NotRepresentable, SendError},
    frame::Framing,
    peer::Peer,
    prepared::Prepared,
    quote::quote,
    receiver::{End, Incoming, Received, Sink},
    service::SockJs,
    session::{Message, Sender, Session},
};
