//! The figures made of events: what `/topic/metrics` and `GET /api/v1/metrics` show.
//!
//! [`Analytics`] is told of each event and can be asked at any moment. Telling costs the same at ten events or ten
//! million, asking changes nothing, and so no figure depends on who asked or how often. Taking events in belongs to
//! [`ingest`](super::ingest), the rhythm and the lock to whoever wires it.
//!
//! What one node knows is in two parts that can be merged with those of other nodes: [`Totals`], everything since
//! the start or the last reset, and [`Recent`], the windows as of one moment. A [`MetricsSnapshot`] is made of both.
//!
//! Nodes tell each other what they counted as a `Part`: [`Totals`], and the slices of time that windows are made of.
//! `Others` keeps the newest part of each other node, the dead ones included, and adds them up. What the sum has in
//! common with the figures of one node that took all events, and what not:
//! - All counts are exact, those of the windows too, and all sums agree; percentiles, unique figures and top users are
//!   as good as one node's, and the same on all nodes that were told the same. An average may differ in the last digit
//!   shown, since it depends on the order in which parts were added.
//! - Windows are off by as much as the nodes' clocks are, and lack what a node has not told yet (about a second).
//! - Of more than 100 types or sources together, those with the most events have a row of their own.
//! - The peak is exact if nodes hear of each other within 50 s, and else may be too low.
//!
//! Memory is bounded whatever is sent. At worst: 16 KiB for each latency sketch (2 × 101 names, 60 slices of five
//! seconds, one for all), 2,048 users of at most 1 KiB of name each, 110 KB of counters for the windows, 37 KB of
//! cardinality sketches; 7 MB in all, and well under 1 MB for a dozen types and sources. As much again for each node
//! that tells of events lately, and a sum with up to ten times as many names.

use std::time::Duration;

use super::clock::Now;
use super::ingest::Event;
use peak::LastMinute;
use windows::Windows;

pub use anomaly::{Anomaly, AnomalyKind, AnomalySeverity};
pub use latency::{LatencyPercentiles, LatencySummary};
pub use snapshot::{
    ErrorMetrics, LatencyMetrics, MetricsSnapshot, Summary, Throughput, TimeWindows, TopUser, Trend,
    WindowMetrics,
};
pub use totals::Totals;
pub use windows::{Recent, Tally};
pub use wire::BadPart;

pub(super) use others::Others;
pub(super) use part::{Head, MAX_MOMENT, Part};
pub(super) use peak::Peak;

mod anomaly;
mod breakdown;
mod distinct;
mod latency;
mod others;
mod part;
mod peak;
#[cfg(test)]
mod properties;
mod slices;
mod snapshot;
#[cfg(test)]
mod tests;
mod totals;
mod users;
mod windows;
mod wire;

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
        self.windows.record(self.moment(now), now.wall, event.severity.is_error(), latency);
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
        self.windows.recent(self.moment(now), elapsed)
    }

    /// The object as of `now`, of what all nodes counted; `peak` is the highest that anybody knows of.
    pub(super) fn snapshot_with(&self, others: &mut Others, peak: Peak, now: Now) -> MetricsSnapshot {
        let mut recent = others.recent(now);
        recent.merge(&self.recent(now));
        recent.note_peak(peak);
        let mut totals = others.totals(now).clone();
        totals.absorb(&self.totals);
        totals.fold();
        MetricsSnapshot::new(&totals, &recent, now.wall)
    }

    /// The highest peak of this node alone, and of all nodes together in the last minute.
    pub(super) fn peak_with(&self, others: &Others, now: Now) -> Peak {
        let mut minute = LastMinute::new(now.wall_millis());
        others.add_to(&mut minute);
        self.windows.add_to(&mut minute, self.moment(now), self.ahead(now));
        self.windows.peak().best(minute.peak())
    }

    /// What there is to tell other nodes.
    pub(super) fn part(&self, head: Head, now: Now) -> Part {
        let slices = self.windows.slices(self.moment(now), self.ahead(now));
        Part { head, totals: self.totals.clone(), slices }
    }

    /// The steady time, set by the time of day when counting began.
    fn moment(&self, now: Now) -> u64 {
        self.since.wall_millis() + now.millis().saturating_sub(self.since.millis())
    }

    /// By how many ms the time of day has been set forward since counting began.
    fn ahead(&self, now: Now) -> i64 {
        now.wall_millis().wrapping_sub(self.moment(now)) as i64
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
