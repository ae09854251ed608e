//! A SockJS service: a handler and its settings.

use std::{fmt, rc::Rc};

use actix_web::dev::HttpServiceFactory;

use crate::{
    config::Config,
    heartbeat::Heartbeats,
    peer::Peer,
    receiver::{Incoming, Sink},
    routes::Mounted,
    session::Session,
};

/// A SockJS service: what to do with sessions, and the settings.
///
/// It belongs to one worker, as everything in an actix-web `App` does: make it where the `App` is
/// made. Clones are the same service. See the [crate] for an example.
#[derive(Clone)]
pub struct SockJs {
    handler: Rc<dyn Handler>,
    config: Rc<Config>,
    heartbeats: Rc<Heartbeats>,
}

/// A handler of any type of future. It starts sessions itself, so that the future need not be
/// boxed.
trait Handler {
    fn start(&self, sockjs: SockJs, incoming: Incoming, sink: Sink, peer: Peer);
}

impl<H, F> Handler for H
where
    H: Fn(Session) -> F,
    F: Future<Output = ()> + 'static,
{
    fn start(&self, sockjs: SockJs, incoming: Incoming, sink: Sink, peer: Peer) {
        Session::start(sockjs, incoming, sink, peer, self);
    }
}

impl SockJs {
    /// A service that runs `handler` on each session, in a task of its own, with the default
    /// settings.
    pub fn new<H, F>(handler: H) -> SockJs
    where
        H: Fn(Session) -> F + 'static,
        F: Future<Output = ()> + 'static,
    {
        let config = Config::default();
        SockJs {
            handler: Rc::new(handler),
            heartbeats: Heartbeats::new(config.heartbeat),
            config: Rc::new(config),
        }
    }

    /// The service with these settings. To be called before it is mounted: what was mounted before
    /// keeps its own.
    pub fn config(mut self, config: Config) -> SockJs {
        self.heartbeats = Heartbeats::new(config.heartbeat);
        self.config = Rc::new(config);
        self
    }

    /// The settings.
    pub fn settings(&self) -> &Config {
        &self.config
    }

    /// All endpoints below `prefix`, for `App::service` or `Scope::service`: the greeting, `/info`,
    /// the transports and the raw `/websocket`. All paths below the prefix are the service's; those
    /// that it does not know are not found.
    pub fn mount(&self, prefix: &str) -> impl HttpServiceFactory + use<> + 'static {
        Mounted { prefix: prefix.trim_end_matches('/').to_owned(), sockjs: self.clone() }
    }

    pub(crate) fn heartbeats(&self) -> &Rc<Heartbeats> {
        &self.heartbeats
    }

    /// Starts the handler on a new session.
    pub(crate) fn open(&self, incoming: Incoming, sink: Sink, peer: Peer) {
        self.handler.start(self.clone(), incoming, sink, peer);
    }
}

impl fmt::Debug for SockJs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SockJs").field("config", &self.config).finish_non_exhaustive()
    }
}
