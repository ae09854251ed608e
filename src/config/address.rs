//! Names of the network that settings have: where to listen, which origins to let in, the URL of a RabbitMQ, the
//! name of a node. Each is checked when it is read, and stays in its canonical form.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::setting::{Raw, Value, Wrong};
use super::value::quoted;

/// One entry of a list of addresses to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// An IP address and a port; port 0 takes a free one.
    Address(SocketAddr),
    /// `localhost:PORT`: both loopback addresses at that port, the IPv6 one only where the machine has it.
    Localhost(u16),
}

/// One socket to bind, made from a [`Listen`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenSocket {
    /// What to bind.
    pub address: SocketAddr,
    /// Set on the IPv6 half of `localhost`: where this machine has no such address it is passed over, and its port 0
    /// means the port that the IPv4 half, which stands just before it, was given.
    pub optional: bool,
}

impl Listen {
    /// The sockets that this entry stands for.
    pub fn sockets(self) -> Vec<ListenSocket> {
        match self {
            Listen::Address(address) => vec![ListenSocket { address, optional: false }],
            Listen::Localhost(port) => vec![
                ListenSocket { address: (Ipv4Addr::LOCALHOST, port).into(), optional: false },
                ListenSocket { address: (Ipv6Addr::LOCALHOST, port).into(), optional: true },
            ],
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Address(address) => write!(f, "{address}"),
            Listen::Localhost(port) => write!(f, "localhost:{port}"),
        }
    }
}

impl Value for Listen {
    const NAME: &'static str = "an address and a port";
    const EXAMPLE: &'static str = "an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080, or localhost:8080 for both loopbacks";

    fn parse(raw: &Raw) -> Result<Self, Wrong> {
        let Raw::Text(text) = raw else {
            return Err(Wrong::form::<Self>(raw));
        };
        if let Ok(address) = text.parse() {
            return Ok(Listen::Address(address));
        }
        if let Some(("localhost", Ok(port))) = text.split_once(':').map(|(host, port)| (host, port.parse())) {
            return Ok(Listen::Localhost(port));
        }
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse::<IpAddr>() {
            let fix = format!("add one: {}", SocketAddr::new(ip, 8080));
            return Err(Wrong::new(format!("{} has no port", raw.shown()), fix));
        }
        if let Ok(port) = text.trim_start_matches([':', '*']).parse::<u16>() {
            let fix =
                format!("write localhost:{port}, or 0.0.0.0:{port} for every interface of this machine");
            return Err(Wrong::new(format!("{} has no address", raw.shown()), fix));
        }
        Err(Wrong::form::<Self>(raw))
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

/// An origin as browsers send it (RFC 6454): `scheme://host[:port]`, in lower case, without the scheme's own port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin(String);

impl Origin {
    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Origin {
    type Err = &'static str;

    /// `Err` says why it is none.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.to_ascii_lowercase();
        let (scheme, rest) = text.split_once("://").ok_or("has no scheme")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(plain) {
            return Err("has no valid scheme");
        }
        if rest.contains('*') {
            return Err("has a wildcard, and each origin must be named");
        }
        if rest.contains(['/', '?', '#']) {
            return Err("has a path, and an origin ends at its host or port");
        }
        if rest.contains('@') {
            return Err("has a user, and an origin has none");
        }
        let (host, port) = split_port(rest).ok_or("has no valid port")?;
        if !valid_host(host) {
            return Err("has no valid host (write an international name in its xn-- form)");
        }
        Ok(Origin(match (scheme, port) {
            (_, None) | ("http", Some(80)) | ("https", Some(443)) => format!("{scheme}://{host}"),
            (_, Some(port)) => format!("{scheme}://{host}:{port}"),
        }))
    }
}

impl Value for Origin {
    const NAME: &'static str = "an origin";
    const EXAMPLE: &'static str =
        "scheme, host and, where it is not the usual one, port: https://example.org or http://localhost:3000";

    fn parse(raw: &Raw) -> Result<Self, Wrong> {
        let Raw::Text(text) = raw else {
            return Err(Wrong::form::<Self>(raw));
        };
        if text == "*" {
            return Err(Wrong::new(
                "\"*\" is not an origin",
                "set any_origin = true (flag --any-origin) to let every page connect",
            ));
        }
        text.parse()
            .map_err(|why| Wrong::new(format!("{} {why}", raw.shown()), format!("give {}", Self::EXAMPLE)))
    }

    fn show(&self) -> String {
        quoted(&self.0)
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`; the host keeps its brackets.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let colon = match authority.rfind(']') {
        Some(bracket) => authority[bracket..].find(':').map(|at| at + bracket),
        None => authority.find(':'),
    };
    match colon {
        None => Some((authority, None)),
        Some(at) => Some((&authority[..at], Some(authority[at + 1..].parse().ok()?))),
    }
}

fn valid_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => {
            let label = |label: &str| {
                !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            };
            host.len() <= 253 && host.split('.').all(label)
        }
    }
}

/// Where a RabbitMQ is: `amqp://` or `amqps://`. Its password never shows: not in `Display`, not in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct AmqpUrl {
    full: String,
    masked: String,
}

impl AmqpUrl {
    /// The URL with its password, for whoever connects. Not to be printed.
    pub fn expose(&self) -> &str {
        &self.full
    }
}

impl fmt::Display for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked)
    }
}

