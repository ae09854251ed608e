//! `/info`, which a client asks for before anything else: what the service has, and how long a
//! round trip takes.

use std::future::ready;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, header::ContentType},
};
use serde::Serialize;

use crate::{
    SockJs, handshake, headers,
    routes::{Path, Route, Serve},
};

pub(crate) static ROUTE: Route = Route {
    name: "info",
    path: Path::Prefix("/info"),
    methods: &[Method::OPTIONS, Method::GET],
    enabled: |_| true,
    serve: Serve::Http(|sockjs, request, _| Box::pin(ready(answer(sockjs, request)))),
};

#[derive(Serialize)]
struct Info<'a> {
    websocket: bool,
    /// Always all: clients ignore it, and who may connect is told by CORS and by the handshake.
    origins: [&'static str; 1],
    cookie_needed: bool,
    /// For clients without a good source of randomness, which make their session ids from it.
    entropy: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_url: Option<&'a str>,
}

fn answer(sockjs: &SockJs, request: &HttpRequest) -> HttpResponse {
    let config = sockjs.settings();
    if sockjs.is_draining() {
        let mut response = HttpResponse::ServiceUnavailable();
        headers::cors(request.head(), config, &mut response);
        headers::no_store(&mut response);
        headers::elsewhere(&mut response);
        return response.content_type(ContentType::plaintext()).body(handshake::DRAINING);
    }
    let entropy = match getrandom::u32() {
        Ok(entropy) => entropy,
        Err(error) => {
            tracing::error!(%error, "the system has no randomness to give");
            return HttpResponse::InternalServerError().finish();
        }
    };
    let info = Info {
        websocket: config.websocket,
        origins: ["*:*"],
        cookie_needed: config.cookie_needed,
        entropy,
        base_url: config.base_url.as_deref(),
    };
    let mut response = HttpResponse::Ok();
    headers::cors(request.head(), config, &mut response);
    headers::no_store(&mut response);
    response.content_type("application/json; charset=UTF-8").json(info)
}
