//! What must hold of the whole object under any load: sums agree, numbers are numbers, parts merge to the whole.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::Value;

use super::tests::{at, event};
use super::*;
use crate::producers::ingest::Severity;

/// A step of a random load: how long after the one before, and which event.
fn load() -> impl Strategy<Value = Vec<(u64, Event)>> {
    let gap = prop_oneof![8 => 0..500_u64, 1 => 0..100_000_u64, 1 => 0..10_000_000_u64];
    let name = prop_oneof![5 => 0..5_u32, 1 => 0..400_u32];
    let severity = prop::sample::select(Severity::ALL.to_vec());
    let latency = prop::option::of(0.0001..1e6_f64);
    let user = prop::option::of(0..30_u32);
    let step = (gap, name.clone(), name, severity, latency, user);
    proptest::collection::vec(
        step.prop_map(|(gap, event_type, source, severity, latency, user)| {
            let mut event = event(&format!("type{event_type}"), severity, latency);
            event.source = format!("source{source}");
            event.user_id = user.map(|user| format!("user{user}"));
            (gap, event)
        }),
        0..400,
    )
}

/// Every sum that has to be another figure, and every number that has to be one.
fn check(snapshot: &MetricsSnapshot, events: &[Event]) -> Result<(), TestCaseError> {
    let count = |wanted: &dyn Fn(&Event) -> bool| events.iter().filter(|e| wanted(e)).count() as u64;
    let (total, errors) = (events.len() as u64, count(&|e| e.severity.is_error()));
    prop_assert_eq!(snapshot.summary.total_events, total);
    prop_assert_eq!(snapshot.error_metrics.total_errors, errors);
    prop_assert_eq!(snapshot.events_by_type.values().sum::<u64>(), total);
    prop_assert_eq!(snapshot.events_by_source.values().sum::<u64>(), total);
    prop_assert_eq!(snapshot.events_by_severity.values().sum::<u64>(), total);
    prop_assert_eq!(snapshot.error_metrics.errors_by_type.values().sum::<u64>(), errors);
    prop_assert_eq!(snapshot.error_metrics.errors_by_source.values().sum::<u64>(), errors);
    prop_assert_eq!(snapshot.summary.error_rate, snapshot.error_metrics.error_rate);
    prop_assert_eq!(snapshot.summary.events_per_second, snapshot.throughput.current);
    let overall = &snapshot.latency_metrics.overall;
    prop_assert_eq!(overall.sample_count, count(&|e| e.latency.is_some()));
    prop_assert_eq!(snapshot.summary.avg_latency, overall.percentiles.avg);
    let identified = count(&|e| e.user_id.is_some());
    let top: u64 = snapshot.top_users.iter().map(|user| user.event_count).sum();
    prop_assert!(top <= identified);
    if snapshot.summary.unique_users <= 10 {
        prop_assert_eq!(top, identified);
    }
    let windows = &snapshot.time_windows;
    let growing = [
        windows.last_1_minute.events,
        windows.last_5_minutes.events,
        windows.last_15_minutes.events,
        windows.last_1_hour.events,
        windows.last_24_hours.events,
        total,
    ];
    prop_assert!(growing.is_sorted());
    prop_assert!(snapshot.throughput.current <= snapshot.throughput.peak);
    prop_assert!(snapshot.throughput.peak * 10.0 <= total as f64);
    check_numbers(&serde_json::to_value(snapshot).unwrap(), "")
}

/// That nothing is null (as what is no number becomes) but the moment of a peak that was not.
fn check_numbers(value: &Value, path: &str) -> Result<(), TestCaseError> {
    match value {
        Value::Null => prop_assert_eq!(path, ".throughput.peakTimestamp"),
        Value::Object(fields) => {
            for (name, field) in fields {
                check_numbers(field, &format!("{path}.{name}"))?;
            }
        }
        _ => {}
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sums_agree_under_any_load_at_any_moment(load in load()) {
        let mut analytics = Analytics::new(at(77));
        let (mut now, mut events) = (77, Vec::new());
        for (gap, event) in load {
            now += gap;
            analytics.record(&event, at(now));
            events.push(event);
            if events.len() % 50 == 1 {
                check(&analytics.snapshot(at(now)), &events)?;
            }
        }
        check(&analytics.snapshot(at(now)), &events)?;
        check(&analytics.snapshot(at(now + 200_000)), &events)?;
    }

    #[test]
    fn parts_of_nodes_merge_to_the_whole(load in load(), nodes in 1..4_usize) {
        let mut whole = Analytics::new(at(0));
        let mut parts: Vec<_> = (0..nodes).map(|_| Analytics::new(at(0))).collect();
        let (mut now, mut events) = (0, Vec::new());
        for (n, (gap, event)) in load.into_iter().enumerate() {
            now += gap;
            whole.record(&event, at(now));
            parts[n % nodes].record(&event, at(now));
            events.push(event);
        }
        let (mut totals, mut recent) = (Totals::default(), Recent::default());
        for part in &parts {
            totals.merge(part.totals());
            recent.merge(&part.recent(at(now)));
        }
        let merged = MetricsSnapshot::new(&totals, &recent, at(now).wall);
        let single = whole.snapshot(at(now));
        prop_assert_eq!(merged.summary.total_events, single.summary.total_events);
        prop_assert_eq!(merged.time_windows.last_1_hour.events, single.time_windows.last_1_hour.events);
        prop_assert_eq!(merged.throughput.current, single.throughput.current);
        prop_assert_eq!(&merged.events_by_severity, &single.events_by_severity);
        prop_assert_eq!(merged.latency_metrics.overall.percentiles.p95, single.latency_metrics.overall.percentiles.p95);
        if nodes == 1 {
            prop_assert_eq!(&merged, &single);
        }
        prop_assert_eq!(merged.events_by_type.values().sum::<u64>(), events.len() as u64);
    }
}
