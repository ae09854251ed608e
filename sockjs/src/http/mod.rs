//! Sessions over HTTP, which outlive the requests that carry them.
//!
//! ```text
//! request ─► receive / send ─► Table: whose is it? ─► Home of that worker ─► Session ─► handler
//!                                                                              │
//!                        response ◄─ Outlet: one for each receiver ◄───────────┘
//! ```
//! A session lives on the worker that its first request came to. A request that comes to another is handed there, with
//! all that is needed to answer it, and nothing that belongs to one thread: the same could be done between machines.

mod credentials;
mod home;
mod outlet;
mod receive;
mod send;
mod session;
mod table;
mod wrapping;

pub(crate) use self::{
    home::Home,
    receive::{Receiver, receive},
    send::send,
    table::Table,
    wrapping::{Wrapping, escape_json},
};
