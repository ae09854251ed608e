//! The crate from outside, octet by octet: servers on loopback and a client that speaks HTTP and
//! WebSocket by hand.

#![allow(missing_docs, clippy::unwrap_used, clippy::needless_pass_by_value)]

mod draining;
mod echo;
mod ends;
mod halves;
mod hostile;
mod http;
mod http_sessions;
mod rules;
mod server;
mod support;
