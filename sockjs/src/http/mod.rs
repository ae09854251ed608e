//! Sessions over HTTP, which outlive the requests that carry them.
//!
//! ```text
//! request ─► receive / send ─► Table: whose is it? ─► Home of that worker ─► Session ─► handler
//!                                                                              │
//!                        response ◄─ Outlet: one for each receiver ◄───────────┘
//! ```
//! A session lives on the worker that its first request came to. A request that comes to another is handed there, with
//! all that is needed to answer it, and nothing that belongs to one thread. Where sessions may live in other processes, a
//! request is first brought to the one that has its session (`anywhere`).

mod anywhere;
mod credentials;
mod home;
mod outlet;
mod receive;
mod send;
mod session;
mod table;
mod wrapping;

pub(crate) use self::{
    anywhere::{Answer, serve_anywhere},
    home::Home,
    receive::{Receiver, receive},
    send::send,
    table::Table,
    wrapping::{Wrapping, escape_json},
};
