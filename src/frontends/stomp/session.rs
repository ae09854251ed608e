//! One client's STOMP session: what it may say when, and what each frame does.
//!
//! Owns the state of the protocol. Octets come from a carrier; frames of the broker go to the hub, which writes
//! them. One method for each frame that a client sends.

use std::collections::HashSet;
use std::future::poll_fn;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use stomp_parser::{Command, Decoder, Frame, Limits, Version};
use tokio::task::yield_now;

use super::acknowledge::Acknowledgement;
use super::encoder::{Form, StompEncoder};
use super::heartbeat::HeartBeats;
use super::incomplete::{IncompleteFrames, Share};
use super::refusal::Refusal;
use super::transaction::{Step, TransactionLimits, Transactions};
use crate::broker::{
    AckMode, Beats, CloseReason, ConsumerTerms, Destination, Door, Filter, Headers, Identity, Kind, Message,
    Operation, Published, Selector, SessionKey, Subscription, Verdict, Worker, excerpt, is_handed_on,
};
use crate::frontends::app::{Answer, Handlers, Request};
use crate::telemetry::metrics::Rule;

/// What all STOMP sessions of a worker share.
pub struct StompDoor {
    /// Where the sessions live.
    pub worker: Rc<Worker>,
    /// Who answers `/app/…`.
    pub handlers: std::sync::Arc<Handlers>,
    /// Bounds of frames.
    pub limits: std::sync::Arc<Limits>,
    /// What the broker offers.
    pub heart_beats: HeartBeats,
    /// Subscriptions that one session may have.
    pub subscriptions: usize,
    /// Bounds of a session's transactions.
    pub transactions: TransactionLimits,
    /// Makes names of sessions that nobody can guess.
    pub secrets: RandomState,
    /// What the frames that are not complete yet may take together.
    pub incomplete: std::sync::Arc<IncompleteFrames>,
    /// Milliseconds between SockJS heartbeats where no STOMP heart-beats run; 0 for none.
    pub sockjs_beat: u32,
}

/// Frames that a session takes before others have their turn.
const TURN: usize = 32;

/// What a `reply-to` begins with that is to be an address of the sender's.
const TEMP_QUEUE: &str = "/temp-queue/";

/// The longest login.
const MAX_LOGIN: usize = 128;

/// `server` in CONNECTED.
const SERVER: &str = concat!("stentor/", env!("CARGO_PKG_VERSION"));

/// One client's session.
pub(super) struct Session {
    door: Rc<StompDoor>,
    key: SessionKey,
    form: Form,
    identity: Identity,
    decoder: Decoder,
    /// What the decoder's incomplete frame takes.
    held: Share,
    /// What was agreed on, once the client connected.
    version: Option<Version>,
    /// None before the first.
    transactions: Option<Box<Transactions>>,
    ended: bool,
}

impl Session {
    pub(super) fn new(door: Rc<StompDoor>, key: SessionKey, form: Form) -> Session {
        let decoder = Decoder::new(door.limits.clone());
        let held = IncompleteFrames::share(&door.incomplete);
        Session {
            door,
            key,
            form,
            identity: Identity::anonymous(),
            decoder,
            held,
            version: None,
            transactions: None,
            ended: false,
        }
    }

