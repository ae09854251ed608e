//! What waits to be published, until RabbitMQ has confirmed it.
//!
//! Owns the order, the bounds and the patience of one kind of traffic: what is put in goes out in that order, and once more, in
//! that order, where its confirm was lost. Batches are sent whole and confirmed whole. What is not confirmed in time is
//! answered so, and never sent again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

use crate::broker::{Confirmed, MessageId, Unconfirmed};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Traffic;

/// Messages that are sent before their confirms are waited for. With 1.2 ms from one to the other that is some 200,000 a
/// second.
const BATCH: usize = 256;

/// Octets of them.
const BATCH_OCTETS: usize = 1024 * 1024;

/// How often it is looked what has waited too long.
const LOOK: Duration = Duration::from_millis(100);

/// How much may wait, and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) messages: usize,
    pub(super) octets: usize,
    pub(super) time: Duration,
}

/// One message on its way to an exchange.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) exchange: ShortString,
    pub(super) key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
    /// Whether to be told if no queue wants it.
    pub(super) mandatory: bool,
}

/// Hears what became of a letter.
pub(super) type Answer = oneshot::Receiver<Result<Confirmed, Unconfirmed>>;

/// One kind of traffic.
#[derive(Debug)]
pub(super) struct Publisher {
    /// Its name in metrics.
    name: &'static str,
    incarnation: u32,
    patience: Patience,
    state: Mutex<State>,
    filled: Notify,
    /// Something was answered.
    emptied: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// What is sent and not confirmed, in the order of sending; what was answered meanwhile is `None`.
    sent: Vec<Option<Waiting>>,
    messages: usize,
    octets: usize,
    /// Of the last letter: who reads them knows by it what it has read.
    number: u64,
    is_connected: bool,
}

#[derive(Debug)]
struct Waiting {
    letter: Letter,
    since: Instant,
    answer: oneshot::Sender<Result<Confirmed, Unconfirmed>>,
}

impl Waiting {
    fn octets(&self) -> usize {
        /// Properties and headers, about; their size was bounded where they came in.
        const EACH: usize = 512;
        self.letter.body.len() + EACH
    }
}

impl Publisher {
    pub(super) fn new(
        name: &'static str,
        incarnation: u32,
        patience: Patience,
        metrics: Arc<Metrics>,
    ) -> Arc<Publisher> {
        Arc::new(Publisher {
            name,
            incarnation,
            patience,
            state: Mutex::default(),
            filled: Notify::new(),
            emptied: Notify::new(),
            metrics,
        })
    }

    /// Takes a letter, or gives it back if there is no room. Its message id becomes this start of this node and a number that
    /// rises from letter to letter.
    pub(super) fn put(&self, mut letter: Letter) -> Result<Answer, Box<Letter>> {
        let mut state = self.lock();
        let octets = letter.body.len();
        // However large, one alone has room.
        let is_full = state.messages >= self.patience.messages
            || state.messages > 0 && state.octets + octets > self.patience.octets;
        if is_full {
            return Err(Box::new(letter));
        }
        let (answer, hears) = oneshot::channel();
        state.number += 1;
        let id = MessageId { incarnation: self.incarnation, number: state.number };
        letter.properties = letter.properties.with_message_id(ShortString::from(id.to_string()));
        let waiting = Waiting { letter, since: Instant::now(), answer };
        state.messages += 1;
        state.octets += waiting.octets();
        state.waiting.push_back(waiting);
        drop(state);
        self.filled.notify_one();
        Ok(hears)
    }

    /// Takes a letter when there is room, if that is soon enough and RabbitMQ is in reach.
    pub(super) async fn put_patiently(&self, mut letter: Letter) -> Result<Answer, Unconfirmed> {
        let deadline = Instant::now() + self.patience.time;
        loop {
            let emptied = self.emptied.notified();
            match self.put(letter) {
                Ok(answer) => return Ok(answer),
                Err(back) => letter = *back,
            }
            if !self.is_connected() {
                return Err(Unconfirmed::TooMany);
            }
            if tokio::time::timeout_at(deadline, emptied).await.is_err() {
                return Err(Unconfirmed::TooMany);
            }
        }
    }

    /// The keys under which letters wait, each once.
    pub(super) fn waiting_keys(&self) -> Vec<ShortString> {
        let state = self.lock();
        let mut keys: Vec<ShortString> =
            state.waiting.iter().map(|waiting| waiting.letter.key.clone()).collect();
        keys.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        keys.dedup();
        keys
    }

    /// Whether what is put in is being sent.
    pub(super) fn is_connected(&self) -> bool {
        self.lock().is_connected
    }

    /// How long the oldest has waited for its confirm.
    pub(super) fn delay(&self) -> Duration {
        let state = self.lock();
        let sent = state.sent.iter().flatten().next();
        sent.or(state.waiting.front()).map_or(Duration::ZERO, |oldest| oldest.since.elapsed())
    }

