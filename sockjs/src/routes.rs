//! What is served below a prefix: finding the endpoint of a path, and handing the request to it.
//!
//! Endpoints declare their own [`Route`]; [`transport`] lists those of the
//! transports.

use std::rc::Rc;

use actix_service::fn_service;
use actix_web::{
    Error, HttpRequest, HttpResponse,
    dev::{AppService, HttpServiceFactory, Payload, ResourceDef, ServiceRequest, ServiceResponse},
    http::{Method, header},
};

use crate::{
    SockJs,
    carrier::mounted,
    config::Config,
    frame::Framing,
    greeting, handshake, headers,
    http::{Answer, serve_anywhere},
    iframe, info, transport,
    worker::Worker,
};

/// One endpoint.
pub(crate) struct Route {
    /// For transports, the name that sessions tell.
    pub(crate) name: &'static str,
    pub(crate) path: Path,
    pub(crate) methods: &'static [Method],
    /// Whether the settings have it; if not, it is not found.
    pub(crate) enabled: fn(&Config) -> bool,
    pub(crate) serve: Serve,
}

/// Where an endpoint stands below the prefix. In each case a slash may follow.
pub(crate) enum Path {
    /// The prefix and this, which is empty or begins with a slash.
    Prefix(&'static str),
    /// What is found to be one.
    Matching(fn(&str) -> bool),
    /// `/{server}/{session}/` and this.
    Session(&'static str),
}

/// How an endpoint serves.
pub(crate) enum Serve {
    /// One answer for one request.
    Http(Answer),
    /// A receiver of a session over HTTP, which opens it if there is none.
    Receiver(Answer),
    /// Messages to a session over HTTP.
    Sender(Answer),
    /// A WebSocket session in this framing.
    WebSocket(Framing),
}

/// The endpoint of a path, of which `rest` is what follows the prefix.
pub(crate) fn find(rest: &str) -> Option<&'static Route> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    [&greeting::ROUTE, &info::ROUTE, &iframe::ROUTE]
        .into_iter()
        .chain(transport::ROUTES.iter().copied())
        .find(|route| route.path.matches(rest))
}

impl Path {
    fn matches(&self, rest: &str) -> bool {
        match *self {
            Path::Prefix(path) => rest == path,
            Path::Matching(matches) => matches(rest),
            Path::Session(name) => {
                let mut segments = rest.split('/');
                segments.next() == Some("")
                    && segments.next().is_some_and(is_id)
                    && segments.next().is_some_and(is_id)
                    && segments.next() == Some(name)
                    && segments.next().is_none()
            }
        }
    }
}

/// The session that a request is for: the second segment below the prefix, on routes that have it.
pub(crate) fn session_id(request: &HttpRequest) -> &str {
    request.match_info().unprocessed().split('/').nth(2).unwrap_or_default()
}

/// Whether a segment may name a server or a session: not empty and without a dot, also where a dot
/// is encoded.
fn is_id(segment: &str) -> bool {
    !segment.is_empty() && !segment.contains('.') && !segment.to_ascii_lowercase().contains("%2e")
}

/// All endpoints of one service, for `App::service`.
pub(crate) struct Mounted {
    pub(crate) prefix: String,
    pub(crate) sockjs: SockJs,
}

impl HttpServiceFactory for Mounted {
    fn register(self, config: &mut AppService) {
        let sockjs = self.sockjs;
        // What this worker has of the service lives as long as it is mounted.
        let worker: Rc<Worker> = sockjs.worker();
        let service = fn_service(move |request: ServiceRequest| {
            let (sockjs, worker) = (sockjs.clone(), Rc::clone(&worker));
            async move {
                let _worker = worker;
                let (request, payload) = request.into_parts();
                let response = serve(&sockjs, &request, payload).await;
                Ok::<_, Error>(ServiceResponse::new(request, response))
            }
        });
        config.register_service(ResourceDef::root_prefix(&self.prefix), None, service, None);
    }
}

async fn serve(sockjs: &SockJs, request: &HttpRequest, payload: Payload) -> HttpResponse {
    let route = find(request.match_info().unprocessed()).filter(|route| (route.enabled)(sockjs.settings()));
    let Some(route) = route else {
        return HttpResponse::NotFound().finish();
    };
    if !route.methods.contains(request.method()) {
        return not_allowed(route.methods);
    }
    if request.method() == Method::OPTIONS {
        return preflight(sockjs, request, route);
    }
    match (&route.serve, &sockjs.settings().elsewhere) {
        (Serve::Receiver(answer) | Serve::Sender(answer), Some(elsewhere)) => {
            let opens = matches!(route.serve, Serve::Receiver(_));
            Box::pin(serve_anywhere(sockjs, elsewhere, request, payload, *answer, opens)).await
        }
        (Serve::Http(answer) | Serve::Receiver(answer) | Serve::Sender(answer), _) => {
            answer(sockjs, request, payload).await
        }
        (Serve::WebSocket(framing), _) => {
            match handshake::verify(request.head(), sockjs.settings(), *framing) {
                Ok(_) if sockjs.is_draining() => handshake::Refusal::Draining.response(),
                Ok(accepted) => mounted::open(sockjs, request, payload, accepted, *framing, route.name),
                Err(refusal) => refusal.response(),
            }
        }
    }
}

/// What browsers ask before a request from another origin.
fn preflight(sockjs: &SockJs, request: &HttpRequest, route: &Route) -> HttpResponse {
    let mut response = HttpResponse::NoContent();
    headers::cors(request.head(), sockjs.settings(), &mut response);
    headers::preflight(names(route.methods), &mut response);
    if matches!(route.path, Path::Session(_)) {
        headers::cookie(request.head(), sockjs.settings(), &mut response);
    }
    response.finish()
}

fn names(methods: &[Method]) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}

fn not_allowed(methods: &[Method]) -> HttpResponse {
    HttpResponse::MethodNotAllowed().insert_header((header::ALLOW, names(methods))).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_endpoints() {
        for (path, name) in [
            ("", Some("greeting")),
            ("/", Some("greeting")),
            ("//", None),
            ("/info", Some("info")),
            ("/info/", Some("info")),
            ("/infos", None),
            ("/iframe-1.html", Some("iframe")),
            ("/a/b/xhr", Some("xhr-polling")),
            ("/a/b/xhr_send", Some("xhr_send")),
            ("/a/b/xhr_streaming/", Some("xhr-streaming")),
            ("/a/b/eventsource", Some("eventsource")),
            ("/a/b/htmlfile", Some("htmlfile")),
            ("/a/b/jsonp", Some("jsonp-polling")),
            ("/a/b/jsonp_send", Some("jsonp_send")),
            ("/websocket", Some("websocket-raw")),
            ("/a/b/websocket", Some("websocket")),
            ("/a/b/websocket/", Some("websocket")),
            ("/a/b/websocket//", None),
            ("//b/websocket", None),
            ("/a//websocket", None),
            ("/a.b/c/websocket", None),
            ("/a/b.c/websocket", None),
            ("/a/b%2Ec/websocket", None),
            ("/a/b/c/websocket", None),
            ("/a/websocket", None),
            ("/a/b/", None),
        ] {
            assert_eq!(find(path).map(|route| route.name), name, "{path}");
        }
    }
}
