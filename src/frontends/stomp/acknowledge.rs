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
    /// As the client wrote it.
    id: ByteString,
    subscription: Option<ByteString>,
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
        Ok(Acknowledgement { id, subscription, verdict })
    }

    /// Whether it names a delivery now, and tells the queue nothing.
    pub(super) fn check(&self, worker: &Worker, session: SessionKey) -> Result<(), Refusal> {
        self.work(session, worker, |named, id| worker.may_settle(session, named, id))
    }

    /// Of what it says something.
    pub(super) fn delivery(&self) -> (&str, Option<&str>) {
        (&self.id, self.subscription.as_deref())
    }

    /// Tells the queue, if it is about one.
    pub(super) fn settle(&self, worker: &Worker, session: SessionKey) -> Result<(), Refusal> {
        self.work(session, worker, |named, id| worker.settle(session, named, id, self.verdict))
    }

    /// What an acknowledgement that was used up already is refused with.
    pub(super) fn unknown(&self) -> Refusal {
        Refusal::new(
            "unknown_delivery",
            "unknown delivery",
            format!(
                "{} names no delivery that waits for an acknowledgement on this connection.",
                excerpt(&self.id)
            ),
        )
    }

    fn work(
        &self,
        session: SessionKey,
        worker: &Worker,
        of_queue: impl FnOnce(Option<&str>, MessageId) -> bool,
    ) -> Result<(), Refusal> {
        let (id, of_copy) = match self.id.split_once('@') {
            Some((id, subscription)) => (id, Some(subscription)),
            None => (&*self.id, None),
        };
        let id: MessageId = id.parse().map_err(|()| self.unknown())?;
        let named = of_copy.or(self.subscription.as_deref());
        if of_copy.is_none() && of_queue(named, id) {
            return Ok(());
        }
        match named.and_then(|named| worker.topic_ack_mode(session, named)) {
            Some(AckMode::Client | AckMode::ClientIndividual) => Ok(()),
            _ => Err(self.unknown()),
        }
    }
}
