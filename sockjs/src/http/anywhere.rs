//! Requests for sessions that may live in another process: found out before they are served here.

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll};

use actix_web::{
    HttpMessage as _, HttpRequest, HttpResponse,
    body::{BodySize, MessageBody as _},
    dev::Payload,
    http::{ConnectionType, Version, header},
};
use futures_util::future::{Either, LocalBoxFuture, select};

use super::{
    receive::Watched,
    send::Refused,
    table::{Claim, Key, Known, May},
};
use crate::{
    SockJs,
    elsewhere::{self, Elsewhere, NotForwarded, Remote, is_forwarded},
    routes,
    server::Io,
};

/// What answers a request here.
pub(crate) type Answer = fn(&SockJs, &HttpRequest, Payload) -> LocalBoxFuture<'static, HttpResponse>;

/// The claim that a request was given; it has this with it.
#[derive(Debug, Clone, Copy)]
struct Given(Claim);

impl May {
    /// What a request may open.
    pub(super) fn of(request: &HttpRequest, sockjs: &SockJs) -> May {
        if sockjs.settings().elsewhere.is_none() {
            return May::Open;
        }
        May::OpenClaimed(request.extensions().get::<Given>().map(|given| given.0))
    }
}

/// Answers a request by `answer`, or has it answered by the node that has its session. `opens`: a session that is nowhere is
/// opened here.
pub(crate) async fn serve_anywhere(
    sockjs: &SockJs,
    elsewhere: &Arc<dyn Elsewhere>,
    request: &HttpRequest,
    payload: Payload,
    answer: Answer,
    opens: bool,
) -> HttpResponse {
    let config = sockjs.settings();
    if !config.origins.allow(request.headers().get(header::ORIGIN)) {
        return Refused::Origin.response(sockjs, request);
    }
    let is_forwarded = is_forwarded(&**elsewhere, request.headers());
    match find(sockjs, elsewhere, routes::session_id(request), opens, is_forwarded).await {
        Ok(Found::Here(claimed)) => {
            if let Some(claimed) = &claimed {
                request.extensions_mut().insert(Given(claimed.claim));
            }
            let answer = answer(sockjs, request, payload);
            // What it was for is open now, or refused.
            drop(claimed);
            answer.await
        }
        Ok(Found::There(remote)) => match forward(&remote, request, payload, opens).await {
            Ok(response) => response,
            Err(NotForwarded::TooMany) => Refused::Forwarded.response(sockjs, request),
            // As for a session that is no more, since it may open none here.
            Err(NotForwarded::Unreachable) => answer(sockjs, request, Payload::None).await,
        },
        Err(refused) => refused.response(sockjs, request),
    }
}

/// Where a request is served.
enum Found {
    /// Here, with the claim to its session if there is none yet.
    Here(Option<Claimed>),
    There(Remote),
}

async fn find(
    sockjs: &SockJs,
    elsewhere: &Arc<dyn Elsewhere>,
    id: &str,
    opens: bool,
    is_forwarded: bool,
) -> Result<Found, Refused> {
    let key = sockjs.table().key(id);
    loop {
        match sockjs.table().look(key, opens && !is_forwarded)? {
            Known::Here => return Ok(Found::Here(None)),
            Known::Unknown if is_forwarded => return Ok(Found::Here(None)),
            Known::Unknown => {
                return Ok(elsewhere.find(id).await.map_or(Found::Here(None), Found::There));
            }
            Known::Wait(hears) => match hears.await {
                Ok(_) if is_forwarded => return Ok(Found::Here(None)),
                Ok(remote) => return Ok(Found::There(remote)),
                // It is open now, or was given up.
                Err(_) => {}
            },
            Known::Claimed(claim) => {
                let claimed = Claimed { sockjs: sockjs.clone(), id: id.into(), key, claim };
                return Ok(match elsewhere.claim(id).await {
                    elsewhere::Claim::Mine => Found::Here(Some(claimed)),
                    elsewhere::Claim::Theirs(remote) => {
                        sockjs.table().give_up(key, claim, Some(&remote));
                        Found::There(remote)
                    }
                });
            }
        }
    }
}

/// A session that is not open yet. Unless it is by the time that this is dropped, somebody else may claim it.
struct Claimed {
    sockjs: SockJs,
    id: Box<str>,
    key: Key,
    claim: Claim,
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let table = self.sockjs.table();
        if table.is_claimed(self.key, self.claim) {
            // In this order: who claims it next does so after that.
            if let Some(elsewhere) = &self.sockjs.settings().elsewhere {
                elsewhere.release(&self.id);
            }
            table.give_up(self.key, self.claim, None);
        }
    }
}

async fn forward(
    remote: &Remote,
    request: &HttpRequest,
    payload: Payload,
    waits: bool,
) -> Result<HttpResponse, NotForwarded> {
    // A receiver may wait for long, and its session must know when it has gone.
    let io = request.conn_data::<Io>().filter(|_| waits).cloned();
    let forwarded = remote.forward(request, payload);
    let gone = pin!(poll_fn(|cx| io.as_ref().map_or(Poll::Pending, |io| io.poll_ended(cx))));
    let mut response = match select(forwarded, gone).await {
        Either::Left((response, _)) => response?,
        // Nobody reads it.
        Either::Right(_) => return Ok(HttpResponse::BadGateway().finish()),
    };
    if request.version() < Version::HTTP_11 && response.body().size() == BodySize::Stream {
        // The end of the connection is that of the response.
        response.head_mut().set_connection_type(ConnectionType::Close);
        response.head_mut().no_chunking(true);
    }
    Ok(response.map_body(|_, body| Watched { body, io }).map_into_boxed_body())
}
