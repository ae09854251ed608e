//! Channels on one worker: what a subscription is handed, what a slow one skips, what comes back after a cut.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;

use super::*;

pub(super) const ALL: usize = usize::MAX;

/// A MESSAGE as the tests' encoder writes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Copied {
    id: String,
    pub(super) body: String,
    pub(super) says: Vec<String>,
}

impl Copied {
    pub(super) fn says(&self, what: &str) -> Option<&str> {
        self.says.iter().find_map(|one| one.strip_prefix(what))
    }

    pub(super) fn cursor(&self) -> &str {
        self.says("cursor=").unwrap()
    }
}

/// The MESSAGEs of one subscription.
pub(super) fn messages(text: &str, id: &str) -> Vec<Copied> {
    let whole = text.split('[').filter_map(|frame| frame.strip_suffix(']'));
    let frames = whole.filter_map(|frame| frame.strip_prefix('M'));
    let copied = |frame: &str| {
        let (id, rest) = frame.split_once(' ').unwrap();
        let mut parts = rest.split('|').map(str::to_owned);
        Copied { id: id.to_owned(), body: parts.next().unwrap(), says: parts.collect() }
    };
    frames.map(copied).filter(|copy| copy.id == id).collect()
}

pub(super) fn bodies(text: &str, id: &str) -> Vec<String> {
    messages(text, id).into_iter().map(|copy| copy.body).collect()
}

pub(super) fn metric(bench: &Bench, name: &str) -> u64 {
    let text = bench.broker.metrics().render();
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn a_late_subscriber_is_handed_the_newest_value_behind_its_receipt() {
    run(async {
        let bench = Bench::new(Limits::default());
        for (topic, body) in
            [("workers", "1"), ("workers", "2"), ("host-metrics:b", "3"), ("host-metrics:a.c", "4")]
        {
            bench.publish(&format!("/topic/{topic}"), body).await;
        }
        let wire = Wire::with_room(ALL);
        let key = bench.open(&wire);
        bench.subscribe_to(key, "w", "/topic/workers", |_| {}).await.unwrap();
        bench.subscribe_to(key, "h", "/topic/host-metrics:#", |_| {}).await.unwrap();
        bench.publish("/topic/workers", "5").await;
        turns().await;
        assert_eq!(
            wire.text(),
            "[Rw][Mw 2|retained][Rh][Mh 3|retained|to=/topic/host-metrics:b][Mh 4|retained|to=/topic/host-metrics:a.c][Mw 5]"
        );
    });
}

#[test]
fn plain_topics_keep_what_asks_for_it_until_it_is_cleared() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(ALL);
        let key = bench.open(&wire);
        bench.publish("/topic/t", "lost").await;
        bench.publish_with("/topic/t", &[("retain", "true")], "kept").await.unwrap();
        bench.publish("/topic/t", "not kept").await;
        bench.subscribe_to(key, "a", "/topic/t", |_| {}).await.unwrap();
        bench.publish_with("/topic/t", &[("retain", "clear")], "").await.unwrap();
        turns().await;
        assert_eq!(wire.text(), "[Ra][Ma kept|retained][Ma ]");
        bench.subscribe_to(key, "b", "/topic/t", |_| {}).await.unwrap();
        let refused = bench.publish_with("/topic/t", &[("retain", "clear")], "body").await;
        assert_eq!(refused, Err(Unpublished::ClearWithBody));
        turns().await;
        assert!(wire.text().ends_with("[Rb]"));
        assert_eq!(metric(&bench, "stentor_kept_values"), 0);
    });
}

#[test]
fn a_slow_reader_skips_to_the_newest_value_and_is_never_cut_off_for_it() {
    run(async {
        let outbox = OutboxLimits { messages: 2, bytes: 100 };
        let bench = Bench::new(Limits { outbox, ..Limits::default() });
        let wire = Wire::with_room(10);
        let key = bench.open(&wire);
        bench.subscribe_to(key, "w", "/topic/workers", |_| {}).await.unwrap();
        bench.subscribe_to(key, "s", "/topic/status", |_| {}).await.unwrap();
        for number in 0..1000 {
            bench.publish("/topic/workers", format!("w{number}")).await;
            bench.publish("/topic/status", format!("s{number}")).await;
            turns().await;
        }
        wire.give(ALL);
        turns().await;
        // The frame under way is finished; of all others only the newest is there.
        assert_eq!(wire.text(), "[Rw][Rs][Mw w0][Ms s999][Mw w999]");
        assert_eq!(bench.cut_offs("slow_consumer"), 0);
        assert_eq!(metric(&bench, "stentor_conflated_total"), 998 + 999);
    });
}

