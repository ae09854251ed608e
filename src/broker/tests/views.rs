//! Views on one worker: fields, rates and patches, by cases and against a model.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::channels::{ALL, Copied, bodies, messages, metric};
use super::*;

pub(super) fn view(fields: Option<&str>, rate: Option<&str>, delta: bool) -> Option<Arc<View>> {
    View::parse(fields, rate, delta.then_some("merge-patch")).unwrap()
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
fn who_comes_back_is_not_shown_what_was_held_back_before() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(ALL);
        let key = bench.open(&wire);
        let topic = "/topic/host-metrics:a";
        let subscribe = async |id: &str, topic: &str| {
            let view = view(None, Some("1/1s"), false);
            bench.subscribe_to(key, id, topic, |terms| terms.view = view).await.unwrap();
        };
        subscribe("a", topic).await;
        // Somebody has the same view all the time.
        subscribe("b", "/topic/host-metrics:b").await;
        bench.publish(topic, "1").await;
        bench.publish(topic, "2").await;
        turns().await;
        assert!(bench.worker.unsubscribe(key, "a"));
        bench.publish(topic, "3").await;
        subscribe("c", topic).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(bodies(&wire.text(), "c"), ["3"]);
        // While another has it too, it stays.
        subscribe("d", topic).await;
        bench.publish(topic, "4").await;
        bench.publish(topic, "5").await;
        turns().await;
        assert!(bench.worker.unsubscribe(key, "c"));
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(bodies(&wire.text(), "d"), ["3", "4", "5"]);
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
pub(super) fn change(value: &mut Value, member: usize, to: u32) {
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
pub(super) fn apply(target: &mut Value, patch: &Value) {
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
