//! The page that sockjs-client loads in a frame, to speak with a server of another origin by the transports that can't.

use std::{
    future::ready,
    hash::{DefaultHasher, Hasher as _},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, header},
};

use crate::{
    SockJs, headers,
    routes::{Path, Route, Serve},
};

pub(crate) static ROUTE: Route = Route {
    name: "iframe",
    path: Path::Matching(is_iframe),
    methods: &[Method::GET],
    enabled: |config| config.has_iframe_and_jsonp() && config.sockjs_url.is_some(),
    serve: Serve::Http(|sockjs, request, _| Box::pin(ready(answer(sockjs, request)))),
};

/// `/iframe`, then what a client likes, which keeps the pages of its versions apart, then `.html`.
fn is_iframe(rest: &str) -> bool {
    let version = rest.strip_prefix("/iframe").and_then(|rest| rest.strip_suffix(".html"));
    let is_fit = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase() || matches!(c, '-' | '.' | '_');
    version.is_some_and(|version| version.chars().all(is_fit))
}

fn answer(sockjs: &SockJs, request: &HttpRequest) -> HttpResponse {
    let page = page(sockjs.settings().sockjs_url.as_deref().unwrap_or_default());
    let mut hasher = DefaultHasher::new();
    hasher.write(page.as_bytes());
    let tag = format!("\"{:016x}\"", hasher.finish());
    let known = request.headers().get(header::IF_NONE_MATCH);
    if known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        let mut response = HttpResponse::NotModified();
        headers::cache_for_a_year(&mut response);
        return response.insert_header((header::ETAG, tag)).finish();
    }
    let mut response = HttpResponse::Ok();
    headers::cache_for_a_year(&mut response);
    response.insert_header((header::ETAG, tag)).content_type("text/html; charset=UTF-8").body(page)
}

/// The page, to the letter that of the protocol.
fn page(sockjs_url: &str) -> String {
    let url = sockjs_url.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    format!(
        "<!DOCTYPE html>\n<html>\n<head>\n  \
         <meta http-equiv=\"X-UA-Compatible\" content=\"IE=edge\" />\n  \
         <meta http-equiv=\"Content-Type\" content=\"text/html; charset=UTF-8\" />\n  \
         <script src=\"{url}\"></script>\n  \
         <script>\n    document.domain = document.domain;\n    SockJS.bootstrap_iframe();\n  </script>\n\
         </head>\n<body>\n  <h2>Don't panic!</h2>\n  \
         <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>\n</body>\n</html>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_page() {
        for name in [
            "/iframe.html",
            "/iframe-a.html",
            "/iframe-.html",
            "/iframe-0.1.2xyz-abc_d.html",
            "/iframe..html",
        ] {
            assert!(is_iframe(name), "{name}");
        }
        for name in [
            "/iframe.htm",
            "/iframe",
            "/IFRAME.HTML",
            "/iframe-A.html",
            "/iframe/a.html",
            "/xiframe.html",
            "/iframe-a.HTML",
        ] {
            assert!(!is_iframe(name), "{name}");
        }
    }
}
