//! Queues against a model, and their rules one by one.

#![allow(clippy::unwrap_used)]

mod rabbit;
mod remote;
mod remote_model;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;

fn queues(limits: QueueLimits) -> Queues {
    Queues::new(limits, None, 1, Arc::default(), Arc::new(Metrics::new()))
}

fn queue(name: &str) -> Destination {
    Destination::parse(Tenant::DEFAULT, format!("/queue/{name}").into()).unwrap()
}

fn message(name: &str, body: &str, headers: &[(&str, &str)]) -> Message {
    let headers = headers.iter().map(|(n, v)| (ByteString::from(*n), ByteString::from(*v))).collect();
    Message::new(queue(name), headers, body.as_bytes().to_vec())
}

fn key(index: u32) -> ConsumerKey {
    ConsumerKey { worker: WorkerId(0), index, generation: 1 }
}

fn terms(room: u32, prefetch: Option<u32>) -> Terms {
    Terms { room, prefetch, selector: None }
}

/// What was assigned since this was last asked: consumer, delivery, body, redelivered.
fn assigned(queues: &Queues) -> Vec<(u32, u64, String, bool)> {
    let assigned = std::mem::take(&mut *lock(&queues.desks[0].assigned));
    let read = |one: Assigned| {
        let body = String::from_utf8(one.message.body.to_vec()).unwrap();
        (one.consumer.index, one.delivery, body, one.redelivered)
    };
    assigned.into_iter().map(read).collect()
}

fn bodies(queues: &Queues) -> Vec<String> {
    assigned(queues).into_iter().map(|(_, _, body, _)| body).collect()
}

#[test]
fn consumers_take_turns_and_have_no_more_than_they_have_room_for() {
    let queues = queues(QueueLimits::default());
    let q = queues.consume(&queue("a"), key(1), terms(2, None)).unwrap();
    queues.consume(&queue("a"), key(2), terms(64, Some(2))).unwrap();
    for n in 0..6 {
        queues.push(&message("a", &n.to_string(), &[])).unwrap();
    }
    let got: Vec<(u32, String)> =
        assigned(&queues).into_iter().map(|(who, _, body, _)| (who, body)).collect();
    assert_eq!(got, [(1, "0"), (2, "1"), (1, "2"), (2, "3")].map(|(who, body)| (who, body.to_owned())));
    queues.room(&q, key(1), 1);
    assert_eq!(bodies(&queues), ["4"]);
    assert!(queues.settle(&q, key(2), 2, false, Verdict::Done));
    assert_eq!(bodies(&queues), ["5"]);
    assert!(!queues.settle(&q, key(2), 2, false, Verdict::Done), "once");
    assert!(!queues.settle(&q, key(1), 6, false, Verdict::Done), "not its own");
}

#[test]
fn what_was_not_acknowledged_comes_again_at_its_place() {
    let queues = queues(QueueLimits::default());
    let q = queues.consume(&queue("a"), key(1), terms(64, None)).unwrap();
    for body in ["0", "1", "2", "3"] {
        queues.push(&message("a", body, &[])).unwrap();
    }
    let first = assigned(&queues);
    assert!(queues.settle(&q, key(1), first[1].1, true, Verdict::Done), "and the one before");
    queues.cancel(&q, key(1), u64::MAX);
    queues.consume(&queue("a"), key(2), terms(64, None)).unwrap();
    queues.push(&message("a", "4", &[])).unwrap();
    let again: Vec<(String, bool)> =
        assigned(&queues).into_iter().map(|(_, _, body, redelivered)| (body, redelivered)).collect();
    assert_eq!(again, [("2".into(), true), ("3".into(), true), ("4".into(), false)]);
    assert!(!queues.settle(&q, key(1), first[2].1, false, Verdict::Done), "too late");
}

#[test]
fn the_urgent_and_then_the_older_come_first() {
    let queues = queues(QueueLimits::default());
    for (body, priority) in [("a", "4"), ("b", "9"), ("c", "0"), ("d", "9"), ("e", "nonsense")] {
        queues.push(&message("p", body, &[("priority", priority)])).unwrap();
    }
    queues.consume(&queue("p"), key(1), terms(64, None)).unwrap();
    assert_eq!(bodies(&queues), ["b", "d", "a", "e", "c"]);
}

