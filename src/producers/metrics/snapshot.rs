//! The object of `/topic/metrics`, name by name, and how each figure follows from the counts.
//!
//! Rates are in percent, latencies in ms, moments in ISO 8601 and UTC. Where there was nothing, a number is 0.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::anomaly::{self, Anomaly};
use super::latency::{Latencies, LatencyPercentiles, LatencySummary, average};
use super::totals::Totals;
use super::windows::{CURRENT, Recent, Tally};
use super::{per_second, percent};
use crate::producers::clock::iso;
use crate::producers::ingest::Severity;

/// Users named.
const TOP_USERS: usize = 10;
/// By what part the last half minute must differ from the one before to be a trend.
const TREND: f64 = 0.1;

/// All figures as of one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricsSnapshot {
    /// The figures of the first line.
    pub summary: Summary,
    /// Type → events. The 101st type and all later ones are counted as `other`.
    pub events_by_type: BTreeMap<String, u64>,
    /// Source → events, bounded likewise.
    pub events_by_source: BTreeMap<String, u64>,
    /// Severity → events; all four are always there.
    pub events_by_severity: BTreeMap<&'static str, u64>,
    /// How long events were on their way.
    pub latency_metrics: LatencyMetrics,
    /// Events of severity ERROR or CRITICAL.
    pub error_metrics: ErrorMetrics,
    /// Events per second.
    pub throughput: Throughput,
    /// The last minute to the last day.
    pub time_windows: TimeWindows,
    /// Up to ten users with the most events, in falling order.
    pub top_users: Vec<TopUser>,
    /// What is out of the ordinary now.
    pub anomalies: Vec<Anomaly>,
}

/// The figures of the first line: since the start or the last reset, but for `events_per_second`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// All events.
    pub total_events: u64,
    /// Mean of the last 10 s.
    #[serde(serialize_with = "super::latency::shown")]
    pub events_per_second: f64,
    /// Mean of all latencies.
    #[serde(serialize_with = "super::latency::shown")]
    pub avg_latency: f64,
    /// Percent of the events that are errors.
    #[serde(serialize_with = "super::latency::shown")]
    pub error_rate: f64,
    /// Different users: exact up to 2,048, then within 0.8 % (standard error).
    pub unique_users: u64,
    /// Different sources: exact up to 100, then likewise.
    pub unique_sources: u64,
    /// Different types, likewise.
    pub unique_event_types: u64,
}

/// How long events were on their way, since the start or the last reset.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LatencyMetrics {
    /// Of all events that have a latency.
    pub overall: LatencySummary,
    /// By type, of the types that have some.
    pub by_type: BTreeMap<String, LatencyPercentiles>,
    /// By source, of the sources that have some.
    pub by_source: BTreeMap<String, LatencyPercentiles>,
}

/// Events of severity ERROR or CRITICAL, since the start or the last reset.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorMetrics {
    /// All of them.
    pub total_errors: u64,
    /// Percent of all events.
    #[serde(serialize_with = "super::latency::shown")]
    pub error_rate: f64,
    /// By type, of the types that have some.
    pub errors_by_type: BTreeMap<String, u64>,
    /// By source, of the sources that have some.
    pub errors_by_source: BTreeMap<String, u64>,
}

/// Events per second.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throughput {
    /// Mean of the last 10 s; what was before the start counts as silence.
    #[serde(serialize_with = "super::latency::shown")]
    pub current: f64,
    /// The highest that `current` ever was.
    #[serde(serialize_with = "super::latency::shown")]
    pub peak: f64,
    /// When; null if there was no event.
    pub peak_timestamp: Option<String>,
    /// Mean since the start or the last reset, but over no less than 10 s.
    #[serde(serialize_with = "super::latency::shown")]
    pub avg: f64,
    /// Where it goes.
    pub trend: Trend,
}

/// The last 30 s against the 30 s before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trend {
    /// More than 10 % more.
    Increasing,
    /// Neither.
    Steady,
    /// More than 10 % less.
    Decreasing,
}

/// What came in within each span up to now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeWindows {
    /// The last minute.
    pub last_1_minute: WindowMetrics,
    /// The last five minutes.
    pub last_5_minutes: WindowMetrics,
    /// The last quarter of an hour.
    pub last_15_minutes: WindowMetrics,
    /// The last hour.
    pub last_1_hour: WindowMetrics,
    /// The last day.
    pub last_24_hours: WindowMetrics,
}

