//! Values that are about HTTP: addresses of pages, names of cookies, networks of proxies.

use std::fmt;

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
