//! Backends carry messages between nodes.

pub mod local;
#[allow(dead_code)] // until all of it is in use
pub(crate) mod rabbitmq;
