//! Sessions over HTTP that live in other processes: what this crate asks of whoever knows where they are.

use std::{fmt, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse,
    dev::Payload,
    http::header::{HeaderMap, HeaderName, HeaderValue},
};
use futures_util::future::{BoxFuture, LocalBoxFuture};

/// Knows which sessions over HTTP live in other processes (*nodes*), so that the requests of a session may come to any of
/// them. It is asked for the transports alone that have such sessions: not for WebSockets, `/info`, the greeting, the iframe
/// page and preflights.
///
/// Ids are as they stand in the path, and come from anybody.
pub trait Elsewhere: fmt::Debug + Send + Sync {
    /// A request would open a session that is not here. Makes it known as this node's, and finds out whether it is another's:
    /// then it is this node's no more. The session opens, with `o`, when this is answered: it must not take long.
    ///
    /// It is asked once for an id, however many requests for it come meanwhile. What was answered with [`Claim::Mine`] is
    /// [released](Self::release). So is what was never answered, because the request went: the claim is dropped then.
    ///
    /// Where two nodes open a session at the same time and find out later, the one that has lost ends its own by
    /// [`SockJs::close_session`](crate::SockJs::close_session).
    fn claim(&self, id: &str) -> BoxFuture<'static, Claim>;

    /// A client sends to a session that is not here. Where it is, if it is anywhere.
    fn find(&self, id: &str) -> BoxFuture<'static, Option<Remote>>;

    /// What was claimed is this node's no more: the session has ended, or was never opened. Must not wait: a session of this
    /// id that opens after it is claimed anew.
    fn release(&self, id: &str);

    /// The header by which another node proves that it has forwarded a request. Such a request is not forwarded again,
    /// and opens no session. Handlers are not shown the header.
    fn proof(&self) -> (&HeaderName, &HeaderValue);
}

/// The answer to a claim.
#[derive(Debug, Clone)]
pub enum Claim {
    /// The session is opened here.
    Mine,
    /// The session lives on another node.
    Theirs(Remote),
}

/// A node that has a session.
#[derive(Clone)]
pub struct Remote(Arc<dyn Forward>);

/// Brings requests to another node.
pub trait Forward: Send + Sync {
    /// Forwards a request, and gives the answer. The other node judges it as if it had come there: all headers go along but
    /// those of the connection, and the other node's [proof](Elsewhere::proof).
    ///
    /// Where the client goes, the future is dropped, or the body of its answer.
    fn forward(
        &self,
        request: &HttpRequest,
        payload: Payload,
    ) -> LocalBoxFuture<'static, Result<HttpResponse, NotForwarded>>;
}

/// Why a request did not get an answer from the node that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotForwarded {
    /// There are as many requests under way as there may be: the client is told 503.
    TooMany,
    /// That node can't be reached, or does not answer: the client is told that its session is interrupted, and begins anew.
    Unreachable,
}

impl Remote {
    /// A node to which requests are brought so.
    pub fn new(forward: impl Forward + 'static) -> Remote {
        Remote(Arc::new(forward))
    }

    pub(crate) fn forward(
        &self,
        request: &HttpRequest,
        payload: Payload,
    ) -> LocalBoxFuture<'static, Result<HttpResponse, NotForwarded>> {
        self.0.forward(request, payload)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

/// Whether a request was forwarded by another node.
pub(crate) fn is_forwarded(elsewhere: &dyn Elsewhere, headers: &HeaderMap) -> bool {
    let (name, secret) = elsewhere.proof();
    headers.get(name).is_some_and(|proof| is_same(proof.as_bytes(), secret.as_bytes()))
}

/// Compares in a time that says nothing of where a guess is wrong.
fn is_same(guess: &[u8], secret: &[u8]) -> bool {
    let differ = guess.iter().zip(secret).fold(0, |differ, (one, other)| differ | (one ^ other));
    guess.len() == secret.len() && differ == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_the_whole_secret() {
        assert!(is_same(b"abc", b"abc"));
        for guess in [&b"abd"[..], b"bbc", b"ab", b"abcd", b""] {
            assert!(!is_same(guess, b"abc"));
        }
    }
}
