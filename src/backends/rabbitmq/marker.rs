//! Markers: what nodes write into the stream beside messages, and no client sees.
//!
//! Owns their form, and how often the epoch is repeated. What follows from them is the stream's business.

use std::time::Duration;

use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::time::Instant;

/// What nodes write into the stream beside messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    /// It is of this epoch, says one who took that from the stream.
    Repeat(u32),
    /// It could be of this epoch.
    Proposal(u32),
    /// This node was here.
    Mark(u32, u64),
}

const EPOCH: &str = "x-stentor-epoch";
const PROPOSED: &str = "x-stentor-epoch-proposed";
const MARK: &str = "x-stentor-mark";

impl Marker {
    pub(super) fn of(delivery: &Delivery) -> Option<Marker> {
        let headers = delivery.properties.headers().as_ref()?.inner();
        let text = |name: &str| match headers.get(name) {
            Some(AMQPValue::LongString(text)) => std::str::from_utf8(text.as_bytes()).ok(),
            _ => None,
        };
        let epoch = |name| text(name).and_then(|text| u32::from_str_radix(text, 16).ok());
        if let Some(epoch) = epoch(EPOCH) {
            return Some(Marker::Repeat(epoch));
        }
        if let Some(epoch) = epoch(PROPOSED) {
            return Some(Marker::Proposal(epoch));
        }
        let (incarnation, number) = text(MARK)?.split_once('-')?;
        Some(Marker::Mark(u32::from_str_radix(incarnation, 16).ok()?, number.parse().ok()?))
    }
}

/// The epoch is repeated each time so many messages were read, or a part of what a segment holds, and each time so long went by.
const EACH: u64 = 5_000;
const EVERY: Duration = Duration::from_secs(30);
const PART: u32 = 4;

/// What a message takes in the stream beside its body, about.
const HEAD: u64 = 256;

/// What was read of the stream since this node last repeated the epoch.
#[derive(Debug, Default)]
pub(super) struct Markers {
    repeated: Option<Instant>,
    messages: u64,
    octets: u64,
}

impl Markers {
    /// A message was read.
    pub(super) fn count(&mut self, octets: usize) {
        self.messages += 1;
        self.octets += octets as u64 + HEAD;
    }

    /// Whether to repeat the epoch now, so that what the stream keeps always has it; the next time is counted from here. The
    /// stream keeps at least so many octets, and what is no older.
    pub(super) fn take_due(&mut self, octets: u64, age: Duration) -> bool {
        let is_due = self.repeated.is_none_or(|at| {
            self.messages >= EACH
                || self.octets >= octets / u64::from(PART)
                || at.elapsed() >= EVERY.min(age / PART)
        });
        if is_due {
            *self = Markers { repeated: Some(Instant::now()), ..Markers::default() };
        }
        is_due
    }
}

pub(super) fn mark_table(incarnation: u32, number: u64) -> FieldTable {
    table(MARK, format!("{incarnation:08x}-{number}"))
}

pub(super) fn marker_table(epoch: u32, is_known: bool) -> FieldTable {
    table(if is_known { EPOCH } else { PROPOSED }, format!("{epoch:08x}"))
}

fn table(name: &str, value: String) -> FieldTable {
    let mut table = FieldTable::default();
    table.insert(ShortString::from(name), AMQPValue::LongString(value.into()));
    table
}
