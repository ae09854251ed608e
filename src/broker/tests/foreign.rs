//! Messages that came by key: every spelling has them, each as its own, beside what was sent to it alone.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::channels::{ALL, Copied, bodies, messages, metric};
use super::views::{apply, change, view};
use super::*;

impl Bench {
    /// A message of a publisher that knows only routing keys.
    async fn arrive(&self, key: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) {
        let destination = Destination::foreign(Tenant::DEFAULT, key).unwrap();
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.broker.arrive(Message::new(destination, headers, body.into())).await.unwrap();
    }

    /// What a new subscriber is handed, each with its destination if it has one, in their order.
    async fn handed(&self, topic: &str, start: StartAt) -> Vec<String> {
        let wire = Wire::with_room(ALL);
        let key = self.open(&wire);
        self.subscribe_to(key, "h", topic, |terms| terms.start = start).await.unwrap();
        turns().await;
        self.worker.remove(key, CloseReason::Gone);
        shown(&messages(&wire.text(), "h"))
    }

    async fn kept(&self, topic: &str) -> Vec<String> {
        self.handed(topic, StartAt::Usual).await
    }
}

fn shown(copies: &[Copied]) -> Vec<String> {
    let one = |copy: &Copied| format!("{} {}", copy.body, copy.says("to=/topic/").unwrap_or("-"));
    copies.iter().map(one).collect()
}

const CLEAR: [(&str, &str); 1] = [("retain", "clear")];

#[test]
fn every_spelling_gets_what_comes_by_key_as_its_own() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(ALL);
        let key = bench.open(&wire);
        let topics = ["a.b", "a/b", "a:b", "a.*", "#", "a.c", "a b", "a.b.c"];
        for (at, topic) in topics.iter().enumerate() {
            bench.subscribe(key, &at.to_string(), &format!("/topic/{topic}")).await;
        }
        bench.arrive("a.b", &[], "1").await;
        bench.publish("/topic/a:b", "2").await;
        bench.arrive("a%20b", &[], "3").await;
        bench.arrive("nobody.has.this", &[], "4").await;
        turns().await;
        let got = |at: usize| shown(&messages(&wire.text(), &at.to_string()));
        assert_eq!(got(0), ["1 a.b"]);
        assert_eq!(got(1), ["1 a/b"]);
        assert_eq!(got(2), ["1 a:b", "2 -"]);
        assert_eq!(got(3), ["1 a.b", "2 -"]);
        assert_eq!(got(4), ["1 a.b", "2 -", "3 a%20b", "4 nobody.has.this"]);
        assert_eq!(got(6), ["3 a b"]);
        assert!(got(5).is_empty() && got(7).is_empty());
    });
}

#[test]
fn a_last_value_that_came_by_key_is_that_of_every_spelling() {
    run(async {
        let bench = Bench::new(Limits::default());
        let all = "/topic/host-metrics:#";
        let [colon, dot, slash] = [":", ".", "/"].map(|at| format!("/topic/host-metrics{at}w"));
        bench.publish(&colon, "1").await;
        bench.arrive("host-metrics.w", &[], "2").await;
        assert_eq!(bench.kept(&colon).await, ["2 host-metrics:w"]);
        assert_eq!(bench.kept(&slash).await, ["2 host-metrics/w"]);
        assert_eq!(bench.kept(all).await, ["2 host-metrics.w"]);
        assert_eq!(metric(&bench, "stentor_kept_values"), 1, "it is kept once");
        bench.publish(&colon, "3").await;
        assert_eq!(bench.kept(&colon).await, ["3 host-metrics:w"]);
        assert_eq!(bench.kept(&dot).await, ["2 host-metrics.w"]);
        assert_eq!(bench.kept(all).await, ["2 host-metrics.w", "3 host-metrics:w"]);
        bench.publish(&dot, "4").await;
        assert_eq!(bench.kept(all).await, ["3 host-metrics:w", "4 host-metrics.w"]);
        assert_eq!(bench.kept(&slash).await, ["2 host-metrics/w"]);
        assert_eq!(metric(&bench, "stentor_kept_values"), 3);
        bench.arrive("host-metrics.w", &CLEAR, "").await;
        for topic in [&colon, &dot, &slash, all] {
            assert!(bench.kept(topic).await.is_empty(), "{topic}");
        }
        assert_eq!(metric(&bench, "stentor_kept_values"), 0);
    });
}

