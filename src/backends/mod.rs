//! Backends carry messages between nodes.

pub mod local;
pub mod rabbitmq;
