//! Backends carry messages between nodes.

pub mod local;
pub(crate) mod rabbitmq;
