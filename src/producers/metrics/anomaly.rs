//! What is out of the ordinary in the last minutes, and from where on. An anomaly is shown while its condition holds
//! and is gone with it; nothing is remembered.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::percent;
use super::windows::Recent;
use crate::producers::clock::iso;

/// Percent of the events of the last five minutes that are errors: above which a warning, above which critical.
const ERROR_RATE: (f64, f64) = (5.0, 10.0);
/// 95th percentile of the latencies of the last five minutes, in ms, likewise.
const P95: (f64, f64) = (1_000.0, 5_000.0);
/// How many times the mean minute the last one must exceed.
const SPIKE: f64 = 3.0;

/// What kind of anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AnomalyKind {
    /// Too many errors.
    HighErrorRate,
    /// Too slow.
    HighLatency,
    /// Suddenly far more events.
    TrafficSpike,
}

/// How grave an anomaly is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AnomalySeverity {
    /// Worth a look.
    Warning,
    /// Needs somebody now.
    Critical,
}

/// One thing out of the ordinary.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Anomaly {
    /// How grave.
    pub severity: AnomalySeverity,
    /// What kind.
    #[serde(rename = "type")]
    pub kind: AnomalyKind,
    /// A sentence for people.
    pub message: String,
    /// What `current_value` is above: percent, ms, or events of a minute.
    pub threshold: f64,
    /// What it is.
    pub current_value: f64,
    /// The moment of the figures it was seen in; ISO 8601, UTC.
    pub detected_at: String,
}

/// All that is out of the ordinary in `recent`, as of `now`.
pub(super) fn detect(recent: &Recent, now: Timestamp) -> Vec<Anomaly> {
    [error_rate(recent), latency(recent), spike(recent)]
        .into_iter()
        .flatten()
        .map(|found| Anomaly { detected_at: iso(now), ..found })
        .collect()
}

fn error_rate(recent: &Recent) -> Option<Anomaly> {
    let window = &recent.last_5_minutes;
    let rate = percent(window.errors, window.events);
    let (severity, threshold) = exceeded(rate, ERROR_RATE)?;
    let message = format!("Of the last 5 minutes' events {rate:.1} % are errors, more than {threshold} %");
    Some(anomaly(severity, AnomalyKind::HighErrorRate, message, threshold, rate))
}

fn latency(recent: &Recent) -> Option<Anomaly> {
    let p95 = recent.latencies.percentile(95);
    let (severity, threshold) = exceeded(p95, P95)?;
    let message =
        format!("The 95th percentile of the last 5 minutes' latencies is {p95:.0} ms, above {threshold} ms");
    Some(anomaly(severity, AnomalyKind::HighLatency, message, threshold, p95))
}

/// The mean minute is that of the last five, or of those since the start where they are fewer: else every start would
/// be a spike.
fn spike(recent: &Recent) -> Option<Anomaly> {
    let minutes =
        recent.elapsed.clamp(Duration::from_secs(60), Duration::from_secs(300)).as_secs_f64() / 60.0;
    let threshold = SPIKE * recent.last_5_minutes.events as f64 / minutes;
    let last = recent.last_1_minute.events as f64;
    let message = format!(
        "The last minute had {last} events, more than {SPIKE} times the mean minute of the last five"
    );
    (last > threshold)
        .then(|| anomaly(AnomalySeverity::Warning, AnomalyKind::TrafficSpike, message, threshold, last))
}

/// The higher of two limits that `value` is above.
fn exceeded(value: f64, (warning, critical): (f64, f64)) -> Option<(AnomalySeverity, f64)> {
    if value > critical {
        Some((AnomalySeverity::Critical, critical))
    } else {
        (value > warning).then_some((AnomalySeverity::Warning, warning))
    }
}

fn anomaly(
    severity: AnomalySeverity,
    kind: AnomalyKind,
    message: String,
    threshold: f64,
    current_value: f64,
) -> Anomaly {
    Anomaly { severity, kind, message, threshold, current_value, detected_at: String::new() }
}
