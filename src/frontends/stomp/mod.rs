//! The STOMP door.
//!
//! A carrier (`carrier.rs`) brings octets to a session (`session.rs`), which checks state and calls the core; what
//! the core sends is written by an encoder (`encoder.rs`). Heart-beats are agreed in `heartbeat.rs`, and what is
//! wrong with a frame is said in `refusal.rs`.

mod acknowledge;
mod carrier;
mod encoder;
mod heartbeat;
mod refusal;
mod session;
mod transaction;

pub use self::carrier::serve;
pub use self::heartbeat::HeartBeats;
pub use self::session::StompDoor;
pub use self::transaction::TransactionLimits;
