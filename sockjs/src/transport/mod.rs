//! The transports, one file each. A transport declares its route; adding one is adding its file and
//! a line here.

mod eventsource;
mod htmlfile;
mod jsonp;
mod jsonp_send;
mod raw_websocket;
mod websocket;
mod xhr;
mod xhr_send;
mod xhr_streaming;

use crate::routes::Route;

pub(crate) static ROUTES: &[&Route] = &[
    &websocket::ROUTE,
    &raw_websocket::ROUTE,
    &xhr_streaming::ROUTE,
    &xhr::ROUTE,
    &xhr_send::ROUTE,
    &eventsource::ROUTE,
    &htmlfile::ROUTE,
    &jsonp::ROUTE,
    &jsonp_send::ROUTE,
];

/// What scripts are, and what is answered to requests made by scripts.
const JAVASCRIPT: &str = "application/javascript; charset=UTF-8";

/// What says only whether it was well.
const PLAIN: &str = "text/plain; charset=UTF-8";
