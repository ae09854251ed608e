//! Channels on one worker: what a subscription is handed, what a slow one skips, what comes back after a cut, what views show.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{Bench, Wire, run, turns};
use super::*;

const ALL: usize = usize::MAX;

/// A MESSAGE as the tests' encoder writes it.
#[derive(Debug, Clone, PartialEq)]
struct Copied {
    id: String,
    body: String,
    says: Vec<String>,
}

impl Copied {
    fn says(&self, what: &str) -> Option<&str> {
        self.says.iter().find_map(|one| one.strip_prefix(what))
    }

    fn cursor(&self) -> &str {
        self.says("cursor=").unwrap()
    }
}

/// The MESSAGEs of one subscription.
fn messages(text: &str, id: &str) -> Vec<Copied> {
    let whole = text.split('[').filter_map(|frame| frame.strip_suffix(']'));
    let frames = whole.filter_map(|frame| frame.strip_prefix('M'));
    let copied = |frame: &str| {
        let (id, rest) = frame.split_once(' ').unwrap();
        let mut parts = rest.split('|').map(str::to_owned);
        Copied { id: id.to_owned(), body: parts.next().unwrap(), says: parts.collect() }
    };
    frames.map(copied).filter(|copy| copy.id == id).collect()
}

fn bodies(text: &str, id: &str) -> Vec<String> {
    messages(text, id).into_iter().map(|copy| copy.body).collect()
}

fn view(fields: Option<&str>, rate: Option<&str>, delta: bool) -> Option<Arc<View>> {
    View::parse(fields, rate, delta.then_some("merge-patch")).unwrap()
}