/// What came in within one span.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowMetrics {
    /// Events.
    pub events: u64,
    /// Mean of their latencies.
    #[serde(serialize_with = "super::latency::shown")]
    pub avg_latency: f64,
    /// Percent of them that are errors.
    #[serde(serialize_with = "super::latency::shown")]
    pub error_rate: f64,
}

/// One of the users with the most events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TopUser {
    /// As sent.
    pub user_id: String,
    /// Events, since the start or the last reset. With more than 2,048 users it may be too low, never too high.
    pub event_count: u64,
    /// When the last of them came in.
    pub last_seen: String,
}

impl MetricsSnapshot {
    /// The object made of both parts of what is known, of one node or merged of several, as of `now`.
    pub fn new(totals: &Totals, recent: &Recent, now: Timestamp) -> Self {
        let throughput = Throughput::new(totals, recent);
        Self {
            summary: Summary::new(totals, throughput.current),
            events_by_type: totals.types.events(),
            events_by_source: totals.sources.events(),
            events_by_severity: Severity::ALL
                .map(|severity| (severity.as_str(), totals.of_severity(severity)))
                .into(),
            latency_metrics: LatencyMetrics {
                overall: totals.latencies.summary(),
                by_type: totals.types.latencies(Latencies::percentiles),
                by_source: totals.sources.latencies(Latencies::percentiles),
            },
            error_metrics: ErrorMetrics {
                total_errors: totals.errors(),
                error_rate: percent(totals.errors(), totals.events()),
                errors_by_type: totals.types.errors(),
                errors_by_source: totals.sources.errors(),
            },
            throughput,
            time_windows: TimeWindows::new(recent),
            top_users: top_users(totals),
            anomalies: anomaly::detect(recent, now),
        }
    }
}

impl Summary {
    fn new(totals: &Totals, events_per_second: f64) -> Self {
        Self {
            total_events: totals.events(),
            events_per_second,
            avg_latency: totals.latencies.percentiles().avg,
            error_rate: percent(totals.errors(), totals.events()),
            unique_users: totals.users.count(),
            unique_sources: totals.sources.names(),
            unique_event_types: totals.types.names(),
        }
    }
}

impl Throughput {
    fn new(totals: &Totals, recent: &Recent) -> Self {
        Self {
            current: per_second(recent.last_10_seconds, CURRENT),
            peak: per_second(recent.peak, CURRENT),
            peak_timestamp: recent.peak_at.map(iso),
            avg: per_second(totals.events(), Duration::max(recent.elapsed, CURRENT)),
            trend: Trend::new(recent),
        }
    }
}

impl Trend {
    fn new(recent: &Recent) -> Self {
        let latest = recent.last_30_seconds as f64;
        let before = recent.last_1_minute.events as f64 - latest;
        if latest > before * (1.0 + TREND) {
            Trend::Increasing
        } else if latest < before * (1.0 - TREND) {
            Trend::Decreasing
        } else {
            Trend::Steady
        }
    }
}

impl TimeWindows {
    fn new(recent: &Recent) -> Self {
        Self {
            last_1_minute: WindowMetrics::new(&recent.last_1_minute),
            last_5_minutes: WindowMetrics::new(&recent.last_5_minutes),
            last_15_minutes: WindowMetrics::new(&recent.last_15_minutes),
            last_1_hour: WindowMetrics::new(&recent.last_1_hour),
            last_24_hours: WindowMetrics::new(&recent.last_24_hours),
        }
    }
}

impl WindowMetrics {
    fn new(tally: &Tally) -> Self {
        Self {
            events: tally.events,
            avg_latency: average(tally.latency_sum, tally.latencies),
            error_rate: percent(tally.errors, tally.events),
        }
    }
}

fn top_users(totals: &Totals) -> Vec<TopUser> {
    let top = totals.users.top(TOP_USERS).into_iter();
    top.map(|(name, user)| TopUser {
        user_id: name.to_owned(),
        event_count: user.events,
        last_seen: iso(user.last_seen),
    })
    .collect()
}
