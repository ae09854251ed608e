//! Who is at the other end of a session: the facts of the request that opened it.

use std::{mem, net::SocketAddr};

use actix_web::http::{
    Uri,
    header::{HeaderMap, HeaderValue},
};
use bytestring::ByteString;

/// The facts of the request that opened a session.
///
/// With the headers of a browser this is some KiB, and as long as the session was not
/// [received](crate::Session::recv) from, the 8 KiB more of the buffer that they were read into:
/// who takes many sessions [apart](crate::Session::into_parts) keeps what it needs of this and
/// drops the rest.
#[derive(Debug)]
pub struct Peer(Box<Facts>);

#[derive(Debug)]
struct Facts {
    transport: &'static str,
    remote: Option<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    /// Whether the headers are pieces of a read buffer.
    borrowed: bool,
    protocol: Option<ByteString>,
}

impl Peer {
    pub(crate) fn new(
        transport: &'static str,
        remote: Option<SocketAddr>,
        uri: Uri,
        headers: HeaderMap,
        protocol: Option<ByteString>,
    ) -> Self {
        Peer(Box::new(Facts { transport, remote, uri, headers, borrowed: true, protocol }))
    }

    /// Copies the headers out of the buffer they were read into.
    pub(crate) fn compact(&mut self) {
        if mem::take(&mut self.0.borrowed) {
            let copied = mem::take(&mut self.0.headers).into_iter().map(|(name, value)| {
                let copy = HeaderValue::from_bytes(value.as_bytes()).unwrap_or(value);
                (name, copy)
            });
            self.0.headers = copied.collect();
        }
    }

    /// The transport that carries the session, in the words of the SockJS protocol: `websocket`, or
    /// `websocket-raw`.
    pub fn transport(&self) -> &'static str {
        self.0.transport
    }

    /// The address that the connection came from. Behind a proxy, this is the proxy's.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.0.remote
    }

    /// The path and query of the request.
    pub fn uri(&self) -> &Uri {
        &self.0.uri
    }

    /// The query of the request, without the question mark and not decoded.
    pub fn query(&self) -> Option<&str> {
        self.0.uri.query()
    }

    /// The headers of the request.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// The subprotocol agreed on, on a raw WebSocket: one of
    /// [`Config::subprotocols`](crate::Config::subprotocols).
    pub fn protocol(&self) -> Option<&str> {
        self.0.protocol.as_deref()
    }
}
