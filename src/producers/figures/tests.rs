//! Nodes on a made-up clock that tell each other of their events, or fail to.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::producers::ingest::Severity;

mod properties;

/// The moment `ms` after noon, on a node that was started at noon.
fn at(ms: u64) -> Now {
    moved(ms, 0)
}

/// The same on a clock that was moved by `ahead` ms since.
fn moved(ms: u64, ahead: i64) -> Now {
    let noon: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
    let steady = Duration::from_millis(ms);
    Now { steady, wall: Timestamp::from_millisecond((noon + steady).as_millisecond() + ahead).unwrap() }
}

fn event(now: Now) -> Event {
    Event {
        event_id: String::new(),
        event_type: "click".to_owned(),
        source: "web".to_owned(),
        timestamp: now.wall,
        received_at: now.wall,
        user_id: None,
        session_id: None,
        severity: Severity::Info,
        tags: BTreeMap::new(),
        metadata: Value::Null,
        latency: None,
    }
}

fn node(incarnation: u32, now: Now) -> Figures {
    Figures::starting(incarnation, Clock::start(), now)
}

fn record(node: &Figures, now: Now) {
    lock(&node.own).record(&event(now), now);
}

fn shown(node: &Figures, now: Now) -> Value {
    serde_json::to_value(node.snapshot(|| now)).unwrap()
}

fn total(node: &Figures, now: Now) -> u64 {
    shown(node, now)["summary"]["totalEvents"].as_u64().unwrap()
}

/// Hands all that `from` knows to `to`.
fn hand(from: &Figures, to: &Figures, now: Now) {
    for part in from.all_parts_at(now) {
        to.take_part_at(&part, now).unwrap();
    }
}

/// Sends the part of `from` to `to`.
fn tell(from: &Figures, to: &Figures, now: Now) {
    to.take_part_at(&from.own_part_at(true, now).unwrap(), now).unwrap();
}

#[test]
fn a_part_is_made_when_something_changed() {
    let (one, other) = (node(1, at(0)), node(2, at(0)));
    let first = one.own_part_at(false, at(0)).expect("others know nothing of it yet");
    assert_eq!(one.own_part_at(false, at(5_000)), None);
    assert_eq!(one.own_part_at(true, at(5_000)), Some(first));
    record(&one, at(6_000));
    // Who starts was told, but the others were not.
    assert_eq!(one.all_parts_at(at(6_000)).len(), 1);
    let second = one.own_part_at(false, at(6_000)).unwrap();
    assert_eq!(one.own_part_at(false, at(7_000)), None);
    other.take_part_at(&second, at(7_000)).unwrap();
    assert_eq!(total(&other, at(7_000)), 1);
    assert_eq!(other.all_parts_at(at(7_000)).len(), 2);
    one.reset_at(at(8_000));
    assert!(one.own_part_at(false, at(8_000)).is_some(), "a reset is told");
}

#[test]
fn old_and_repeated_parts_do_no_harm() {
    let (one, other) = (node(1, at(0)), node(2, at(0)));
    let mut parts = Vec::new();
    for n in 0..5 {
        record(&one, at(n));
        parts.push(one.own_part_at(false, at(n)).unwrap());
    }
    for place in [2, 4, 1, 4, 0, 3] {
        other.take_part_at(&parts[place], at(10)).unwrap();
        one.take_part_at(&parts[place], at(10)).unwrap();
    }
    assert_eq!((total(&one, at(10)), total(&other, at(10))), (5, 5));
}

#[test]
fn the_dead_stay_in_the_sums_and_are_handed_on() {
    let (dead, left) = (node(1, at(0)), node(2, at(0)));
    record(&dead, at(1_000));
    record(&left, at(2_000));
    tell(&dead, &left, at(3_000));
    let started = node(3, at(100_000));
    record(&started, at(100_000));
    hand(&left, &started, at(100_000));
    tell(&started, &left, at(100_000));
    for node in [&left, &started] {
        let figures = shown(node, at(100_000));
        assert_eq!(figures["summary"]["totalEvents"], 3);
        assert_eq!(figures["timeWindows"]["last1Minute"]["events"], 1);
        assert_eq!(figures["timeWindows"]["last5Minutes"]["events"], 3);
        assert_eq!(figures["throughput"]["avg"], json!(0.03), "since the first of them started");
    }
    assert_eq!(shown(&left, at(100_000)), shown(&started, at(100_000)));
}

