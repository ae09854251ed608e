//! Why a connection to RabbitMQ is given up.

/// What ended it. All of them are mended by connecting anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// RabbitMQ or the way there.
    #[error("{0}")]
    Lapin(#[from] lapin::Error),
    /// Something that is read from ended.
    #[error("{0} ended")]
    Ended(&'static str),
    /// There are as many queues as there may be.
    #[error("this node has to do with as many queues as it may")]
    TooMany,
    /// It does not answer.
    #[error("no answer in time")]
    Silent,
}
