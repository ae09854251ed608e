//! The sessions over HTTP that live on one worker.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    pin::pin,
    rc::{Rc, Weak},
    time::Duration,
};

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::future::{Either, select};
use slab::Slab;
use tokio::{
    sync::{
        mpsc::{self, UnboundedReceiver},
        oneshot,
    },
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    credentials::Credentials,
    outlet::{Outlet, PollAnswer, Streaming},
    session::{HttpSession, Over, Reader, Writer},
    table::{Entered, Key, May, Place, Refusal},
};
use crate::{
    SockJs,
    carrier::response::{Moved, TakenResponse},
    frame::Framing,
    heartbeat::from_now,
    peer::Peer,
    receiver::{Incoming, Sink},
    server::Exchange,
};

/// What one worker asks of another: all that a request needs of the session that it is for.
pub(super) enum Errand {
    /// A receiver came, whose response is written into.
    Receive { place: Place, response: Response },
    /// Messages came.
    Send { place: Place, messages: Vec<ByteString>, answer: oneshot::Sender<Result<(), Over>> },
    /// The session is to end with this frame.
    Close { place: Place, close: Bytes },
}

/// The response of a receiver, on its way to the session.
pub(super) enum Response {
    Poll(PollAnswer),
    Stream(Streaming),
    /// A socket that changes its thread.
    Moved(Moved),
}

impl Response {
    /// Takes an outlet off this thread.
    fn leave(outlet: Outlet) -> io::Result<Response> {
        Ok(match outlet {
            Outlet::Poll(poll) => Response::Poll(poll),
            Outlet::Stream(stream) => Response::Stream(stream),
            Outlet::Taken(response) => Response::Moved(response.leave()?),
        })
    }

    /// Makes it an outlet of this thread.
    fn enter(self, exchange: Option<Rc<Exchange>>) -> io::Result<Outlet> {
        Ok(match self {
            Response::Poll(poll) => Outlet::Poll(poll),
            Response::Stream(stream) => Outlet::Stream(stream),
            Response::Moved(moved) => Outlet::Taken(Box::new(TakenResponse::enter(moved, exchange)?)),
        })
    }
}

/// One worker's sessions of one service.
pub(crate) struct Home {
    sockjs: SockJs,
    /// The number of the worker.
    worker: usize,
    sessions: RefCell<Slab<Lodger>>,
    serial: Cell<u64>,
    timeout: Duration,
    /// Sessions without a receiver, in the order in which they came to be so: as all have the same time, that in which it
    /// runs out.
    expiring: RefCell<VecDeque<(Instant, Place, u32)>>,
    is_expiring: Cell<bool>,
    errands: Cell<Option<JoinHandle<()>>>,
}

struct Lodger {
    key: Key,
    /// Its id, where it is known elsewhere by it.
    id: Option<Box<str>>,
    session: Rc<HttpSession>,
}

impl Home {
    pub(crate) fn new(sockjs: &SockJs) -> Rc<Home> {
        let (send, errands) = mpsc::unbounded_channel();
        let home = Rc::new(Home {
            sockjs: sockjs.clone(),
            worker: sockjs.table().add_worker(send),
            sessions: RefCell::default(),
            serial: Cell::new(0),
            timeout: sockjs.settings().session_timeout,
            expiring: RefCell::default(),
            is_expiring: Cell::new(false),
            errands: Cell::new(None),
        });
        home.errands.set(Some(actix_rt::spawn(run_errands(Rc::downgrade(&home), errands))));
        home
    }

    /// Finds the session that a receiver asks for, or opens it.
    pub(super) fn open(
        self: &Rc<Self>,
        id: &str,
        credentials: Credentials,
        may: May,
        transport: &'static str,
        peer: impl FnOnce() -> Peer,
    ) -> Result<Place, Refusal> {
        let key = self.sockjs.table().key(id);
        let slot = self.sessions.borrow().vacant_key();
        let place = Place { worker: self.worker, slot, serial: self.serial.get() };
        if let Entered::Found(place) = self.sockjs.table().enter(key, credentials, may, || place)? {
            return Ok(place);
        }
        self.serial.set(place.serial + 1);
        let config = self.sockjs.settings();
        let session = HttpSession::new(self, place, config.queue_bytes);
        let id = config.elsewhere.is_some().then(|| id.into());
        self.sessions.borrow_mut().insert(Lodger { key, id, session: Rc::clone(&session) });
        session.begin();
        let incoming = Incoming::new(Reader(Rc::clone(&session)));
        let sink = Sink::new(Rc::new(Writer(session)), Framing::SockJsHttp, transport);
        self.sockjs.open(incoming, sink, peer());
        Ok(place)
    }

