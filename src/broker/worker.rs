//! A worker: one thread's hub, its mailbox, and what drives them.
//!
//! Owns the turn: drain the mailbox, then write; when idle, that is at once. Doors on the same thread speak to the
//! hub through it. No borrow of the hub is held across an await.

use std::cell::RefCell;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use futures_util::FutureExt as _;
use tokio::sync::{Notify, mpsc};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::error;

use super::access::Operation;
use super::channel::Found;
use super::close::CloseReason;
use super::destination::Destination;
use super::encoder::{AckMode, Beats, Connection, Encoder, Subscription};
use super::hub::{Consume, Hub};
use super::key::SessionKey;
use super::message::{Message, MessageId};
use super::queue::Verdict;
use super::router::{Mail, Mailbox, Subscribe, SubscriberTerms, WorkerId};
use super::selector::Selector;
use super::{Broker, Identity, Unsubscribed};

/// Entries of the mailbox that one turn takes before it writes. A client whose socket is full by then lags by no
/// more than this, which is well within the bounds of an outbox.
const TURN: usize = 64;

/// The longest rest between two turns. It is as short as the timer can measure; a reader on the same machine needs some
/// 50 µs to make room.
const PAUSE: Duration = Duration::from_millis(1);

/// How late a message of a queue may expire.
const EXPIRY: Duration = Duration::from_millis(500);

/// How long a worker without timers sleeps; nothing happens then.
const NEVER: Duration = Duration::from_secs(3600);

/// What a client asks of a queue.
#[derive(Debug)]
pub struct ConsumerTerms {
    /// Under which id, and how it acknowledges.
    pub subscription: Subscription,
    /// A wire frame that goes out before the first message.
    pub receipt: Option<Bytes>,
    /// How many messages it may have without acknowledging them. Of a queue that is elsewhere, without a number, 64.
    pub prefetch: Option<u32>,
    /// Which messages it wants. A queue that is elsewhere can't select: there this is refused.
    pub selector: Option<Selector>,
}

/// One thread's sessions. Shared on its thread as `Rc<Worker>`; another thread reaches it by the router.
pub struct Worker {
    id: WorkerId,
    broker: Arc<Broker>,
    hub: RefCell<Hub>,
    mailbox: RefCell<mpsc::Receiver<Mail>>,
    earlier_timer: Notify,
    /// A connection that was blocked took something.
    relief: Notify,
}

