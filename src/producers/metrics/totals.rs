//! Everything counted since the start or the last reset. Each sum is kept once, and whatever else must equal it is
//! added up from the same counters, so that no two figures can disagree.

use super::breakdown::Breakdown;
use super::latency::Latencies;
use super::users::Users;
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
        for (mine, theirs) in self.severities.iter_mut().zip(part.severities) {
            *mine += theirs;
        }
        self.latencies.merge(&part.latencies);
        self.types.merge(&part.types);
        self.sources.merge(&part.sources);
        self.users.merge(&part.users);
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
