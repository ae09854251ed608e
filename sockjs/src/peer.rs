//! Who is at the other end of a session: the facts of the request that opened it.

use std::net::SocketAddr;

use actix_web::http::{Uri, header::HeaderMap};
use bytestring::ByteString;

/// The facts of the request that opened a session.
///
/// The headers are kept as they were read, and with them the buffer they were read into (about 8 KiB): whoever holds many
/// sessions keeps what it needs of them and drops this.
#[derive(Debug)]
pub struct Peer(Box<Facts>);

#[derive(Debug)]
struct Facts {
    transport: &'static str,
    remote: Option<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
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
        Peer(Box::new(Facts {
            transport,
            remote,
            uri,
            headers,
            protocol,
        }))
    }

    /// The transport that carries the session, in the words of the SockJS protocol: `websocket`, or `websocket-raw`.
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

    /// The subprotocol agreed on, on a raw WebSocket: one of [`Config::subprotocols`](crate::Config::subprotocols).
    pub fn protocol(&self) -> Option<&str> {
        self.0.protocol.as_deref()
    }
}