impl fmt::Debug for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AmqpUrl({})", self.masked)
    }
}

impl FromStr for AmqpUrl {
    type Err = &'static str;

    /// `scheme://[user[:password]@]host[:port][/vhost][?query]`. `Err` says what is wrong without showing the text.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once("://").ok_or("has no scheme")?;
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "amqp" && scheme != "amqps" {
            return Err("is neither amqp:// nor amqps://");
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("has a blank in it");
        }
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if tail.contains('@') {
            return Err(
                "has an @ behind the host (in a password or vhost, write / as %2F, ? as %3F, # as %23 and @ as %40)",
            );
        }
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let (name, port) = split_port(host).ok_or("has no valid port")?;
        if !valid_host(name) || port == Some(0) {
            return Err("has no valid host and port");
        }
        let vhost = tail.split(['?', '#']).next().unwrap_or_default();
        let user = user.map(|user| match user.split_once(':') {
            Some((user, _)) => format!("{user}:***@"),
            None => format!("{user}@"),
        });
        let query = if tail.len() > vhost.len() { "?***" } else { "" };
        let masked = format!("{scheme}://{}{host}{vhost}{query}", user.unwrap_or_default());
        Ok(AmqpUrl { full: text.to_owned(), masked })
    }
}

/// No URL, or one; an empty text is none. Error messages never show what was given.
impl Value for Option<AmqpUrl> {
    const NAME: &'static str = "a URL";
    const EXAMPLE: &'static str = "a URL such as amqp://user:password@host:5672/vhost";

    fn parse(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Text(text) if text.trim().is_empty() => Ok(None),
            Raw::Text(text) => match text.trim().parse() {
                Ok(url) => Ok(Some(url)),
                Err(why) => Err(Wrong::new(format!("the URL {why}"), format!("give {}", Self::EXAMPLE))),
            },
            other => Err(Wrong::form::<Self>(other)),
        }
    }

    fn show(&self) -> String {
        quoted(&self.as_ref().map(AmqpUrl::to_string).unwrap_or_default())
    }
}

/// The name of this node: 1 to 64 of `A-Z a-z 0-9 _ . -`, so that it can stand in a destination, a queue's name and a
/// metric's label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeName(String);

impl NodeName {
    /// The longest that a name may be.
    pub const LONGEST: usize = 64;

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One that is known to be right.
    pub(crate) fn literal(name: &str) -> NodeName {
        NodeName(name.to_owned())
    }

    /// The host's name, with what a node's name may not have made into `-`; `stentor` where the host has none.
    pub fn of_this_host() -> NodeName {
        let host = sysinfo::System::host_name().unwrap_or_default();
        let name: String =
            host.chars().take(Self::LONGEST).map(|c| if Self::allows(c) { c } else { '-' }).collect();
        NodeName(if name.is_empty() { "stentor".to_owned() } else { name })
    }

    fn allows(c: char) -> bool {
        c.is_ascii_alphanumeric() || "_.-".contains(c)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Empty for none.
impl Value for Option<NodeName> {
    const NAME: &'static str = NodeName::NAME;
    const EXAMPLE: &'static str = NodeName::EXAMPLE;

    fn parse(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Text(text) if text.trim().is_empty() => Ok(None),
            raw => NodeName::parse(raw).map(Some),
        }
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| quoted(""), NodeName::show)
    }
}

impl Value for NodeName {
    const NAME: &'static str = "a node's name";
    const EXAMPLE: &'static str = "1 to 64 letters, digits, _, . or -, such as node-1";

