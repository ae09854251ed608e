//! Backends carry messages between nodes.

pub mod local;
