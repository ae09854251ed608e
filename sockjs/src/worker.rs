//! What one worker has of a service.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
};

use crate::{SockJs, heartbeat::Heartbeats, http::Home, server::Exchange};

thread_local! {
    /// This thread's part of each service that it serves.
    static WORKERS: RefCell<Vec<(u64, Weak<Worker>)>> = const { RefCell::new(Vec::new()) };
}

/// One worker's part of a service, for as long as something uses it: a mounted service, a session.
pub(crate) struct Worker {
    heartbeats: Rc<Heartbeats>,
    home: Rc<Home>,
    /// The HTTP server of this worker, if it is one that gives up its sockets.
    exchange: RefCell<Option<Rc<Exchange>>>,
}

impl Worker {
    /// That of this thread, made when it is asked for first.
    pub(crate) fn of(sockjs: &SockJs) -> Rc<Worker> {
        WORKERS.with_borrow_mut(|workers| {
            if let Some(worker) =
                workers.iter().find(|(id, _)| *id == sockjs.id()).and_then(|(_, worker)| worker.upgrade())
            {
                return worker;
            }
            workers.retain(|(_, worker)| worker.strong_count() > 0);
            let worker = Rc::new(Worker {
                heartbeats: Heartbeats::new(sockjs.settings().heartbeat),
                home: Home::new(sockjs),
                exchange: RefCell::new(None),
            });
            workers.push((sockjs.id(), Rc::downgrade(&worker)));
            worker
        })
    }

    pub(crate) fn heartbeats(&self) -> &Rc<Heartbeats> {
        &self.heartbeats
    }

    pub(crate) fn set_exchange(&self, exchange: &Rc<Exchange>) {
        self.exchange.replace(Some(Rc::clone(exchange)));
    }

    pub(crate) fn exchange(&self) -> Option<Rc<Exchange>> {
        self.exchange.borrow().clone()
    }

    /// The sessions over HTTP that live here.
    pub(crate) fn home(&self) -> &Rc<Home> {
        &self.home
    }
}
