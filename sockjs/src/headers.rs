//! The header sets of SockJS answers: caching, CORS and the cookie of load balancers.

use std::time::{Duration, SystemTime};

use actix_http::RequestHead;
use actix_web::{
    HttpResponseBuilder,
    http::header::{self, Expires, HeaderName, HeaderValue},
};

use crate::config::Config;

/// A year in seconds: how long answers to OPTIONS are good for.
const YEAR: u64 = 365 * 24 * 60 * 60;

/// Answers that no one may keep, or hold back on their way.
pub(crate) fn no_store(response: &mut HttpResponseBuilder) {
    response
        .insert_header((
            header::CACHE_CONTROL,
            "no-store, no-cache, no-transform, must-revalidate, max-age=0",
        ))
        .insert_header((HeaderName::from_static("x-accel-buffering"), "no"));
}

/// Refusals of a server that stops: who asks again does so on another connection, which may come to another server.
pub(crate) fn elsewhere(response: &mut HttpResponseBuilder) {
    response.insert_header((header::RETRY_AFTER, "1")).force_close();
}

/// Answers that everyone may keep.
pub(crate) fn cache_for_a_year(response: &mut HttpResponseBuilder) {
    response
        .insert_header((header::CACHE_CONTROL, format!("public, max-age={YEAR}")))
        .insert_header(Expires((SystemTime::now() + Duration::from_secs(YEAR)).into()));
}

/// What all answers of the transports have, but those of WebSockets.
pub(crate) fn transport(request: &RequestHead, config: &Config, response: &mut HttpResponseBuilder) {
    no_store(response);
    cors(request, config, response);
    cookie(request, config, response);
}

/// The [`session_cookie`], where there is one.
pub(crate) fn cookie(request: &RequestHead, config: &Config, response: &mut HttpResponseBuilder) {
    if let Some(cookie) = session_cookie(request, config) {
        response.insert_header((header::SET_COOKIE, cookie));
    }
}

/// The answer to a preflight, which browsers may keep for a year. `methods` as in `OPTIONS, GET`.
pub(crate) fn preflight(methods: String, response: &mut HttpResponseBuilder) {
    cache_for_a_year(response);
    response
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, methods))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, YEAR));
}

/// Lets pages of the origins allowed read the answer. To others it has nothing to say, and their
/// browsers keep it from them.
pub(crate) fn cors(request: &RequestHead, config: &Config, response: &mut HttpResponseBuilder) {
    let origin = request.headers().get(header::ORIGIN);
    response.insert_header((header::VARY, "Origin"));
    if !config.origins.allow(origin) {
        return;
    }
    match origin {
        Some(origin) => response
            .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()))
            .insert_header((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true")),
        None => response.insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")),
    };
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    if let Some(asked) = asked.filter(|asked| !asked.is_empty()) {
        response.insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone()));
    }
}

/// The `Set-Cookie` of transports (not of `/info`) where cookies are needed: the client's own
/// `JSESSIONID` or a dummy, each time, so that a load balancer finds a cookie to put its mark on.
pub(crate) fn session_cookie(request: &RequestHead, config: &Config) -> Option<HeaderValue> {
    if !config.cookie_needed {
        return None;
    }
    let own = request
        .headers()
        .get_all(header::COOKIE)
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .find_map(|cookie| cookie.trim().strip_prefix("JSESSIONID="));
    HeaderValue::from_str(&format!("JSESSIONID={}; path=/", own.unwrap_or("dummy"))).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use actix_web::test::TestRequest;

    use super::*;

    fn cookie(sent: &str) -> Option<String> {
        let config = Config { cookie_needed: true, ..Config::default() };
        let request = TestRequest::default().insert_header((header::COOKIE, sent)).to_http_request();
        session_cookie(request.head(), &config).map(|c| c.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_cookie_is_the_clients_own_or_a_dummy() {
        assert_eq!(cookie("a=b").unwrap(), "JSESSIONID=dummy; path=/");
        assert_eq!(cookie("a=b; JSESSIONID=abc; c=d").unwrap(), "JSESSIONID=abc; path=/");
        let request = TestRequest::default().to_http_request();
        assert_eq!(session_cookie(request.head(), &Config::default()), None);
    }
}
