//! Who is at the other end of a session: the facts of the request that opened it.

use std::{
    mem,
    net::{IpAddr, SocketAddr},
};

use actix_web::{
    HttpRequest,
    http::{
        Uri,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
};
use bytestring::ByteString;

use crate::config::Config;

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
    client: Option<IpAddr>,
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
        mut headers: HeaderMap,
        protocol: Option<ByteString>,
        config: &Config,
    ) -> Self {
        if let Some(elsewhere) = &config.elsewhere {
            headers.remove(elsewhere.proof().0);
        }
        let client = client(remote.map(|address| address.ip()), &headers, config);
        Peer(Box::new(Facts { transport, remote, client, uri, headers, borrowed: true, protocol }))
    }

    /// The facts of a request.
    pub(crate) fn of(request: &HttpRequest, transport: &'static str, config: &Config) -> Self {
        let (uri, headers) = (request.uri().clone(), request.headers().clone());
        Peer::new(transport, request.peer_addr(), uri, headers, None, config)
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

    /// The transport that carries the session, in the words of sockjs-node: `websocket`, `websocket-raw`,
    /// `xhr-streaming`, `xhr-polling`, `eventsource`, `htmlfile` or `jsonp-polling`.
    pub fn transport(&self) -> &'static str {
        self.0.transport
    }

    /// The address that the connection came from. Behind a proxy, this is the proxy's.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.0.remote
    }

    /// Where the request comes from: the [remote](Self::remote) address or, if that is a
    /// [trusted proxy](crate::Config::trusted_proxies), the nearest one that is none among those that the proxies name in
    /// `Forwarded` (RFC 7239) or `X-Forwarded-For`. Everybody can write these headers, so nobody else is believed.
    pub fn client(&self) -> Option<IpAddr> {
        self.0.client
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

    /// The value of a cookie of the request, not decoded.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let all = self.0.headers.get_all(header::COOKIE).filter_map(|cookies| cookies.to_str().ok());
        let mut pairs =
            all.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(have, _)| *have == name).map(|(_, value)| value)
    }

    /// The subprotocol agreed on, on a raw WebSocket: one of
    /// [`Config::subprotocols`](crate::Config::subprotocols).
    pub fn protocol(&self) -> Option<&str> {
        self.0.protocol.as_deref()
    }
}

/// See [`Peer::client`].
fn client(remote: Option<IpAddr>, headers: &HeaderMap, config: &Config) -> Option<IpAddr> {
    let is_trusted =
        |address: &IpAddr| config.trusted_proxies.iter().any(|net| net.contains(&address.to_canonical()));
    let remote = remote?;
    if !is_trusted(&remote) {
        return Some(remote);
    }
    let forwarded = header::FORWARDED;
    let named: Vec<IpAddr> = if headers.contains_key(&forwarded) {
        hops(headers, &forwarded).filter_map(|hop| hop.split(';').find_map(forwarded_for)).collect()
    } else {
        hops(headers, &header::X_FORWARDED_FOR).filter_map(address).collect()
    };
    // The last one was added by the proxy that is nearest.
    let first = named.first().copied();
    named.into_iter().rev().find(|address| !is_trusted(address)).or(first).or(Some(remote))
}

/// The elements of a header that each proxy adds to.
fn hops<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    headers.get_all(name).filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','))
}

fn forwarded_for(pair: &str) -> Option<IpAddr> {
    let (name, value) = pair.split_once('=')?;
    name.trim().eq_ignore_ascii_case("for").then(|| address(value.trim().trim_matches('"'))).flatten()
}

/// An address as proxies write it: IPv6 in brackets or not, with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.trim_start_matches('[').split(']').next().unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn client(remote: &str, sent: &[(&'static str, &'static str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let config = Config { trusted_proxies, ..Config::default() };
        super::client(Some(remote.parse().unwrap()), &headers, &config).unwrap().to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let spoofed = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4")];
        assert_eq!(client("192.0.2.1", &spoofed), "192.0.2.1");
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "1.2.3.4, 192.0.2.7")]), "192.0.2.7");
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "192.0.2.7, 10.1.1.1")]), "192.0.2.7");
        assert_eq!(
            client("10.0.0.1", &[("x-forwarded-for", "9.9.9.9"), ("x-forwarded-for", "192.0.2.7:80")]),
            "192.0.2.7"
        );
        assert_eq!(client("::ffff:10.0.0.1", &[("x-forwarded-for", "192.0.2.7")]), "192.0.2.7");
        assert_eq!(
            client(
                "::1",
                &[
                    ("forwarded", "for=1.1.1.1, For=\"[2001:db8::7]:4711\";proto=https"),
                    ("x-forwarded-for", "3.3.3.3")
                ]
            ),
            "2001:db8::7"
        );
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "unknown, nonsense")]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "10.0.0.9, 10.0.0.8")]), "10.0.0.9");
    }
}