#[test]
fn values_that_waited_for_a_subscription_go_with_it() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(6);
        let key = bench.open(&wire);
        bench.subscribe_to(key, "a", "/topic/workers", |_| {}).await.unwrap();
        bench.publish("/topic/workers", "1").await;
        bench.publish("/topic/workers", "2").await;
        turns().await;
        assert!(bench.worker.unsubscribe(key, "a"));
        bench.worker.send(key, Bytes::from_static(b"[U]"));
        bench.subscribe_to(key, "a", "/topic/workers", |_| {}).await.unwrap();
        bench.publish("/topic/workers", "3").await;
        turns().await;
        wire.give(ALL);
        turns().await;
        assert_eq!(wire.text(), "[Ra][Ma 1][U][Ra][Ma 3]");
    });
}

#[test]
fn who_comes_back_with_a_cursor_gets_what_it_missed_and_then_shares_with_others() {
    run(async {
        let bench = Bench::new(Limits::default());
        let (wire, other) = (Wire::with_room(ALL), Wire::with_room(ALL));
        let (key, other_key) = (bench.open(&wire), bench.open(&other));
        bench.subscribe_to(key, "a", "/topic/jobs:#", |_| {}).await.unwrap();
        bench.subscribe_to(other_key, "a", "/topic/jobs:#", |_| {}).await.unwrap();
        bench.publish("/topic/jobs:1", "1").await;
        turns().await;
        let cursor = messages(&wire.text(), "a")[0].cursor().to_owned();
        assert!(bench.worker.unsubscribe(key, "a"));
        for number in 2..1000 {
            bench.publish(&format!("/topic/jobs:{}", number % 7), number.to_string()).await;
        }
        let start = StartAt::Cursor(cursor.as_str().into());
        bench.subscribe_to(key, "a", "/topic/jobs:#", |terms| terms.start = start).await.unwrap();
        for number in 1000..1100 {
            bench.publish("/topic/jobs:1", number.to_string()).await;
        }
        turns().await;
        let expected: Vec<String> = (1..1100).map(|number| number.to_string()).collect();
        assert_eq!(bodies(&wire.text(), "a"), expected);
        assert!(wire.text().contains("[Ra|resumed]"));
        assert_eq!(bodies(&other.text(), "a"), expected);
        let (mine, others) = (messages(&wire.text(), "a"), messages(&other.text(), "a"));
        assert_eq!(mine, others, "cursors and all");
        assert_eq!(metric(&bench, "stentor_groups"), 1);
    });
}

#[test]
fn a_replay_goes_at_the_pace_of_its_socket_and_counts_toward_no_bound() {
    run(async {
        let outbox = OutboxLimits { messages: 2, bytes: 100 };
        let bench = Bench::new(Limits { outbox, ..Limits::default() });
        for number in 0..5000 {
            bench.publish("/topic/task-events", format!("{number:20}")).await;
        }
        let wire = Wire::with_room(10);
        let key = bench.open(&wire);
        let start = StartAt::Last(usize::MAX);
        bench.subscribe_to(key, "a", "/topic/task-events", |terms| terms.start = start).await.unwrap();
        let mut waited = 0;
        while messages(&wire.text(), "a").len() < 6000 {
            if waited < 1000 {
                bench.publish("/topic/task-events", format!("{:20}", 5000 + waited)).await;
            }
            waited += 1;
            wire.give(997);
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert!(waited < 2000, "the replay stands still");
        }
        let expected: Vec<String> = (0..6000).map(|number| format!("{number:20}")).collect();
        assert_eq!(bodies(&wire.text(), "a"), expected);
        assert_eq!(bench.cut_offs("slow_consumer"), 0);
    });
}

#[test]
fn a_reader_that_history_overtakes_is_cut_off_with_its_cursor() {
    run(async {
        let history = HistoryLimits { messages: 10, ..HistoryLimits::default() };
        let catalogue = Catalogue::new(Vec::new(), history);
        let bench = Bench::with(Limits::default(), catalogue);
        let big = |number: usize| format!("{number}{}", "x".repeat(8000));
        for number in 0..10 {
            bench.publish("/topic/task-events", big(number)).await;
        }
        let wire = Wire::with_room(100);
        let key = bench.open(&wire);
        let start = StartAt::Last(10);
        bench.subscribe_to(key, "a", "/topic/task-events", |terms| terms.start = start).await.unwrap();
        for number in 10..20 {
            bench.publish("/topic/task-events", big(number)).await;
        }
        wire.give(ALL);
        turns().await;
        let got = messages(&wire.text(), "a");
        let cursor = got.last().unwrap().cursor().to_owned();
        assert!(wire.text().ends_with(&format!("[F slow_consumer a={cursor}]")), "what was read is not lost");
        assert!(got.len() < 10);
        let wire = Wire::with_room(ALL);
        let key = bench.open(&wire);
        let start = StartAt::Cursor(cursor.as_str().into());
        bench.subscribe_to(key, "a", "/topic/task-events", |terms| terms.start = start).await.unwrap();
        turns().await;
        let expected: Vec<String> = (10..20).map(big).collect();
        assert_eq!(bodies(&wire.text(), "a"), expected);
        let gaps: Vec<bool> =
            messages(&wire.text(), "a").iter().map(|copy| copy.says("gap=trimmed").is_some()).collect();
        assert_eq!(gaps.iter().filter(|gap| **gap).count(), 1);
        assert!(gaps[0] && wire.text().starts_with("[Ra|gap=trimmed]"));
    });
}

