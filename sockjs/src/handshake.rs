//! The opening handshake of WebSockets (RFC 6455, section 4.2), the same for both carriers: which
//! are refused and what is answered.

use actix_http::{
    RequestHead,
    ws::{self, HandshakeError},
};
use actix_web::{
    HttpResponse,
    http::{
        StatusCode, Version,
        header::{self, ContentType, HeaderName, HeaderValue},
    },
};
use bytestring::ByteString;

use crate::{config::Config, frame::Framing, headers};

/// A handshake that can be answered with 101.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The headers of the answer, beside `Connection` and `Upgrade`.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// The subprotocol chosen.
    pub(crate) protocol: Option<ByteString>,
}

/// Why a handshake is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotWebSocket,
    NoConnectionUpgrade,
    OldHttp,
    Origin,
    Version,
    Key,
    /// The service takes no new sessions.
    Draining,
}

/// What is said where a service takes no new sessions.
pub(crate) const DRAINING: &str = "This server is about to stop.";

/// Judges a GET on a WebSocket route.
pub(crate) fn verify(request: &RequestHead, config: &Config, framing: Framing) -> Result<Accepted, Refusal> {
    let upgrade = request.headers().get(header::UPGRADE);
    if !upgrade.is_some_and(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"websocket")) {
        return Err(Refusal::NotWebSocket);
    }
    if !request.upgrade() {
        return Err(Refusal::NoConnectionUpgrade);
    }
    // Section 4.1: the version is at least 1.1. It passes actix-http's own check.
    if request.version < Version::HTTP_11 {
        return Err(Refusal::OldHttp);
    }
    if !config.origins.allow(request.headers().get(header::ORIGIN)) {
        return Err(Refusal::Origin);
    }
    ws::verify_handshake(request).map_err(|error| match error {
        HandshakeError::NoVersionHeader | HandshakeError::UnsupportedVersion => Refusal::Version,
        HandshakeError::NoConnectionUpgrade => Refusal::NoConnectionUpgrade,
        HandshakeError::NoWebsocketUpgrade | HandshakeError::GetMethodRequired => Refusal::NotWebSocket,
        HandshakeError::BadWebsocketKey => Refusal::Key,
    })?;
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).ok_or(Refusal::Key)?;
    let accept = HeaderValue::from_bytes(&ws::hash_key(key.as_bytes())).map_err(|_| Refusal::Key)?;
    let mut answer = vec![(header::SEC_WEBSOCKET_ACCEPT, accept)];

    let protocol = match framing {
        Framing::WebSocket => choose_protocol(request, &config.subprotocols),
        Framing::SockJsWebSocket | Framing::SockJsHttp => None,
    };
    if let Some(value) = protocol.as_ref().and_then(|name| HeaderValue::from_str(name).ok()) {
        answer.push((header::SEC_WEBSOCKET_PROTOCOL, value));
    }
    if framing != Framing::WebSocket {
        answer.extend(headers::session_cookie(request, config).map(|cookie| (header::SET_COOKIE, cookie)));
    }
    Ok(Accepted { headers: answer, protocol })
}

/// The first of the client's offers that is spoken here: the order of preference is the client's
/// (section 4.1).
fn choose_protocol(request: &RequestHead, spoken: &[String]) -> Option<ByteString> {
    request
        .headers()
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .filter_map(|offers| offers.to_str().ok())
        .flat_map(|offers| offers.split(','))
        .map(str::trim)
        .find(|offer| spoken.iter().any(|name| name == offer))
        .map(ByteString::from)
}

impl Refusal {
    /// The answer. The texts of the first two are those of the SockJS protocol.
    pub(crate) fn response(self) -> HttpResponse {
        let (status, text) = match self {
            Refusal::NotWebSocket => (StatusCode::BAD_REQUEST, "Can \"Upgrade\" only to \"WebSocket\"."),
            Refusal::NoConnectionUpgrade => (StatusCode::BAD_REQUEST, "\"Connection\" must be \"Upgrade\"."),
            Refusal::OldHttp => (StatusCode::BAD_REQUEST, "WebSockets need HTTP/1.1."),
            Refusal::Origin => (StatusCode::FORBIDDEN, "Pages of this origin may not connect here."),
            Refusal::Version => {
                (StatusCode::UPGRADE_REQUIRED, "Only WebSocket version 13 (RFC 6455) is spoken here.")
            }
            Refusal::Draining => (StatusCode::SERVICE_UNAVAILABLE, DRAINING),
            Refusal::Key => (StatusCode::BAD_REQUEST, "\"Sec-WebSocket-Key\" must be 16 octets in base64."),
        };
        let mut response = HttpResponse::build(status);
        if self == Refusal::Version {
            response.insert_header((header::SEC_WEBSOCKET_VERSION, "13"));
        }
        if self == Refusal::Draining {
            headers::elsewhere(&mut response);
        }
        response.content_type(ContentType::plaintext()).body(text)
    }
}