    /// Hands a session its receiver, wherever it is.
    pub(super) fn receive(&self, place: Place, outlet: Outlet) {
        if place.worker == self.worker {
            return self.attach(place, outlet);
        }
        match Response::leave(outlet) {
            // If that worker is no more, neither is the session: the response ends, and the client asks again.
            Ok(response) => self.sockjs.table().send(place.worker, Errand::Receive { place, response }),
            Err(error) => not_moved(&error),
        }
    }

    /// Hands messages to a session, wherever it is.
    pub(super) async fn send(&self, place: Place, messages: Vec<ByteString>) -> Result<(), Over> {
        if place.worker == self.worker {
            let session = self.session(place).ok_or(Over)?;
            return session.push(messages).await;
        }
        let (answer, answered) = oneshot::channel();
        let errand = Errand::Send { place, messages, answer };
        self.sockjs.table().send(place.worker, errand);
        answered.await.unwrap_or(Err(Over))
    }

    fn session(&self, place: Place) -> Option<Rc<HttpSession>> {
        let sessions = self.sessions.borrow();
        let session = &sessions.get(place.slot)?.session;
        (session.place() == place).then(|| Rc::clone(session))
    }

    fn attach(&self, place: Place, outlet: Outlet) {
        match self.session(place) {
            Some(session) => session.attach(outlet),
            // It went while the receiver was on its way.
            None => outlet.last(INTERRUPTED),
        }
    }

    fn run(self: &Rc<Self>, errand: Errand, exchange: Option<Rc<Exchange>>) {
        match errand {
            Errand::Receive { place, response } => match response.enter(exchange) {
                Ok(outlet) => self.attach(place, outlet),
                Err(error) => not_moved(&error),
            },
            Errand::Close { place, close } => {
                if let Some(session) = self.session(place) {
                    session.close(close);
                }
            }
            Errand::Send { place, messages, mut answer } => {
                let session = self.session(place);
                actix_rt::spawn(async move {
                    let pushed = match session {
                        // The messages of a request that has gone wait for nothing.
                        Some(session) => {
                            match select(pin!(session.push(messages)), pin!(answer.closed())).await {
                                Either::Left((pushed, _)) => pushed,
                                Either::Right(_) => return,
                            }
                        }
                        None => Err(Over),
                    };
                    let _ = answer.send(pushed);
                });
            }
        }
    }

    /// Lets a session's time run out, unless it changes before.
    pub(super) fn expire_later(self: &Rc<Self>, place: Place, change: u32) {
        self.expiring.borrow_mut().push_back((from_now(self.timeout), place, change));
        if !self.is_expiring.replace(true) {
            actix_rt::spawn(expire(Rc::downgrade(self)));
        }
    }

    /// How many time-outs of a session a time is, rounded up.
    pub(super) fn timeouts_in(&self, time: Duration) -> u32 {
        let count = time.as_millis().div_ceil(self.timeout.as_millis().max(1));
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Forgets the sessions whose time has run out. Returns when the next one's does.
    fn expire_until(&self, now: Instant) -> Option<Instant> {
        loop {
            let (due, place, change) = *self.expiring.borrow().front()?;
            if due > now {
                return Some(due);
            }
            self.expiring.borrow_mut().pop_front();
            if let Some(session) = self.session(place)
                && session.expire(change)
            {
                let lodger = self.sessions.borrow_mut().remove(place.slot);
                lodger.leave(&self.sockjs);
            }
        }
    }
}

/// What a receiver gets whose session went while it came.
pub(super) const INTERRUPTED: &[u8] = b"c[1002,\"Connection interrupted\"]\n";

/// The client notices that its connection is closed, and begins anew.
fn not_moved(error: &io::Error) {
    tracing::warn!(%error, "a connection could not change its thread");
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Some(errands) = self.errands.take() {
            errands.abort();
        }
        for (_, lodger) in self.sessions.get_mut().iter() {
            lodger.leave(&self.sockjs);
        }
    }
}

impl Lodger {
    /// Forgets the session, elsewhere first: who claims its id next does so after that.
    fn leave(&self, sockjs: &SockJs) {
        if let (Some(elsewhere), Some(id)) = (&sockjs.settings().elsewhere, &self.id) {
            elsewhere.release(id);
        }
        sockjs.table().leave(self.key, self.session.place());
    }
}

async fn run_errands(home: Weak<Home>, mut errands: UnboundedReceiver<Errand>) {
    while let Some(errand) = errands.recv().await {
        let Some(home) = home.upgrade() else { return };
        let exchange = home.sockjs.worker().exchange();
        home.run(errand, exchange);
    }
}

async fn expire(home: Weak<Home>) {
    loop {
        let Some(here) = home.upgrade() else { return };
        let Some(next) = here.expire_until(Instant::now()) else {
            here.expiring.replace(VecDeque::new());
            return here.is_expiring.set(false);
        };
        drop(here);
        sleep_until(next).await;
    }
}