#[test]
fn a_clear_of_one_spelling_leaves_the_value_to_the_others() {
    run(async {
        let bench = Bench::new(Limits::default());
        let retain = [("retain", "true")];
        bench.arrive("t.x", &retain, "1").await;
        bench.publish_with("/topic/t:x", &CLEAR, "").await.unwrap();
        assert!(bench.kept("/topic/t:x").await.is_empty());
        assert_eq!(bench.kept("/topic/t/x").await, ["1 t/x"]);
        assert_eq!(bench.kept("/topic/t.*").await, ["1 t.x"]);
        bench.publish_with("/topic/t:x", &retain, "2").await.unwrap();
        assert_eq!(bench.kept("/topic/t:x").await, ["2 -"]);
        bench.publish_with("/topic/t:x", &CLEAR, "").await.unwrap();
        bench.arrive("t.x", &retain, "3").await;
        assert_eq!(bench.kept("/topic/t:x").await, ["3 t:x"]);
        assert_eq!(metric(&bench, "stentor_kept_values"), 1);
    });
}

#[test]
fn a_value_for_which_there_is_no_room_leaves_no_older_one() {
    run(async {
        let channels = ChannelLimits { values: 2000, ..ChannelLimits::default() };
        let bench = Bench::new(Limits { channels, ..Limits::default() });
        bench.arrive("host-metrics.w", &[], "old").await;
        assert_eq!(bench.kept("/topic/host-metrics:w").await, ["old host-metrics:w"]);
        bench.publish("/topic/host-metrics:w", "x".repeat(2000)).await;
        assert!(bench.kept("/topic/host-metrics:w").await.is_empty());
        assert_eq!(metric(&bench, "stentor_kept_values"), 0);
    });
}

#[test]
fn a_slow_reader_of_one_spelling_skips_to_the_newest_of_both() {
    run(async {
        let bench = Bench::new(Limits::default());
        let (topic, all) = ("/topic/host-metrics:w", "/topic/host-metrics:#");
        for is_foreign_last in [false, true] {
            let (wire, other) = (Wire::with_room(10), Wire::with_room(10));
            let (key, other_key) = (bench.open(&wire), bench.open(&other));
            bench.arrive("host-metrics.w", &CLEAR, "").await;
            bench.subscribe(key, "a", topic).await;
            bench.subscribe(other_key, "b", all).await;
            turns().await;
            for number in 0..100 {
                if (number % 2 == 1) == is_foreign_last {
                    bench.arrive("host-metrics.w", &[], number.to_string()).await;
                } else {
                    bench.publish(topic, number.to_string()).await;
                }
                turns().await;
            }
            wire.give(ALL);
            other.give(ALL);
            turns().await;
            // The frame under way is finished.
            assert_eq!(bodies(&wire.text(), "a"), ["0", "99"]);
            let mut others = bodies(&other.text(), "b").split_off(1);
            others.sort();
            assert_eq!(others, ["98", "99"], "to who has asked for all they are two");
        }
    });
}

#[test]
fn a_value_that_is_handed_out_gives_way_to_a_newer_one() {
    run(async {
        let bench = Bench::new(Limits::default());
        bench.arrive("host-metrics.w", &[], "1").await;
        let wire = Wire::with_room(2);
        let key = bench.open(&wire);
        bench.subscribe(key, "a", "/topic/host-metrics:w").await;
        turns().await;
        bench.publish("/topic/host-metrics:w", "2").await;
        turns().await;
        wire.give(ALL);
        turns().await;
        assert_eq!(bodies(&wire.text(), "a"), ["2"]);
    });
}

