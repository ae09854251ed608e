//! `jsonp_send`: messages from the client, as a form of a page or as plain text, at `/{server}/{session}/jsonp_send`. The
//! way up of `jsonp-polling`.

use actix_web::{
    HttpRequest, HttpResponse,
    dev::Payload,
    http::{Method, header},
};
use bytes::BytesMut;

use super::PLAIN;
use crate::{
    SockJs, headers,
    http::send,
    routes::{Path, Route, Serve},
};

pub(crate) static ROUTE: Route = Route {
    name: "jsonp_send",
    path: Path::Session("jsonp_send"),
    methods: &[Method::POST],
    enabled: |config| config.has_iframe_and_jsonp(),
    serve: Serve::Sender(|sockjs, request, payload| {
        Box::pin(answer(sockjs.clone(), request.clone(), payload))
    }),
};

/// What an octet of a message takes at most: `%5Cu00XX`.
const WIDEST: usize = 8;

async fn answer(sockjs: SockJs, request: HttpRequest, payload: Payload) -> HttpResponse {
    let limit = sockjs.settings().max_message.saturating_mul(WIDEST).saturating_add(64);
    let is_form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok()?.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"));
    let unwrap = |body: BytesMut| if is_form { field(&body) } else { body };
    match send(&sockjs, &request, payload, limit, unwrap).await {
        Ok(()) => {
            let mut response = HttpResponse::Ok();
            headers::transport(request.head(), sockjs.settings(), &mut response);
            response.content_type(PLAIN).body("ok")
        }
        Err(refused) => refused.response(&sockjs, &request),
    }
}

/// The field `d` of a form, decoded; nothing if there is none.
fn field(form: &[u8]) -> BytesMut {
    let Some(value) = form.split(|&octet| octet == b'&').find_map(|field| field.strip_prefix(b"d=")) else {
        return BytesMut::new();
    };
    let spaces: Vec<u8> = value.iter().map(|&octet| if octet == b'+' { b' ' } else { octet }).collect();
    percent_encoding::percent_decode(&spaces).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_decoded() {
        assert_eq!(field(b"x=1&d=%5B%22a+b%2B%22%5D&y=2"), "[\"a b+\"]");
        for none in [&b"x=1"[..], b"d", b"d=", b"", b"dd=x"] {
            assert_eq!(field(none), "");
        }
    }
}
