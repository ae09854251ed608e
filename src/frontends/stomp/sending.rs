//! What a session sends: messages, acknowledgements, and transactions of both.

use std::collections::HashSet;

use bytestring::ByteString;
use stomp_parser::{Frame, Version};

use super::acknowledge::Acknowledgement;
use super::incomplete::IncompleteFrames;
use super::pending::{Unanswered, Voice};
use super::refusal::Refusal;
use super::session::{Session, TEMP_QUEUE};
use super::transaction::{Step, Transactions};
use crate::broker::{
    Accepted, AckMode, Destination, Door, Filter, Headers, Kind, Message, Operation, SubscriberTerms,
    Subscription, Verdict, excerpt, is_handed_on,
};
use crate::frontends::app::{Answer, Request};

impl Session {
    pub(super) async fn send(&mut self, frame: Frame, receipt: Option<&ByteString>) -> Result<(), Refusal> {
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
            if message.destination.kind() == Kind::App {
                let detail = "An /app/ destination is answered at once: send to it without a transaction.";
                return Err(Refusal::new("bad_transaction", "not in a transaction", detail));
            }
            let step = Step::Send(message.detached());
            let limits = self.door.transactions;
            self.transactions().add(&transaction, step, limits)?;
            self.receipt(receipt);
            return Ok(());
        }
        let messages = self.publish(message).await?.into_iter().collect();
        self.answer(messages, Vec::new(), receipt, true).await
    }

    /// Sends the receipt of messages, and acknowledges what goes with them, when all answer for them that have to: at once if
    /// that is nobody but this node.
    async fn answer(
        &mut self,
        mut messages: Vec<Accepted>,
        settles: Vec<Acknowledgement>,
        receipt: Option<&ByteString>,
        tells_nobody: bool,
    ) -> Result<(), Refusal> {
        if receipt.is_none() && settles.is_empty() {
            messages.retain(|message| !message.is_here());
        }
        let is_confirmed = messages.iter().all(Accepted::is_confirmed);
        let unanswered = Unanswered { messages, settles, receipt: receipt.cloned(), tells_nobody };
        let voice = self.voice();
        if is_confirmed {
            self.pending.answer(&voice, unanswered).await;
        } else {
            self.pending.await_confirmation(&voice, unanswered);
        }
        Ok(())
    }

    pub(super) fn voice(&self) -> Voice {
        Voice { worker: self.door.worker.clone(), key: self.key, encoder: self.encoder() }
    }

    pub(super) fn transactions(&mut self) -> &mut Transactions {
        self.transactions.get_or_insert_with(|| {
            Box::new(Transactions::new(IncompleteFrames::share(&self.door.incomplete)))
        })
    }

    /// Takes a message on its way; nothing if it was answered here.
    async fn publish(&mut self, message: Message) -> Result<Option<Accepted>, Refusal> {
        if message.destination.kind() == Kind::App {
            self.ask(&message)?;
            return Ok(None);
        }
        let broker = self.door.worker.broker();
        Ok(Some(self.patiently(broker.accept(&self.identity, Door::Stomp, message)).await?))
    }

    /// A `reply-to` of `/temp-queue/<name>` is for this connection alone: others get an address of it, and what is sent there
    /// comes here, under the subscription `/temp-queue/<name>`.
    pub(super) async fn invite_reply(&mut self, message: &mut Message) -> Result<(), Refusal> {
        let Some(name) = message.headers.get("reply-to").filter(|to| to.starts_with(TEMP_QUEUE)).cloned()
        else {
            return Ok(());
        };
        let address =
            format!("{}{}/{}", Kind::Reply.prefix(), self.secret_name("reply"), &name[TEMP_QUEUE.len()..]);
        let destination = Destination::parse(self.identity.tenant(), address.into()).map_err(|_| {
            let detail = format!("{} names no temporary queue: give /temp-queue/<name>.", excerpt(&name));
            Refusal::new("bad_reply_to", "bad reply-to", detail)
        })?;
        message.headers.set("reply-to", destination.text().clone());
        let (have, taken) = self.door.worker.subscribed(self.key, &name);
        if !taken {
            self.may_subscribe(have)?;
            let subscription = Subscription { id: ByteString::from(&*name), ack: AckMode::Auto };
            let worker = &self.door.worker;
            let filter = Filter::from(&destination);
            let terms = SubscriberTerms::of(filter, subscription);
            self.patiently(worker.subscribe(&self.identity, self.key, terms)).await?;
        }
        Ok(())
    }

    pub(super) fn settle(
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

    pub(super) async fn commit(
        &mut self,
        frame: &Frame,
        receipt: Option<&ByteString>,
    ) -> Result<(), Refusal> {
        let steps = self.transactions().end(transaction_of(frame)?)?;
        self.check_steps(&steps)?;
        // What is acknowledged is so behind all that is sent: if a queue is full by now after all, nothing is lost.
        let (mut messages, mut settles) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Send(message) => messages.extend(self.publish(message).await?),
                Step::Settle(acknowledgement) => settles.push(acknowledgement),
            }
        }
        self.answer(messages, settles, receipt, false).await
    }

    /// A transaction is worked off whole or not at all: what can be wrong with a step is looked for before the first.
    pub(super) fn check_steps(&self, steps: &[Step]) -> Result<(), Refusal> {
        let broker = self.door.worker.broker();
        let mut messages = Vec::new();
        let mut settled = HashSet::new();
        for step in steps {
            match step {
                Step::Send(message) => {
                    broker.admit(&self.identity, message)?;
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

    /// A message to `/app/…`: the answer goes to this session alone.
    pub(super) fn ask(&self, message: &Message) -> Result<(), Refusal> {
        let broker = self.door.worker.broker();
        broker.authorize(&self.identity, Operation::Send, &message.destination)?;
        broker.metrics().messages_in.by(Door::Stomp).inc();
        // Whatever is wrong with it is told before the handler acts.
        let answer_to = self.answer_to(message)?;
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
                Message::new(answer_to, headers, body)
            }
        };
        broker.authorize(&self.identity, Operation::Read, &answer.destination)?;
        self.door.worker.reply(self.key, answer);
        Ok(())
    }

    /// Where this session hears the answer to a message of its own.
    pub(super) fn answer_to(&self, message: &Message) -> Result<Destination, Refusal> {
        let tenant = self.identity.tenant();
        Ok(match message.headers.get("reply-to") {
            Some(address) => Destination::parse(tenant, address.clone())?,
            None => self.own(&format!("queue/{}", message.destination.name()))?,
        })
    }
}

pub(super) fn transaction_of(frame: &Frame) -> Result<&ByteString, Refusal> {
    frame.headers.value("transaction").ok_or_else(|| Refusal::missing(frame, "transaction"))
}