#[test]
fn a_replay_reads_what_was_sent_to_a_spelling_and_what_came_by_its_key() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(ALL);
        let key = bench.open(&wire);
        bench.subscribe(key, "a", "/topic/jobs:1").await;
        let send = async |number: usize| match number % 3 {
            0 => bench.publish("/topic/jobs:1", number.to_string()).await,
            1 => bench.arrive("jobs.1", &[], number.to_string()).await,
            _ => bench.publish("/topic/jobs/1", "to another spelling").await,
        };
        for number in 0..5 {
            send(number).await;
        }
        turns().await;
        let cursor = messages(&wire.text(), "a").last().unwrap().cursor().to_owned();
        assert_eq!(bodies(&wire.text(), "a"), ["0", "1", "3", "4"]);
        assert!(bench.worker.unsubscribe(key, "a"));
        for number in 5..500 {
            send(number).await;
        }
        let start = StartAt::Cursor(cursor.as_str().into());
        bench.subscribe_to(key, "a", "/topic/jobs:1", |terms| terms.start = start).await.unwrap();
        for number in 500..520 {
            send(number).await;
        }
        turns().await;
        assert!(wire.text().contains("[Ra|resumed]"));
        let expected: Vec<String> = (0..520).filter(|at| at % 3 != 2).map(|at| at.to_string()).collect();
        assert_eq!(bodies(&wire.text(), "a"), expected);
        let last = |topic| bench.handed(topic, StartAt::Last(2));
        assert_eq!(last("/topic/jobs:1").await, ["517 jobs:1", "519 -"]);
        assert_eq!(last("/topic/jobs.1").await, ["514 jobs.1", "517 jobs.1"]);
    });
}

#[test]
fn a_spelling_has_a_gap_where_what_came_by_its_key_went() {
    run(async {
        let history = HistoryLimits { messages: 2, ..HistoryLimits::default() };
        let bench = Bench::with(Limits::default(), Catalogue::new(Vec::new(), history));
        let wire = Wire::with_room(ALL);
        let key = bench.open(&wire);
        bench.subscribe(key, "a", "/topic/jobs:1").await;
        bench.publish("/topic/jobs:1", "0").await;
        turns().await;
        let cursor = messages(&wire.text(), "a")[0].cursor().to_owned();
        for number in 1..4 {
            bench.arrive("jobs.1", &[], number.to_string()).await;
        }
        let start = StartAt::Cursor(cursor.as_str().into());
        bench.subscribe_to(key, "b", "/topic/jobs:1", |terms| terms.start = start).await.unwrap();
        turns().await;
        assert!(wire.text().contains("[Rb|gap=trimmed]"));
        assert_eq!(bodies(&wire.text(), "b"), ["2", "3"]);
        assert!(messages(&wire.text(), "b")[0].says("gap=trimmed").is_some());
    });
}

#[test]
fn changes_go_on_from_what_a_spelling_showed_last() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(ALL);
        let key = bench.open(&wire);
        for (id, topic) in [("a", "/topic/host-metrics:w"), ("b", "/topic/host-metrics:#")] {
            let view = view(None, None, true);
            bench.subscribe_to(key, id, topic, |terms| terms.view = view).await.unwrap();
        }
        let body = |number: usize| json!({ "n": number, "long": "x".repeat(50) }).to_string();
        bench.publish("/topic/host-metrics:w", body(1)).await;
        bench.arrive("host-metrics.w", &[], body(2)).await;
        bench.arrive("host-metrics.w", &[], body(3)).await;
        bench.publish("/topic/host-metrics:w", body(4)).await;
        turns().await;
        let says = |id: &str| -> Vec<String> {
            let copies = messages(&wire.text(), id);
            copies.iter().map(|copy| copy.says.join(" ").replace("to=/topic/host-metrics", "")).collect()
        };
        assert_eq!(says("a"), ["full=1 :w", "1>2 :w", "2>3 :w", "3>4 :w"]);
        assert_eq!(says("b"), ["full=1 :w", "full=2 .w", "2>3 .w", "1>4 :w"]);
    });
}

