//! `xhr-polling`: one frame in one response, at `/{server}/{session}/xhr`. The client asks again at once.

use actix_web::http::Method;

use super::JAVASCRIPT;
use crate::{
    http::{Receiver, Wrapping, receive},
    routes::{Path, Route, Serve},
};

pub(crate) static ROUTE: Route = Route {
    name: "xhr-polling",
    path: Path::Session("xhr"),
    methods: &[Method::OPTIONS, Method::POST],
    enabled: |_| true,
    serve: Serve::Receiver(|sockjs, request, _| {
        let receiver = Receiver {
            transport: ROUTE.name,
            content_type: JAVASCRIPT,
            wrapping: Wrapping::LINE,
            prelude: None,
        };
        receive(sockjs, request, receiver)
    }),
};
