//! The windows of another node: its slices of time as it sent them, numbered by the time of day, of which windows are
//! made that end when the reader says.
//!
//! A slice has the same number on every node, its time since 1970 divided by its width, so that windows of several
//! nodes hold the same spans, and their sum is that of one node that took all events. What is off is off by as much
//! as the nodes' clocks are: of a node that is ahead, events count later by that, and of one that is behind earlier.

use std::ops::RangeInclusive;

use super::latency::Latencies;
use super::peak::LastMinute;
use super::windows::{DAILY, FINE, HOURLY, QUARTER, Recent, SKETCHED, Scale, Tally};
use super::wire::{BadPart, Reader, Writer, significant};

/// Above the number of any slice.
const MAX_NUMBER: u64 = 1 << 48;
/// Some of the events of a slice are errors.
const HAS_ERRORS: u64 = 1;
/// Not all of them have a latency.
const LACKS_LATENCIES: u64 = 2;

/// Slices by number, in rising order; those without events are left out.
pub(super) type Row<T> = Vec<(u64, T)>;

/// The slices of one node.
#[derive(Clone, Debug, Default)]
pub(super) struct Slices {
    pub(super) minute: Row<Tally>,
    pub(super) quarter: Row<Tally>,
    pub(super) hour: Row<Tally>,
    pub(super) day: Row<Tally>,
    pub(super) latencies: Row<Latencies>,
}

impl Slices {
    /// The windows that end with `moment`, in ms since 1970. What lies after it is not in them yet.
    pub(super) fn recent(&self, moment: u64) -> Recent {
        Recent::of_slices(
            |span| within(&self.minute, FINE.window(moment, span)),
            |span| within(&self.quarter, QUARTER.window(moment, span)),
            |span| within(&self.hour, HOURLY.window(moment, span)),
            |span| within(&self.day, DAILY.window(moment, span)),
            within(&self.latencies, SKETCHED.window(moment, SKETCHED.span)),
        )
    }

    /// Adds the events of the last minute to those of others.
    pub(super) fn add_to(&self, all: &mut LastMinute) {
        self.minute.iter().for_each(|(number, tally)| all.add(*number, tally.events));
    }

    /// Forgets what no window that ends with `moment` or later has.
    pub(super) fn prune(&mut self, moment: u64) {
        prune(&mut self.minute, FINE, moment);
        prune(&mut self.quarter, QUARTER, moment);
        prune(&mut self.hour, HOURLY, moment);
        prune(&mut self.day, DAILY, moment);
        prune(&mut self.latencies, SKETCHED, moment);
    }

    /// Whether there is nothing that any window could have.
    pub(super) fn is_empty(&self) -> bool {
        self.tallied().iter().all(|row| row.is_empty()) && self.latencies.is_empty()
    }

    /// Writes all slices.
    pub(super) fn encode(&self, writer: &mut Writer) {
        for row in self.tallied() {
            encode(row, writer, encode_tally);
        }
        encode(&self.latencies, writer, |latencies, gap, writer| {
            writer.uint(gap);
            latencies.encode(writer);
        });
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, BadPart> {
        Ok(Self {
            minute: decode(reader, FINE, decode_tally)?,
            quarter: decode(reader, QUARTER, decode_tally)?,
            hour: decode(reader, HOURLY, decode_tally)?,
            day: decode(reader, DAILY, decode_tally)?,
            latencies: decode(reader, SKETCHED, |reader| Ok((reader.uint()?, Latencies::decode(reader)?)))?,
        })
    }

    fn tallied(&self) -> [&Row<Tally>; 4] {
        [&self.minute, &self.quarter, &self.hour, &self.day]
    }
}

fn within<T>(row: &Row<T>, window: RangeInclusive<u64>) -> impl Iterator<Item = &T> {
    let start = row.partition_point(|(number, _)| number < window.start());
    let end = row.partition_point(|(number, _)| number <= window.end());
    row[start..end].iter().map(|(_, slice)| slice)
}

fn prune<T>(row: &mut Row<T>, scale: Scale, moment: u64) {
    let window = scale.window(moment, scale.span);
    row.drain(..row.partition_point(|(number, _)| number < window.start()));
    row.shrink_to_fit();
}

/// Writes how many slices there are and each with how far its number is above the one before.
fn encode<T>(row: &Row<T>, writer: &mut Writer, encode: impl Fn(&T, u64, &mut Writer)) {
    writer.uint(row.len() as u64);
    let mut before = 0;
    for (number, slice) in row {
        encode(slice, (number - before).max(1), writer); // A clock at 1970 has a slice 0.
        before = *number;
    }
}

fn decode<T>(
    reader: &mut Reader<'_>,
    scale: Scale,
    decode: impl Fn(&mut Reader<'_>) -> Result<(u64, T), BadPart>,
) -> Result<Row<T>, BadPart> {
    let count = reader.at_most(scale.span / scale.width, "slices")?;
    let mut row = Row::new();
    let mut number = 0;
    for _ in 0..count {
        let (gap, slice) = decode(reader)?;
        if gap == 0 || gap > MAX_NUMBER - number {
            return Err(BadPart::Absurd("slices"));
        }
        number += gap;
        row.push((number, slice));
    }
    Ok(row)
}

/// All that is small goes into one number: how many slices without events are before this one, how long the sum of
/// latencies is, and what is there to be said.
fn encode_tally(tally: &Tally, gap: u64, writer: &mut Writer) {
    let has_errors = if tally.errors > 0 { HAS_ERRORS } else { 0 };
    let lacks_latencies = if tally.latencies < tally.events { LACKS_LATENCIES } else { 0 };
    let length = significant(tally.latency_sum) as u64;
    writer.uint((gap - 1) << 6 | length << 2 | has_errors | lacks_latencies);
    writer.uint(tally.events);
    if has_errors > 0 {
        writer.uint(tally.errors);
    }
    if lacks_latencies > 0 {
        writer.uint(tally.latencies);
    }
    writer.bare_float(tally.latency_sum);
}

fn decode_tally(reader: &mut Reader<'_>) -> Result<(u64, Tally), BadPart> {
    let head = reader.uint()?;
    let events = reader.count()?;
    let errors = if head & HAS_ERRORS > 0 { reader.at_most(events, "errors")? } else { 0 };
    let latencies = if head & LACKS_LATENCIES > 0 { reader.at_most(events, "latencies")? } else { events };
    let latency_sum = reader.bare_float((head >> 2 & 0xf) as usize)?;
    if events == 0 || latency_sum < 0.0 {
        return Err(BadPart::Absurd("slices"));
    }
    Ok(((head >> 6) + 1, Tally { events, errors, latencies, latency_sum }))
}