#[test]
fn the_first_change_is_of_what_was_handed_out() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(ALL);
        let key = bench.open(&wire);
        let body = |number: usize| json!({ "n": number, "long": "x".repeat(50) }).to_string();
        bench.arrive("host-metrics.w", &[], body(1)).await;
        let topic = "/topic/host-metrics:w";
        let view = view(None, None, true);
        bench.subscribe_to(key, "a", topic, |terms| terms.view = view).await.unwrap();
        bench.publish(topic, body(2)).await;
        turns().await;
        let says: Vec<String> = messages(&wire.text(), "a").iter().map(|copy| copy.says.join(" ")).collect();
        let to = "to=/topic/host-metrics:w";
        assert_eq!(says, [format!("retained full=1 {to}"), format!("1>2 {to}")]);
    });
}

/// What happens to one key.
#[derive(Debug, Clone)]
enum Step {
    /// To a spelling, or by key.
    Publish {
        to: Option<usize>,
        member: usize,
        value: u32,
    },
    Clear {
        to: Option<usize>,
    },
    Join {
        client: usize,
        topic: usize,
        view: usize,
    },
    Leave {
        client: usize,
    },
    Give {
        client: usize,
        octets: usize,
    },
    Block {
        client: usize,
    },
    Wait {
        millis: u64,
    },
}

const CLIENTS: usize = 3;
const TOPICS: [&str; 4] =
    ["/topic/host-metrics.w", "/topic/host-metrics:w", "/topic/host-metrics/w", "/topic/host-metrics.*"];
const VIEWS: [(Option<&str>, bool); 4] =
    [(None, true), (Some("1/1s"), true), (None, false), (Some("1/1s"), false)];

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let to = || proptest::option::of(0..3usize);
    prop_oneof![
        12 => (to(), 0..6usize, 0..4u32).prop_map(|(to, member, value)| Step::Publish { to, member, value }),
        1 => to().prop_map(|to| Step::Clear { to }),
        3 => (client.clone(), 0..TOPICS.len(), 0..VIEWS.len()).prop_map(|(client, topic, view)| Step::Join { client, topic, view }),
        1 => client.clone().prop_map(|client| Step::Leave { client }),
        4 => (client.clone(), 1..200usize).prop_map(|(client, octets)| Step::Give { client, octets }),
        2 => client.prop_map(|client| Step::Block { client }),
        3 => (1..700u64).prop_map(|millis| Step::Wait { millis }),
    ]
}

/// The newest of what was sent: to each spelling, and by key; with its place in the order of all, `None` within for a clear.
#[derive(Default)]
struct Newest {
    by: HashMap<Option<usize>, (usize, Option<Value>)>,
    count: usize,
}

impl Newest {
    fn set(&mut self, to: Option<usize>, value: Option<Value>) {
        self.count += 1;
        self.by.insert(to, (self.count, value));
    }

    fn of(&self, to: Option<usize>) -> (usize, Option<Value>) {
        self.by.get(&to).cloned().unwrap_or_default()
    }

    /// What a subscriber ends with of one destination; a second one where it may have come too late for the first.
    fn expected(&self, topic: usize, shown: usize) -> (Option<Value>, Option<Option<Value>>) {
        let (by_key, own) = (self.of(None), self.of(Some(shown)));
        let is_one = topic == shown || shown == 0;
        let newest = if is_one && by_key.0 > own.0 { by_key.clone() } else { own.clone() };
        (newest.1, (!is_one && by_key.0 > own.0).then_some(None))
    }
}

/// Puts together what one subscription got, and gives what it ends with of each destination.
fn follow(copies: &[Copied], is_delta: bool) -> HashMap<String, Value> {
    let mut held: HashMap<String, (Value, String)> = HashMap::new();
    for copy in copies {
        let to = copy.says("to=").unwrap().to_owned();
        if copy.body.is_empty() {
            held.remove(&to);
            continue;
        }
        let body: Value = serde_json::from_str(&copy.body).unwrap();
        let (value, sequence) = match copy.says.iter().find_map(|one| one.split_once('>')) {
            Some((base, sequence)) => {
                let (mut value, have) = held[&to].clone();
                assert_eq!(have, base, "a patch of what was written before");
                apply(&mut value, &body);
                (value, sequence)
            }
            None => (body, copy.says("full=").unwrap_or_default()),
        };
        assert_eq!(is_delta, !sequence.is_empty());
        held.insert(to, (value, sequence.to_owned()));
    }
    held.into_iter().map(|(to, (value, _))| (to, value)).collect()
}

