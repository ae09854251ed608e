//! Markers: what nodes write into the stream beside messages, and no client sees.
//!
//! Owns their form. When they are written, and what follows from them, is the stream's business.

use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};

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