    /// Sends what is put in by a channel, until that fails. To be dropped at any time: what is not confirmed is sent by the next.
    pub(super) async fn run(&self, channel: &Channel) -> lapin::Error {
        self.lock().is_connected = true;
        let _end = End(self);
        loop {
            let filled = self.filled.notified();
            let batch = self.next_batch();
            if batch.is_empty() {
                filled.await;
                continue;
            }
            if let Err(error) = self.send(channel, batch).await {
                return error;
            }
        }
    }

    /// Sends a batch and waits for its confirms.
    async fn send(&self, channel: &Channel, batch: Vec<Letter>) -> Result<(), lapin::Error> {
        let mut confirms = Vec::with_capacity(batch.len());
        for Letter { exchange, key, properties, body, mandatory } in batch {
            let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
            confirms.push(channel.basic_publish(exchange, key, options, &body, properties).await?);
        }
        let mut outcomes = Vec::with_capacity(confirms.len());
        let mut failed = None;
        let confirms = tokio::select! {
            confirms = join_all(confirms) => confirms,
            // One that never comes does not hold up others for ever.
            () = self.given_up() => {
                self.lock().sent.clear();
                return Ok(());
            }
        };
        for confirm in confirms {
            match confirm {
                Ok(confirmation) => outcomes.push(Some(confirmation)),
                Err(error) => {
                    failed = Some(error);
                    outcomes.push(None);
                }
            }
        }
        self.answer(&outcomes);
        failed.map_or(Ok(()), Err)
    }

    /// Waits until all that is sent has waited too long.
    async fn given_up(&self) {
        loop {
            sleep(LOOK).await;
            if self.lock().sent.iter().all(Option::is_none) {
                return;
            }
        }
    }

    /// Moves what waits, as far as a batch goes, to what is sent.
    fn next_batch(&self) -> Vec<Letter> {
        let mut state = self.lock();
        let mut octets = 0;
        let mut batch = Vec::new();
        while batch.len() < BATCH && octets < BATCH_OCTETS {
            let Some(waiting) = state.waiting.pop_front() else { break };
            octets += waiting.octets();
            batch.push(waiting.letter.clone());
            state.sent.push(Some(waiting));
        }
        batch
    }

    /// Answers the letters of a batch. What came back unrouted is known by its message id: the library may tell it with the
    /// confirm of another of the batch.
    fn answer(&self, outcomes: &[Option<Confirmation>]) {
        let returned: Vec<&ShortString> = outcomes.iter().flatten().filter_map(returned_id).collect();
        let mut state = self.lock();
        let sent = std::mem::take(&mut state.sent);
        for (waiting, outcome) in sent.into_iter().zip(outcomes) {
            let Some(waiting) = waiting else { continue };
            let Some(outcome) = outcome else {
                state.sent.push(Some(waiting));
                continue;
            };
            let id = waiting.letter.properties.message_id().as_ref();
            let nobody_elsewhere = id.is_some_and(|id| returned.contains(&id));
            let answer = match outcome {
                Confirmation::Nack(_) => Err(Unconfirmed::Refused(
                    "the queue is full, or could not keep it; try again later".to_owned(),
                )),
                Confirmation::Ack(_) | Confirmation::NotRequested => Ok(Confirmed { nobody_elsewhere }),
            };
            self.settle(&mut state, waiting, answer);
        }
        drop(state);
        self.emptied.notify_waiters();
    }

    fn settle(&self, state: &mut State, waiting: Waiting, answer: Result<Confirmed, Unconfirmed>) {
        state.messages -= 1;
        state.octets -= waiting.octets();
        match &answer {
            Ok(_) => {
                self.metrics.rabbitmq_confirmed.get_or_create(&Traffic { traffic: self.name }).inc();
            }
            Err(why) => self.metrics.dropped(why.label(), 1),
        };
        // Whoever does not wait for it does not want to know.
        let _ = waiting.answer.send(answer);
    }

    /// Answers what has waited too long, for ever.
    pub(super) async fn expire(&self) {
        loop {
            sleep(LOOK).await;
            let mut state = self.lock();
            let now = Instant::now();
            let is_late = |waiting: &Waiting| now.duration_since(waiting.since) >= self.patience.time;
            let mut late: Vec<Waiting> = Vec::new();
            late.extend(state.sent.iter_mut().filter_map(|sent| sent.take_if(|sent| is_late(sent))));
            // In the order in which they came.
            while state.waiting.front().is_some_and(is_late) {
                late.extend(state.waiting.pop_front());
            }
            let some = !late.is_empty();
            for waiting in late {
                self.settle(&mut state, waiting, Err(Unconfirmed::Late));
            }
            drop(state);
            if some {
                self.emptied.notify_waiters();
            }
        }
    }

    /// Waits until everything is answered.
    pub(super) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.lock().messages == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is not confirmed when a channel ends goes back to the head of what waits.
struct End<'p>(&'p Publisher);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_connected = false;
        let sent = std::mem::take(&mut state.sent);
        for waiting in sent.into_iter().rev().flatten() {
            state.waiting.push_front(waiting);
        }
        drop(state);
        self.0.emptied.notify_waiters();
    }
}

fn returned_id(confirmation: &Confirmation) -> Option<&ShortString> {
    match confirmation {
        Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
            returned.delivery.properties.message_id().as_ref()
        }
        _ => None,
    }
}