async fn take(
    step: &Step,
    bench: &Bench,
    value: &mut Value,
    newest: &mut Newest,
    wires: &[Wire],
    keys: &[SessionKey],
    joined: &mut [Vec<Joined>],
) {
    let send = async |to: Option<usize>, headers: &[(&str, &str)], body: String| match to {
        Some(at) => bench.publish_with(TOPICS[at], headers, body).await.unwrap(),
        None => bench.arrive("host-metrics.w", headers, body).await,
    };
    match *step {
        Step::Publish { to, member, value: number } => {
            change(value, member, number);
            newest.set(to, Some(value.clone()));
            send(to, &[], value.to_string()).await;
        }
        Step::Clear { to } => {
            newest.set(to, None);
            send(to, &CLEAR, String::new()).await;
        }
        Step::Join { client, topic, view: at } => {
            let same = joined[client].iter().filter(|one| (one.topic, one.view) == (topic, at)).count();
            let id = format!("{topic}-{at}-{same}");
            let view = view(None, VIEWS[at].0, VIEWS[at].1);
            bench.subscribe_to(keys[client], &id, TOPICS[topic], |terms| terms.view = view).await.unwrap();
            joined[client].push(Joined { id, topic, view: at, is_there: true });
        }
        Step::Leave { client } => {
            if let Some(one) = joined[client].iter_mut().rev().find(|one| one.is_there) {
                assert!(bench.worker.unsubscribe(keys[client], &one.id));
                one.is_there = false;
            }
        }
        Step::Give { client, octets } => wires[client].give(octets),
        Step::Block { client } => wires[client].0.borrow_mut().room = 0,
        Step::Wait { millis } => tokio::time::sleep(Duration::from_millis(millis)).await,
    }
}

/// A subscription.
struct Joined {
    id: String,
    topic: usize,
    view: usize,
    is_there: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    /// Whatever is sent to spellings and by key, and however clients join, lag and leave: each ends with the newest value of
    /// each destination that it is shown, and what it is shown adds up.
    #[test]
    fn every_subscriber_ends_with_the_newest_of_both(steps in proptest::collection::vec(step(), 1..100)) {
        run(async {
            let bench = Bench::new(Limits::default());
            let mut value = json!({ "n": {}, "long": "x".repeat(60) });
            let mut newest = Newest::default();
            let wires: Vec<Wire> = (0..CLIENTS).map(|_| Wire::with_room(ALL)).collect();
            let keys: Vec<SessionKey> = wires.iter().map(|wire| bench.open(wire)).collect();
            let mut joined: Vec<Vec<Joined>> = (0..CLIENTS).map(|_| Vec::new()).collect();
            for step in &steps {
                take(step, &bench, &mut value, &mut newest, &wires, &keys, &mut joined).await;
            }
            tokio::time::sleep(Duration::from_secs(3)).await;
            wires.iter().for_each(|wire| wire.give(ALL));
            tokio::time::sleep(Duration::from_secs(3)).await;
            for (wire, joined) in wires.iter().zip(&joined) {
                for Joined { id, topic, view, .. } in joined.iter().filter(|one| one.is_there) {
                    let mut held = follow(&messages(&wire.text(), id), VIEWS[*view].1);
                    let shown = if *topic == 3 { 0..3 } else { *topic..*topic + 1 };
                    for at in shown {
                        let (expected, late) = newest.expected(*topic, at);
                        let held = held.remove(TOPICS[at]);
                        let is_right = held == expected || late.as_ref() == Some(&held);
                        assert!(is_right, "{held:?} of {} under {id}, not {expected:?}", TOPICS[at]);
                    }
                    assert!(held.is_empty(), "{held:?} under {id}");
                }
            }
        });
    }
}
