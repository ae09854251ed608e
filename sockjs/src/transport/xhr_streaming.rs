//! `xhr-streaming`: frames as lines of one response, at `/{server}/{session}/xhr_streaming`. The client asks again when it
//! ends.

use actix_web::http::Method;
use bytes::Bytes;

use super::JAVASCRIPT;
use crate::{
    http::{Receiver, Wrapping, receive},
    routes::{Path, Route, Serve},
};

/// What makes browsers show a response that is not at its end: 2 KiB of it.
static PRELUDE: [u8; 2049] = {
    let mut prelude = [b'h'; 2049];
    prelude[2048] = b'\n';
    prelude
};

pub(crate) static ROUTE: Route = Route {
    name: "xhr-streaming",
    path: Path::Session("xhr_streaming"),
    methods: &[Method::OPTIONS, Method::POST],
    enabled: |_| true,
    serve: Serve::Receiver(|sockjs, request, _| {
        let receiver = Receiver {
            transport: ROUTE.name,
            content_type: JAVASCRIPT,
            wrapping: Wrapping::LINE,
            prelude: Some(Bytes::from_static(&PRELUDE)),
        };
        receive(sockjs, request, receiver)
    }),
};