#[test]
fn what_nobody_wants_is_a_dead_letter_with_its_reason() {
    let queues = queues(QueueLimits { deliveries: 2, ..QueueLimits::default() });
    let q = queues.consume(&queue("a"), key(1), terms(64, None)).unwrap();
    queues.push(&message("a", "rejected", &[("k", "v")])).unwrap();
    queues.push(&message("a", "tried", &[])).unwrap();
    queues.push(&message("a", "expired", &[("expires", "1")])).unwrap();
    let got = assigned(&queues);
    assert_eq!(got.len(), 2, "what has expired is not delivered");
    queues.settle(&q, key(1), got[0].1, false, Verdict::Dead);
    queues.settle(&q, key(1), got[1].1, false, Verdict::Again);
    let again = assigned(&queues);
    assert!(again[0].3);
    queues.settle(&q, key(1), again[0].1, false, Verdict::Again);
    assert_eq!(assigned(&queues), []);
    queues.consume(&queue("dlq.a"), key(2), terms(64, None)).unwrap();
    let dead = std::mem::take(&mut *lock(&queues.desks[0].assigned));
    let told: Vec<(String, String)> = dead
        .iter()
        .map(|one| {
            assert_eq!(one.message.headers.get(FROM).unwrap(), "/queue/a");
            let body = String::from_utf8(one.message.body.to_vec()).unwrap();
            (body, one.message.headers.get(REASON).unwrap().to_string())
        })
        .collect();
    let expected = [("expired", "expired"), ("rejected", "rejected"), ("tried", "delivery_limit")];
    assert_eq!(told, expected.map(|(body, why)| (body.to_owned(), why.to_owned())));
    assert_eq!(dead[1].message.headers.get("k").unwrap(), "v");
}

#[test]
fn messages_expire_while_nobody_looks() {
    let queues = queues(QueueLimits::default());
    queues.push(&message("a", "soon", &[("expiration", "1")])).unwrap();
    queues.push(&message("a", "later", &[("expiration", "100000")])).unwrap();
    while queues.by_name.lock().unwrap().len() < 2 {
        queues.expire();
    }
    queues.consume(&queue("a"), key(1), terms(64, None)).unwrap();
    queues.consume(&queue("dlq.a"), key(2), terms(64, None)).unwrap();
    assert_eq!(bodies(&queues), ["later", "soon"]);
}

#[test]
fn a_full_queue_refuses_or_drops_its_oldest() {
    let limits = QueueLimits { messages: 2, ..QueueLimits::default() };
    let refusing = queues(limits);
    let dropping = queues(QueueLimits { overflow: Overflow::DropOldest, ..limits });
    for body in ["0", "1"] {
        refusing.push(&message("a", body, &[])).unwrap();
    }
    assert_eq!(refusing.push(&message("a", "2", &[])), Err(Full::Queue("/queue/a".into())));
    for body in ["0", "1", "2"] {
        dropping.push(&message("a", body, &[])).unwrap();
    }
    dropping.consume(&queue("a"), key(1), terms(64, None)).unwrap();
    dropping.consume(&queue("dlq.a"), key(2), terms(64, None)).unwrap();
    assert_eq!(bodies(&dropping), ["1", "2", "0"]);
    let octets = queues(QueueLimits { bytes: 1000, total_bytes: 1800, ..QueueLimits::default() });
    octets.push(&message("a", &"x".repeat(600), &[])).unwrap();
    assert!(matches!(octets.push(&message("a", &"x".repeat(600), &[])), Err(Full::Queue(_))));
    octets.push(&message("b", &"x".repeat(600), &[])).unwrap();
    assert_eq!(octets.push(&message("c", &"x".repeat(600), &[])), Err(Full::Node));
    let few = queues(QueueLimits { queues: 1, ..QueueLimits::default() });
    few.push(&message("a", "", &[])).unwrap();
    assert_eq!(few.push(&message("b", "", &[])), Err(Full::TooMany));
}