    /// The encoder of a session whose client did not connect yet: any client understands 1.0 without escapes.
    pub(super) fn greeting_encoder(form: Form) -> &'static StompEncoder {
        StompEncoder::of(Version::V1_0, form)
    }

    /// Takes octets from the client. Waits while the client does not read what it is sent, and lets others have their
    /// turn in between: a chunk may hold a quarter of a million frames.
    pub(super) async fn octets(&mut self, chunk: Bytes) {
        if self.ended {
            return;
        }
        self.decoder.feed(chunk);
        let mut taken = 0;
        while !self.ended && self.patiently(self.door.worker.room(self.key)).await {
            match self.decoder.next() {
                Ok(Some(frame)) => self.take(frame).await,
                Ok(None) => break,
                Err(error) => self.refuse(error.into()),
            }
            taken += 1;
            if taken % TURN == 0 {
                self.door.worker.flush();
                yield_now().await;
            }
        }
        if let Err(too_much) = self.held.set(self.decoder.incomplete()) {
            self.decoder = Decoder::new(self.door.limits.clone());
            self.refuse(too_much.into());
        }
    }

    /// Waits for what may take long; before it waits, what was answered so far is written.
    async fn patiently<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        let mut waits = false;
        poll_fn(|context| {
            let polled = work.as_mut().poll(context);
            if polled.is_pending() && !waits {
                waits = true;
                self.door.worker.flush();
            }
            polled
        })
        .await
    }

    async fn take(&mut self, frame: Frame) {
        let receipt = frame.headers.value("receipt").cloned();
        if let Err(refusal) = self.frame(frame, receipt.as_ref()).await {
            self.refuse(refusal.answering(receipt.as_deref()));
        }
    }

    async fn frame(&mut self, frame: Frame, receipt: Option<&ByteString>) -> Result<(), Refusal> {
        match (frame.command, self.version) {
            (Command::Connect | Command::Stomp, None) => self.connect(&frame),
            (Command::Connect | Command::Stomp, Some(_)) => Err(Refusal::new(
                "connected_twice",
                "already connected",
                "A second CONNECT came: a connection is connected once, by its first frame.",
            )),
            (command, None) => Err(Refusal::new(
                "not_connected",
                "not connected",
                format!("{} came before CONNECT: send CONNECT first.", command.as_str()),
            )),
            (Command::Send, Some(_)) => self.send(frame, receipt).await,
            (Command::Subscribe, Some(version)) => self.subscribe(&frame, version, receipt).await,
            (Command::Unsubscribe, Some(version)) => self.unsubscribe(&frame, version, receipt),
            (Command::Disconnect, Some(_)) => self.disconnect(receipt),
            (Command::Ack, Some(version)) => self.settle(&frame, version, Verdict::Done, receipt),
            (Command::Nack, Some(version)) => {
                let verdict = match frame.get("requeue") {
                    Some("false") => Verdict::Dead,
                    _ => Verdict::Again,
                };
                self.settle(&frame, version, verdict, receipt)
            }
            (Command::Begin, Some(_)) => {
                let limits = self.door.transactions;
                self.transactions().begin(transaction_of(&frame)?, limits)?;
                self.receipt(receipt);
                Ok(())
            }
            (Command::Commit, Some(_)) => self.commit(&frame, receipt).await,
            (Command::Abort, Some(_)) => {
                self.transactions().end(transaction_of(&frame)?)?;
                self.receipt(receipt);
                Ok(())
            }
            (
                command @ (Command::Connected | Command::Message | Command::Receipt | Command::Error),
                Some(_),
            ) => Err(Refusal::new(
                "server_frame",
                "not a client's frame",
                format!("{} is sent by servers only.", command.as_str()),
            )),
        }
    }

    fn connect(&mut self, frame: &Frame) -> Result<(), Refusal> {
        let Some(version) = Version::negotiate(frame.get("accept-version")) else {
            let mut refusal = Refusal::new(
                "no_common_version",
                "no common version",
                "This server speaks STOMP 1.0, 1.1 and 1.2: offer one of them in accept-version.",
            );
            refusal.headers.push(("version", "1.0,1.1,1.2".into()));
            return Err(refusal);
        };
        let client = HeartBeats::parse(frame.get("heart-beat")).ok_or_else(|| {
            Refusal::new(
                "bad_heart_beat",
                "bad heart-beat",
                "The header heart-beat takes two numbers of milliseconds, such as heart-beat:10000,10000.",
            )
        })?;
        self.identity = identity(frame)?;
        self.version = Some(version);
        self.decoder.set_version(version);
        let ours = self.door.heart_beats;
        let mut connected = Frame::new(Command::Connected)
            .header("version", version.as_str())
            .header("heart-beat", format!("{},{}", ours.can, ours.wants))
            .header("server", SERVER)
            .header("session", self.door.worker.name(self.key));
        if let Some(user) = self.identity.user() {
            connected = connected.header("user-name", user);
        }
        let agreed = ours.agree(client);
        let encoder = self.encoder();
        // Where STOMP beats run, those of SockJS rest.
        let (every, beat) = match (agreed.beat, self.form.own_beat()) {
            (0, Some(sockjs)) => (self.door.sockjs_beat, sockjs),
            (every, _) => (every, encoder.heart_beat()),
        };
        let beats = Beats { every, frame: beat, silence: agreed.silence };
        self.door.worker.connected(self.key, encoder, beats);
        self.door.worker.send(self.key, encoder.frame(&connected));
        Ok(())
    }

    async fn send(&mut self, frame: Frame, receipt: Option<&ByteString>) -> Result<(), Refusal> {
        let Some(text) = frame.headers.value("destination") else {
            return Err(Refusal::missing(&frame, "destination"));
        };
        let destination = Destination::parse(self.identity.tenant(), text.clone())?;
        let transaction = frame.headers.value("transaction").cloned();
        let headers: Headers = frame
            .headers
            .iter()
            .filter(|(name, _)| is_handed_on(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let mut message = Message::new(destination, headers, frame.body);
        self.invite_reply(&mut message).await?;
        if let Some(transaction) = transaction {
            let step = Step::Send(message.detached());
            let limits = self.door.transactions;
            self.transactions().add(&transaction, step, limits)?;
            self.receipt(receipt);
            return Ok(());
        }
        let published = self.publish(message).await?;
        if let Some(receipt) = receipt {
            let mut frame = Frame::new(Command::Receipt).header("receipt-id", receipt.clone());
            if published.undeliverable {
                frame = frame.header("undeliverable", "true");
            }
            self.door.worker.send(self.key, self.encoder().frame(&frame));
        }
        Ok(())
    }

    fn transactions(&mut self) -> &mut Transactions {
        self.transactions.get_or_insert_default()
    }

    /// What others may know this connection by, and can't guess.
    fn secret_name(&self) -> String {
        let door = &self.door;
        format!("{}-{:016x}", door.worker.name(self.key), door.secrets.hash_one(self.key))
    }

    async fn publish(&mut self, message: Message) -> Result<Published, Refusal> {
        if message.destination.kind() == Kind::App {
            self.ask(&message)?;
            return Ok(Published { undeliverable: false });
        }
        let broker = self.door.worker.broker();
        Ok(self.patiently(broker.publish(&self.identity, Door::Stomp, message)).await?)
    }

    /// A `reply-to` of `/temp-queue/<name>` is for this connection alone: others get an address of it, and what is sent there
    /// comes here, under the subscription `/temp-queue/<name>`.
    async fn invite_reply(&mut self, message: &mut Message) -> Result<(), Refusal> {
        let Some(name) = message.headers.get("reply-to").filter(|to| to.starts_with(TEMP_QUEUE)).cloned()
        else {
            return Ok(());
        };
        let address = format!("{}{}/{}", Kind::Reply.prefix(), self.secret_name(), &name[TEMP_QUEUE.len()..]);
        let destination = Destination::parse(self.identity.tenant(), address.into())?;
        message.headers.set("reply-to", destination.text().clone());
        let (have, taken) = self.door.worker.subscribed(self.key, &name);
        if !taken {
            self.may_subscribe(have)?;
            let subscription = Subscription { id: ByteString::from(&*name), ack: AckMode::Auto };
            let worker = &self.door.worker;
            let filter = Filter::from(&destination);
            self.patiently(worker.subscribe(&self.identity, self.key, filter, subscription, None, None))
                .await?;
        }
        Ok(())
    }

    fn settle(
        &mut self,
        frame: &Frame,
        version: Version,
        verdict: Verdict,
        receipt: Option<&ByteString>,
    ) -> Result<(), Refusal> {
        let acknowledgement = Acknowledgement::read(frame, version, verdict)?;
        match frame.get("transaction") {
            Some(name) => {
                acknowledgement.check(&self.door.worker, self.key)?;
                let limits = self.door.transactions;
                self.transactions().add(name, Step::Settle(acknowledgement), limits)?;
            }
            None => acknowledgement.settle(&self.door.worker, self.key)?,
        }
        self.receipt(receipt);
        Ok(())
    }

    async fn commit(&mut self, frame: &Frame, receipt: Option<&ByteString>) -> Result<(), Refusal> {
        let steps = self.transactions().end(transaction_of(frame)?)?;
        self.check_steps(&steps)?;
        for step in steps {
            match step {
                Step::Send(message) => drop(self.publish(message).await?),
                // One that was looked at and is not found any more was acknowledged by another, of all up to it.
                Step::Settle(acknowledgement) => {
                    let _ = acknowledgement.settle(&self.door.worker, self.key);
                }
            }
        }
        self.receipt(receipt);
        Ok(())
    }

    /// A message to `/app/…`: the answer goes to this session alone.
    /// A transaction is worked off whole or not at all: what can be wrong with a step is looked for before the first.
    fn check_steps(&self, steps: &[Step]) -> Result<(), Refusal> {
        let broker = self.door.worker.broker();
        let mut messages = Vec::new();
        let mut settled = HashSet::new();
        for step in steps {
            match step {
                Step::Send(message) => {
                    broker.authorize(&self.identity, Operation::Send, &message.destination)?;
                    messages.push(message);
                }
                Step::Settle(acknowledgement) => {
                    acknowledgement.check(&self.door.worker, self.key)?;
                    if !settled.insert(acknowledgement.delivery()) {
                        return Err(acknowledgement.unknown());
                    }
                }
            }
        }
        broker.have_room(messages.into_iter())?;
        Ok(())
    }

    fn ask(&self, message: &Message) -> Result<(), Refusal> {
        let broker = self.door.worker.broker();
        broker.authorize(&self.identity, Operation::Send, &message.destination)?;
        broker.metrics().messages_in.by(Door::Stomp).inc();
        let request = Request { message, user: self.identity.user() };
        let answer = match self.door.handlers.call(&request)? {
            None => return Ok(()),
            Some(Answer::Message(answer)) => answer,
            Some(Answer::Body { content_type, body }) => {
                let mut headers = Headers::new();
                headers.push("content-type", content_type);
                if let Some(id) = message.headers.get("correlation-id") {
                    headers.push("correlation-id", id.clone());
                }
                Message::new(self.answer_to(message)?, headers, body)
            }
        };
        broker.authorize(&self.identity, Operation::Read, &answer.destination)?;
        self.door.worker.reply(self.key, answer);
        Ok(())
    }

    /// Where this session hears the answer to a message of its own.
    fn answer_to(&self, message: &Message) -> Result<Destination, Refusal> {
        let tenant = self.identity.tenant();
        Ok(match message.headers.get("reply-to") {
            Some(address) => Destination::parse(tenant, address.clone())?,
            None => Destination::of_user(
                tenant,
                &self.user_name(),
                &format!("queue/{}", message.destination.name()),
            )?,
        })
    }

    /// Under which name `/user/…` destinations are this session's: its user's, or one that is its own alone.
    fn user_name(&self) -> String {
        self.identity.user().map_or_else(|| self.secret_name(), str::to_owned)
    }

    async fn subscribe(
        &mut self,
        frame: &Frame,
        version: Version,
        receipt: Option<&ByteString>,
    ) -> Result<(), Refusal> {
        let Some(destination) = frame.headers.value("destination") else {
            return Err(Refusal::missing(frame, "destination"));
        };
        let id = subscription_id(frame, version)?;
        if id.starts_with(TEMP_QUEUE) {
            return Err(Refusal::new(
                "reserved_subscription_id",
                "reserved subscription id",
                "Ids that begin with /temp-queue/ are those of replies: take another.",
            ));
        }
        let ack = ack_mode(frame)?;
        let selector = frame.get("selector").filter(|text| !text.trim().is_empty());
        let selector = selector.map(Selector::parse).transpose()?;
        let place = self.place(destination)?;
        let (have, taken) = self.door.worker.subscribed(self.key, &id);
        if taken {
            return Err(Refusal::new(
                "subscription_id_in_use",
                "subscription id in use",
                format!("This connection has a subscription {} already.", excerpt(&id)),
            ));
        }
        self.may_subscribe(have)?;
        let receipt = receipt.map(|receipt| self.receipt_frame(receipt));
        // A copy, so that a few octets do not keep a whole read buffer in memory.
        let subscription = Subscription { id: ByteString::from(&*id), ack };
        let worker = &self.door.worker;
        match place {
            Place::Queue(destination) => {
                let terms = ConsumerTerms { subscription, receipt, prefetch: prefetch(frame)?, selector };
                worker.consume(&self.identity, self.key, destination, terms)?;
            }
            Place::Filter(filter) => {
                let subscribing =
                    worker.subscribe(&self.identity, self.key, filter, subscription, selector, receipt);
                self.patiently(subscribing).await?;
            }
        }
        Ok(())
    }

    /// What a SUBSCRIBE to this text is to.
    fn place(&self, text: &ByteString) -> Result<Place, Refusal> {
        let tenant = self.identity.tenant();
        if text.starts_with(Kind::Queue.prefix()) {
            return Ok(Place::Queue(Destination::parse(tenant, text.clone())?));
        }
        if let Some(rest) = text.strip_prefix(Kind::User.prefix()) {
            // Who is nobody in particular hears of itself alone.
            let destination = Destination::of_user(tenant, &self.user_name(), rest)?;
            return Ok(Place::Filter(Filter::from(&destination)));
        }
        if text.starts_with(TEMP_QUEUE) {
            return Err(Refusal::new(
                "temp_queue",
                "not subscribable",
                "A /temp-queue/ is named in the reply-to of a SEND; what is sent there then comes by itself.",
            ));
        }
        Ok(Place::Filter(Filter::parse(tenant, text.clone())?))
    }

    fn may_subscribe(&self, have: usize) -> Result<(), Refusal> {
        if have < self.door.subscriptions {
            return Ok(());
        }
        Err(Refusal::new(
            "too_many_subscriptions",
            "too many subscriptions",
            format!("A connection may have {} subscriptions.", self.door.subscriptions),
        ))
    }

    fn unsubscribe(
        &mut self,
        frame: &Frame,
        version: Version,
        receipt: Option<&ByteString>,
    ) -> Result<(), Refusal> {
        let mut id = subscription_id(frame, version)?;
        if !frame.headers.contains("id") {
            // 1.0: by the destination, also of a subscription that was given an id.
            id = self.door.worker.id_of(self.key, &id).unwrap_or(id);
        }
        if !self.door.worker.unsubscribe(self.key, &id) {
            return Err(Refusal::new(
                "unknown_subscription",
                "unknown subscription",
                format!("This connection has no subscription {}.", excerpt(&id)),
            ));
        }
        self.receipt(receipt);
        Ok(())
    }

    fn disconnect(&mut self, receipt: Option<&ByteString>) -> Result<(), Refusal> {
        self.ended = true;
        let reason = CloseReason::Disconnected;
        match receipt {
            // Without a close frame to wait for, the end behind the receipt asks the client to close.
            Some(receipt) if self.form == Form::Plain => {
                self.door.worker.end(self.key, self.receipt_frame(receipt), reason);
            }
            Some(receipt) => self.door.worker.linger(self.key, self.receipt_frame(receipt)),
            None => {
                self.door.worker.end(self.key, self.encoder().close(&reason), reason);
            }
        }
        Ok(())
    }

    fn receipt(&self, receipt: Option<&ByteString>) {
        if let Some(receipt) = receipt {
            self.door.worker.send(self.key, self.receipt_frame(receipt));
        }
    }

    fn receipt_frame(&self, receipt: &ByteString) -> Bytes {
        self.encoder().frame(&Frame::new(Command::Receipt).header("receipt-id", receipt.clone()))
    }

    fn encoder(&self) -> &'static StompEncoder {
        match self.version {
            Some(version) => StompEncoder::of(version, self.form),
            None => Self::greeting_encoder(self.form),
        }
    }

    /// Tells the client what was wrong, and ends the connection. What it sent behind is dropped.
    fn refuse(&mut self, refusal: Refusal) {
        self.ended = true;
        let Refusal { rule, message, detail, headers } = refusal;
        self.door.worker.broker().metrics().errors.get_or_create(&Rule { rule }).inc();
        let reason = CloseReason::Refused { rule };
        let mut last_words = BytesMut::new();
        self.encoder().error(message, &headers, &detail, &reason, &mut last_words);
        self.door.worker.end(self.key, last_words.freeze(), reason);
    }
}

