//! The whole object on a made-up clock: its form, its sums, its windows, its bounds.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::producers::ingest::Severity;

/// The moment `ms` after the start of the process, noon of the last day of January.
pub(super) fn at(ms: u64) -> Now {
    let noon: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
    let steady = Duration::from_millis(ms);
    Now { steady, wall: noon + steady }
}

pub(super) fn event(event_type: &str, severity: Severity, latency: Option<f64>) -> Event {
    Event {
        event_id: String::new(),
        event_type: event_type.to_owned(),
        source: "web".to_owned(),
        timestamp: at(0).wall,
        received_at: at(0).wall,
        user_id: None,
        session_id: None,
        severity,
        tags: Default::default(),
        metadata: Value::Null,
        latency,
    }
}

fn info() -> Event {
    event("click", Severity::Info, None)
}

fn kinds(snapshot: &MetricsSnapshot) -> Vec<(AnomalyKind, AnomalySeverity)> {
    let found = snapshot.anomalies.iter();
    found.map(|found| (found.kind, found.severity)).collect()
}

#[test]
fn nothing_gives_zeros_in_every_field() {
    let analytics = Analytics::new(at(500));
    let none = json!({"events": 0, "avgLatency": 0.0, "errorRate": 0.0});
    assert_eq!(
        serde_json::to_value(analytics.snapshot(at(500))).unwrap(),
        json!({
            "summary": {
                "totalEvents": 0, "eventsPerSecond": 0.0, "avgLatency": 0.0, "errorRate": 0.0,
                "uniqueUsers": 0, "uniqueSources": 0, "uniqueEventTypes": 0,
            },
            "eventsByType": {}, "eventsBySource": {},
            "eventsBySeverity": {"INFO": 0, "WARNING": 0, "ERROR": 0, "CRITICAL": 0},
            "latencyMetrics": {
                "overall": {
                    "p50": 0.0, "p95": 0.0, "p99": 0.0, "avg": 0.0, "min": 0.0, "max": 0.0, "sampleCount": 0,
                },
                "byType": {}, "bySource": {},
            },
            "errorMetrics": {"totalErrors": 0, "errorRate": 0.0, "errorsByType": {}, "errorsBySource": {}},
            "throughput": {
                "current": 0.0, "peak": 0.0, "peakTimestamp": null, "avg": 0.0, "trend": "steady",
            },
            "timeWindows": {
                "last1Minute": none, "last5Minutes": none, "last15Minutes": none, "last1Hour": none,
                "last24Hours": none,
            },
            "topUsers": [], "anomalies": [],
        })
    );
}

#[test]
fn a_thousand_events_give_the_right_figures() {
    let mut analytics = Analytics::new(at(0));
    for n in 0..1_000_u64 {
        let severity = match n % 100 {
            0..4 => Severity::Error,
            4 => Severity::Critical,
            5..15 => Severity::Warning,
            _ => Severity::Info,
        };
        let mut event = event(["view", "click"][n as usize % 2], severity, Some(n as f64 + 1.0));
        event.source = ["web", "app", "api", "job"][n as usize % 4].to_owned();
        event.user_id = Some(format!("user{}", n % 50));
        event.received_at = at(n).wall;
        analytics.record(&event, at(n));
    }
    let found = serde_json::to_value(analytics.snapshot(at(1_000))).unwrap();

    assert_eq!(
        found["summary"],
        json!({
            "totalEvents": 1_000, "eventsPerSecond": 100.0, "avgLatency": 500.5, "errorRate": 5.0,
            "uniqueUsers": 50, "uniqueSources": 4, "uniqueEventTypes": 2,
        })
    );
    assert_eq!(found["eventsByType"], json!({"view": 500, "click": 500}));
    assert_eq!(found["eventsBySource"], json!({"web": 250, "app": 250, "api": 250, "job": 250}));
    assert_eq!(found["eventsBySeverity"], json!({"INFO": 850, "WARNING": 100, "ERROR": 40, "CRITICAL": 10}));
    assert_eq!(
        found["errorMetrics"],
        json!({
            "totalErrors": 50, "errorRate": 5.0, "errorsByType": {"view": 30, "click": 20},
            "errorsBySource": {"web": 20, "app": 10, "api": 10, "job": 10},
        })
    );
    let overall = &found["latencyMetrics"]["overall"];
    for (name, exact) in [("p50", 500.0), ("p95", 950.0), ("p99", 990.0)] {
        let figure = overall[name].as_f64().unwrap();
        assert!((figure - exact).abs() <= exact * 0.01, "{name}: {figure}");
    }
    assert_eq!(
        (&overall["min"], &overall["max"], &overall["sampleCount"]),
        (&json!(1.0), &json!(1_000.0), &json!(1_000))
    );
    assert_eq!(found["latencyMetrics"]["byType"]["click"]["avg"], json!(501.0));
    assert_eq!(found["latencyMetrics"]["bySource"]["web"]["avg"], json!(499.0));
    assert_eq!(
        found["throughput"],
        json!({
            "current": 100.0, "peak": 100.0, "peakTimestamp": "2026-01-31T12:00:00.999Z", "avg": 100.0,
            "trend": "increasing",
        })
    );
    for window in found["timeWindows"].as_object().unwrap().values() {
        assert_eq!(window, &json!({"events": 1_000, "avgLatency": 500.5, "errorRate": 5.0}));
    }
    assert_eq!(
        found["topUsers"][0],
        json!({"userId": "user49", "eventCount": 20, "lastSeen": "2026-01-31T12:00:00.999Z"})
    );
    assert_eq!(found["topUsers"].as_array().unwrap().len(), 10);
    assert_eq!(found["anomalies"], json!([]));
}

