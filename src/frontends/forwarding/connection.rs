//! Connections to other nodes: kept for the next request for a short while, each by the thread that made it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::Stream as _;
use hyper::body::{Body, Frame};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long one is kept that nobody uses. Nodes close theirs after five seconds: this end must be the first, or a request is
/// lost.
const IDLE: Duration = Duration::from_secs(2);

/// Connections that a thread keeps to one node.
const MOST_IDLE: usize = 1024;

/// How long one may take after an answer until it can take the next request.
const SETTLE: Duration = Duration::from_secs(1);

/// A node whose machine has vanished is given up after a minute; polls are given up before that.
const KEEP_ALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5));

/// Connections that rest, by node, and since when.
type Resting = HashMap<Box<str>, Vec<(Instant, Connection)>>;

thread_local! {
    static RESTING: RefCell<Resting> = RefCell::default();
}

/// A connection to another node. It is closed when this is dropped.
pub(super) struct Connection {
    pub(super) requests: SendRequest<Outgoing>,
    task: JoinHandle<()>,
    node: Box<str>,
}

impl Connection {
    /// One that was kept and can be used.
    pub(super) fn kept(node: &str) -> Option<Connection> {
        RESTING.with_borrow_mut(|resting| {
            let connections = resting.get_mut(node)?;
            while let Some((since, connection)) = connections.pop() {
                if since.elapsed() < IDLE && connection.requests.is_ready() {
                    return Some(connection);
                }
            }
            None
        })
    }

    /// A new one.
    pub(super) async fn open(node: &str) -> io::Result<Connection> {
        let socket = timeout(CONNECT_TIMEOUT, TcpStream::connect(node)).await??;
        // Best effort.
        let _ = socket.set_nodelay(true);
        let _ = SockRef::from(&socket).set_tcp_keepalive(&KEEP_ALIVE);
        let (requests, connection) = handshake(TokioIo::new(socket)).await.map_err(io::Error::other)?;
        let task = actix_rt::spawn(async move {
            // Whoever waits for an answer hears of it.
            let _ = connection.await;
        });
        Ok(Connection { requests, task, node: node.into() })
    }

    /// Keeps it for the next request.
    pub(super) fn keep(mut self) {
        if self.requests.is_ready() {
            return self.put();
        }
        actix_rt::spawn(async move {
            if let Ok(Ok(())) = timeout(SETTLE, self.requests.ready()).await {
                self.put();
            }
        });
    }

    fn put(self) {
        RESTING.with_borrow_mut(|resting| {
            resting.retain(|_, connections| {
                connections.retain(|(since, _)| since.elapsed() < IDLE);
                !connections.is_empty()
            });
            let connections = resting.entry(self.node.clone()).or_default();
            if connections.len() < MOST_IDLE {
                connections.push((Instant::now(), self));
            }
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The body of a request, as it comes from the client.
pub(super) struct Outgoing(pub(super) Option<Payload>);

impl Body for Outgoing {
    type Data = Bytes;
    type Error = PayloadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, PayloadError>>> {
        let Some(payload) = &mut self.0 else { return Poll::Ready(None) };
        let chunk = ready!(Pin::new(payload).poll_next(cx));
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}
