//! A STOMP client at the level of the wire: how the command line talks to a broker, ours or another.
//!
//! Owns a broker's address ([`Target`]), the opening handshake, the framing of each carrier and a connection
//! ([`Client`]) that gives and takes whole frames. It holds no subscriptions, acknowledges nothing and never reconnects:
//! what to send, and what an answer means, is its users' business.

mod connection;
mod error;
mod handshake;
mod sockjs;
mod target;
pub mod websocket;
mod wire;

pub use connection::{Client, Login};
pub use error::Error;
pub use sockjs::{Said, said};
pub use target::{Carrier, Target, TargetError};
pub use wire::{LARGEST_MESSAGE, encode_text};

/// Random octets for keys and names. None of them is a secret: a system that has none to give makes do with zeros.
fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}
