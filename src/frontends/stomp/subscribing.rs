//! What a session subscribes to, and on what terms.

use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use stomp_parser::{Command, Frame, Version};
use tokio::time::sleep;

use super::refusal::Refusal;
use super::session::{Session, TEMP_QUEUE};
use crate::broker::{
    AckMode, ConsumerTerms, Destination, Filter, Kind, Made, Receipt, Selector, SubscriberTerms,
    Subscription, Unsubscribed, View, excerpt,
};

/// How long what is behind a SUBSCRIBE waits for that.
const PATIENCE: Duration = Duration::from_secs(1);

impl Session {
    pub(super) async fn subscribe(
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
        let (wait, waits) = self.pending.subscribed(&id);
        if taken || waits {
            return Err(Refusal::new(
                "subscription_id_in_use",
                "subscription id in use",
                format!("This connection has a subscription {} already.", excerpt(&id)),
            ));
        }
        self.may_subscribe(have + wait)?;
        let view = view(frame)?;
        // A copy, so that a few octets do not keep a whole read buffer in memory.
        let subscription = Subscription { id: ByteString::from(&*id), ack };
        let worker = &self.door.worker;
        match place {
            Place::Queue(destination) => {
                if let Some(header) = VIEWS.iter().find(|header| frame.get(header).is_some()) {
                    return Err(no_view(header));
                }
                let asked = receipt;
                let receipt = receipt.map(|receipt| self.receipt_frame(receipt));
                let terms = ConsumerTerms { subscription, receipt, prefetch: prefetch(frame)?, selector };
                let there = worker.broker().backend().queue(&destination).map_err(Unsubscribed::Name)?;
                let (worker, identity, key) = (worker.clone(), self.identity.clone(), self.key);
                let making = async move {
                    if let Some(there) = there {
                        there.await;
                    }
                    worker.consume(&identity, key, destination, terms)
                };
                self.make_subscription(id, making, asked).await?;
            }
            Place::Filter(filter) => {
                let (cursor, history) = (frame.get("cursor"), frame.get("history"));
                let start = worker.broker().start_at(&filter, cursor, history)?;
                let encoder = self.encoder();
                let made = receipt.cloned();
                let made = made.map(|id| Receipt::new(move |made| encoder.frame(&subscribed(id, made))));
                let terms = SubscriberTerms { filter, subscription, selector, view, start, receipt: made };
                let (worker, identity, key) = (worker.clone(), self.identity.clone(), self.key);
                let making = async move { worker.subscribe(&identity, key, terms).await };
                self.make_subscription(id, making, receipt).await?;
            }
        }
        Ok(())
    }

    /// Makes a subscription. One whose receipt has to wait until other nodes are in reach does not hold up what comes behind.
    async fn make_subscription(
        &self,
        id: ByteString,
        making: impl Future<Output = Result<(), Unsubscribed>> + 'static,
        receipt: Option<&ByteString>,
    ) -> Result<(), Refusal> {
        let Some(receipt) = receipt else {
            return Ok(self.patiently(making).await?);
        };
        let mut making = Box::pin(making);
        let away = self.door.worker.broker().backend().away();
        let in_reach = async {
            tokio::select! {
                biased;
                made = &mut making => Some(made),
                () = away => None,
                () = sleep(PATIENCE) => None,
            }
        };
        match self.patiently(in_reach).await {
            Some(made) => made?,
            None => self.pending.subscribe(self.voice(), id, Some(receipt.clone()), making),
        }
        Ok(())
    }

    /// What a SUBSCRIBE to this text is to.
    pub(super) fn place(&self, text: &ByteString) -> Result<Place, Refusal> {
        let tenant = self.identity.tenant();
        if text.starts_with(Kind::Queue.prefix()) {
            return Ok(Place::Queue(Destination::parse(tenant, text.clone())?));
        }
        if let Some(rest) = text.strip_prefix(Kind::User.prefix()) {
            // Who is nobody in particular hears of itself alone.
            let destination = self.own(rest)?;
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

    pub(super) fn may_subscribe(&self, have: usize) -> Result<(), Refusal> {
        if have < self.door.subscriptions {
            return Ok(());
        }
        Err(Refusal::new(
            "too_many_subscriptions",
            "too many subscriptions",
            format!("A connection may have {} subscriptions.", self.door.subscriptions),
        ))
    }

    pub(super) fn unsubscribe(
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
        if !self.door.worker.unsubscribe(self.key, &id) && !self.pending.unsubscribe(&id) {
            return Err(Refusal::new(
                "unknown_subscription",
                "unknown subscription",
                format!("This connection has no subscription {}.", excerpt(&id)),
            ));
        }
        self.receipt(receipt);
        Ok(())
    }
}

/// What a SUBSCRIBE is to.
pub(super) enum Place {
    Queue(Destination),
    Filter(Filter),
}

/// The headers that ask for less than all of a channel.
const VIEWS: [&str; 3] = ["fields", "max-rate", "delta"];

fn view(frame: &Frame) -> Result<Option<Arc<View>>, Refusal> {
    let [fields, rate, delta] = VIEWS.map(|header| frame.get(header));
    Ok(View::parse(fields, rate, delta)?)
}

fn no_view(header: &str) -> Refusal {
    let detail = format!("{header} is for channels, and a queue is none: leave it out.");
    Refusal::new("no_such_view", "no such view", detail)
}

/// The answer to a SUBSCRIBE.
fn subscribed(receipt: ByteString, made: Made) -> Frame {
    let mut frame = Frame::new(Command::Receipt).header("receipt-id", receipt);
    if let Some(resumed) = made.resumed {
        frame = frame.header("resumed", if resumed.is_ok() { "true" } else { "false" });
    }
    if let Some(Err(gap)) = made.resumed {
        frame = frame.header("gap", "true").header("gap-reason", gap.label());
    }
    if let Some(cursor) = made.cursor {
        frame = frame.header("cursor", cursor.to_string());
    }
    frame
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

/// The id of a subscription. A 1.0 client may leave it out, and then names its subscription by the destination.
fn subscription_id(frame: &Frame, version: Version) -> Result<ByteString, Refusal> {
    let named = frame.headers.value("id");
    let by_destination = || frame.headers.value("destination").filter(|_| version == Version::V1_0);
    named.or_else(by_destination).cloned().ok_or_else(|| Refusal::missing(frame, "id"))
}