#[test]
fn windows_forget_and_totals_do_not() {
    let mut analytics = Analytics::new(at(0));
    analytics.record(&event("slow", Severity::Error, Some(2_000.0)), at(0));
    for (ms, left) in [
        (59_999, [1, 1, 1, 1, 1]),
        (60_000, [0, 1, 1, 1, 1]),
        (299_999, [0, 1, 1, 1, 1]),
        (300_000, [0, 0, 1, 1, 1]),
        (900_000, [0, 0, 0, 1, 1]),
        (3_600_000, [0, 0, 0, 0, 1]),
        (86_399_999, [0, 0, 0, 0, 1]),
        (86_400_000, [0, 0, 0, 0, 0]),
    ] {
        let snapshot = analytics.snapshot(at(ms));
        let windows = &snapshot.time_windows;
        let found = [
            windows.last_1_minute,
            windows.last_5_minutes,
            windows.last_15_minutes,
            windows.last_1_hour,
            windows.last_24_hours,
        ];
        assert_eq!(found.map(|window| window.events), left, "{ms}");
        assert_eq!(found.map(|window| window.error_rate), left.map(|n| n as f64 * 100.0));
        assert_eq!(found.map(|window| window.avg_latency), left.map(|n| n as f64 * 2_000.0));
        assert_eq!(snapshot.summary.total_events, 1);
        assert_eq!(snapshot.summary.error_rate, 100.0);
        assert_eq!(snapshot.anomalies.is_empty(), ms >= 300_000, "{ms}");
    }
}

#[test]
fn rates_do_not_depend_on_who_asks_or_when() {
    let (mut asked, mut unasked) = (Analytics::new(at(0)), Analytics::new(at(0)));
    for n in 0..3_000 {
        let moment = at(n * 37);
        asked.record(&info(), moment);
        unasked.record(&info(), moment);
        asked.snapshot(moment);
        asked.snapshot(at(n * 37 + 5_000_000));
    }
    assert_eq!(asked.snapshot(at(111_000)), unasked.snapshot(at(111_000)));
    let current = asked.snapshot(at(111_000)).throughput.current;
    assert!((current - 1_000.0 / 37.0).abs() < 0.4, "{current}");
}

#[test]
fn throughput_follows_the_last_ten_seconds() {
    let mut analytics = Analytics::new(at(0));
    for n in 0..1_200 {
        analytics.record(&info(), at(n * 100));
    }
    let throughput = analytics.snapshot(at(119_999)).throughput;
    assert_eq!((throughput.current, throughput.peak), (10.0, 10.0));
    assert!((throughput.avg - 10.0).abs() < 0.01, "{}", throughput.avg);
    assert_eq!(throughput.trend, Trend::Steady);

    let later = analytics.snapshot(at(130_000)).throughput;
    assert_eq!((later.current, later.peak), (0.0, 10.0));
    assert_eq!(later.trend, Trend::Decreasing);
    assert_eq!(analytics.snapshot(at(400_000)).throughput.trend, Trend::Steady);

    for n in 0..700 {
        analytics.record(&info(), at(500_000 + n * 10));
    }
    let burst = analytics.snapshot(at(507_000)).throughput;
    assert_eq!((burst.current, burst.peak), (70.0, 70.0));
    assert_eq!(burst.peak_timestamp.unwrap(), "2026-01-31T12:08:26.990Z");
    assert_eq!(burst.trend, Trend::Increasing);
}

#[test]
fn a_high_error_rate_comes_and_goes() {
    let mut analytics = Analytics::new(at(0));
    let add = |severity: Severity, count: usize, analytics: &mut Analytics| {
        for _ in 0..count {
            analytics.record(&event("e", severity, None), at(1_000));
        }
    };
    add(Severity::Info, 95, &mut analytics);
    add(Severity::Error, 5, &mut analytics);
    assert_eq!(kinds(&analytics.snapshot(at(2_000))), [], "5 % is not above");
    add(Severity::Critical, 1, &mut analytics);
    let snapshot = analytics.snapshot(at(2_000));
    assert_eq!(kinds(&snapshot), [(AnomalyKind::HighErrorRate, AnomalySeverity::Warning)]);
    assert_eq!(snapshot.anomalies[0].threshold, 5.0);
    assert_eq!(snapshot.anomalies[0].current_value, 600.0 / 101.0);
    add(Severity::Error, 5, &mut analytics);
    let snapshot = analytics.snapshot(at(2_000));
    let found = serde_json::to_value(&snapshot.anomalies).unwrap();
    assert_eq!(
        found,
        json!([{
            "severity": "critical", "type": "high_error_rate", "threshold": 10.0,
            "message": "Of the last 5 minutes' events 10.4 % are errors, more than 10 %",
            "currentValue": 1_100.0 / 106.0, "detectedAt": "2026-01-31T12:00:02.000Z",
        }])
    );
    assert_eq!(kinds(&analytics.snapshot(at(301_000))), []);
}

