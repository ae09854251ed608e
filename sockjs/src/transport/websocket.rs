//! `websocket`: SockJS frames in WebSocket text messages, at `/{server}/{session}/websocket`. The
//! session is the connection.

use actix_web::http::Method;

use crate::{
    frame::Framing,
    routes::{Path, Route, Serve},
};

pub(crate) static ROUTE: Route = Route {
    name: "websocket",
    path: Path::Session("websocket"),
    methods: &[Method::GET],
    enabled: |config| config.websocket,
    serve: Serve::WebSocket(Framing::SockJsWebSocket),
};
