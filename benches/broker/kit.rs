//! A broker with one worker on this thread, connections that take anything, and the encoder of SockJS over WebSocket.

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use sockjs::Framing;
use stentor::backends::local::Local;
use stentor::broker::{
    Access, AckMode, Beats, Broker, Catalogue, CloseReason, Connection, Copy, Destination, Door, Encoder,
    Filter, Headers, Identity, Limits, LogIdentity, Message, MessageId, Parts, Says, SessionKey,
    SubscriberTerms, Subscription, Tenant, Worker,
};
use stentor::telemetry::Metrics;
use stomp_parser::{Command, Version, encode_body, encode_command, encode_content_length, encode_header};
use tokio::runtime::Runtime;
use tokio::task::{LocalSet, yield_now};

/// The thread's runtime; the worker runs while something is awaited on it.
pub(crate) struct Thread {
    runtime: Runtime,
    tasks: LocalSet,
}

impl Thread {
    pub(crate) fn new() -> Thread {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        Thread { runtime: runtime.expect("a runtime"), tasks: LocalSet::new() }
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.tasks.block_on(&self.runtime, work)
    }
}

/// A broker and its worker.
pub(crate) struct Node {
    pub(crate) broker: Arc<Broker>,
    worker: Rc<Worker>,
}

impl Node {
    /// To be called on a [`Thread`].
    pub(crate) fn new() -> Node {
        // What lags here lags on purpose.
        let limits = Limits { outboxes: usize::MAX, ..Limits::default() };
        let metrics = Arc::new(Metrics::new());
        let parts = Parts {
            backend: Arc::new(Local),
            log: LogIdentity::new("bench", 1),
            catalogue: Catalogue::default(),
            remote_queues: None,
        };
        let (broker, mut mailboxes) = Broker::new(1, limits, 1, Access, parts, metrics);
        let worker = Worker::start(broker.clone(), mailboxes.remove(0));
        Node { broker, worker }
    }

    /// Opens a session.
    pub(crate) fn open(&self, taker: &Taker) -> SessionKey {
        let key = self.worker.open(Box::new(taker.clone()), &SOCKJS, "bench");
        self.worker.connected(key, &SOCKJS, Beats::default());
        key
    }

    pub(crate) async fn subscribe(&self, session: SessionKey, id: &str, filter: &str) {
        let filter = Filter::parse(Tenant::DEFAULT, filter.into()).expect("a filter");
        let subscription = Subscription { id: id.into(), ack: AckMode::Auto };
        let terms = SubscriberTerms::of(filter, subscription);
        let subscribed = self.worker.subscribe(&Identity::anonymous(), session, terms).await;
        subscribed.expect("nothing is denied");
    }

    pub(crate) async fn publish(&self, destination: &Destination, body: &'static str) {
        let message = Message::new(destination.clone(), Headers::new(), body);
        let published = self.broker.publish(&Identity::anonymous(), Door::Producer, message).await;
        published.expect("nothing is denied");
    }

    /// Lets the worker take its turns until this many messages more than `before` were written or put into outboxes.
    pub(crate) async fn delivered(&self, before: u64, messages: u64) {
        while self.messages_out() < before + messages {
            yield_now().await;
        }
    }

    pub(crate) fn messages_out(&self) -> u64 {
        self.broker.metrics().messages_out.get()
    }
}

pub(crate) fn destination(text: &str) -> Destination {
    Destination::parse(Tenant::DEFAULT, text.into()).expect("a destination")
}

/// The client's end of all connections of a bench: takes everything and forgets it, or takes nothing.
#[derive(Clone, Default)]
pub(crate) struct Taker(Rc<State>);

#[derive(Default)]
struct State {
    stalled: Cell<bool>,
    wakes: RefCell<Vec<Box<dyn FnOnce()>>>,
}

impl Taker {
    /// From now on nothing is taken.
    pub(crate) fn stall(&self) {
        self.0.stalled.set(true);
    }

    /// From now on everything is taken again; what waited is taken at once.
    pub(crate) fn resume(&self) {
        self.0.stalled.set(false);
        for wake in self.0.wakes.take() {
            wake();
        }
    }

    fn take(&self, octets: usize) -> io::Result<usize> {
        if self.0.stalled.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(black_box(octets))
    }
}

impl Connection for Taker {
    fn write(&self, octets: &[u8]) -> io::Result<usize> {
        self.take(octets.len())
    }

    fn write_vectored(&self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.take(pieces.iter().map(|piece| piece.len()).sum())
    }

    fn when_writable(&self, wake: Box<dyn FnOnce()>) {
        self.0.wakes.borrow_mut().push(wake);
    }

    fn finish(&self) {}

    fn abort(&self) {}
}

static SOCKJS: SockJs = SockJs;

/// A MESSAGE of STOMP 1.2 in a SockJS frame in a WebSocket frame.
#[derive(Debug)]
struct SockJs;

impl Encoder for SockJs {
    fn id(&self) -> u16 {
        0
    }

    fn message(&self, copy: &Copy<'_>, out: &mut BytesMut) {
        let Copy { message, subscription, .. } = copy;
        let mut frame = BytesMut::with_capacity(message.body.len() + 256);
        encode_command(Command::Message, &mut frame);
        encode_header("subscription", &subscription.id, Version::V1_2, &mut frame);
        encode_header("message-id", &message.id.to_string(), Version::V1_2, &mut frame);
        encode_header("destination", message.destination.text(), Version::V1_2, &mut frame);
        encode_content_length(message.body.len(), &mut frame);
        encode_body(&message.body, &mut frame);
        Framing::SockJsWebSocket.text(std::str::from_utf8(&frame).expect("text"), out);
    }

    fn delivery(
        &self,
        message: &Message,
        subscription: &Subscription,
        _: MessageId,
        _: bool,
        out: &mut BytesMut,
    ) {
        let body = &message.body;
        self.message(&Copy { message, subscription, asked: None, body, says: Says::default() }, out);
    }

    fn farewell(&self, reason: &CloseReason, _: &mut BytesMut) {
        panic!("a session of the bench ends: {reason:?}");
    }
}
