//! One request on its way to another node, and the answer on its way back.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use hyper::body::{Body as _, Incoming};
use hyper::{Request, Response, http};
use sockjs::{Forward, NotForwarded};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::debug;

use super::connection::{Connection, Outgoing};
use super::{NodeAddress, PROOF, Way};
use crate::config::NodeUrl;
use crate::telemetry::metrics::Reason;

/// Headers of a connection, not of what goes over it; `expect` is answered by the node that the client talks to.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Another node.
#[derive(Clone)]
pub(super) struct Node {
    /// Host and port.
    authority: Box<str>,
    proof: http::HeaderValue,
    way: Way,
}

/// One whose address may be none.
pub(super) struct MaybeNode(pub(super) Option<Node>);

impl Node {
    pub(super) fn new(address: &NodeAddress, way: Way) -> Option<Node> {
        let authority = NodeUrl::read(&address.url)?.authority().into();
        Some(Node { authority, proof: http::HeaderValue::from_str(&address.token).ok()?, way })
    }

    fn failed(&self, reason: &'static str) {
        self.way.metrics.sockjs_not_forwarded.get_or_create(&Reason { reason }).inc();
    }
}

impl Forward for MaybeNode {
    fn forward(
        &self,
        request: &HttpRequest,
        payload: Payload,
    ) -> LocalBoxFuture<'static, Result<HttpResponse, NotForwarded>> {
        let prepared = self.0.clone().and_then(|node| {
            let request = outgoing(request, payload, &node.proof)?;
            Some((node, request))
        });
        Box::pin(async move {
            let (node, request) = prepared.ok_or(NotForwarded::Unreachable)?;
            let Ok(permit) = node.way.permits.clone().try_acquire_owned() else {
                node.failed("too_many");
                return Err(NotForwarded::TooMany);
            };
            let place = Place::new(permit, &node.way);
            let asked = ask(&node.authority, request, node.way.patience).await;
            let (response, connection) = asked.map_err(|reason| {
                debug!(node = &*node.authority, reason, "not forwarded");
                node.failed(reason);
                NotForwarded::Unreachable
            })?;
            Ok(incoming(response, Lease { connection, _place: place }))
        })
    }
}

/// Sends a request and waits for the head of its answer.
async fn ask(
    node: &str,
    mut request: Request<Outgoing>,
    patience: Duration,
) -> Result<(Response<Incoming>, Connection), &'static str> {
    loop {
        let kept = Connection::kept(node);
        let is_kept = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::open(node).await.map_err(|_| "unreachable")?,
        };
        match timeout(patience, connection.requests.try_send_request(request)).await {
            Ok(Ok(response)) => return Ok((response, connection)),
            Ok(Err(mut error)) => match error.take_message() {
                // It was closed before anything was sent.
                Some(unsent) if is_kept => request = unsent,
                _ => return Err("broken"),
            },
            Err(_) => return Err("late"),
        }
    }
}

/// The request as another node gets it.
fn outgoing(request: &HttpRequest, payload: Payload, proof: &http::HeaderValue) -> Option<Request<Outgoing>> {
    let has = request.headers();
    let is_chunked = has.contains_key(header::TRANSFER_ENCODING);
    let has_body =
        is_chunked || has.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    let body = Outgoing(has_body.then_some(payload));
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let mut forwarded = Request::builder().method(request.method().as_str()).uri(path).body(body).ok()?;
    let headers = forwarded.headers_mut();
    let is_left_out =
        |name: &str| name == PROOF || is_hop_by_hop(name, has) || (is_chunked && name == "content-length");
    for (name, value) in has.iter().filter(|(name, _)| !is_left_out(name.as_str())) {
        let name = http::HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
        headers.append(name, http::HeaderValue::from_bytes(value.as_bytes()).ok()?);
    }
    headers.insert(PROOF, proof.clone());
    Some(forwarded)
}

/// Whether a header is the connection's, also where `Connection` says so.
fn is_hop_by_hop(name: &str, headers: &HeaderMap) -> bool {
    HOP_BY_HOP.contains(&name)
        || headers
            .get_all(header::CONNECTION)
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|named| named.trim().eq_ignore_ascii_case(name))
}

/// The answer as the client gets it.
fn incoming(response: Response<Incoming>, lease: Lease) -> HttpResponse {
    let (head, body) = response.into_parts();
    let status = StatusCode::from_u16(head.status.as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let exact = body.size_hint().exact();
    let size = match head.headers.contains_key("content-length") {
        true => exact.map_or(BodySize::Stream, BodySize::Sized),
        false if exact == Some(0) => BodySize::None,
        false => BodySize::Stream,
    };
    let mut answer = HttpResponse::build(status);
    for (name, value) in &head.headers {
        if HOP_BY_HOP.contains(&name.as_str()) || name == "content-length" {
            continue;
        }
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_str().as_bytes()), HeaderValue::from_bytes(value.as_bytes()))
        {
            answer.append_header((name, value));
        }
    }
    let mut passing = Passing { body, size, lease: Some(lease) };
    passing.end_early();
    answer.body(passing)
}

/// A body that passes through, at the pace of the client that reads it.
struct Passing {
    body: Incoming,
    size: BodySize,
    lease: Option<Lease>,
}

impl Passing {
    /// Gives the connection back as soon as nothing more comes.
    fn end_early(&mut self) {
        if self.body.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.connection.keep();
        }
    }
}

impl MessageBody for Passing {
    type Error = hyper::Error;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        loop {
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(frame) => frame,
            };
            match frame {
                Some(Ok(frame)) => {
                    self.end_early();
                    // What is no data are trailers.
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                // The lease goes, and the connection with it.
                Some(Err(error)) => {
                    self.lease = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.end_early();
                    return Poll::Ready(None);
                }
            }
        }
    }
}

/// The connection that an answer comes by, and its place among those that are under way.
struct Lease {
    connection: Connection,
    _place: Place,
}

/// A place among the requests that are under way.
struct Place {
    _permit: OwnedSemaphorePermit,
    way: Way,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit, way: &Way) -> Place {
        way.metrics.sockjs_forwarded.inc();
        way.metrics.sockjs_forwarding.inc();
        Place { _permit: permit, way: way.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.way.metrics.sockjs_forwarding.dec();
    }
}