#[test]
fn a_queue_without_messages_and_consumers_is_forgotten() {
    let queues = queues(QueueLimits::default());
    let q = queues.consume(&queue("a"), key(1), terms(64, None)).unwrap();
    queues.push(&message("a", "x", &[])).unwrap();
    let delivery = assigned(&queues)[0].1;
    queues.settle(&q, key(1), delivery, false, Verdict::Done);
    assert_eq!(queues.by_name.lock().unwrap().len(), 1);
    queues.cancel(&q, key(1), u64::MAX);
    assert_eq!(queues.by_name.lock().unwrap().len(), 0);
    assert_eq!(queues.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn who_stopped_gets_no_more_and_may_acknowledge_what_it_has() {
    let queues = queues(QueueLimits::default());
    let q = queues.consume(&queue("a"), key(1), terms(64, None)).unwrap();
    queues.push(&message("a", "0", &[])).unwrap();
    let delivery = assigned(&queues)[0].1;
    assert!(!queues.stop(&q, key(1)));
    queues.push(&message("a", "1", &[])).unwrap();
    assert_eq!(bodies(&queues), Vec::<String>::new());
    assert!(queues.settle(&q, key(1), delivery, false, Verdict::Done));
    assert!(queues.stop(&q, key(1)));
}

#[derive(Debug, Clone)]
enum Act {
    Push(u8),
    Join(u32),
    Room(u32, u32),
    Settle(u32, usize, bool, u8),
    Leave(u32),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..3u8).prop_map(Act::Push),
        1 => (0..4u32).prop_map(Act::Join),
        2 => (0..4u32, 1..5u32).prop_map(|(who, more)| Act::Room(who, more)),
        4 => (0..4u32, 0..8usize, any::<bool>(), 0..2u8).prop_map(|(who, at, all, verdict)| Act::Settle(who, at, all, verdict)),
        1 => (0..4u32).prop_map(Act::Leave),
    ]
}

proptest! {
    /// Whatever happens, each message is acknowledged once, or there, or with one consumer; and nobody has more than he
    /// asked for.
    #[test]
    fn nothing_is_lost_or_acknowledged_twice(acts in prop::collection::vec(act(), 1..120)) {
        let queues = queues(QueueLimits { deliveries: 0, ..QueueLimits::default() });
        let mut pushed = 0usize;
        let mut done = BTreeSet::new();
        // Who has what, by delivery; and how much more each may be given.
        let mut has: HashMap<u32, BTreeMap<u64, String>> = HashMap::new();
        let mut room: HashMap<u32, u32> = HashMap::new();
        let mut line: Option<Arc<Queue>> = None;
        for act in acts {
            match act {
                Act::Push(priority) => {
                    let priority = priority.to_string();
                    queues.push(&message("m", &pushed.to_string(), &[("priority", &priority)])).unwrap();
                    pushed += 1;
                }
                Act::Join(who) if !has.contains_key(&who) => {
                    line = Some(queues.consume(&queue("m"), key(who), terms(2, Some(4))).unwrap());
                    has.insert(who, BTreeMap::new());
                    room.insert(who, 2);
                }
                Act::Room(who, more) if has.contains_key(&who) => {
                    queues.room(line.as_ref().unwrap(), key(who), more);
                    *room.get_mut(&who).unwrap() += more;
                }
                Act::Settle(who, at, all, verdict) => {
                    let Some(mine) = has.get_mut(&who) else { continue };
                    let Some(delivery) = mine.keys().nth(at).copied() else { continue };
                    let verdict = if verdict == 0 { Verdict::Done } else { Verdict::Again };
                    prop_assert!(queues.settle(line.as_ref().unwrap(), key(who), delivery, all, verdict));
                    let settled: Vec<u64> = mine.keys().copied().filter(|d| *d == delivery || all && *d < delivery).collect();
                    for delivery in settled {
                        let body = mine.remove(&delivery).unwrap();
                        if verdict == Verdict::Done {
                            prop_assert!(done.insert(body), "acknowledged twice");
                        }
                    }
                }
                Act::Leave(who) if has.contains_key(&who) => {
                    queues.cancel(line.as_ref().unwrap(), key(who), u64::MAX);
                    has.remove(&who);
                }
                _ => {}
            }
            for (who, delivery, body, _) in assigned(&queues) {
                prop_assert!(!done.contains(&body), "delivered after it was acknowledged");
                prop_assert!(has.values().all(|mine| !mine.values().any(|other| *other == body)), "two have it");
                let left = room.get_mut(&who).unwrap();
                prop_assert!(*left > 0, "more than there was room for");
                *left -= 1;
                let mine = has.get_mut(&who).unwrap();
                mine.insert(delivery, body);
                prop_assert!(mine.len() <= 4, "more than prefetched");
            }
        }
        // Who comes last gets all the rest.
        for who in has.keys() {
            queues.cancel(line.as_ref().unwrap(), key(*who), u64::MAX);
        }
        queues.consume(&queue("m"), key(9), terms(1000, None)).unwrap();
        let rest: BTreeSet<String> = bodies(&queues).into_iter().collect();
        prop_assert_eq!(rest.len() + done.len(), pushed);
        prop_assert!(rest.is_disjoint(&done));
    }
}
