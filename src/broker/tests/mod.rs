//! The core by itself: a worker, connections that take as many octets as a test allows, time that a test moves.

#![allow(clippy::unwrap_used)]

mod channels;
mod delivery;
mod draining;
mod foreign;
mod remote_queues;
mod seams;
mod views;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tokio::task::LocalSet;

pub(super) use super::channel::Found;
pub(super) use super::router::Subscribe;
pub(super) use super::*;
use crate::backends::local::Local;
use crate::telemetry::metrics::Reason;

/// Writes `[M<subscription> <body>]`.
#[derive(Debug)]
struct Brackets;

impl Encoder for Brackets {
    fn id(&self) -> u16 {
        0
    }

    fn message(&self, copy: &Copy<'_>, out: &mut BytesMut) {
        let body = std::str::from_utf8(copy.body).unwrap();
        let Says { retained, gap, cursor, delta } = copy.says;
        let mut text = format!("[M{} {body}", copy.subscription.id);
        if retained {
            text.push_str("|retained");
        }
        if let Some(gap) = gap {
            text.push_str(&format!("|gap={}", gap.label()));
        }
        if let Some(cursor) = cursor {
            text.push_str(&format!("|cursor={cursor}"));
        }
        if let Some(Delta { sequence, base }) = delta {
            text.push_str(
                &base.map_or_else(|| format!("|full={sequence}"), |base| format!("|{base}>{sequence}")),
            );
        }
        let to = copy.destination();
        if copy.message.destination.is_by_key() || to.starts_with("/topic/host-metrics") {
            text.push_str(&format!("|to={to}"));
        }
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(b"]");
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

    fn farewell(&self, reason: &CloseReason, out: &mut BytesMut) {
        out.extend_from_slice(format!("[F {}", reason.label()).as_bytes());
        if let CloseReason::SlowConsumer { cursors, .. } = reason {
            for (id, cursor) in cursors {
                out.extend_from_slice(format!(" {id}={cursor}").as_bytes());
            }
        }
        out.extend_from_slice(b"]");
    }
}

static BRACKETS: Brackets = Brackets;

fn beats(every: u32, silence: u32) -> Beats {
    Beats { every, frame: b"[B]", silence }
}

/// The client's end of a connection.
#[derive(Clone, Default)]
pub(super) struct Wire(pub(super) Rc<RefCell<State>>);

#[derive(Default)]
pub(super) struct State {
    written: Vec<u8>,
    writes: usize,
    pub(super) room: usize,
    wake: Option<Box<dyn FnOnce()>>,
    finished: bool,
    aborted: bool,
}

impl Wire {
    pub(super) fn with_room(room: usize) -> Wire {
        let wire = Wire::default();
        wire.0.borrow_mut().room = room;
        wire
    }

    /// Lets the connection take more.
    pub(super) fn give(&self, octets: usize) {
        let mut state = self.0.borrow_mut();
        state.room = state.room.saturating_add(octets);
        let wake = state.wake.take();
        drop(state);
        if let Some(wake) = wake {
            wake();
        }
    }

    /// Forgets what was written.
    pub(super) fn clear(&self) {
        self.0.borrow_mut().written = Vec::new();
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.borrow().written.clone()).unwrap()
    }
}

impl Connection for Wire {
    fn write(&self, octets: &[u8]) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        if state.aborted {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let some = octets.len().min(state.room);
        if some == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.room -= some;
        state.writes += 1;
        state.written.extend_from_slice(&octets[..some]);
        Ok(some)
    }

    fn write_vectored(&self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        self.write(&all)
    }

    fn when_writable(&self, wake: Box<dyn FnOnce()>) {
        let mut state = self.0.borrow_mut();
        assert!(state.wake.is_none(), "asked to call twice");
        state.wake = Some(wake);
    }

    fn finish(&self) {
        self.0.borrow_mut().finished = true;
    }

