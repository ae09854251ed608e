//! Where a broker is and how frames travel to it, read from a URL.

use std::fmt;
use std::str::FromStr;

use actix_web::http::Uri;

/// Where brokers customarily have STOMP over plain TCP.
const TCP_PORT: u16 = 61613;

/// How STOMP frames travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// A frame is a message of a WebSocket.
    Raw,
    /// SockJS over WebSocket: a frame is a string in an array in a message of a WebSocket.
    SockJs,
    /// Plain TCP: frames as they are, one behind the other.
    Tcp,
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Carrier::Raw => "raw WebSocket",
            Carrier::SockJs => "SockJS over WebSocket",
            Carrier::Tcp => "plain TCP",
        })
    }
}

/// A broker's endpoint. `ws://HOST[:PORT]/PATH` is a raw WebSocket at that path, `http://HOST[:PORT]/PREFIX` is SockJS
/// below that prefix, as sockjs-client takes it; without a port it is 80. `tcp://HOST[:PORT]` is plain TCP, at port 61613
/// unless another is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
    /// Begins with a slash; a SockJS prefix does not end with one, and plain TCP has none.
    path: String,
    carrier: Carrier,
}

/// Why a text is no address of a broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TargetError(String);

impl Target {
    /// The host's name or address, as a resolver takes it.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How frames travel.
    pub fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// Host and port as URLs and `Host` headers have them.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The path to ask for: with SockJS one of a new session each time.
    pub(super) fn request_path(&self) -> String {
        match self.carrier {
            Carrier::Raw | Carrier::Tcp => self.path.clone(),
            Carrier::SockJs => format!("{}/websocket", self.new_session()),
        }
    }

    /// The path of a new SockJS session, another one each time; transports stand below it.
    pub fn new_session(&self) -> String {
        let random = super::random();
        format!("{}/{:03}/{random:016x}", self.path, random % 1000)
    }

    /// The same broker over another carrier, where the address allows that.
    ///
    /// # Errors
    /// If the other one's address can't be guessed from this: the prefix of SockJS from a raw WebSocket's, or the port of
    /// plain TCP from one of HTTP.
    pub fn over(self, carrier: Carrier) -> Result<Target, TargetError> {
        match (self.carrier, carrier) {
            (Carrier::SockJs, Carrier::Raw) => {
                Ok(Target { path: format!("{}/websocket", self.path), carrier, ..self })
            }
            (Carrier::Raw, Carrier::SockJs) => Err(TargetError(format!(
                "{self} is a raw WebSocket: for SockJS give its prefix, such as http://{}/ws",
                self.authority()
            ))),
            (Carrier::Raw | Carrier::SockJs, Carrier::Tcp) => Err(TargetError(format!(
                "{self} is served by HTTP: for plain TCP give its address, such as tcp://{}:{TCP_PORT}",
                self.host
            ))),
            (Carrier::Tcp, Carrier::Raw | Carrier::SockJs) => Err(TargetError(format!(
                "{self} is plain TCP: give ws://HOST:PORT/PATH, or http://HOST:PORT/PREFIX for SockJS"
            ))),
            _ => Ok(self),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.carrier {
            Carrier::Raw => "ws",
            Carrier::SockJs => "http",
            Carrier::Tcp => "tcp",
        };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Target, TargetError> {
        let refuse = |why: &str| Err(TargetError(why.to_owned()));
        let Ok(uri) = text.parse::<Uri>() else {
            return refuse("this is no URL: give one such as ws://127.0.0.1:8080/ws/websocket");
        };
        let carrier = match uri.scheme_str() {
            Some("ws") => Carrier::Raw,
            Some("http") => Carrier::SockJs,
            Some("wss" | "https") => return refuse("TLS is not there yet: give ws:// or http://"),
            Some("tcp" | "stomp") => Carrier::Tcp,
            _ => {
                return refuse(
                    "give ws://HOST:PORT/PATH, http://HOST:PORT/PREFIX for SockJS, or tcp://HOST:PORT for plain TCP",
                );
            }
        };
        let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
            return refuse("the host is missing");
        };
        let path = match carrier {
            Carrier::Raw => uri.path_and_query().map_or("/", |path| path.as_str()),
            Carrier::SockJs if uri.query().is_some() => {
                return refuse("a SockJS prefix has no query");
            }
            Carrier::SockJs => uri.path().trim_end_matches('/'),
            Carrier::Tcp
                if !matches!(uri.path_and_query().map(|path| path.as_str()), None | Some("" | "/")) =>
            {
                return refuse("plain TCP has no path: give tcp://HOST:PORT");
            }
            Carrier::Tcp => "",
        };
        let port = if carrier == Carrier::Tcp { TCP_PORT } else { 80 };
        Ok(Target {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(port),
            path: path.to_owned(),
            carrier,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    #[test]
    fn the_scheme_says_the_carrier() {
        let raw = target("ws://127.0.0.1:8080/ws/websocket");
        assert_eq!(raw.carrier(), Carrier::Raw);
        assert_eq!(raw.request_path(), "/ws/websocket");
        assert_eq!(raw.authority(), "127.0.0.1:8080");

        let sockjs = target("http://[::1]/ws/");
        assert_eq!((sockjs.host(), sockjs.port()), ("::1", 80));
        assert_eq!(sockjs.to_string(), "http://[::1]:80/ws");
        let path = sockjs.request_path();
        let parts: Vec<&str> = path.split('/').collect();
        assert_eq!((parts[1], parts[4]), ("ws", "websocket"), "{path}");
        assert_ne!(path, sockjs.request_path(), "a new session each time");

        let tcp = target("tcp://[::1]");
        assert_eq!((tcp.carrier(), tcp.host(), tcp.port()), (Carrier::Tcp, "::1", 61613));
        assert_eq!(target("tcp://h:1/").to_string(), "tcp://h:1");

        assert_eq!(target("ws://h").request_path(), "/");
        assert_eq!(target("ws://h/a?b=c").request_path(), "/a?b=c");
        assert_eq!(target("http://h").request_path().split('/').count(), 4);
    }

    #[test]
    fn sockjs_has_a_raw_endpoint_but_not_the_other_way_round() {
        let raw = target("http://h:1/ws").over(Carrier::Raw).unwrap();
        assert_eq!(raw, target("ws://h:1/ws/websocket"));
        assert_eq!(raw.clone().over(Carrier::Raw), Ok(raw.clone()));
        let refused = raw.over(Carrier::SockJs).unwrap_err().to_string();
        assert!(refused.contains("such as http://h:1/ws"), "{refused}");
        let refused = target("http://h:1/ws").over(Carrier::Tcp).unwrap_err().to_string();
        assert!(refused.contains("such as tcp://h:61613"), "{refused}");
        assert!(target("tcp://h").over(Carrier::Raw).is_err());
    }

    #[test]
    fn what_is_not_there_yet_is_said_so() {
        for (text, says) in [
            ("tcp://h/ws", "plain TCP has no path"),
            ("tcp://h/?a", "plain TCP has no path"),
            ("wss://h/ws/websocket", "TLS is not there yet"),
            ("https://h/ws", "TLS is not there yet"),
            ("ftp://h", "give ws://"),
            ("127.0.0.1:8080", "give ws://"),
            ("no url", "this is no URL"),
            ("http://h/ws?a", "no query"),
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