#[test]
fn a_day_later_only_the_totals_of_the_dead_are_left() {
    const DAY: u64 = 86_400_000;
    let (dead, left) = (node(1, at(0)), node(2, at(0)));
    for n in 0..1_000 {
        record(&dead, at(n * 100));
    }
    tell(&dead, &left, at(100_000));
    let octets = |node: &Figures, ms| node.all_parts_at(at(ms)).iter().map(Bytes::len).sum::<usize>();
    let whole = octets(&left, 100_000);
    assert_eq!(
        shown(&left, at(DAY))["timeWindows"]["last24Hours"]["events"],
        400,
        "{}",
        shown(&left, at(DAY))
    );
    let late = DAY + 200_000;
    assert_eq!(shown(&left, at(late))["timeWindows"]["last24Hours"]["events"], 0);
    assert!(octets(&left, late) < whole / 10, "{whole}, {}", octets(&left, late));
    let started = node(3, at(late));
    hand(&left, &started, at(late));
    assert_eq!((total(&left, at(late)), total(&started, at(late))), (1_000, 1_000));
}

#[test]
fn a_reset_reaches_all_and_takes_the_dead() {
    let (one, other, dead) = (node(1, at(0)), node(2, at(0)), node(3, at(0)));
    for node in [&one, &other, &dead] {
        record(node, at(1_000));
    }
    let late = other.own_part_at(false, at(1_500)).unwrap();
    for (from, to) in [(&dead, &one), (&dead, &other), (&one, &other), (&other, &one)] {
        tell(from, to, at(1_500));
    }
    assert_eq!((total(&one, at(1_500)), total(&other, at(1_500))), (3, 3));
    one.reset_at(at(2_000));
    assert_eq!(total(&one, at(2_000)), 0);
    // Parts from before come late, and are handed on by who has not heard of it.
    one.take_part_at(&late, at(2_100)).unwrap();
    hand(&other, &one, at(2_200));
    assert_eq!(total(&one, at(2_300)), 0);
    record(&one, at(2_400));
    tell(&one, &other, at(2_500));
    assert_eq!((total(&one, at(2_500)), total(&other, at(2_500))), (1, 1));
    assert_eq!(shown(&one, at(2_500))["throughput"]["peak"], json!(0.1));
    // A node that started since hears of the reset from anybody, and forgets nothing that came after it.
    let started = node(4, at(2_600));
    record(&started, at(2_700));
    tell(&started, &one, at(2_800));
    hand(&other, &started, at(2_800));
    tell(&started, &other, at(2_800));
    for node in [&one, &other, &started] {
        assert_eq!(shown(node, at(3_000))["summary"]["totalEvents"], 2);
    }
    // And it can reset in turn, at once.
    started.reset_at(at(3_000));
    started.reset_at(at(3_000));
    for node in [&one, &other] {
        tell(&started, node, at(3_000));
        assert_eq!(total(node, at(3_000)), 0);
    }
    record(&other, at(3_001));
    tell(&other, &started, at(3_001));
    assert_eq!(total(&started, at(3_001)), 1);
}

#[test]
fn a_reset_takes_what_a_clock_that_is_ahead_counted() {
    let (one, ahead) = (node(1, at(0)), node(2, moved(0, 3_600_000)));
    record(&ahead, moved(0, 3_600_000));
    let part = ahead.own_part_at(false, moved(1_000, 3_600_000)).unwrap();
    one.take_part_at(&part, at(1_000)).unwrap();
    let figures = shown(&one, at(1_000));
    assert_eq!(figures["summary"]["totalEvents"], 1);
    assert_eq!(figures["timeWindows"]["last24Hours"]["events"], 0, "not before its time");
    one.reset_at(at(2_000));
    one.take_part_at(&part, at(2_000)).unwrap();
    assert_eq!(total(&one, at(2_000)), 0);
    tell(&one, &ahead, moved(2_000, 3_600_000));
    assert_eq!(total(&ahead, moved(2_000, 3_600_000)), 0);
}

#[test]
fn the_peak_is_that_of_all_nodes_together() {
    let (one, other, whole) = (node(1, at(0)), node(2, at(0)), node(9, at(0)));
    for ms in (0..100_000).step_by(10) {
        let node = if ms % 20 == 0 { &one } else { &other };
        // The busiest ten seconds of the one are not those of the other.
        let busy = if ms % 20 == 0 { 20_000..34_000 } else { 26_000..40_000 };
        if busy.contains(&ms) || ms % 500 == 0 {
            record(node, at(ms));
            record(&whole, at(ms));
        }
        if ms % 20_000 == 19_990 {
            tell(&one, &other, at(ms));
            tell(&other, &one, at(ms));
        }
    }
    let started = node(3, at(100_000));
    hand(&one, &started, at(100_000));
    for node in [&one, &other, &started] {
        let (found, exact) = (shown(node, at(100_000)), shown(&whole, at(100_000)));
        assert_eq!(found["throughput"]["peak"], exact["throughput"]["peak"]);
        let moment = |figures: &Value| -> Timestamp {
            figures["throughput"]["peakTimestamp"].as_str().unwrap().parse().unwrap()
        };
        let apart = moment(&found).duration_since(moment(&exact)).as_millis();
        assert!((-100..=0).contains(&apart), "{apart}");
        assert_eq!(found["throughput"]["current"], exact["throughput"]["current"]);
        assert_eq!(found["throughput"]["trend"], exact["throughput"]["trend"]);
    }
}

