//! One client's STOMP session: what it may say when, and what each frame does.
//!
//! Owns the state of the protocol; what it sends is in `sending.rs`, what it subscribes to in `subscribing.rs`. Octets come
//! from a carrier; frames of the broker go to the hub, which writes them. One method for each frame that a client sends.

use std::future::poll_fn;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::rc::Rc;

use bytes::Bytes;
use bytestring::ByteString;
use stomp_parser::{Command, Decoder, Frame, Limits, Version};
use tokio::task::yield_now;

use super::encoder::{Form, StompEncoder};
use super::heartbeat::HeartBeats;
use super::incomplete::{IncompleteFrames, Share};
use super::pending::Pending;
use super::refusal::Refusal;
use super::sending::transaction_of;
use super::transaction::{TransactionLimits, Transactions};
use crate::broker::{
    Beats, CloseReason, Destination, Identity, InvalidDestination, SessionKey, Verdict, Worker,
};
use crate::frontends::app::Handlers;

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
pub(super) const TEMP_QUEUE: &str = "/temp-queue/";

/// The longest login.
const MAX_LOGIN: usize = 128;

/// `server` in CONNECTED.
const SERVER: &str = concat!("stentor/", env!("CARGO_PKG_VERSION"));

/// One client's session.
pub(super) struct Session {
    pub(super) door: Rc<StompDoor>,
    pub(super) key: SessionKey,
    pub(super) form: Form,
    pub(super) identity: Identity,
    pub(super) decoder: Decoder,
    /// What the decoder's incomplete frame takes.
    pub(super) held: Share,
    /// What was agreed on, once the client connected.
    pub(super) version: Option<Version>,
    /// None before the first.
    pub(super) transactions: Option<Box<Transactions>>,
    pub(super) pending: Rc<Pending>,
    pub(super) ended: bool,
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
            pending: Rc::default(),
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
    pub(super) async fn patiently<F: Future>(&self, work: F) -> F::Output {
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
            (Command::Disconnect, Some(_)) => self.disconnect(receipt).await,
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

    /// What others may know this connection by for one purpose, and can't guess. Who knows one knows none of the others.
    pub(super) fn secret_name(&self, purpose: &str) -> String {
        let door = &self.door;
        format!("{}-{:016x}", door.worker.name(self.key), door.secrets.hash_one((self.key, purpose)))
    }

    /// The destination that `/user/<rest>` is to this session: its user's, or one that is its own alone.
    pub(super) fn own(&self, rest: &str) -> Result<Destination, InvalidDestination> {
        let tenant = self.identity.tenant();
        match self.identity.user() {
            Some(user) => Destination::of_user(tenant, user, rest),
            None => Destination::of_nobody(tenant, &self.secret_name("user"), rest),
        }
    }

    async fn disconnect(&mut self, receipt: Option<&ByteString>) -> Result<(), Refusal> {
        // What is under way ends first, unless that may take its time.
        let broker = self.door.worker.broker();
        if self.pending.is_working() && !broker.backend().is_away() {
            let ended = async {
                tokio::select! {
                    () = self.pending.answered() => {}
                    () = broker.backend().away() => {}
                }
            };
            self.patiently(ended).await;
        }
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

    pub(super) fn receipt(&self, receipt: Option<&ByteString>) {
        if let Some(receipt) = receipt {
            self.door.worker.send(self.key, self.receipt_frame(receipt));
        }
    }

    pub(super) fn receipt_frame(&self, receipt: &ByteString) -> Bytes {
        self.encoder().frame(&Frame::new(Command::Receipt).header("receipt-id", receipt.clone()))
    }

    pub(super) fn encoder(&self) -> &'static StompEncoder {
        match self.version {
            Some(version) => StompEncoder::of(version, self.form),
            None => Self::greeting_encoder(self.form),
        }
    }

    /// Tells the client what was wrong, and ends the connection. What it sent behind is dropped.
    fn refuse(&mut self, refusal: Refusal) {
        self.ended = true;
        self.voice().refuse(refusal);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.pending.end();
    }
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