#[test]
fn just_at_a_limit_is_not_above_it() {
    let mut analytics = Analytics::new(at(0));
    for n in 0..20 {
        let severity = [Severity::Error, Severity::Info][usize::from(n % 10 > 0)];
        analytics.record(&event("e", severity, Some(1_000.0)), at(0));
    }
    let snapshot = analytics.snapshot(at(0));
    let expected = [(AnomalyKind::HighErrorRate, AnomalySeverity::Warning)];
    assert_eq!((kinds(&snapshot), snapshot.summary.error_rate), (expected.into(), 10.0));
}

#[test]
fn high_latency_comes_and_goes() {
    let mut analytics = Analytics::new(at(0));
    let add = |ms: f64, count: usize, analytics: &mut Analytics| {
        for _ in 0..count {
            analytics.record(&event("e", Severity::Info, Some(ms)), at(0));
        }
    };
    add(100.0, 96, &mut analytics);
    add(9_000.0, 4, &mut analytics);
    assert_eq!(kinds(&analytics.snapshot(at(1_000))), []);
    add(2_000.0, 2, &mut analytics);
    let snapshot = analytics.snapshot(at(1_000));
    assert_eq!(kinds(&snapshot), [(AnomalyKind::HighLatency, AnomalySeverity::Warning)]);
    let found = &snapshot.anomalies[0];
    assert_eq!(found.threshold, 1_000.0);
    assert!((found.current_value - 2_000.0).abs() <= 20.0);
    add(9_000.0, 10, &mut analytics);
    assert_eq!(
        kinds(&analytics.snapshot(at(1_000))),
        [(AnomalyKind::HighLatency, AnomalySeverity::Critical)]
    );
    assert_eq!(kinds(&analytics.snapshot(at(300_000))), []);
}

#[test]
fn a_traffic_spike_comes_and_goes() {
    let mut analytics = Analytics::new(at(0));
    // The first minutes of steady traffic are no spike.
    for second in 0..300 {
        analytics.record(&info(), at(second * 1_000));
        assert_eq!(kinds(&analytics.snapshot(at(second * 1_000))), []);
    }
    for n in 0..500 {
        analytics.record(&info(), at(300_000 + n * 10));
    }
    let snapshot = analytics.snapshot(at(305_000));
    assert_eq!(kinds(&snapshot), [(AnomalyKind::TrafficSpike, AnomalySeverity::Warning)]);
    let found = &snapshot.anomalies[0];
    assert_eq!(found.current_value, 554.0);
    assert!(found.threshold < found.current_value && found.threshold > 450.0);
    assert_eq!(kinds(&analytics.snapshot(at(370_000))), []);
}

#[test]
fn a_reset_forgets_everything() {
    let mut analytics = Analytics::new(at(0));
    for n in 0..100 {
        let mut event = event("e", Severity::Error, Some(9_000.0));
        event.user_id = Some("u".to_owned());
        analytics.record(&event, at(n));
    }
    analytics.reset(at(1_000));
    assert_eq!(analytics.snapshot(at(1_000)), Analytics::new(at(1_000)).snapshot(at(1_000)));
    analytics.record(&info(), at(1_500));
    assert_eq!(analytics.snapshot(at(1_500)).summary.total_events, 1);
    assert_eq!(analytics.snapshot(at(61_000)).time_windows.last_1_minute.events, 1);
    assert_eq!(analytics.snapshot(at(61_500)).time_windows.last_1_minute.events, 0);
}

#[test]
fn memory_is_bounded_whatever_is_sent() {
    let mut analytics = Analytics::new(at(0));
    for n in 0..200_000_u64 {
        let latency = 10_f64.powi((n % 40) as i32 - 20);
        let mut event = event(&format!("type{}", n / 3), Severity::Info, Some(latency));
        event.source = format!("source{}", n % 5_000);
        event.user_id = Some(format!("user{n}"));
        analytics.record(&event, at(n * 40));
    }
    let totals = analytics.totals();
    // Bins of eight octets; see the head of the module.
    let sketches = 2 * (breakdown::MAX_NAMES + 1) + 60 + 1;
    let bins =
        totals.types.bins() + totals.sources.bins() + totals.latencies.length() + analytics.windows.bins();
    assert!(bins <= sketches * 2_048, "{bins}");
    assert!(totals.users.tracked() <= users::MAX_TRACKED);
    let snapshot = analytics.snapshot(at(8_000_000));
    assert_eq!(snapshot.events_by_type.len(), breakdown::MAX_NAMES + 1);
    assert_eq!(snapshot.events_by_source.len(), breakdown::MAX_NAMES + 1);
    assert_eq!(snapshot.top_users.len(), 10);
    assert!(serde_json::to_string(&snapshot).unwrap().len() < 64 * 1024);
}