    fn abort(&self) {
        self.0.borrow_mut().aborted = true;
    }
}

pub(super) fn parts() -> Parts {
    Parts {
        backend: Arc::new(Local),
        log: LogIdentity::new("test", 1),
        catalogue: Catalogue::default(),
        remote_queues: None,
    }
}

pub(super) struct Bench {
    pub(super) worker: Rc<Worker>,
    pub(super) broker: Arc<Broker>,
}

impl Bench {
    pub(super) fn new(limits: Limits) -> Bench {
        Bench::with(limits, Catalogue::default())
    }

    /// With channels of its own.
    pub(super) fn with(limits: Limits, catalogue: Catalogue) -> Bench {
        let metrics = Arc::new(Metrics::new());
        let parts = Parts { catalogue, ..parts() };
        let (broker, mut mailboxes) = Broker::new(1, limits, 1, Access, parts, metrics);
        let worker = Worker::start(broker.clone(), mailboxes.remove(0));
        Bench { worker, broker }
    }

    pub(super) fn open(&self, wire: &Wire) -> SessionKey {
        let key = self.worker.open(Box::new(wire.clone()), &BRACKETS, "test");
        self.worker.connected(key, &BRACKETS, beats(0, 0));
        key
    }

    async fn subscribe(&self, key: SessionKey, id: &str, topic: &str) {
        self.subscribe_to(key, id, topic, |_| {}).await.unwrap();
    }

    /// Subscribes on terms of its own.
    pub(super) async fn subscribe_to(
        &self,
        key: SessionKey,
        id: &str,
        topic: &str,
        change: impl FnOnce(&mut SubscriberTerms),
    ) -> Result<(), Unsubscribed> {
        let filter = Filter::parse(Tenant::DEFAULT, topic.into()).unwrap();
        let subscription = Subscription { id: id.into(), ack: AckMode::Auto };
        let name = id.to_owned();
        let receipt = Receipt::new(move |made: Made| {
            let resumed = match made.resumed {
                None => String::new(),
                Some(Ok(())) => "|resumed".into(),
                Some(Err(gap)) => format!("|gap={}", gap.label()),
            };
            Bytes::from(format!("[R{name}{resumed}]"))
        });
        let mut terms =
            SubscriberTerms { receipt: Some(receipt), ..SubscriberTerms::of(filter, subscription) };
        change(&mut terms);
        self.worker.subscribe(&Identity::anonymous(), key, terms).await
    }

    pub(super) async fn publish(&self, topic: &str, body: impl Into<Bytes>) {
        self.publish_with(topic, &[], body).await.unwrap();
    }

    /// Publishes with headers.
    pub(super) async fn publish_with(
        &self,
        topic: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<(), Unpublished> {
        let destination = Destination::parse(Tenant::DEFAULT, topic.into()).unwrap();
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let message = Message::new(destination, headers, body.into());
        self.broker.publish(&Identity::anonymous(), Door::Producer, message).await.map(drop)
    }

    pub(super) fn cut_offs(&self, reason: &'static str) -> u64 {
        self.broker.metrics().cut_offs.get_or_create(&Reason { reason }).get()
    }
}

/// A subscription `a` to `/topic/t` on its way.
fn subscribe(session: SessionKey) -> Box<Subscribe> {
    let filter = Filter::parse(Tenant::DEFAULT, "/topic/t".into()).unwrap();
    let subscription = Subscription { id: "a".into(), ack: AckMode::Auto };
    Box::new(Subscribe { session, terms: SubscriberTerms::of(filter, subscription), found: Found::default() })
}

/// What was logged, a JSON object a line.
#[derive(Clone, Default)]
struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);

impl Lines {
    fn read(&self) -> Vec<serde_json::Value> {
        let octets = self.0.lock().unwrap();
        serde_json::Deserializer::from_slice(&octets).into_iter().map(Result::unwrap).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lets the worker take its turns, and its rests between them.
pub(super) async fn turns() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}
