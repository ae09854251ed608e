//! Everything counted since the start or the last reset. Each sum is kept once, and whatever else must equal it is
//! added up from the same counters, so that no two figures can disagree.

use super::breakdown::Breakdown;
use super::latency::Latencies;
use super::users::Users;
use super::wire::{BadPart, Reader, Writer};
use crate::producers::ingest::{Event, Severity};

/// A node's counts, mergeable with those of others.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    severities: [u64; Severity::ALL.len()],
    pub(super) latencies: Latencies,
    pub(super) types: Breakdown,
    pub(super) sources: Breakdown,
    pub(super) users: Users,
}

impl Totals {
    /// Adds what another node counted.
    pub fn merge(&mut self, part: &Totals) {
        self.absorb(part);
        self.fold();
    }

    /// Adds what another node counted, and keeps all of its names: the sum of many is [folded](Self::fold) at the end,
    /// so that it does not depend on the order.
    pub(super) fn absorb(&mut self, part: &Totals) {
        for (mine, theirs) in self.severities.iter_mut().zip(part.severities) {
            *mine += theirs;
        }
        self.latencies.merge(&part.latencies);
        self.types.absorb(&part.types);
        self.sources.absorb(&part.sources);
        self.users.merge(&part.users);
    }

    /// Leaves no more names than one node would.
    pub(super) fn fold(&mut self) {
        self.types.fold();
        self.sources.fold();
    }

    /// All events.
    pub fn events(&self) -> u64 {
        self.severities.iter().sum()
    }

    /// The events of one severity.
    pub fn of_severity(&self, severity: Severity) -> u64 {
        self.severities[severity as usize]
    }

    /// The events of severity ERROR or CRITICAL.
    pub fn errors(&self) -> u64 {
        let all = Severity::ALL.into_iter();
        all.filter(|severity| severity.is_error()).map(|severity| self.of_severity(severity)).sum()
    }

    /// Writes all of it. `base` is a moment in ms near which most users were seen.
    pub(super) fn encode(&self, writer: &mut Writer, base: i64) {
        self.severities.iter().for_each(|&count| writer.uint(count));
        self.latencies.encode(writer);
        self.types.encode(writer);
        self.sources.encode(writer);
        self.users.encode(writer, base);
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(reader: &mut Reader<'_>, base: i64) -> Result<Self, BadPart> {
        let mut totals = Self::default();
        for count in &mut totals.severities {
            *count = reader.count()?;
        }
        totals.latencies = Latencies::decode(reader)?;
        totals.types = Breakdown::decode(reader)?;
        totals.sources = Breakdown::decode(reader)?;
        totals.users = Users::decode(reader, base)?;
        let sums = [totals.events(), totals.errors(), totals.latencies.count()];
        let agree = totals.types.sums() == sums && totals.sources.sums() == sums;
        if agree { Ok(totals) } else { Err(BadPart::Absurd("its sums")) }
    }

    /// Counts `event`, whose latency as counted is `latency`.
    pub(super) fn record(&mut self, event: &Event, latency: Option<f64>) {
        let error = event.severity.is_error();
        self.severities[event.severity as usize] += 1;
        if let Some(ms) = latency {
            self.latencies.record(ms);
        }
        self.types.record(&event.event_type, error, latency);
        self.sources.record(&event.source, error, latency);
        if let Some(user) = &event.user_id {
            self.users.record(user, event.received_at);
        }
    }
}
