//! One client's STOMP session: what it may say when, and what each frame does.
//!
//! Owns the state of the protocol. Octets come from a carrier; frames of the broker go to the hub, which writes
//! them. One method for each frame that a client sends.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use sockjs::Framing;
use stomp_parser::{Command, Decoder, Frame, Limits, Version};
use tokio::task::yield_now;

use super::encoder::StompEncoder;
use super::heartbeat::HeartBeats;
use super::refusal::Refusal;
use crate::broker::{
    AckMode, Beats, CloseReason, Destination, Door, Filter, Headers, Identity, Kind, Message, Operation,
    SessionKey, Subscription, Worker, is_handed_on,
};
use crate::frontends::app::Handlers;
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
    /// Milliseconds between SockJS heartbeats where no STOMP heart-beats run; 0 for none.
    pub sockjs_beat: u32,
}

/// Frames that a session takes before others have their turn.
const TURN: usize = 32;

/// `server` in CONNECTED.
const SERVER: &str = concat!("stentor/", env!("CARGO_PKG_VERSION"));

/// One client's session.
pub(super) struct Session {
    door: Rc<StompDoor>,
    key: SessionKey,
    framing: Framing,
    identity: Identity,
    decoder: Decoder,
    /// What was agreed on, once the client connected.
    version: Option<Version>,
    ended: bool,
}

impl Session {
    pub(super) fn new(door: Rc<StompDoor>, key: SessionKey, framing: Framing) -> Session {
        let decoder = Decoder::new(door.limits.clone());
        Session { door, key, framing, identity: Identity::anonymous(), decoder, version: None, ended: false }
    }

    /// The encoder of a session whose client did not connect yet: any client understands 1.0 without escapes.
    pub(super) fn greeting_encoder(framing: Framing) -> &'static StompEncoder {
        StompEncoder::of(Version::V1_0, framing)
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
            (command @ (Command::Ack | Command::Nack), Some(_)) => Err(Refusal::unsupported(&format!(
                "All subscriptions acknowledge by themselves; {} is",
                command.as_str()
            ))),
            (command @ (Command::Begin | Command::Commit | Command::Abort), Some(_)) => {
                Err(Refusal::unsupported(&format!("{}: transactions are", command.as_str())))
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
        self.version = Some(version);
        self.decoder.set_version(version);
        let ours = self.door.heart_beats;
        let connected = Frame::new(Command::Connected)
            .header("version", version.as_str())
            .header("heart-beat", format!("{},{}", ours.can, ours.wants))
            .header("server", SERVER)
            .header("session", self.door.worker.name(self.key));
        let agreed = ours.agree(client);
        let encoder = self.encoder();
        // Where STOMP beats run, those of SockJS rest.
        let (every, beat) = match (agreed.beat, self.framing.heartbeat()) {
            (0, Some(sockjs)) => (self.door.sockjs_beat, sockjs),
            (every, _) => (every, encoder.heart_beat()),
        };
        let beats = Beats { every, frame: beat, silence: agreed.silence };
        self.door.worker.connected(self.key, encoder, beats);
        self.door.worker.send(self.key, encoder.frame(&connected));
        Ok(())
    }

    async fn send(&mut self, frame: Frame, receipt: Option<&ByteString>) -> Result<(), Refusal> {
        if frame.headers.contains("transaction") {
            return Err(Refusal::unsupported("SEND in a transaction is"));
        }
        let Some(text) = frame.headers.value("destination") else {
            return Err(Refusal::missing(&frame, "destination"));
        };
        let destination = Destination::parse(self.identity.tenant(), text.clone())?;
        let headers: Headers = frame
            .headers
            .iter()
            .filter(|(name, _)| is_handed_on(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let message = Message::new(destination, headers, frame.body);
        match message.destination.kind() {
            Kind::Topic => {
                let broker = self.door.worker.broker();
                self.patiently(broker.publish(&self.identity, Door::Stomp, message)).await?;
            }
            Kind::App => self.ask(&message)?,
        }
        self.receipt(receipt);
        Ok(())
    }

    /// A message to `/app/…`: the answer goes to this session alone.
    fn ask(&self, message: &Message) -> Result<(), Refusal> {
        let broker = self.door.worker.broker();
        broker.authorize(&self.identity, Operation::Send, &message.destination)?;
        broker.metrics().messages_in.by(Door::Stomp).inc();
        if let Some(answer) = self.door.handlers.call(message)? {
            broker.authorize(&self.identity, Operation::Read, &answer.destination)?;
            self.door.worker.reply(self.key, answer);
        }
        Ok(())
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
        match frame.get("ack") {
            None | Some("auto") => {}
            Some("client" | "client-individual") => {
                return Err(Refusal::unsupported(
                    "Only ack:auto is available; ack:client and ack:client-individual are",
                ));
            }
            Some(other) => {
                return Err(Refusal::new(
                    "bad_ack_mode",
                    "bad ack mode",
                    format!("{} is no ack mode: use auto.", crate::broker::excerpt(other)),
                ));
            }
        }
        let filter = Filter::parse(self.identity.tenant(), destination.clone())?;
        let (have, taken) = self.door.worker.subscribed(self.key, &id);
        if taken {
            return Err(Refusal::new(
                "subscription_id_in_use",
                "subscription id in use",
                format!("This connection has a subscription {} already.", crate::broker::excerpt(&id)),
            ));
        }
        if have >= self.door.subscriptions {
            return Err(Refusal::new(
                "too_many_subscriptions",
                "too many subscriptions",
                format!("A connection may have {} subscriptions.", self.door.subscriptions),
            ));
        }
        let receipt = receipt.map(|receipt| self.receipt_frame(receipt));
        // A copy, so that a few octets do not keep a whole read buffer in memory.
        let subscription = Subscription { id: ByteString::from(&*id), ack: AckMode::Auto };
        let worker = &self.door.worker;
        self.patiently(worker.subscribe(&self.identity, self.key, filter, subscription, receipt)).await?;
        Ok(())
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
                format!("This connection has no subscription {}.", crate::broker::excerpt(&id)),
            ));
        }
        self.receipt(receipt);
        Ok(())
    }

    fn disconnect(&mut self, receipt: Option<&ByteString>) -> Result<(), Refusal> {
        self.ended = true;
        match receipt {
            Some(receipt) => self.door.worker.linger(self.key, self.receipt_frame(receipt)),
            None => {
                let reason = CloseReason::Disconnected;
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
            Some(version) => StompEncoder::of(version, self.framing),
            None => Self::greeting_encoder(self.framing),
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

/// The id of a subscription. A 1.0 client may leave it out, and then names its subscription by the destination.
fn subscription_id(frame: &Frame, version: Version) -> Result<ByteString, Refusal> {
    let named = frame.headers.value("id");
    let by_destination = || frame.headers.value("destination").filter(|_| version == Version::V1_0);
    named.or_else(by_destination).cloned().ok_or_else(|| Refusal::missing(frame, "id"))
}
