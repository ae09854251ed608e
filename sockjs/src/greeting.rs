//! The greeting at the prefix, which tells people and monitors that a SockJS service is here.

use std::future::ready;

use actix_web::{HttpResponse, http::Method};

use crate::routes::{Path, Route, Serve};

pub(crate) static ROUTE: Route = Route {
    name: "greeting",
    path: Path::Prefix(""),
    methods: &[Method::GET],
    enabled: |_| true,
    serve: Serve::Http(|_, _, _| {
        let response =
            HttpResponse::Ok().content_type("text/plain; charset=UTF-8").body("Welcome to SockJS!\n");
        Box::pin(ready(response))
    }),
};