#[test]
fn a_gap_is_told_by_the_next_message_where_nothing_is_replayed() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(ALL);
        let key = bench.open(&wire);
        let start = StartAt::Cursor("nonsense".into());
        bench.subscribe_to(key, "a", "/topic/chat", |terms| terms.start = start).await.unwrap();
        turns().await;
        assert_eq!(wire.text(), "[Ra|gap=unknown]");
        for number in 0..3 {
            bench.publish("/topic/chat", number.to_string()).await;
        }
        turns().await;
        let says: Vec<Option<String>> =
            messages(&wire.text(), "a").iter().map(|copy| copy.says("gap=").map(str::to_owned)).collect();
        assert_eq!(says, [Some("unknown".into()), None, None]);
    });
}

#[test]
fn a_cut_off_tells_the_cursor_of_each_subscription_to_events() {
    run(async {
        let outbox = OutboxLimits { messages: 4, bytes: 10_000 };
        let bench = Bench::new(Limits { outbox, ..Limits::default() });
        let wire = Wire::with_room(ALL);
        let key = bench.open(&wire);
        bench.subscribe_to(key, "a", "/topic/jobs:#", |_| {}).await.unwrap();
        bench.subscribe_to(key, "b", "/topic/chat", |_| {}).await.unwrap();
        for number in 0..5 {
            bench.publish("/topic/jobs:1", number.to_string()).await;
            bench.publish("/topic/chat", number.to_string()).await;
        }
        turns().await;
        // One more is begun, and the outbox fills.
        wire.0.borrow_mut().room = 5;
        for number in 5..20 {
            bench.publish("/topic/jobs:1", number.to_string()).await;
            bench.publish("/topic/chat", number.to_string()).await;
            turns().await;
        }
        wire.give(ALL);
        turns().await;
        let text = wire.text();
        let last = |id: &str| messages(&text, id).last().unwrap().cursor().to_owned();
        assert!(text.ends_with(&format!("[F slow_consumer a={} b={}]", last("a"), last("b"))), "{text}");
        assert_eq!((bodies(&text, "a").len(), bodies(&text, "b").len()), (6, 5));
    });
}

#[test]
fn who_takes_what_it_is_given_gets_every_value() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(ALL);
        let key = bench.open(&wire);
        bench.subscribe_to(key, "a", "/topic/workers", |_| {}).await.unwrap();
        bench.subscribe_to(key, "b", "/topic/#", |_| {}).await.unwrap();
        // All of this is taken in one turn.
        for number in 0..50 {
            bench.publish("/topic/workers", number.to_string()).await;
        }
        turns().await;
        let expected: Vec<String> = (0..50).map(|number| number.to_string()).collect();
        assert_eq!(bodies(&wire.text(), "a"), expected);
        assert_eq!(bodies(&wire.text(), "b"), expected);
    });
}

#[test]
fn a_selector_hides_no_clear() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(ALL);
        let key = bench.open(&wire);
        let selector = Some(Selector::parse("level = 1").unwrap());
        bench.subscribe_to(key, "a", "/topic/workers", |terms| terms.selector = selector).await.unwrap();
        bench.publish_with("/topic/workers", &[("level", "1")], "x").await.unwrap();
        bench.publish_with("/topic/workers", &[("level", "2")], "y").await.unwrap();
        bench.publish_with("/topic/workers", &[("retain", "clear")], "").await.unwrap();
        turns().await;
        assert_eq!(bodies(&wire.text(), "a"), ["x", ""]);
    });
}

#[test]
fn the_oldest_values_make_room_for_new_ones() {
    run(async {
        let channels = ChannelLimits { values: 64 * 1024, ..ChannelLimits::default() };
        let bench = Bench::new(Limits { channels, ..Limits::default() });
        for number in 0..1000 {
            bench.publish(&format!("/topic/host-metrics:{number}"), "x".repeat(100)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.publish("/topic/workers", "new").await;
        let wire = Wire::with_room(ALL);
        let key = bench.open(&wire);
        bench.subscribe_to(key, "a", "/topic/workers", |_| {}).await.unwrap();
        bench.subscribe_to(key, "b", "/topic/host-metrics:0", |_| {}).await.unwrap();
        turns().await;
        assert_eq!(wire.text(), "[Ra][Ma new|retained][Rb]");
        assert!(metric(&bench, "stentor_drops_total{reason=\"last_value\"}") > 0);
    });
}
