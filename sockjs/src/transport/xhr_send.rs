//! `xhr_send`: messages from the client, as a JSON array of strings, at `/{server}/{session}/xhr_send`. The way up of the
//! transports that begin with `xhr`, of `eventsource` and of `htmlfile`.

use actix_web::{HttpRequest, HttpResponse, dev::Payload, http::Method};

use super::PLAIN;
use crate::{
    SockJs,
    frame::Framing,
    headers,
    http::send,
    routes::{Path, Route, Serve},
};

pub(crate) static ROUTE: Route = Route {
    name: "xhr_send",
    path: Path::Session("xhr_send"),
    methods: &[Method::OPTIONS, Method::POST],
    enabled: |_| true,
    serve: Serve::Sender(|sockjs, request, payload| {
        Box::pin(answer(sockjs.clone(), request.clone(), payload))
    }),
};

async fn answer(sockjs: SockJs, request: HttpRequest, payload: Payload) -> HttpResponse {
    let limit = sockjs.settings().max_payload(Framing::SockJsHttp);
    match send(&sockjs, &request, payload, limit, |json| json).await {
        Ok(()) => {
            let mut response = HttpResponse::NoContent();
            headers::transport(request.head(), sockjs.settings(), &mut response);
            response.content_type(PLAIN).finish()
        }
        Err(refused) => refused.response(&sockjs, &request),
    }
}
