//! Values that are about HTTP: addresses of pages and of nodes, names of cookies, networks of proxies.

use std::fmt;
use std::net::SocketAddr;

use ipnet::IpNet;

use super::setting::{Raw, Value, Wrong};
use super::value::quoted;

/// Where a client finds something by HTTP: `http://…`, `https://…`, or a path beginning with `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebUrl(String);

impl WebUrl {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// None is an empty text.
impl Value for Option<WebUrl> {
    const NAME: &'static str = "a URL";
    const EXAMPLE: &'static str = "a URL such as https://example.org/ws, or a path such as /ws";

    fn parse(raw: &Raw) -> Result<Self, Wrong> {
        let Raw::Text(text) = raw else {
            return Err(Wrong::form::<Self>(raw));
        };
        let text = text.trim();
        let is_url = ["http://", "https://", "/"].iter().any(|start| text.starts_with(start));
        let is_plain = text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>'));
        match text {
            "" => Ok(None),
            _ if is_url && is_plain => Ok(Some(WebUrl(text.to_owned()))),
            _ => Err(Wrong::form::<Self>(raw)),
        }
    }

    fn show(&self) -> String {
        quoted(self.as_ref().map_or("", WebUrl::as_str))
    }
}

/// Where other nodes reach one: `http://HOST:PORT`, port 80 if there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeUrl(String);

impl NodeUrl {
    /// That of an address; none of one that is every address.
    pub fn of(address: SocketAddr) -> Option<NodeUrl> {
        (!address.ip().is_unspecified()).then(|| NodeUrl(format!("http://{address}")))
    }

    /// Reads one.
    pub fn read(text: &str) -> Option<NodeUrl> {
        let authority = text.trim().strip_prefix("http://")?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let is_named = !authority.is_empty() && !authority.starts_with(':');
        let is_plain = authority
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']'));
        let port = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
        let is_port = port.is_none_or(|(_, port)| port.parse::<u16>().is_ok_and(|port| port != 0));
        (is_named && is_plain && is_port).then(|| NodeUrl(format!("http://{authority}")))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Host and port.
    pub fn authority(&self) -> String {
        let authority = self.0.trim_start_matches("http://");
        match authority.rsplit_once(':') {
            Some((_, port)) if !port.contains(']') => authority.to_owned(),
            _ => format!("{authority}:80"),
        }
    }
}

/// None is an empty text.
impl Value for Option<NodeUrl> {
    const NAME: &'static str = "the URL of a node";
    const EXAMPLE: &'static str = "a URL such as http://10.0.0.5:8080, without a path";

    fn parse(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Text(text) if text.trim().is_empty() => Ok(None),
            Raw::Text(text) => NodeUrl::read(text).map(Some).ok_or_else(|| Wrong::form::<Self>(raw)),
            _ => Err(Wrong::form::<Self>(raw)),
        }
    }

    fn show(&self) -> String {
        quoted(self.as_ref().map_or("", NodeUrl::as_str))
    }
}

/// What becomes of a request for a session over HTTP that lives on another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcrossNodes {
    /// It is brought there.
    Forward,
    /// Nothing: nodes do not know of each other's sessions.
    Off,
}

impl Value for AcrossNodes {
    const NAME: &'static str = "what becomes of requests for other nodes' sessions";
    const EXAMPLE: &'static str = "forward or off";

    fn parse(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Text(text) if text.trim().eq_ignore_ascii_case("forward") => Ok(AcrossNodes::Forward),
            Raw::Text(text) if text.trim().eq_ignore_ascii_case("off") => Ok(AcrossNodes::Off),
            _ => Err(Wrong::form::<Self>(raw)),
        }
    }

    fn show(&self) -> String {
        quoted(match self {
            AcrossNodes::Forward => "forward",
            AcrossNodes::Off => "off",
        })
    }
}

/// The name of a cookie (RFC 6265: a token).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieName(String);

impl CookieName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for CookieName {
    const NAME: &'static str = "the name of a cookie";
    const EXAMPLE: &'static str = "the name of a cookie, such as session_id";

    fn parse(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Text(text)
                if !text.is_empty()
                    && text.chars().all(|c| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?={}".contains(c)) =>
            {
                Ok(CookieName(text.clone()))
            }
            _ => Err(Wrong::form::<Self>(raw)),
        }
    }

    fn show(&self) -> String {
        quoted(&self.0)
    }
}

/// A network, or one address.
impl Value for IpNet {
    const NAME: &'static str = "a network";
    const EXAMPLE: &'static str = "an address or a network, such as 127.0.0.1 or 10.0.0.0/8";

    fn parse(raw: &Raw) -> Result<Self, Wrong> {
        let Raw::Text(text) = raw else {
            return Err(Wrong::form::<Self>(raw));
        };
        let text = text.trim();
        let address = || text.parse().map(|address: std::net::IpAddr| IpNet::from(address));
        text.parse().or_else(|_| address()).map_err(|_| Wrong::form::<Self>(raw))
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn text<T: Value>(text: &str) -> Result<T, Wrong> {
        T::parse(&Raw::Text(text.to_owned()))
    }

    #[test]
    fn urls_are_whole_or_paths() {
        for good in ["https://example.org/ws", "http://localhost:8080/ws", "/lib/sockjs.js?v=1&w"] {
            let url: Option<WebUrl> = text(good).unwrap();
            assert_eq!(url.unwrap().as_str(), good);
        }
        assert_eq!(text::<Option<WebUrl>>(""), Ok(None));
        for bad in ["ws", "ftp://a", "javascript:alert(1)", "/a\"b", "/a b"] {
            assert!(text::<Option<WebUrl>>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nodes_have_a_host_and_a_port() {
        for (given, authority) in [
            ("http://10.0.0.5:8080", "10.0.0.5:8080"),
            (" http://node-1.example/ ", "node-1.example:80"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("http://[::1]", "[::1]:80"),
        ] {
            let url = text::<Option<NodeUrl>>(given).unwrap().unwrap();
            assert_eq!(url.authority(), authority);
            assert_eq!(text::<Option<NodeUrl>>(url.as_str()).unwrap().unwrap(), url);
        }
        assert_eq!(text::<Option<NodeUrl>>(""), Ok(None));
        for bad in [
            "10.0.0.5:8080",
            "https://a",
            "http://",
            "http://:80",
            "http://a:b",
            "http://a:0",
            "http://a/b",
            "http://a b",
            "http://u@a",
        ] {
            assert!(text::<Option<NodeUrl>>(bad).is_err(), "{bad}");
        }
        assert_eq!(NodeUrl::of(([0, 0, 0, 0], 80).into()), None);
        assert_eq!(NodeUrl::of(([10, 0, 0, 5], 80).into()).unwrap().as_str(), "http://10.0.0.5:80");
    }

    #[test]
    fn cookies_have_names() {
        assert!(text::<CookieName>("__Host-sid").is_ok());
        for bad in ["", "a=b", "a;b", "a b"] {
            assert!(text::<CookieName>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_may_be_of_one_address() {
        for (given, shown) in
            [("10.0.0.0/8", "\"10.0.0.0/8\""), ("::1", "\"::1/128\""), ("192.0.2.1", "\"192.0.2.1/32\"")]
        {
            assert_eq!(text::<IpNet>(given).unwrap().show(), shown);
        }
        assert!(text::<IpNet>("10.0.0.0/33").is_err());
        assert!(text::<IpNet>("proxy.example").is_err());
    }
}