/// Runs a worker. One that panicked would leave its mailbox to fill up, and every publisher to wait for ever; so it ends
/// the process, for whoever watches over it to start anew.
async fn end_with_the_worker(run: impl Future<Output = ()>) {
    if AssertUnwindSafe(run).catch_unwind().await.is_err() {
        error!("a worker panicked: the process ends");
        std::process::abort();
    }
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
                broker.queues.clone(),
                broker.channels.clone(),
            )),
            mailbox: RefCell::new(mailbox.receiver),
            broker,
            earlier_timer: Notify::new(),
            relief: Notify::new(),
        });
        tokio::task::spawn_local(end_with_the_worker(worker.clone().run()));
        tokio::task::spawn_local(end_with_the_worker(worker.clone().serve_queues()));
        if worker.id.0 == 0 {
            tokio::task::spawn_local(end_with_the_worker(worker.clone().expire()));
        }
        worker
    }

    /// Gives consumers what queues have assigned to them.
    async fn serve_queues(self: Rc<Worker>) {
        loop {
            let assigned = self.broker.queues.assigned(self.id).await;
            self.hub.borrow_mut().assigned(assigned);
            yield_now().await;
        }
    }

    /// One worker looks for messages of queues whose time is over, for all.
    async fn expire(self: Rc<Worker>) {
        loop {
            tokio::time::sleep(EXPIRY).await;
            self.broker.expire();
        }
    }

    /// The broker that this is a worker of.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    async fn run(self: Rc<Worker>) {
        let sleep = sleep_until(Instant::now() + NEVER);
        tokio::pin!(sleep);
        loop {
            let next = self.hub.borrow().next_timer().unwrap_or_else(|| Instant::now() + NEVER);
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
            self.rest().await;
        }
    }

    /// Between two turns: sockets that became writable, and readers, come first. A client that reads as fast as it can
    /// but has its outbox half full is given a moment. So a publisher is slowed down by a reader, for [`PAUSE`] at
    /// the most each turn; one that does not read at all slows down nobody.
    async fn rest(&self) {
        let pressed = self.hub.borrow_mut().is_pressed();
        if pressed {
            let _ = timeout(PAUSE, self.relief.notified()).await;
        }
        yield_now().await;
    }

    /// Takes what is in the mailbox, up to a bound, and writes. Timers have their time too, however full it is.
    fn turn(&self, first: Option<Mail>) {
        let mut hub = self.hub.borrow_mut();
        hub.tick();
        let mut mailbox = self.mailbox.borrow_mut();
        let mut taken = 0;
        let mut next = first.or_else(|| mailbox.try_recv().ok());
        while let Some(mail) = next {
            hub.take(mail);
            taken += 1;
            next = if taken < TURN { mailbox.try_recv().ok() } else { None };
        }
        hub.flush();
        if hub.is_due() {
            hub.run_timers();
        }
    }

    /// Subscribes a session. When this returns, messages published from now on reach it; the receipt and what is kept for it
    /// go out before the first of them.
    ///
    /// # Errors
    /// [`Unsubscribed`] says why there is no such subscription.
    pub async fn subscribe(
        &self,
        identity: &Identity,
        session: SessionKey,
        terms: SubscriberTerms,
    ) -> Result<(), Unsubscribed> {
        let id = terms.subscription.id.clone();
        let subscribe = Box::new(Subscribe { session, terms, found: Found::default() });
        self.broker.subscribe(identity, self.id, subscribe).await?;
        // What follows on this connection finds the subscription in place.
        while self.is_heard(session) && !self.subscribed(session, &id).1 {
            self.turn(None);
            self.rest().await;
        }
        Ok(())
    }

    /// Makes a session a consumer of a queue; `receipt`, a wire frame, goes out before the first message.
    ///
    /// # Errors
    /// [`Unsubscribed`] says why there is no such subscription.
    pub fn consume(
        &self,
        identity: &Identity,
        session: SessionKey,
        destination: Destination,
        terms: ConsumerTerms,
    ) -> Result<(), Unsubscribed> {
        self.broker.authorize(identity, Operation::Subscribe, &destination)?;
        let ConsumerTerms { subscription, receipt, prefetch, selector } = terms;
        if selector.is_some() && self.broker.queues.are_remote() {
            return Err(Unsubscribed::QueueSelector);
        }
        let consume = Consume { destination, subscription, receipt, prefetch, selector };
        let mut hub = self.hub.borrow_mut();
        hub.consume(session, consume)?;
        Ok(())
    }

    /// What a client says of a delivery from a queue, by the subscription's id if it names that. Says whether it was given
    /// such a one, and did not say before.
    pub fn settle(
        &self,
        session: SessionKey,
        subscription: Option<&str>,
        delivery: MessageId,
        verdict: Verdict,
    ) -> bool {
        delivery.incarnation == self.broker.channels.incarnation()
            && self.hub.borrow_mut().settle(session, subscription, delivery.number, verdict)
    }

    /// Whether [`Worker::settle`] would find such a delivery.
    pub fn may_settle(&self, session: SessionKey, subscription: Option<&str>, delivery: MessageId) -> bool {
        delivery.incarnation == self.broker.channels.incarnation()
            && self.hub.borrow().may_settle(session, subscription, delivery.number)
    }

    /// How a session's subscription of this id to topics acknowledges, if there is one; without an id, any that
    /// acknowledges.
    pub fn topic_ack_mode(&self, session: SessionKey, id: Option<&str>) -> Option<AckMode> {
        self.hub.borrow().topic_ack_mode(session, id)
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
        format!("{:08x}-{}-{session}", self.broker.channels.incarnation(), self.id.0)
    }

    /// The client said who it is, and it was agreed how the connection is kept alive.
    pub fn connected(&self, session: SessionKey, encoder: &'static dyn Encoder, beats: Beats) {
        self.hub.borrow_mut().connected(session, encoder, beats);
    }

    /// Something was heard from the client. Says whether it is still listened to: not after last words.
    pub fn heard(&self, session: SessionKey) -> bool {
        self.hub.borrow_mut().heard(session, false)
    }

    /// As [`Worker::heard`], of something that is now worked on: until it is [done](Worker::done), the client is not read
    /// from, and its silence means nothing.
    pub fn begin(&self, session: SessionKey) -> bool {
        self.hub.borrow_mut().heard(session, true)
    }

    /// What was heard is worked off; writes what [`Worker::send`] left.
    pub fn done(&self, session: SessionKey) {
        let mut hub = self.hub.borrow_mut();
        hub.heard(session, false);
        hub.flush();
    }

    fn is_heard(&self, session: SessionKey) -> bool {
        self.hub.borrow().is_heard(session)
    }

    /// Puts a frame of the session's own behind everything that it was given. Written by [`Worker::flush`].
    pub fn send(&self, session: SessionKey, frame: Bytes) {
        self.hub.borrow_mut().send(session, frame);
    }

    /// Sends a message to the session's own subscriptions that match it. Returns how many there were.
    pub fn reply(&self, session: SessionKey, mut message: Message) -> usize {
        message.id = self.broker.channels.next_id();
        message.channel = self.broker.channels.key(&message.destination);
        self.hub.borrow_mut().reply(session, &message)
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

    /// Waits until the session may be read from: a client that does not read is not read from. Says whether it is
    /// still listened to.
    pub async fn room(&self, session: SessionKey) -> bool {
        poll_fn(|context| self.hub.borrow_mut().poll_room(session, context.waker())).await
    }

    /// Waits until everything that a session was given is written, or can't be any more.
    pub async fn written(&self, session: SessionKey) {
        poll_fn(|context| self.hub.borrow_mut().poll_written(session, context.waker())).await;
    }

    /// How many subscriptions a session has, and whether one of them has this id.
    pub fn subscribed(&self, session: SessionKey, id: &str) -> (usize, bool) {
        self.hub.borrow().subscribed(session, id)
    }

    /// The id of a session's first subscription to just this text, for clients that give none to unsubscribe.
    pub fn id_of(&self, session: SessionKey, destination: &str) -> Option<ByteString> {
        self.hub.borrow().id_of(session, destination)
    }

    /// A connection that took nothing may take something again.
    pub(super) fn writable(&self, session: SessionKey) {
        let mut hub = self.hub.borrow_mut();
        hub.tick();
        hub.writable(session);
        self.relief.notify_waiters();
    }

    pub(super) fn earlier_timer(&self) {
        self.earlier_timer.notify_one();
    }
}
