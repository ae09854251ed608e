//! The figures made of events: what `/topic/metrics` and `GET /api/v1/metrics` show.
//!
//! [`Analytics`] is told of each event and can be asked at any moment. Telling costs the same at ten events or ten
//! million, asking changes nothing, and so no figure depends on who asked or how often. Taking events in belongs to
//! [`ingest`](super::ingest), the rhythm and the lock to whoever wires it.
//!
//! What one node knows is in two parts that can be merged with those of other nodes: [`Totals`], everything since
//! the start or the last reset, and [`Recent`], the windows as of one moment. A [`MetricsSnapshot`] is made of both.
//!
//! Memory is bounded whatever is sent. At worst: 16 KiB for each latency sketch (2 × 101 names, 60 slices of five
//! seconds, one for all), 2,048 users of at most 1 KiB of name each, 110 KB of counters for the windows, 37 KB of
//! cardinality sketches; 7 MB in all, and well under 1 MB for a dozen types and sources.

use std::time::Duration;

use super::clock::Now;
use super::ingest::Event;
use windows::Windows;

pub use anomaly::{Anomaly, AnomalyKind, AnomalySeverity};
pub use latency::{LatencyPercentiles, LatencySummary};
pub use snapshot::{
    ErrorMetrics, LatencyMetrics, MetricsSnapshot, Summary, Throughput, TimeWindows, TopUser, Trend,
    WindowMetrics,
};
pub use totals::Totals;
pub use windows::{Recent, Tally};

mod anomaly;
mod breakdown;
mod latency;
#[cfg(test)]
mod properties;
mod snapshot;
#[cfg(test)]
mod tests;
mod totals;
mod users;
mod windows;

/// Everything known of the events of this node since a moment.
#[derive(Debug)]
pub struct Analytics {
    since: Now,
    totals: Totals,
    windows: Windows,
}

impl Analytics {
    /// Knows of no event yet; counts from `start`.
    pub fn new(start: Now) -> Self {
        Self { since: start, totals: Totals::default(), windows: Windows::default() }
    }

    /// Takes account of an event that came in `now`. A moment before that of an event recorded earlier, as threads
    /// that wait for a lock may bring it, counts as that later one.
    pub fn record(&mut self, event: &Event, now: Now) {
        let latency = event.latency.map(latency::countable);
        self.totals.record(event, latency);
        self.windows.record(now.millis(), now.wall, event.severity.is_error(), latency);
    }

    /// The object of `/topic/metrics` as of `now`.
    pub fn snapshot(&self, now: Now) -> MetricsSnapshot {
        MetricsSnapshot::new(&self.totals, &self.recent(now), now.wall)
    }

    /// Forgets everything and counts from `now`.
    pub fn reset(&mut self, now: Now) {
        *self = Self::new(now);
    }

    /// This node's part of what is counted since the start.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// This node's part of the windows, as of `now`.
    pub fn recent(&self, now: Now) -> Recent {
        let elapsed = now.since(self.since);
        self.windows.recent(now.millis(), elapsed)
    }
}

/// `part` of `whole` in percent; 0 of nothing.
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// `count` in `span`, for each second.
fn per_second(count: u64, span: Duration) -> f64 {
    count as f64 / span.as_secs_f64()
}
