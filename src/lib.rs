//! Stentor: a STOMP-over-SockJS message broker that streams live data to browsers.
//!
//! The map of the house, arrows one way:
//!
//! - [`app`] names every part and wires it; nobody else does.
//! - [`frontends`] translate protocols to calls of the core.
//! - [`producers`] are clients of the core that publish by themselves.
//! - [`backends`] carry messages between nodes.
//! - [`broker`] is the core: destinations, channels, subscriptions, delivery.
//! - [`client`] speaks STOMP to a broker, for the command line's tools.
//! - [`telemetry`] is what the broker says of itself, [`config`] what it is told, [`cli`] how it is started.
//!
//! ARCHITECTURE.md follows one message through all of it.

pub mod app;
pub mod backends;
pub mod broker;
pub mod cli;
pub mod client;
pub mod config;
pub mod frontends;
pub mod producers;
pub mod telemetry;
