//! What carries a session: a socket taken from the HTTP server ([`taken`]), or a request and its
//! response within a plain `HttpServer` ([`mounted`]). Both read with [`Inbound`], so that the
//! rules are the same on both.

mod inbound;
pub(crate) mod mounted;
pub(crate) mod taken;

pub(crate) use self::inbound::Inbound;
