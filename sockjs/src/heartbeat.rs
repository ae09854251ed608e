//! Heartbeats of sessions used in the plain way: one timer for all sessions of a service on a
//! worker.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::{Rc, Weak},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::link::Link;

/// The sessions that get heartbeats, in the order in which they are due. As all have the same
/// interval, that is the order in which they came, each going to the end when it had its turn.
pub(crate) struct Heartbeats {
    interval: Duration,
    due: RefCell<VecDeque<(Instant, Weak<Link>)>>,
    running: Cell<bool>,
}

impl Heartbeats {
    pub(crate) fn new(interval: Duration) -> Rc<Self> {
        Rc::new(Heartbeats { interval, due: RefCell::default(), running: Cell::new(false) })
    }

    pub(crate) fn add(self: &Rc<Self>, link: Weak<Link>) {
        self.due.borrow_mut().push_back((from_now(self.interval), link));
        if !self.running.replace(true) {
            let this = Rc::clone(self);
            actix_rt::spawn(async move { this.run().await });
        }
    }

    /// Runs while there are sessions.
    async fn run(&self) {
        loop {
            let next = self.due.borrow().front().map(|(due, _)| *due);
            let Some(next) = next else {
                return self.running.set(false);
            };
            sleep_until(next).await;
            self.beat(Instant::now());
        }
    }

    fn beat(&self, now: Instant) {
        let mut due = self.due.borrow_mut();
        while let Some((at, link)) = due.pop_front() {
            if at > now {
                due.push_front((at, link));
                return;
            }
            if let Some(session) = link.upgrade().filter(|session| !session.is_closed()) {
                session.heartbeat();
                due.push_back((from_now(self.interval), link));
            }
        }
    }
}

/// When that will have passed; for what is never to pass, a time that nobody sees.
pub(crate) fn from_now(time: Duration) -> Instant {
    const YEARS: Duration = Duration::from_secs(30 * 365 * 86_400);
    Instant::now() + time.min(YEARS)
}
