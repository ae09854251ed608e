//! A worker: one thread's hub, its mailbox, and what drives them.
//!
//! Owns the turn: drain the mailbox, then write; when idle, that is at once. Doors on the same thread speak to the
//! hub through it. No borrow of the hub is held across an await.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use super::close::CloseReason;
use super::destination::Filter;
use super::encoder::{Beats, Connection, Encoder, Subscription};
use super::hub::Hub;
use super::key::SessionKey;
use super::message::Message;
use super::router::{Mail, Mailbox, Subscribe, WorkerId};
use super::{Broker, Denied, Identity};

/// Entries of the mailbox that one turn takes before it writes. A client whose socket is full by then lags by no
/// more than this, which is well within the bounds of an outbox.
const TURN: usize = 64;

/// How long a worker without timers sleeps; nothing happens then.
const NEVER: Duration = Duration::from_secs(3600);

/// One thread's sessions. Shared on its thread as `Rc<Worker>`; another thread reaches it by the router.
pub struct Worker {
    id: WorkerId,
    broker: Arc<Broker>,
    hub: RefCell<Hub>,
    mailbox: RefCell<mpsc::Receiver<Mail>>,
    earlier_timer: Notify,
}

impl Worker {
    /// Starts a worker on this thread, which must run a [`tokio::task::LocalSet`].
    pub fn start(broker: Arc<Broker>, mailbox: Mailbox) -> Rc<Worker> {
        let worker = Rc::new_cyclic(|this| Worker {
            id: mailbox.worker,
            hub: RefCell::new(Hub::new(
                mailbox.worker,
                Weak::clone(this),
                broker.router.clone(),
                broker.metrics.clone(),
                broker.limits,
            )),
            mailbox: RefCell::new(mailbox.receiver),
            broker,
            earlier_timer: Notify::new(),
        });
        tokio::task::spawn_local(worker.clone().run());
        worker
    }

    /// The broker that this is a worker of.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    async fn run(self: Rc<Worker>) {
        let sleep = sleep_until(Instant::now() + NEVER);
        tokio::pin!(sleep);
        loop {
            let next = self
                .hub
                .borrow()
                .next_timer()
                .unwrap_or_else(|| Instant::now() + NEVER);
            if sleep.deadline() != next {
                sleep.as_mut().reset(next);
            }
            tokio::select! {
                biased;
                mail = poll_fn(|context| self.mailbox.borrow_mut().poll_recv(context)) => match mail {
                    Some(mail) => self.turn(Some(mail)),
                    None => break,
                },
                () = &mut sleep => self.hub.borrow_mut().run_timers(),
                () = self.earlier_timer.notified() => continue,
            }
            // Sockets that became writable, and readers, come before the next turn.
            tokio::task::yield_now().await;
        }
    }

    /// Takes what is in the mailbox, up to a bound, and writes.
    fn turn(&self, first: Option<Mail>) {
        let mut hub = self.hub.borrow_mut();
        hub.tick();
        let mut mailbox = self.mailbox.borrow_mut();
        let mut taken = 0;
        let mut next = first.or_else(|| mailbox.try_recv().ok());
        while let Some(mail) = next {
            hub.take(mail);
            taken += 1;
            next = if taken < TURN {
                mailbox.try_recv().ok()
            } else {
                None
            };
        }
        hub.flush();
    }

    /// Subscribes a session. When this returns, messages published from now on reach it; `receipt`, a wire frame,
    /// goes out before the first of them.
    ///
    /// # Errors
    /// [`Denied`] if the identity may not.
    pub async fn subscribe(
        &self,
        identity: &Identity,
        session: SessionKey,
        filter: Filter,
        subscription: Subscription,
        receipt: Option<Bytes>,
    ) -> Result<(), Denied> {
        let subscribe = Box::new(Subscribe {
            session,
            filter,
            subscription,
            receipt,
        });
        self.broker.subscribe(identity, self.id, subscribe).await?;
        // What follows on this connection finds the subscription in place: it is among what is in the mailbox now.
        let entries = self.mailbox.borrow().len();
        for _ in 0..entries.div_ceil(TURN) {
            self.turn(None);
        }
        Ok(())
    }

    /// Ends one subscription; nothing more comes of it. Says whether there was one of that id.
    pub fn unsubscribe(&self, session: SessionKey, subscription: &str) -> bool {
        self.hub.borrow_mut().leave(session, subscription)
    }

    /// A connection was opened; `transport` is its label in metrics. It ends with [`Worker::remove`].
    pub fn open(
        &self,
        connection: Box<dyn Connection>,
        encoder: &'static dyn Encoder,
        transport: &'static str,
    ) -> SessionKey {
        self.hub.borrow_mut().open(connection, encoder, transport)
    }

    /// A name for a session that no other session of the installation has.
    pub fn name(&self, session: SessionKey) -> String {
        format!(
            "{:08x}-{}-{session}",
            self.broker.channels.incarnation(),
            self.id.0
        )
    }

    /// The client said who it is, and it was agreed how the connection is kept alive.
    pub fn connected(&self, session: SessionKey, encoder: &'static dyn Encoder, beats: Beats) {
        self.hub.borrow_mut().connected(session, encoder, beats);
    }

    /// Something was heard from the client. Says whether it is still listened to: not after last words.
    pub fn heard(&self, session: SessionKey) -> bool {
        self.hub.borrow_mut().heard(session)
    }

    /// Puts a frame of the session's own behind everything that it was given. Written by [`Worker::flush`].
    pub fn send(&self, session: SessionKey, frame: Bytes) {
        self.hub.borrow_mut().send(session, frame);
    }

    /// Sends a message to the session's own subscriptions that match it. Returns how many there were.
    pub fn reply(&self, session: SessionKey, message: &Message) -> usize {
        self.hub.borrow_mut().reply(session, message)
    }

    /// Writes what [`Worker::send`] and [`Worker::reply`] left.
    pub fn flush(&self) {
        self.hub.borrow_mut().flush();
    }

    /// Ends a session with last words of the door's: an error, and the end of the connection.
    pub fn end(&self, session: SessionKey, last_words: Bytes, reason: CloseReason) {
        let mut hub = self.hub.borrow_mut();
        hub.end(session, last_words, reason);
        hub.flush();
    }

    /// The client said goodbye; `last_words` answer it. It is given time to close, then it is closed.
    pub fn linger(&self, session: SessionKey, last_words: Bytes) {
        let mut hub = self.hub.borrow_mut();
        hub.linger(session, last_words);
        hub.flush();
    }

    /// The connection has ended. `reason` counts where the hub knows none.
    pub fn remove(&self, session: SessionKey, reason: CloseReason) {
        self.hub.borrow_mut().remove(session, reason);
    }

    /// Waits until the session may be read from: a client that does not read is not read from.
    pub async fn room(&self, session: SessionKey) {
        poll_fn(|context| {
            if self.hub.borrow_mut().poll_room(session, context.waker()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// The ids of a session's subscriptions, with what they ask for.
    pub fn subscriptions(&self, session: SessionKey) -> Vec<(ByteString, Filter)> {
        self.hub.borrow().subscriptions(session)
    }

    /// A connection that took nothing may take something again.
    pub(super) fn writable(&self, session: SessionKey) {
        let mut hub = self.hub.borrow_mut();
        hub.tick();
        hub.writable(session);
    }

    pub(super) fn earlier_timer(&self) {
        self.earlier_timer.notify_one();
    }
}
