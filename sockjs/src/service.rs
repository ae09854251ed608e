//! A SockJS service: a handler, its settings, and the sessions that it has.

use std::{
    fmt,
    rc::Rc,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use actix_web::dev::HttpServiceFactory;

use crate::{
    config::Config,
    frame::Framing,
    http::Table,
    peer::Peer,
    receiver::{Incoming, Sink},
    routes::Mounted,
    session::Session,
    worker::Worker,
};

/// A SockJS service: what to do with sessions, and the settings.
///
/// Make it once, outside of the closure that makes an `App` for each worker, and mount it in all of them: clones are the
/// same service. Requests of a session may come to any worker, and are handed to the one that has it; workers with a
/// service each would not find each other's sessions. See the [crate] for an example.
#[derive(Clone)]
pub struct SockJs(Arc<Shared>);

struct Shared {
    /// Tells services apart.
    id: u64,
    handler: Arc<dyn Handler>,
    config: Config,
    table: Table,
}

/// A handler of any type of future. It starts sessions itself, so that the future need not be
/// boxed.
trait Handler: Send + Sync {
    fn start(&self, sockjs: SockJs, incoming: Incoming, sink: Sink, peer: Peer);
}

impl<H, F> Handler for H
where
    H: Fn(Session) -> F + Send + Sync,
    F: Future<Output = ()> + 'static,
{
    fn start(&self, sockjs: SockJs, incoming: Incoming, sink: Sink, peer: Peer) {
        Session::start(sockjs, incoming, sink, peer, self);
    }
}

impl SockJs {
    /// A service that runs `handler` on each session, in a task of its own on the worker that the session came to, with
    /// the default settings. The task stays there: its future need not be `Send`.
    pub fn new<H, F>(handler: H) -> SockJs
    where
        H: Fn(Session) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + 'static,
    {
        SockJs::with(Arc::new(handler), Config::default())
    }

    fn with(handler: Arc<dyn Handler>, config: Config) -> SockJs {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let table = Table::new(config.max_sessions);
        SockJs(Arc::new(Shared { id, handler, config, table }))
    }

    /// A service with the same handler and these settings. To be called before it is mounted.
    #[must_use]
    pub fn config(self, config: Config) -> SockJs {
        SockJs::with(Arc::clone(&self.0.handler), config)
    }

    /// The settings.
    pub fn settings(&self) -> &Config {
        &self.0.config
    }

    /// Sessions over HTTP that live now, on all workers; each ends, at the latest, with
    /// [`session_timeout`](Config::session_timeout) after its last receiver. WebSockets are not among them.
    pub fn http_sessions(&self) -> usize {
        self.0.table.len()
    }

    /// Ends the session over HTTP of this id, if it lives here, with a close frame of this code and reason. May be called
    /// from any thread; [`Elsewhere`](crate::Elsewhere) says what it is for. Both sides lose what they have not read yet.
    pub fn close_session(&self, id: &str, code: u16, reason: &str) {
        self.0.table.close(id, Framing::SockJsHttp.close(code, reason));
    }

    /// Takes no new sessions from now on, on no worker: who asks for one, or for `/info`, is answered 503, on a connection
    /// that is closed behind that, so that it comes back elsewhere. Sessions that there are go on. For a server that stops.
    pub fn drain(&self) {
        self.0.table.drain();
    }

    /// Whether it takes no new sessions.
    pub fn is_draining(&self) -> bool {
        self.0.table.is_draining()
    }

    /// All endpoints below `prefix`, for `App::service` or `Scope::service`: the greeting, `/info`,
    /// the transports and the raw `/websocket`. All paths below the prefix are the service's; those
    /// that it does not know are not found.
    pub fn mount(&self, prefix: &str) -> impl HttpServiceFactory + use<> + 'static {
        Mounted { prefix: prefix.trim_end_matches('/').to_owned(), sockjs: self.clone() }
    }

    /// A handle that does not keep the service.
    pub fn downgrade(&self) -> WeakSockJs {
        WeakSockJs(Arc::downgrade(&self.0))
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    pub(crate) fn table(&self) -> &Table {
        &self.0.table
    }

    /// What this worker has of the service.
    pub(crate) fn worker(&self) -> Rc<Worker> {
        Worker::of(self)
    }

    /// Starts the handler on a new session.
    pub(crate) fn open(&self, incoming: Incoming, sink: Sink, peer: Peer) {
        self.0.handler.start(self.clone(), incoming, sink, peer);
    }
}

/// A service, if it still is, for those that are themselves part of its settings.
#[derive(Clone)]
pub struct WeakSockJs(Weak<Shared>);

impl WeakSockJs {
    /// The service, if it still is.
    pub fn upgrade(&self) -> Option<SockJs> {
        self.0.upgrade().map(SockJs)
    }
}

impl fmt::Debug for WeakSockJs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakSockJs").finish_non_exhaustive()
    }
}

impl fmt::Debug for SockJs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SockJs").field("config", &self.0.config).finish_non_exhaustive()
    }
}
