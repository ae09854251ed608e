//! `websocket-raw`: a plain WebSocket at `/websocket`, for clients that speak no SockJS. No
//! framing, no heartbeats.

use actix_web::http::Method;

use crate::{
    frame::Framing,
    routes::{Path, Route, Serve},
};

pub(crate) static ROUTE: Route = Route {
    name: "websocket-raw",
    path: Path::Prefix("/websocket"),
    methods: &[Method::GET],
    enabled: |config| config.websocket,
    serve: Serve::WebSocket(Framing::WebSocket),
};
