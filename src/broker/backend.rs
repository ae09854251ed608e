//! What the core asks of a backend: to carry a message to other nodes.
//!
//! Owns the trait. Messages that come from other nodes enter by [`Broker::arrive`](super::Broker::arrive).

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::message::Message;

/// Hands messages to other nodes.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Takes a message on its way. Gives it back if it is to be delivered on this node at once, rather than when it
    /// comes back from where messages of all nodes are put in order.
    fn forward(&self, message: Message) -> Forwarded;
}

/// A message that a backend has taken on.
pub struct Forwarded {
    /// The message, if this node delivers it now.
    pub message: Option<Message>,
    /// Ready when the backend answers for the message; `None` if it has nothing to answer for.
    pub confirmed: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}
