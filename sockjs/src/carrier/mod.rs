//! What carries a session: for WebSockets, a socket taken from the HTTP server ([`taken`]), or a request and its response
//! within a plain `HttpServer` ([`mounted`]), both reading with [`Inbound`], so that the rules are the same on both; for
//! the other transports, responses: on a taken socket ([`response`]) or through a [`pipe`].

mod inbound;
pub(crate) mod mounted;
pub(crate) mod pipe;
pub(crate) mod response;
pub(crate) mod taken;

pub(crate) use self::inbound::Inbound;
