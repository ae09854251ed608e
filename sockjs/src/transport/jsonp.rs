//! `jsonp-polling`: one frame in one script, which calls the client's function with it, at `/{server}/{session}/jsonp`.

use std::future::ready;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{self, ContentType, HeaderValue},
    },
};
use bytes::Bytes;
use futures_util::FutureExt as _;

use super::JAVASCRIPT;
use crate::{
    SockJs, headers,
    http::{Receiver, Wrapping, escape_json, receive},
    routes::{Path, Route, Serve},
};

/// The longest name of a function.
const MAX_CALLBACK: usize = 32;

pub(crate) static ROUTE: Route = Route {
    name: "jsonp-polling",
    path: Path::Session("jsonp"),
    methods: &[Method::GET],
    enabled: |config| config.has_iframe_and_jsonp(),
    serve: Serve::Receiver(|sockjs, request, _| match callback(request) {
        Ok(callback) => {
            let receiver = Receiver {
                transport: ROUTE.name,
                content_type: JAVASCRIPT,
                wrapping: Wrapping {
                    // The comment keeps the name from being taken for the beginning of another kind of file.
                    begin: Bytes::from(format!("/**/{callback}(\"")),
                    escape: Some(escape_json),
                    end: b"\");\r\n",
                },
                prelude: None,
            };
            let answer = receive(sockjs, request, receiver);
            Box::pin(answer.map(|mut response| {
                let nosniff = HeaderValue::from_static("nosniff");
                response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
                response
            }))
        }
        Err(wrong) => Box::pin(ready(refusal(sockjs, request, wrong))),
    }),
};

/// The name of the client's function: `c`, or `callback`, of the query.
pub(super) fn callback(request: &HttpRequest) -> Result<String, &'static str> {
    let of = |wanted: &str| {
        let pairs = request.query_string().split('&');
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).find(|(name, _)| *name == wanted)
    };
    let (_, value) = of("c").or_else(|| of("callback")).ok_or("\"callback\" parameter required")?;
    let name = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > MAX_CALLBACK || !name.chars().all(is_fit) {
        return Err("invalid \"callback\" parameter");
    }
    Ok(name)
}

/// The answer to a request without a fit function. Its texts are those of sockjs-node.
pub(super) fn refusal(sockjs: &SockJs, request: &HttpRequest, wrong: &'static str) -> HttpResponse {
    let mut response = HttpResponse::InternalServerError();
    headers::transport(request.head(), sockjs.settings(), &mut response);
    response.content_type(ContentType::plaintext()).body(wrong)
}