#[test]
fn slices_follow_a_clock_that_was_set() {
    let (one, other) = (node(1, at(0)), node(2, at(0)));
    // The one was asleep for an hour, which its steady clock does not know of.
    let hour = 3_600_000;
    record(&one, moved(1_000, hour as i64));
    let part = one.own_part_at(false, moved(2_000, hour as i64)).unwrap();
    other.take_part_at(&part, at(hour + 2_000)).unwrap();
    let figures = shown(&other, at(hour + 2_000));
    assert_eq!(figures["timeWindows"]["last1Minute"]["events"], 1);
    assert_eq!(figures["throughput"]["current"], json!(0.1));
}

#[test]
fn parts_that_rest_are_not_added_twice() {
    let (one, lively, other) = (node(1, at(0)), node(2, at(0)), node(3, at(0)));
    let mut now = 0;
    let mut count = 0;
    // The one rests long enough to be settled, or not, and changes after all; the lively one has everything added.
    for (round, pause) in
        [0, 100_000, 1_000, 200_000, 500_000, 61_000, 3_000, 4_000_000].into_iter().enumerate()
    {
        now += pause;
        record(&one, at(now));
        tell(&one, &other, at(now));
        count += 1;
        for _ in 0..3 {
            now += 50_000;
            record(&lively, at(now));
            tell(&lively, &other, at(now));
            count += 1;
            if round % 3 < 2 {
                assert_eq!(total(&other, at(now)), count, "round {round}");
            }
        }
    }
    assert_eq!(total(&other, at(now)), count);
}

#[test]
fn too_many_parts_make_room() {
    let last = node(0, at(0));
    for n in 1..=1_100_u32 {
        let dead = node(n, at(u64::from(n)));
        record(&dead, at(u64::from(n)));
        last.take_part_at(&dead.own_part_at(false, at(u64::from(n))).unwrap(), at(200_000 * u64::from(n)))
            .unwrap();
    }
    let now = at(300_000_000);
    assert_eq!((total(&last, now), last.forgotten_parts()), (999, 101));
    assert_eq!(last.all_parts_at(now).len(), 1_000);
    let started = node(2_000, now);
    hand(&last, &started, now);
    assert_eq!(total(&started, now), 998, "it has a part itself, and so has the last");
}

#[test]
fn bad_octets_change_nothing() {
    let (one, other) = (node(1, at(0)), node(2, at(0)));
    record(&one, at(0));
    let good = one.own_part_at(false, at(0)).unwrap();
    assert_eq!(other.take_part_at(&Bytes::new(), at(0)), Err(BadPart::Cut));
    assert_eq!(other.take_part_at(&Bytes::from_static(b"\x02..."), at(0)), Err(BadPart::Form(2)));
    let long = [&good[..], b"!"].concat().into();
    assert_eq!(other.take_part_at(&long, at(0)), Err(BadPart::TooLong));
    for end in 0..good.len() {
        assert!(other.take_part_at(&good.slice(..end), at(0)).is_err(), "{end}");
    }
    assert_eq!((total(&other, at(0)), other.all_parts_at(at(0)).len()), (0, 1));
    other.take_part_at(&good, at(0)).unwrap();
    assert_eq!(total(&other, at(0)), 1);
}

#[test]
fn a_part_of_a_busy_node_is_compact() {
    let busy = node(1, at(0));
    let mut state = 7_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    // Events all day long, and most in the last hours; latencies from 5 ms to a second, most of them short.
    let mut ms = 0;
    for n in 0..300_000_u64 {
        ms += if n < 100_000 { random(1_500) } else { random(50) };
        let mut event = event(at(ms));
        event.event_type = format!("order.{}", random(40));
        event.source = format!("service-{}", random(100));
        event.user_id = Some(format!("user-{:08x}", random(2_000) * 2_147_483));
        event.severity = Severity::ALL[usize::from(random(20) == 0) * 2];
        event.latency =
            Some((5.0 * 200_f64.powf((random(1 << 20) as f64 / (1 << 20) as f64).powi(2))).round());
        lock(&busy.own).record(&event, at(ms));
    }
    let part = busy.own_part_at(false, at(ms)).unwrap();
    println!("{} octets", part.len());
    let other = node(2, at(ms));
    other.take_part_at(&part, at(ms)).unwrap();
    tell(&other, &busy, at(ms));
    assert_eq!(shown(&other, at(ms)), shown(&busy, at(ms)));
    assert!(part.len() < 100_000, "{}", part.len());
}
