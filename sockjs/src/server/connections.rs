//! The count of connections taken out of HTTP servers, which these do not count any more.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{net::TcpStream, sync::Notify};

use super::{Octets, Stream};
use crate::{carrier::taken::Socket, config::Config, receiver::Writer};

thread_local! {
    static ON_THIS_WORKER: Cell<usize> = const { Cell::new(0) };
}

/// Counts the connections taken out of the HTTP servers it is [given to](super::Http::connections),
/// over all workers, and keeps them below a bound. Clones count together.
///
/// ```
/// let connections = sockjs::server::Connections::at_most(20_000);
/// assert_eq!(connections.total(), 0);
/// ```
#[derive(Debug, Clone)]
pub struct Connections(Arc<Count>);

#[derive(Debug)]
struct Count {
    total: AtomicUsize,
    max: usize,
    /// Idle connections are to go.
    closing: AtomicBool,
    close: Notify,
}

impl Connections {
    /// Counts without a bound.
    pub fn unbounded() -> Self {
        Connections::at_most(usize::MAX)
    }

    /// Counts up to `max`. A WebSocket beyond it is refused with 503 before its session begins.
    pub fn at_most(max: usize) -> Self {
        let (closing, close) = (AtomicBool::new(false), Notify::new());
        Connections(Arc::new(Count { total: AtomicUsize::new(0), max, closing, close }))
    }

    /// Connections taken and not yet closed, on all workers.
    pub fn total(&self) -> usize {
        self.0.total.load(Ordering::Relaxed)
    }

    /// Closes the connections on which nothing is under way, now and from now on: the server stops.
    pub fn close_idle(&self) {
        self.0.closing.store(true, Ordering::Relaxed);
        self.0.close.notify_waiters();
    }

    /// Ready when idle connections are to go.
    pub(crate) async fn closing(&self) {
        let notified = self.0.close.notified();
        if !self.0.closing.load(Ordering::Relaxed) {
            notified.await;
        }
    }

    /// The bound; `usize::MAX` if there is none.
    pub fn max(&self) -> usize {
        self.0.max
    }

    /// Connections taken and not yet closed on the worker that asks, by all servers of the process.
    pub fn on_this_worker() -> usize {
        ON_THIS_WORKER.try_with(Cell::get).unwrap_or(0)
    }

    /// Takes a socket on which something else than SockJS is spoken, beside the sessions and counted with them; an idle one
    /// holds no buffer. To be called on the worker that serves it.
    ///
    /// # Errors
    /// The socket, if it would be one too many.
    pub fn take(&self, tcp: TcpStream) -> Result<(Octets, Writer), TcpStream> {
        let Some(counted) = self.enter() else {
            return Err(tcp);
        };
        let stream = Stream::Tcp(tcp);
        stream.tune(Config::default().notsent_lowat);
        let socket = Socket::new(stream, counted);
        Ok((Octets::new(Rc::clone(&socket)), Writer::new(socket)))
    }

    /// Counts one more, unless that would be one too many.
    pub(crate) fn enter(&self) -> Option<Counted> {
        self.0
            .total
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.0.max).then_some(n + 1))
            .ok()?;
        ON_THIS_WORKER.with(|n| n.set(n.get() + 1));
        Some(Counted(Arc::clone(&self.0)))
    }
}

impl Default for Connections {
    fn default() -> Self {
        Connections::unbounded()
    }
}

/// One connection's place in the counts; dropped on the worker that it was made on.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Count>);

impl Counted {
    /// The count that this place is in.
    pub(crate) fn connections(&self) -> Connections {
        Connections(Arc::clone(&self.0))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.total.fetch_sub(1, Ordering::Relaxed);
        // When a worker ends, the counter of its thread may be gone before its last connections.
        let _ = ON_THIS_WORKER.try_with(|n| n.set(n.get() - 1));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn counts_on_the_worker_and_over_all() {
        let connections = Connections::at_most(2);
        let first = connections.enter();
        let other = Connections::unbounded();
        let elsewhere = other.enter();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(Connections::on_this_worker(), 0);
                let second = connections.enter();
                assert_eq!((connections.total(), Connections::on_this_worker()), (2, 1));
                assert!(connections.enter().is_none(), "one too many");
                drop(second);
                assert_eq!((connections.total(), Connections::on_this_worker()), (1, 0));
            });
        });
        assert_eq!((connections.total(), other.total()), (1, 1));
        assert_eq!(Connections::on_this_worker(), 2);
        drop((first, elsewhere));
        assert_eq!((connections.total(), other.total()), (0, 0));
        assert_eq!(Connections::on_this_worker(), 0);
    }

    #[actix_web::test]
    async fn a_socket_for_something_else_is_counted_and_has_two_halves() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connect = || async {
            let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            (peer, listener.accept().await.unwrap().0)
        };
        let connections = Connections::at_most(1);
        let (mut peer, socket) = connect().await;
        let (mut octets, writer) = connections.take(socket).unwrap();
        assert!(connections.take(connect().await.1).is_err(), "one too many");
        peer.write_all(b"hello").await.unwrap();
        assert_eq!(octets.next().await.unwrap().unwrap(), "hello");
        assert_eq!(writer.try_write(b"bye").unwrap(), 3);
        writer.shutdown();
        let mut heard = Vec::new();
        peer.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"bye");
        drop(peer);
        assert!(octets.next().await.unwrap().is_none());
        drop((octets, writer));
        assert_eq!(connections.total(), 0);

        let (_peer, socket) = connect().await;
        let (mut octets, writer) = connections.take(socket).unwrap();
        writer.abort();
        assert!(octets.next().await.unwrap().is_none(), "it is over at once");
        assert!(writer.try_write(b"x").is_err());
    }
}
