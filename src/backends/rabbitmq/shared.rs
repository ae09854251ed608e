//! What nodes have together though each makes its part of it: the figures made of all events.
//!
//! Owns when a part is sent. What a part is, and that one which comes twice, late or never does no harm, is its maker's.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::ShortString;
use tokio::time::interval;

use super::RabbitMq;
use super::incoming::PART;
use super::nodes::EVERY;
use super::publisher::Letter;
use crate::broker::MAX_KEY;

/// A part is sent again after so many rounds though nothing changed.
const AGAIN: u32 = 30;

/// What is made of all nodes' parts.
#[derive(Clone)]
pub(crate) struct Shared {
    /// This node's part: `None` if nothing changed since this was last asked, unless it is to be had always.
    pub(crate) own: Arc<dyn Fn(bool) -> Option<Bytes> + Send + Sync>,
    /// All parts that are known, those of nodes that are gone included.
    pub(crate) all: Arc<dyn Fn() -> Vec<Bytes> + Send + Sync>,
    /// Takes another's part.
    pub(crate) take: Arc<dyn Fn(&Bytes) + Send + Sync>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl RabbitMq {
    /// Sends this node's part once a second, if it changed, for ever.
    pub(super) async fn send_parts(&self) {
        let mut ticks = interval(EVERY);
        let mut rounds = 0;
        loop {
            ticks.tick().await;
            rounds += 1;
            if let Some(part) = (self.settings.shared.own)(rounds % AGAIN == 0) {
                self.send_part(self.names.nodes(), "", part);
            }
        }
    }

    /// Hands a node that came all that is known.
    pub(super) fn hand_over(&self, queue: &str) {
        // Those of nodes that are gone too, from every node: which of them has all is not known while one may just have died.
        for part in (self.settings.shared.all)() {
            self.send_part("", queue, part);
        }
    }

    pub(super) fn send_part(&self, exchange: &str, key: &str, body: Bytes) {
        // What others say may be anything.
        if key.len() > MAX_KEY {
            return;
        }
        let properties = BasicProperties::default().with_type(ShortString::from(PART));
        let letter =
            Letter { exchange: exchange.into(), key: key.into(), properties, body, mandatory: false };
        if self.notes.put(letter).is_err() {
            self.metrics.dropped("notes", 1);
        }
    }
}
