//! ACK and NACK: which delivery they name.
//!
//! ```text
//! 1.0   message-id
//! 1.1   message-id, subscription
//! 1.2   id, which is the ack header of the MESSAGE
//! ```
//! A delivery from a queue has its message-id for its ack id. A copy of a topic's message has `<message-id>@<subscription>`:
//! there is nothing to deliver again, so that an acknowledgement is only looked at for whether it can be one.

use bytestring::ByteString;
use stomp_parser::{Frame, Version};

use super::refusal::Refusal;
use crate::broker::{AckMode, MessageId, SessionKey, Verdict, Worker, excerpt};

/// What an ACK or a NACK says.
#[derive(Debug)]
pub(super) struct Acknowledgement {
    id: MessageId,
    /// It is about a copy of a topic's message.
    is_copy: bool,
    /// As the frame names it, or the id of a copy.
    subscription: Option<ByteString>,
    version: Version,
    verdict: Verdict,
}

impl Acknowledgement {
    pub(super) fn read(
        frame: &Frame,
        version: Version,
        verdict: Verdict,
    ) -> Result<Acknowledgement, Refusal> {
        let copied = |name: &str| frame.get(name).map(ByteString::from);
        let needed = |name: &str| copied(name).ok_or_else(|| Refusal::missing(frame, name));
        let (id, subscription) = match version {
            Version::V1_2 => (needed("id")?, None),
            Version::V1_1 => (needed("message-id")?, Some(needed("subscription")?)),
            Version::V1_0 => (needed("message-id")?, copied("subscription")),
        };
        let (number, of_copy) = match id.split_once('@') {
            Some((number, subscription)) => (number, Some(ByteString::from(subscription))),
            None => (&*id, None),
        };
        let number = number.parse().map_err(|()| unknown(&id))?;
        let is_copy = of_copy.is_some();
        Ok(Acknowledgement { id: number, is_copy, subscription: of_copy.or(subscription), version, verdict })
    }

    /// Whether it names a delivery now, and tells the queue nothing.
    pub(super) fn check(&self, worker: &Worker, session: SessionKey) -> Result<(), Refusal> {
        self.work(session, worker, |named, id| worker.may_settle(session, named, id))
    }

    /// Of what it says something.
    pub(super) fn delivery(&self) -> (MessageId, Option<&str>) {
        (self.id, self.subscription.as_deref())
    }

    /// What it weighs in memory, about.
    pub(super) fn octets(&self) -> usize {
        size_of::<Acknowledgement>()
            + self.subscription.as_ref().map_or(0, |id| 2 * size_of::<usize>() + id.len())
    }

    /// Tells the queue, if it is about one.
    pub(super) fn settle(&self, worker: &Worker, session: SessionKey) -> Result<(), Refusal> {
        self.work(session, worker, |named, id| worker.settle(session, named, id, self.verdict))
    }

    /// What an acknowledgement that was used up already is refused with.
    pub(super) fn unknown(&self) -> Refusal {
        match &self.subscription {
            Some(subscription) if self.is_copy => unknown(&format!("{}@{subscription}", self.id)),
            _ => unknown(&self.id.to_string()),
        }
    }

    fn work(
        &self,
        session: SessionKey,
        worker: &Worker,
        of_queue: impl FnOnce(Option<&str>, MessageId) -> bool,
    ) -> Result<(), Refusal> {
        let named = self.subscription.as_deref();
        if !self.is_copy && of_queue(named, self.id) {
            return Ok(());
        }
        // In 1.0 it need not say of which subscription a copy was.
        if named.is_none() && self.version != Version::V1_0 {
            return Err(self.unknown());
        }
        match worker.topic_ack_mode(session, named) {
            Some(AckMode::Client | AckMode::ClientIndividual) => Ok(()),
            _ => Err(self.unknown()),
        }
    }
}

fn unknown(id: &str) -> Refusal {
    let detail =
        format!("{} names no delivery that waits for an acknowledgement on this connection.", excerpt(id));
    Refusal::new("unknown_delivery", "unknown delivery", detail)
}