    fn parse(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Text(text)
                if (1..=Self::LONGEST).contains(&text.len()) && text.chars().all(Self::allows) =>
            {
                Ok(NodeName(text.clone()))
            }
            _ => Err(Wrong::form::<Self>(raw)),
        }
    }

    fn show(&self) -> String {
        quoted(&self.0)
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
    fn localhost_is_both_loopbacks_and_the_second_may_be_missing() {
        let sockets = text::<Listen>("localhost:9000").unwrap().sockets();
        let expected = [("127.0.0.1:9000", false), ("[::1]:9000", true)];
        for (socket, (address, optional)) in sockets.iter().zip(expected) {
            assert_eq!((socket.address.to_string(), socket.optional), (address.to_owned(), optional));
        }
        assert_eq!(sockets.len(), 2);
        let asked_for = text::<Listen>("[::1]:0").unwrap().sockets();
        assert_eq!(asked_for, [ListenSocket { address: "[::1]:0".parse().unwrap(), optional: false }]);
    }

    #[test]
    fn an_address_that_is_not_one_says_what_to_write() {
        for (given, fix) in [
            ("0.0.0.0", "0.0.0.0:8080"),
            ("[::]", "[::]:8080"),
            ("::1", "[::1]:8080"),
            ("9000", "localhost:9000"),
            (":9000", "0.0.0.0:9000"),
            ("example.org:80", "127.0.0.1:8080"),
            ("localhost", "localhost:8080"),
            ("localhost:70000", "localhost:8080"),
            ("", "127.0.0.1:8080"),
        ] {
            let wrong = text::<Listen>(given).unwrap_err();
            assert!(wrong.fix.contains(fix), "{given}: {wrong:?}");
        }
    }

    #[test]
    fn origins_become_what_browsers_send() {
        for (given, canonical) in [
            ("https://Example.ORG", "https://example.org"),
            ("https://example.org:443", "https://example.org"),
            ("http://example.org:80", "http://example.org"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(text::<Origin>(given).unwrap().as_str(), canonical);
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_with_the_reason() {
        for (given, said) in [
            ("example.org", "no scheme"),
            ("https://example.org/", "has a path"),
            ("https://example.org?x", "has a path"),
            ("https://*.example.org", "wildcard"),
            ("https://user@example.org", "has a user"),
            ("https://", "no valid host"),
            ("https://é.org", "xn--"),
            ("https://example.org:99999", "no valid port"),
            ("https://[::zz]", "no valid host"),
            ("1https://example.org", "no valid scheme"),
            ("*", "not an origin"),
        ] {
            let wrong = text::<Origin>(given).unwrap_err();
            assert!(wrong.what.contains(said), "{given}: {wrong:?}");
        }
        assert!(text::<Origin>("*").unwrap_err().fix.contains("any_origin"));
    }

    #[test]
    fn a_urls_password_never_shows() {
        for (given, shown) in [
            ("amqp://guest:hunter2@rabbit:5672/%2f", "amqp://guest:***@rabbit:5672/%2f"),
            ("AMQPS://guest:hun@ter2@rabbit", "amqps://guest:***@rabbit"),
            ("amqp://rabbit", "amqp://rabbit"),
            ("amqp://guest@rabbit/v?password=hunter2", "amqp://guest@rabbit/v?***"),
        ] {
            let url = text::<Option<AmqpUrl>>(given).unwrap().unwrap();
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("hunter2"));
            assert_eq!(url.expose(), given);
        }
        for given in [
            "http://guest:hunter2@rabbit",
            "guest:hunter2@rabbit",
            "amqp://guest:hunter2/x@rabbit",
            "amqp://guest:12/hunter2@rabbit",
            "amqp://guest:hunter2@rabbit:port",
            "amqp://guest:hunter2@",
            "amqp://guest:hunter2 @rabbit",
        ] {
            let wrong = text::<Option<AmqpUrl>>(given).unwrap_err();
            assert!(!format!("{wrong:?}").contains("hunter2"), "{wrong:?}");
        }
        assert_eq!(text::<Option<AmqpUrl>>(" ").unwrap(), None);
    }

    #[test]
    fn a_nodes_name_is_short_and_plain() {
        assert_eq!(text::<NodeName>("a.B_c-1").unwrap().as_str(), "a.B_c-1");
        for given in ["", "two words", "é", "a/b", &"x".repeat(65)] {
            assert!(text::<NodeName>(given).unwrap_err().fix.contains("node-1"), "{given}");
        }
        let default = NodeName::of_this_host();
        assert_eq!(text::<NodeName>(default.as_str()).unwrap(), default);
    }
}
