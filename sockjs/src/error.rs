//! Errors of what goes out: to the caller, who can do something about them.
//!
//! How a session *ends* is no error but [`End`](crate::End).

use thiserror::Error;

/// The transport cannot carry this message: SockJS has text alone, binary messages need a raw
/// WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the session's transport carries text only")]
pub struct NotRepresentable;

/// Why a message was not queued. The message is not sent, the session goes on unless it is
/// [`Closed`](SendError::Closed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SendError {
    /// The peer reads more slowly than messages come, and the queue is at its bound
    /// ([`queue_messages`](crate::Config::queue_messages),
    /// [`queue_bytes`](crate::Config::queue_bytes)).
    #[error("the session's queue is full")]
    Full,
    /// The session was closed, by this side or by the peer.
    #[error("the session is closed")]
    Closed,
    /// The transport cannot carry the message.
    #[error(transparent)]
    NotRepresentable(#[from] NotRepresentable),
}
