//! Messages that come by a request of their own.

use actix_web::{
    HttpRequest, HttpResponse,
    dev::Payload,
    http::{
        StatusCode,
        header::{self, ContentType},
    },
};
use bytes::BytesMut;
use bytestring::ByteString;
use futures_util::StreamExt as _;

use super::{credentials::Credentials, table::Refusal};
use crate::{SockJs, handshake, headers, message, routes};

/// Why a request of a transport is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Origin,
    Stranger,
    Sessions,
    Draining,
    Connections,
    Forwarded,
    NoSession,
    TooLarge,
    /// The body ended before its end.
    Incomplete,
    NoPayload,
    Broken,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        match refusal {
            Refusal::Stranger => Refused::Stranger,
            Refusal::Full => Refused::Sessions,
            Refusal::Unclaimed => Refused::NoSession,
            Refusal::Draining => Refused::Draining,
        }
    }
}

impl Refused {
    /// The answer. That of a session that does not exist is empty, and the last two texts are those of sockjs-node.
    pub(crate) fn response(self, sockjs: &SockJs, request: &HttpRequest) -> HttpResponse {
        let (status, text) = match self {
            Refused::Origin => (StatusCode::FORBIDDEN, "Pages of this origin may not connect here."),
            Refused::Stranger => (StatusCode::FORBIDDEN, "This session was opened with other credentials."),
            Refused::Sessions => (StatusCode::SERVICE_UNAVAILABLE, "Too many sessions."),
            Refused::Draining => (StatusCode::SERVICE_UNAVAILABLE, handshake::DRAINING),
            Refused::Connections => (StatusCode::SERVICE_UNAVAILABLE, "Too many connections."),
            Refused::Forwarded => {
                (StatusCode::SERVICE_UNAVAILABLE, "Too many requests are under way to other nodes.")
            }
            Refused::NoSession => (StatusCode::NOT_FOUND, ""),
            Refused::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "The messages are larger than this server takes.")
            }
            Refused::Incomplete => (StatusCode::BAD_REQUEST, "The body is incomplete."),
            Refused::NoPayload => (StatusCode::INTERNAL_SERVER_ERROR, "Payload expected."),
            Refused::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "Broken JSON encoding."),
        };
        let mut response = HttpResponse::build(status);
        headers::transport(request.head(), sockjs.settings(), &mut response);
        if self == Refused::Draining {
            headers::elsewhere(&mut response);
        }
        if text.is_empty() {
            return response.finish();
        }
        response.content_type(ContentType::plaintext()).body(text)
    }
}

/// Takes a request's messages to its session. `unwrap` finds the JSON in a body; `limit` bounds the body, in octets.
///
/// A session that does not exist is told before the body is read.
pub(crate) async fn send(
    sockjs: &SockJs,
    request: &HttpRequest,
    payload: Payload,
    limit: usize,
    unwrap: impl FnOnce(BytesMut) -> BytesMut,
) -> Result<(), Refused> {
    let config = sockjs.settings();
    if !config.origins.allow(request.headers().get(header::ORIGIN)) {
        return Err(Refused::Origin);
    }
    let table = sockjs.table();
    let credentials = Credentials::of(request.head(), config);
    let key = table.key(routes::session_id(request));
    let place = table.find(key, &credentials)?.ok_or(Refused::NoSession)?;
    let body = unwrap(read(request, payload, limit).await?);
    let messages = messages(body, config.max_message)?;
    let worker = sockjs.worker();
    worker.home().send(place, messages).await.map_err(|_| Refused::NoSession)
}

async fn read(request: &HttpRequest, mut payload: Payload, limit: usize) -> Result<BytesMut, Refused> {
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if length.and_then(|length| length.parse::<usize>().ok()).is_some_and(|length| length > limit) {
        return Err(Refused::TooLarge);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Refused::Incomplete)?;
        if body.len() + chunk.len() > limit {
            return Err(Refused::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Messages are slices of their body. Where they are little of it, they get memory of their own, so that what is counted is
/// what is kept.
fn unless_wasteful(messages: Vec<ByteString>, body: usize) -> Vec<ByteString> {
    let octets: usize = messages.iter().map(|message| message.len()).sum();
    if body <= 2 * octets + 4096 {
        return messages;
    }
    messages.iter().map(|message| ByteString::from(&**message)).collect()
}

/// The messages of an array; single strings, which WebSockets may have, are none here.
fn messages(body: BytesMut, limit: usize) -> Result<Vec<ByteString>, Refused> {
    if body.is_empty() {
        return Err(Refused::NoPayload);
    }
    if body.trim_ascii_start().first() != Some(&b'[') {
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
        return Err(if is_json { Refused::NoPayload } else { Refused::Broken });
    }
    let len = body.len();
    match message::read(body, limit) {
        Ok(strings) => Ok(unless_wasteful(strings.collect(), len)),
        Err(message::Refused::TooBig) => Err(Refused::TooLarge),
        Err(message::Refused::Broken | message::Refused::NotUtf8) => Err(Refused::Broken),
    }
}
