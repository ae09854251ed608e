//! The transports, one file each. A transport declares its route; adding one is adding its file and
//! a line here.

mod raw_websocket;
mod websocket;

use crate::routes::Route;

pub(crate) static ROUTES: &[&Route] = &[&websocket::ROUTE, &raw_websocket::ROUTE];
