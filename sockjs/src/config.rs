//! Settings of one SockJS service, with their defaults and where these come from.
//!
//! Nothing here acts: the parts that do read what they need from a [`Config`].

use std::{sync::Arc, time::Duration};

use actix_web::http::header::HeaderValue;
use ipnet::IpNet;

use crate::{elsewhere::Elsewhere, frame::Framing};

/// Settings of a [`SockJs`](crate::SockJs) service.
///
/// ```
/// use sockjs::{Config, Origins};
///
/// let config = Config {
///     origins: Origins::only(["https://example.org"]),
///     subprotocols: vec!["chat.v1".into()],
///     ..Config::default()
/// };
/// assert!(config.websocket);
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    /// Whether WebSockets are served, SockJS and raw. Off, their routes answer 404 and `/info` says
    /// so, which makes clients use HTTP. Default: true.
    pub websocket: bool,
    /// Whether clients must send cookies, for load balancers that keep sessions in place by
    /// `JSESSIONID`. Told in `/info`; the transports then set the cookie. Default: false, as in
    /// sockjs-node.
    pub cookie_needed: bool,
    /// Who may connect from a browser. Default: [`Origins::Any`], as in SockJS.
    pub origins: Origins,
    /// How often a SockJS session gets an `h` frame. Default: 25 s (SockJS 0.3.3: proxies close
    /// what is silent for 30 s or more). Raw WebSockets have no heartbeats.
    pub heartbeat: Duration,
    /// How long a session without a receiver lives; a minute longer where its client reads slowly what it was sent. WebSocket
    /// sessions end with their connection.
    /// Default: 5 s (SockJS 0.3.3).
    pub session_timeout: Duration,
    /// Octets after which a streaming response ends, so that browsers free what they hold of it.
    /// Default: 128 KiB (SockJS 0.3.3).
    pub response_limit: usize,
    /// The largest message accepted from a client, in decoded octets (a SockJS string without its
    /// quoting, which may take six times as many on the wire). A larger one closes the session with
    /// code 1009, if possible before it came. Default: 1 MiB.
    pub max_message: usize,
    /// Subprotocols spoken on raw WebSockets. The first one that the *client* offers and that
    /// stands here is chosen: RFC 6455, section 4.1, gives the order of preference to the client.
    /// Default: none.
    pub subprotocols: Vec<String>,
    /// The URL that clients shall use for all after `/info`, if not the one they came by. Default:
    /// none.
    pub base_url: Option<String>,
    /// Where the page of the iframe transports loads sockjs-client from, best a place on this server. Without it there is no
    /// such page, and old browsers are left with JSONP. Default: none.
    pub sockjs_url: Option<String>,
    /// Whether there are the iframe page and JSONP, which let pages of any origin in: browsers say nothing of where such
    /// requests come from. Default, with none: if all [`origins`](Self::origins) are allowed.
    pub iframe_and_jsonp: Option<bool>,
    /// Sessions over HTTP that may live at the same time, on all workers; beyond them a new one is refused with 503.
    /// WebSockets are not among them. Default: 20,000.
    pub max_sessions: usize,
    /// The cookies that tell users apart. A session that was opened with an `Authorization` or with some of these refuses
    /// requests that come without, or with others: who overhears its id has no part in it. Default, with none: a request
    /// must have one of the opener's cookies at least, `JSESSIONID` not counted. That is little where cookies are easily
    /// guessed: name those of a login here.
    pub credential_cookies: Option<Vec<String>>,
    /// The proxies whose word is taken for where a request comes from (`Forwarded`, or `X-Forwarded-For`); see
    /// [`Peer::client`](crate::Peer::client). Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// Frames that a [`Sender`](crate::Sender) queues before it says that it is full. An empty
    /// queue takes any one message. Default: 256.
    pub queue_messages: usize,
    /// Octets that a [`Sender`](crate::Sender) queues before it says that it is full, and messages of a client over HTTP
    /// before the client has to wait. Default: 1 MiB.
    pub queue_bytes: usize,
    /// How long the end of a session may take (writing what is queued and the close frame, the
    /// peer's answer) before the connection is cut. Default: 5 s.
    pub close_timeout: Duration,
    /// `TCP_NOTSENT_LOWAT` of sockets taken from the HTTP server, in octets: how much the kernel
    /// keeps that was not sent yet before it says that the socket is full. Without it the kernel
    /// takes 3 to 4 MB for a reader that does not read, so that back-pressure comes late and what
    /// it reads then is old. Best effort, on Linux and Android. Default: 16 KiB.
    pub notsent_lowat: Option<u32>,
    /// Finds sessions over HTTP that live in other processes, which their requests are then forwarded to. Default, with
    /// none: all sessions are in this process, and a load balancer in front of several brings each request to the one that
    /// has its session.
    pub elsewhere: Option<Arc<dyn Elsewhere>>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            websocket: true,
            cookie_needed: false,
            origins: Origins::Any,
            heartbeat: Duration::from_secs(25),
            session_timeout: Duration::from_secs(5),
            response_limit: 128 * 1024,
            max_message: 1024 * 1024,
            subprotocols: Vec::new(),
            base_url: None,
            sockjs_url: None,
            iframe_and_jsonp: None,
            max_sessions: 20_000,
            credential_cookies: None,
            trusted_proxies: Vec::new(),
            queue_messages: 256,
            queue_bytes: 1024 * 1024,
            close_timeout: Duration::from_secs(5),
            notsent_lowat: Some(16 * 1024),
            elsewhere: None,
        }
    }
}

impl Config {
    /// The largest WebSocket message or request, in octets, that may hold a message of
    /// [`max_message`](Self::max_message).
    ///
    /// In SockJS an octet may come as `\u00XX`, six octets, and `["` and `"]` stand around it.
    pub(crate) fn max_payload(&self, framing: Framing) -> usize {
        match framing {
            Framing::WebSocket => self.max_message,
            Framing::SockJsWebSocket | Framing::SockJsHttp => {
                self.max_message.saturating_mul(6).saturating_add(4)
            }
        }
    }

    /// See [`iframe_and_jsonp`](Self::iframe_and_jsonp).
    pub(crate) fn has_iframe_and_jsonp(&self) -> bool {
        self.iframe_and_jsonp.unwrap_or(matches!(self.origins, Origins::Any))
    }
}

/// Which origins may open sessions.
///
/// Browsers name the origin of the page in each WebSocket handshake and do not let the page change
/// it. A request without an `Origin` comes from no browser page and is allowed.
#[derive(Debug, Clone, Default)]
pub enum Origins {
    /// Every origin.
    #[default]
    Any,
    /// These alone, compared without regard to case: scheme, host and, if not the scheme's own,
    /// port (`https://example.org:8443`), or `null`. The server's own origin is not among them
    /// unless it is listed.
    Only(Vec<String>),
}

impl Origins {
    /// These origins alone.
    pub fn only<I, S>(origins: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Origins::Only(origins.into_iter().map(Into::into).collect())
    }

    /// Whether a request with this `Origin` header may come in.
    pub fn allow(&self, origin: Option<&HeaderValue>) -> bool {
        match (self, origin) {
            (Origins::Any, _) | (_, None) => true,
            (Origins::Only(list), Some(origin)) => {
                list.iter().any(|allowed| origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes()))
            }
        }
    }
}
