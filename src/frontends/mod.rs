//! The doors: each translates a protocol to calls of the core, and nothing more.

pub mod app;
pub mod dashboard;
pub mod forwarding;
pub mod health;
pub mod rest;
pub mod stomp;