fn metric(bench: &Bench, name: &str) -> u64 {
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
fn a_patch_is_computed_once_for_all_who_stand_at_the_same_base() {
    run(async {
        let bench = Bench::new(Limits::default());
        bench.publish("/topic/metrics", r#"{"a":0,"b":"0123456789"}"#).await;
        let wires: Vec<Wire> = (0..100).map(|_| Wire::with_room(ALL)).collect();
        for (at, wire) in wires.iter().enumerate() {
            let key = bench.open(wire);
            let id = if at % 2 == 0 { "a" } else { "b" };
            let view = view(None, None, true);
            bench.subscribe_to(key, id, "/topic/metrics", |terms| terms.view = view).await.unwrap();
        }
        for number in 1..=3 {
            bench.publish("/topic/metrics", format!(r#"{{"a":{number},"b":"0123456789"}}"#)).await;
        }
        turns().await;
        assert_eq!(metric(&bench, "stentor_patches_total"), 3);
        let copies = messages(&wires[1].text(), "b");
        let bodies: Vec<&str> = copies.iter().map(|copy| &*copy.body).collect();
        assert_eq!(bodies, [r#"{"a":0,"b":"0123456789"}"#, r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":3}"#]);
        assert_eq!(copies[0].says, ["retained", "full=1"]);
        assert_eq!(copies[2].says, ["2>3"]);
    });
}

#[test]
fn a_rate_lets_the_newest_through_at_the_intervals_end() {
    run(async {
        let bench = Bench::new(Limits::default());
        let (wire, late) = (Wire::with_room(ALL), Wire::with_room(ALL));
        let key = bench.open(&wire);
        let rate = || view(None, Some("1/1s"), false);
        bench.subscribe_to(key, "a", "/topic/status", |terms| terms.view = rate()).await.unwrap();
        for number in 0..25 {
            bench.publish("/topic/status", number.to_string()).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(bodies(&wire.text(), "a"), ["0", "10", "20"]);
        let late_key = bench.open(&late);
        bench.subscribe_to(late_key, "a", "/topic/status", |terms| terms.view = rate()).await.unwrap();
        assert_eq!(bodies(&late.text(), "a"), ["24"], "at once, whatever the others' pace");
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(bodies(&wire.text(), "a"), ["0", "10", "20", "24"]);
        assert_eq!(bodies(&late.text(), "a"), ["24", "24"]);
    });
}

#[test]
fn views_are_refused_where_they_make_no_sense() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(ALL);
        let key = bench.open(&wire);
        for (topic, asked, is_right) in [
            ("/topic/t", view(Some("a"), None, false), false),
            ("/topic/task-events", view(Some("a"), None, false), true),
            ("/topic/task-events", view(None, Some("1/1s"), false), false),
            ("/topic/task-events", view(None, None, true), false),
            ("/topic/host-metrics:#", view(Some("a"), Some("1/1s"), true), true),
            ("/topic/#", view(Some("a"), None, false), false),
            ("/topic/*", view(None, None, true), false),
        ] {
            let id = format!("{topic} {asked:?}");
            let made = bench.subscribe_to(key, &id, topic, |terms| terms.view = asked).await;
            assert_eq!(made.is_ok(), is_right, "{id}");
        }
    });
}

/// What happens to a few clients of snapshot channels.
#[derive(Debug, Clone)]
enum Step {
    Publish { channel: usize, member: usize, value: u32 },
    Clear { channel: usize },
    Join { client: usize, view: usize },
    Leave { client: usize },
    Give { client: usize, octets: usize },
    Block { client: usize },
    Wait { millis: u64 },
}

const CLIENTS: usize = 4;
const CHANNELS: [&str; 3] = ["/topic/host-metrics:a", "/topic/host-metrics:b", "/topic/host-metrics:c"];
const VIEWS: [(Option<&str>, Option<&str>, bool); 7] = [
    (None, None, true),
    (Some("m0,n.m1"), None, true),
    (None, Some("1/1s"), true),
    (Some("m2"), Some("2/1s"), true),
    (None, None, false),
    (Some("m0"), None, false),
    (None, Some("1/1s"), false),
];

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        12 => (0..3usize, 0..6usize, 0..4u32).prop_map(|(channel, member, value)| Step::Publish { channel, member, value }),
        1 => (0..3usize).prop_map(|channel| Step::Clear { channel }),
        3 => (client.clone(), 0..VIEWS.len()).prop_map(|(client, view)| Step::Join { client, view }),
        1 => client.clone().prop_map(|client| Step::Leave { client }),
        4 => (client.clone(), 1..200usize).prop_map(|(client, octets)| Step::Give { client, octets }),
        2 => client.prop_map(|client| Step::Block { client }),
        3 => (1..700u64).prop_map(|millis| Step::Wait { millis }),
    ]
}

/// Changes one member of a value; the fourth kind of value takes it away.
fn change(value: &mut Value, member: usize, to: u32) {
    let (name, within) = (format!("m{}", member % 3), member >= 3);
    let object = if within { &mut value["n"] } else { value };
    let object = object.as_object_mut().unwrap();
    match to {
        3 => drop(object.remove(&name)),
        2 => drop(object.insert(name, json!({ "x": member }))),
        _ => drop(object.insert(name, json!(to))),
    }
}

/// RFC 7396.
fn apply(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else { return *target = patch.clone() };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        match value {
            Value::Null => drop(target.as_object_mut().unwrap().remove(name)),
            value => apply(target.as_object_mut().unwrap().entry(name.clone()).or_insert(Value::Null), value),
        }
    }
}

/// What a view shows of a value in the tests' form.
fn shown(value: &Value, fields: Option<&str>) -> Value {
    let Some(fields) = fields else { return value.clone() };
    let mut out = json!({ "c": null });
    out.as_object_mut().unwrap().clear();
    for field in fields.split(',') {
        match field.split_once('.') {
            None if value.get(field).is_some() => out[field] = value[field].clone(),
            Some((outer, inner)) if value[outer].get(inner).is_some() => {
                out[outer][inner] = value[outer][inner].clone();
            }
            _ => {}
        }
    }
    out
}

/// Values that were published: by channel, `None` for a clear.
type Published = Vec<Vec<Option<Value>>>;

/// Puts together what one subscription got, checks it on the way, and gives the value that it ends with for each channel.
fn follow(copies: &[Copied], view: usize, published: &Published) -> HashMap<String, Option<Value>> {
    let (fields, _, is_delta) = VIEWS[view];
    let mut held: HashMap<String, (Value, String)> = HashMap::new();
    let mut last = HashMap::new();
    for copy in copies {
        let channel = copy.says("to=").unwrap().to_owned();
        if copy.body.is_empty() {
            held.remove(&channel);
            continue;
        }
        let patch: Value = serde_json::from_str(&copy.body).unwrap();
        let sequence = copy.says.iter().find_map(|one| {
            one.strip_prefix("full=").or_else(|| one.split_once('>').map(|(_, sequence)| sequence))
        });
        let value = match copy.says.iter().find_map(|one| one.split_once('>')) {
            Some((base, _)) => {
                let (mut value, have) = held[&channel].clone();
                assert_eq!(have, base, "a patch of what was written before");
                apply(&mut value, &patch);
                value
            }
            None => patch,
        };
        assert_eq!(is_delta, sequence.is_some());
        let at = CHANNELS.iter().position(|name| *name == channel).unwrap();
        let is_one = published[at].iter().flatten().any(|one| shown(one, fields) == value);
        assert!(is_one, "{value} was never published to {channel}: {copies:?}");
        held.insert(channel.clone(), (value.clone(), sequence.unwrap_or_default().to_owned()));
        last.insert(channel, Some(value));
    }
    last
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    /// However clients join, lag and leave: each value that is put together was published, and the last is the newest.
    #[test]
    fn every_view_ends_with_the_newest_value(steps in proptest::collection::vec(step(), 1..120)) {
        run(async {
            let bench = Bench::new(Limits::default());
            let mut value = vec![json!({ "n": {}, "long": "x".repeat(60) }); 3];
            let mut published: Published = vec![Vec::new(); 3];
            let wires: Vec<Wire> = (0..CLIENTS).map(|_| Wire::with_room(ALL)).collect();
            let keys: Vec<SessionKey> = wires.iter().map(|wire| bench.open(wire)).collect();
            let mut joined: Vec<Vec<(String, usize, bool)>> = vec![Vec::new(); CLIENTS];
            for step in &steps {
                match *step {
                    Step::Publish { channel, member, value: to } => {
                        change(&mut value[channel], member, to);
                        published[channel].push(Some(value[channel].clone()));
                        bench.publish(CHANNELS[channel], value[channel].to_string()).await;
                    }
                    Step::Clear { channel } => {
                        published[channel].push(None);
                        bench.publish_with(CHANNELS[channel], &[("retain", "clear")], "").await.unwrap();
                    }
                    Step::Join { client, view: at } => {
                        // Few ids, so that clients share groups.
                        let id = format!("{at}-{}", joined[client].iter().filter(|(_, view, _)| *view == at).count());
                        let (fields, rate, delta) = VIEWS[at];
                        let view = view(fields, rate, delta);
                        let topic = "/topic/host-metrics:#";
                        bench.subscribe_to(keys[client], &id, topic, |terms| terms.view = view).await.unwrap();
                        joined[client].push((id, at, true));
                    }
                    Step::Leave { client } => {
                        if let Some((id, _, is_there)) = joined[client].iter_mut().rev().find(|(_, _, there)| *there) {
                            assert!(bench.worker.unsubscribe(keys[client], id));
                            *is_there = false;
                        }
                    }
                    Step::Give { client, octets } => wires[client].give(octets),
                    Step::Block { client } => wires[client].0.borrow_mut().room = 0,
                    Step::Wait { millis } => tokio::time::sleep(Duration::from_millis(millis)).await,
                }
            }
            tokio::time::sleep(Duration::from_secs(3)).await;
            wires.iter().for_each(|wire| wire.give(ALL));
            tokio::time::sleep(Duration::from_secs(3)).await;
            for (client, wire) in wires.iter().enumerate() {
                for (id, view, is_there) in &joined[client] {
                    let last = follow(&messages(&wire.text(), id), *view, &published);
                    for (at, channel) in CHANNELS.iter().enumerate().filter(|_| *is_there) {
                        if let Some(Some(newest)) = published[at].last() {
                            let newest = shown(newest, VIEWS[*view].0);
                            assert_eq!(last.get(*channel), Some(&Some(newest)), "{channel} of {id} at {client}");
                        }
                    }
                }
            }
            assert_eq!(bench.cut_offs("slow_consumer"), 0);
        });
    }
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
