//! `/api/v1/messages`: publishing for back ends that speak no STOMP.
//!
//! ```text
//! POST {"destination": "/topic/…", "headers"?: {name: text}, "body": text | "json": any}  → 202 {"status":"accepted"}
//! ```

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Deserializer};
use serde_json::json;
use serde_json::value::RawValue;
use stomp_parser::Limits;

use super::body::JsonBody;
use super::{Api, error};
use crate::broker::{
    Destination, Door, Headers, Identity, Kind, Message, Published, Unconfirmed, Unpublished, is_handed_on,
};

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(
        web::resource("/messages")
            .route(web::post().to(post))
            .route(web::to(|| async { error::only("POST") })),
    );
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Publication<'a> {
    destination: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    json: Option<&'a RawValue>,
}

/// `null` is a value here, and not the absence of one.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

async fn post(api: web::Data<Api>, JsonBody(body): JsonBody) -> HttpResponse {
    let identity = api.identity();
    let message = match read(&body, &identity, &api.frames) {
        Ok(message) => message,
        Err(why) => return error::refuse(StatusCode::BAD_REQUEST, &why),
    };
    match api.broker.publish(&identity, Door::Rest, message).await {
        Ok(Published { undeliverable: false }) => {
            HttpResponse::Accepted().json(json!({ "status": "accepted" }))
        }
        Ok(Published { undeliverable: true }) => {
            HttpResponse::Accepted().json(json!({ "status": "accepted", "undeliverable": true }))
        }
        Err(Unpublished::Denied(denied)) => error::refuse(StatusCode::FORBIDDEN, &denied.to_string()),
        Err(Unpublished::Full(full)) => error::refuse(StatusCode::SERVICE_UNAVAILABLE, &full.to_string()),
        Err(Unpublished::Unconfirmed(why)) => {
            let status = match why {
                Unconfirmed::Unsendable(_) => StatusCode::BAD_REQUEST,
                Unconfirmed::Late | Unconfirmed::TooMany | Unconfirmed::Refused(_) => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
            };
            error::refuse(status, &why.to_string())
        }
        Err(why @ Unpublished::ClearWithBody) => error::refuse(StatusCode::BAD_REQUEST, &why.to_string()),
    }
}

/// Reads a publication. It has to fit a STOMP frame, or no subscriber could be sent it.
fn read(body: &[u8], identity: &Identity, frames: &Limits) -> Result<Message, String> {
    let publication: Publication<'_> =
        serde_json::from_slice(body).map_err(|error| format!("the body is no message: {error}"))?;
    let destination = Destination::parse(identity.tenant(), publication.destination.into())
        .map_err(|invalid| invalid.to_string())?;
    if !matches!(destination.kind(), Kind::Topic | Kind::Queue | Kind::User) {
        return Err("only /topic/, /queue/ and /user/<name>/ destinations are published to here".into());
    }
    let (body, is_json) = match (publication.body, publication.json) {
        (Some(body), None) => (Bytes::from(body), false),
        (None, Some(json)) => (Bytes::copy_from_slice(json.get().as_bytes()), true),
        (None, None) => (Bytes::new(), false),
        (Some(_), Some(_)) => return Err("give either body or json, not both".into()),
    };
    let mut headers: Headers = publication
        .headers
        .into_iter()
        .filter(|(name, _)| is_handed_on(name))
        .map(|(name, value)| (ByteString::from(name), ByteString::from(value)))
        .collect();
    if is_json && headers.get("content-type").is_none() {
        headers.push("content-type", "application/json");
    }
    if headers.iter().any(|(name, value)| name.is_empty() || name.contains('\0') || value.contains('\0')) {
        return Err("a header's name may not be empty, and neither name nor value may have a NUL".into());
    }
    if headers.iter().count() > frames.headers || headers.octets() > frames.header_bytes {
        return Err(format!(
            "too many headers: a frame has {} at the most, of {} octets together",
            frames.headers, frames.header_bytes
        ));
    }
    if body.len() > frames.body {
        return Err(format!("the message's body is larger than {} octets", frames.body));
    }
    Ok(Message::new(destination, headers, body))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parsed(body: &str) -> Result<Message, String> {
        read(body.as_bytes(), &Identity::anonymous(), &Limits::default())
    }

    #[test]
    fn json_goes_as_it_was_written() {
        let message = parsed(r#"{"destination":"/topic/a","json":{"b": [1, 2.50]}}"#).unwrap();
        assert_eq!(&message.body[..], br#"{"b": [1, 2.50]}"#);
        assert_eq!(message.headers.get("content-type").unwrap(), "application/json");
    }

    #[test]
    fn null_is_json() {
        let message = parsed(r#"{"destination":"/topic/a","json":null}"#).unwrap();
        assert_eq!(&message.body[..], b"null");
    }

    #[test]
    fn headers_fit_a_frame() {
        let headers: Vec<String> = (0..129).map(|n| format!(r#""h{n}":"v""#)).collect();
        let error = parsed(&format!(r#"{{"destination":"/topic/a","headers":{{{}}}}}"#, headers.join(",")))
            .unwrap_err();
        assert!(error.contains("128"), "{error}");
    }

    #[test]
    fn headers_of_the_broker_are_not_taken() {
        let message =
            parsed(r#"{"destination":"/topic/a","body":"x","headers":{"cursor":"c","k":"v"}}"#).unwrap();
        assert!(message.headers.get("cursor").is_none());
        assert_eq!(message.headers.get("k").unwrap(), "v");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, why) in [
            ("{", "no message"),
            ("[]", "no message"),
            (r#"{"destination":"/topic/a","bdy":"x"}"#, "bdy"),
            (r#"{"body":"x"}"#, "destination"),
            (r#"{"destination":"/topic/a.*","body":"x"}"#, "wildcard"),
            (r#"{"destination":"/app/a","body":"x"}"#, "/topic/"),
            (r#"{"destination":"/topic/a","body":"x","json":1}"#, "either"),
            (r#"{"destination":"/topic/a\u0000b"}"#, "NUL"),
        ] {
            let error = parsed(body).unwrap_err();
            assert!(error.contains(why), "{body}: {error}");
        }
    }
}
