//! SockJS sessions over HTTP on many nodes behind a load balancer that keeps nothing in place: a request that comes to a node
//! which does not have its session is brought to the one that has it.
//!
//! Owns the way there (`node.rs`, over the connections of `connection.rs`), how nodes prove who they are to each other, and the
//! bounds of it. Which node has a session is the [`Directory`]'s; when it is asked is the `sockjs` crate's, as what it calls
//! [`Elsewhere`].

mod connection;
mod node;

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::http::header::{HeaderName, HeaderValue};
use futures_util::future::BoxFuture;
use sockjs::{Claim, Elsewhere, Remote, SockJs, WeakSockJs};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

use self::node::Node;
use crate::config::NodeUrl;
use crate::telemetry::Metrics;

/// What a node proves by that it has forwarded a request.
const PROOF: &str = "x-stentor-forwarded";

/// How long a session that opens waits for the answer whether it is elsewhere.
const CLAIM_TIMEOUT: Duration = Duration::from_millis(250);

/// How long what a client sends waits for the answer where its session is.
const FIND_TIMEOUT: Duration = Duration::from_secs(2);

/// What nodes tell each other about where their sessions are.
pub trait Directory: Send + Sync {
    /// Called once, before sessions open: what other nodes are to be told of this one, and its sessions.
    fn join(&self, own: NodeAddress, sessions: Sessions);

    /// A session of this id opens here: makes it known, and finds out whether it lives on another node. If so, that is the
    /// answer, and it is known as this node's no more.
    ///
    /// After 250 ms the session opens without the answer. One that comes later and names another node ends it. Where two
    /// nodes claim an id at the same time, exactly one must keep it: the other is answered so, or ends its session by
    /// [`Sessions::interrupt`].
    fn claim(&self, id: &str) -> BoxFuture<'static, Option<NodeAddress>>;

    /// The node that has a session, if another one has it.
    fn find(&self, id: &str) -> BoxFuture<'static, Option<NodeAddress>>;

    /// The session of this id is here no more, or did not open. A claim of it that is still under way is void: it must leave
    /// nothing behind. Must not wait.
    fn release(&self, id: &str);
}

/// What is known of a node to those that forward to it.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeAddress {
    /// Where it is: `http://HOST:PORT`.
    pub url: String,
    /// Its secret, new at each start: by it others prove that they are nodes.
    pub token: String,
}

impl fmt::Debug for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeAddress").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The sessions of this node, from any thread. Does not keep them.
#[derive(Debug, Clone)]
pub struct Sessions(WeakSockJs);

impl Sessions {
    /// Ends a session that turned out to be another node's, by `c[1002,"Connection interrupted"]`: its client begins anew.
    pub fn interrupt(&self, id: &str) {
        if let Some(sockjs) = self.0.upgrade() {
            sockjs.close_session(id, 1002, "Connection interrupted");
        }
    }
}

/// Brings requests to the nodes that have their sessions.
pub struct Forwarding {
    directory: Arc<dyn Directory>,
    own: NodeAddress,
    proof: (HeaderName, HeaderValue),
    sessions: OnceLock<Sessions>,
    way: Way,
}

/// What all requests that are forwarded share.
#[derive(Clone)]
struct Way {
    /// As many as may be under way.
    permits: Arc<Semaphore>,
    /// How long an answer may take to begin.
    patience: Duration,
    metrics: Arc<Metrics>,
}

impl Forwarding {
    /// For a node that others reach at `url`. At most so many requests are under way at the same time; a poll is answered
    /// within `heartbeat`, and everything else at once.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new(
        directory: Arc<dyn Directory>,
        url: &NodeUrl,
        most: usize,
        heartbeat: Duration,
        metrics: Arc<Metrics>,
    ) -> io::Result<Arc<Forwarding>> {
        let token = format!("{:016x}{:016x}", random()?, random()?);
        let secret = HeaderValue::from_str(&token).map_err(io::Error::other)?;
        Ok(Arc::new(Forwarding {
            directory,
            own: NodeAddress { url: url.as_str().to_owned(), token },
            proof: (HeaderName::from_static(PROOF), secret),
            sessions: OnceLock::new(),
            way: Way {
                permits: Arc::new(Semaphore::new(most)),
                patience: heartbeat + Duration::from_secs(5),
                metrics,
            },
        }))
    }

    /// Makes this node known, with the service whose sessions these are.
    pub fn join(&self, sockjs: &SockJs) {
        let sessions = self.sessions.get_or_init(|| Sessions(sockjs.downgrade()));
        self.directory.join(self.own.clone(), sessions.clone());
    }
}

fn random() -> io::Result<u64> {
    getrandom::u64().map_err(io::Error::other)
}

impl Elsewhere for Forwarding {
    fn claim(&self, id: &str) -> BoxFuture<'static, Claim> {
        let claim = self.directory.claim(id);
        let (id, sessions, way) = (id.to_owned(), self.sessions.get().cloned(), self.way.clone());
        Box::pin(async move {
            let mut claim = claim;
            match timeout(CLAIM_TIMEOUT, &mut claim).await {
                Ok(theirs) => theirs.map_or(Claim::Mine, |address| Claim::Theirs(way.to(&address))),
                Err(_) => {
                    tokio::spawn(async move {
                        if let (Some(_), Some(sessions)) = (claim.await, sessions) {
                            sessions.interrupt(&id);
                        }
                    });
                    Claim::Mine
                }
            }
        })
    }

    fn find(&self, id: &str) -> BoxFuture<'static, Option<Remote>> {
        let (found, way) = (self.directory.find(id), self.way.clone());
        Box::pin(async move {
            let address = timeout(FIND_TIMEOUT, found).await.ok()??;
            Some(way.to(&address))
        })
    }

    fn release(&self, id: &str) {
        self.directory.release(id);
    }

    fn proof(&self) -> (&HeaderName, &HeaderValue) {
        (&self.proof.0, &self.proof.1)
    }
}

impl Way {
    fn to(&self, address: &NodeAddress) -> Remote {
        let node = Node::new(address, self.clone());
        if node.is_none() {
            warn!(?address, "a node says that it is where none can be");
        }
        Remote::new(node::MaybeNode(node))
    }
}

impl fmt::Debug for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarding").field("own", &self.own).finish_non_exhaustive()
    }
}
