//! What the core asks of a backend: to carry messages to other nodes, and to bring those that are wanted here.
//!
//! Owns the trait. What comes from other nodes enters by [`Broker::arrive`](super::Broker::arrive) and, out of the log that all
//! nodes read, by [`Broker::arrive_logged`](super::Broker::arrive_logged).

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use super::destination::{Destination, Filter};
use super::message::Message;

/// A future that may change its thread.
pub type Promise<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Joins this node with others.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Takes a message on its way. Those of one caller are on their way in the order of its calls.
    fn forward(&self, message: Message) -> Forward;

    /// This node has one subscription more to what `filter` selects.
    fn want(&self, filter: &Filter);

    /// It has one less.
    fn release(&self, filter: &Filter);

    /// Ready when what `filter` selects comes here, last values included; `None` if it does so already. To be asked while it is
    /// [wanted](Backend::want).
    fn bound(&self, filter: &Filter) -> Option<Promise<()>>;

    /// Whether a queue can be, and ready when it is there; `None` if it is already. `Err` says why there can't be such a queue.
    ///
    /// # Errors
    /// What is wrong with its name.
    fn queue(&self, queue: &Destination) -> Result<Option<Promise<()>>, String>;

    /// Ready when this node has read as much of the log as any other had when this was asked; `None` where there is no other.
    fn catch_up(&self) -> Option<Promise<()>>;

    /// Whether other nodes are out of reach now: what waits for them may wait long.
    fn is_away(&self) -> bool;

    /// Ready when they are out of reach.
    fn away(&self) -> Promise<()>;

    /// Whether somebody on another node would get a message to `destination`, of those that nodes fill themselves.
    fn wanted_elsewhere(&self, destination: &Destination) -> bool;
}

/// What became of a message that a backend was given.
pub enum Forward {
    /// It is on its way.
    Taken(Forwarded),
    /// There is no room at the moment.
    Waits(Promise<Result<Forwarded, Unconfirmed>>),
    /// It goes nowhere.
    Refused(Unconfirmed),
}

/// A message that a backend has taken on.
pub struct Forwarded {
    /// The message, if this node delivers it now, rather than when it comes back from where messages of all nodes are put
    /// in order.
    pub message: Option<Message>,
    /// Ready when others answer for the message; `None` if there is nothing to answer for.
    pub confirmed: Option<Promise<Result<Confirmed, Unconfirmed>>>,
}

impl Forwarded {
    /// A message that concerns this node alone.
    pub fn here(message: Message) -> Forward {
        Forward::Taken(Forwarded { message: Some(message), confirmed: None })
    }
}

/// Others have the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Confirmed {
    /// It was for one user or connection, and on the other nodes that is nowhere.
    pub nobody_elsewhere: bool,
}

/// Why others do not answer for a message. Each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unconfirmed {
    /// It can't be carried as it is.
    #[error("{0}")]
    Unsendable(String),
    /// It was taken by nobody in time.
    #[error(
        "the message was not confirmed in time: RabbitMQ is out of reach or takes nothing; it may or may not have been taken, send it again"
    )]
    Late,
    /// Too much waits to be taken.
    #[error("too many messages wait for RabbitMQ, which is out of reach or slow: try again later")]
    TooMany,
    /// RabbitMQ took it not.
    #[error("RabbitMQ refused the message: {0}")]
    Refused(String),
}

impl Unconfirmed {
    /// A short and stable label.
    pub fn label(&self) -> &'static str {
        match self {
            Unconfirmed::Unsendable(_) => "unsendable",
            Unconfirmed::Late => "not_confirmed",
            Unconfirmed::TooMany => "too_many_unconfirmed",
            Unconfirmed::Refused(_) => "refused_by_rabbitmq",
        }
    }
}