/// What a SUBSCRIBE is to.
enum Place {
    Queue(Destination),
    Filter(Filter),
}

/// Who connects, until users are configured: whoever it says.
fn identity(frame: &Frame) -> Result<Identity, Refusal> {
    match frame.get("login") {
        None | Some("") => Ok(Identity::anonymous()),
        // CONNECTED, which repeats it, knows no escapes.
        Some(login) if login.len() > MAX_LOGIN || login.contains(['\r', '\n', '\0']) => Err(Refusal::new(
            "bad_login",
            "bad login",
            format!("A login has {MAX_LOGIN} octets at the most, and no line ends."),
        )),
        Some(login) => Ok(Identity::named(login)),
    }
}

fn ack_mode(frame: &Frame) -> Result<AckMode, Refusal> {
    match frame.get("ack") {
        None | Some("auto") => Ok(AckMode::Auto),
        Some("client") => Ok(AckMode::Client),
        Some("client-individual") => Ok(AckMode::ClientIndividual),
        Some(other) => Err(Refusal::new(
            "bad_ack_mode",
            "bad ack mode",
            format!("{} is no ack mode: use auto, client or client-individual.", excerpt(other)),
        )),
    }
}

/// How many messages a consumer may have without acknowledging them; 0 is for any number, as with RabbitMQ.
fn prefetch(frame: &Frame) -> Result<Option<u32>, Refusal> {
    let Some(text) = frame.get("prefetch-count") else { return Ok(None) };
    let count: u32 = text.trim().parse().map_err(|_| {
        Refusal::new(
            "bad_prefetch_count",
            "bad prefetch-count",
            format!("{} is no number of messages: give one from 0, which means any, on.", excerpt(text)),
        )
    })?;
    Ok((count > 0).then_some(count))
}

fn transaction_of(frame: &Frame) -> Result<&ByteString, Refusal> {
    frame.headers.value("transaction").ok_or_else(|| Refusal::missing(frame, "transaction"))
}

/// The id of a subscription. A 1.0 client may leave it out, and then names its subscription by the destination.
fn subscription_id(frame: &Frame, version: Version) -> Result<ByteString, Refusal> {
    let named = frame.headers.value("id");
    let by_destination = || frame.headers.value("destination").filter(|_| version == Version::V1_0);
    named.or_else(by_destination).cloned().ok_or_else(|| Refusal::missing(frame, "id"))
}
