//! The STOMP door.
//!
//! A carrier (`carrier.rs` for what the `sockjs` crate carries, `tcp.rs` for sockets of their own) brings octets to a session
//! (`session.rs`, `sending.rs`, `subscribing.rs`), which checks state and calls the core; what the core sends is written by an encoder (`encoder.rs`).
//! Heart-beats are agreed in `heartbeat.rs`, what is wrong with a frame is said in `refusal.rs`, and `incomplete.rs` keeps the
//! memory of all that is incomplete below a bound.

mod acknowledge;
mod carrier;
mod encoder;
mod heartbeat;
mod incomplete;
mod pending;
mod refusal;
mod sending;
mod session;
mod subscribing;
mod tcp;
mod transaction;

pub use self::carrier::serve;
pub use self::heartbeat::HeartBeats;
pub use self::incomplete::IncompleteFrames;
pub use self::session::StompDoor;
pub use self::tcp::accept;
pub use self::transaction::TransactionLimits;
