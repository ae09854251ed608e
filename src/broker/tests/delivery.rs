//! Delivery on one worker: groups, outboxes, ends, timers.

#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn a_message_is_encoded_once_for_all_who_get_the_same() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wires: Vec<Wire> = (0..1000).map(|_| Wire::with_room(usize::MAX)).collect();
        for (at, wire) in wires.iter().enumerate() {
            let key = bench.open(wire);
            let id = if at % 2 == 0 { "a" } else { "b" };
            bench.subscribe(key, id, "/topic/t").await;
        }
        for number in 0..10 {
            bench.publish("/topic/t", number.to_string()).await;
        }
        turns().await;
        assert_eq!(bench.broker.metrics().encodes.get(), 20, "two groups, ten messages");
        assert_eq!(bench.broker.metrics().messages_out.get(), 10_000);
        let expected: String = (0..10).map(|n| format!("[Mb {n}]")).collect();
        assert_eq!(wires[1].text(), format!("[Rb]{expected}"));
    });
}

#[test]
fn a_subscription_sees_only_what_stands_behind_it_in_the_mailbox() {
    run(async {
        let bench = Bench::new(Limits::default());
        let (old, new) = (Wire::with_room(usize::MAX), Wire::with_room(usize::MAX));
        let (old_key, new_key) = (bench.open(&old), bench.open(&new));
        bench.subscribe(old_key, "a", "/topic/t").await;
        // All of this is taken in one turn.
        bench.publish("/topic/t", "1").await;
        bench.broker.channels.subscribe(&bench.broker.router, WorkerId(0), subscribe(new_key)).await;
        bench.publish("/topic/t", "2").await;
        turns().await;
        assert_eq!(old.text(), "[Ra][Ma 1][Ma 2]");
        assert_eq!(new.text(), "[Ma 2]");
    });
}

#[test]
fn who_subscribes_while_a_publisher_waits_gets_its_message() {
    run(async {
        let limits = Limits { mailbox: 1, ..Limits::default() };
        let (broker, mailboxes) = Broker::new(2, limits, 1, Access, parts(), Arc::new(Metrics::new()));
        let mut mailboxes = mailboxes.into_iter();
        let mut full = mailboxes.next().unwrap();
        let worker = Worker::start(broker.clone(), mailboxes.next().unwrap());
        let bench = Bench { worker, broker: broker.clone() };
        // The first worker has a subscriber and does not take what comes.
        let wire = Wire::with_room(usize::MAX);
        let key = bench.open(&wire);
        broker.channels.subscribe(&broker.router, WorkerId(0), subscribe(key)).await;
        let publisher = tokio::task::spawn_local(async move {
            let destination = Destination::topic(Tenant::DEFAULT, "t").unwrap();
            let message = Message::new(destination, Headers::new(), "1");
            broker.publish(&Identity::anonymous(), Door::Producer, message).await.unwrap();
        });
        turns().await;
        assert!(!publisher.is_finished(), "it waits for the mailbox");
        bench.subscribe(key, "b", "/topic/t").await;
        full.receiver.recv().await;
        publisher.await.unwrap();
        turns().await;
        assert_eq!(wire.text(), "[Rb][Mb 1]");
    });
}

#[test]
fn what_waits_goes_out_in_one_write() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(usize::MAX);
        let key = bench.open(&wire);
        bench.subscribe(key, "a", "/topic/t").await;
        let before = wire.0.borrow().writes;
        for number in 0..50 {
            bench.publish("/topic/t", number.to_string()).await;
        }
        turns().await;
        assert_eq!(wire.0.borrow().writes - before, 1);
    });
}

#[test]
fn a_full_outbox_cuts_off_its_client_alone() {
    run(async {
        let limits = Limits { outbox: OutboxLimits { messages: 4, bytes: 1024 }, ..Limits::default() };
        let bench = Bench::new(limits);
        let (slow, quick) = (Wire::with_room(12), Wire::with_room(usize::MAX));
        let slow_key = bench.open(&slow);
        bench.subscribe(slow_key, "s", "/topic/t").await;
        let quick_key = bench.open(&quick);
        bench.subscribe(quick_key, "q", "/topic/t").await;
        for number in 0..20 {
            bench.publish("/topic/t", number.to_string()).await;
            turns().await;
        }
        assert_eq!(bench.cut_offs("slow_consumer"), 1);
        assert!(!bench.worker.heard(slow_key), "it is not listened to any more");
        slow.give(usize::MAX);
        turns().await;
        assert_eq!(slow.text(), "[Rs][Ms 0][Ms 1][F slow_consumer]", "the frame under way is whole");
        assert!(slow.0.borrow().finished);
        assert_eq!(quick.text().matches("[Mq ").count(), 20);
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert!(slow.0.borrow().aborted, "whether it reads or not");
        bench.worker.remove(slow_key, CloseReason::Gone);
        bench.worker.remove(quick_key, CloseReason::Gone);
        let destination = Destination::topic(Tenant::DEFAULT, "t").unwrap();
        assert!(!bench.broker.wanted(&destination), "nothing is left of it");
        assert_eq!(bench.broker.metrics().groups.get(), 0);
        assert_eq!(bench.broker.metrics().subscriptions.get(), 0);
    });
}

fn log_of_eight_cut_offs() -> Vec<serde_json::Value> {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(tracing::Level::DEBUG);
    let log = log.with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(log, || {
        run(async {
            let limits = Limits { outbox: OutboxLimits { messages: 1, bytes: 1024 }, ..Limits::default() };
            let bench = Bench::new(limits);
            for _ in 0..8 {
                let key = bench.open(&Wire::with_room(12));
                bench.subscribe(key, "a", "/topic/t").await;
            }
            for number in 0..9 {
                bench.publish("/topic/t", number.to_string()).await;
                turns().await;
            }
            assert_eq!(bench.cut_offs("slow_consumer"), 8);
            let key = bench.open(&Wire::with_room(usize::MAX));
            bench.worker.remove(key, CloseReason::Refused { rule: "unknown_command" });
            tokio::time::sleep(Duration::from_secs(12)).await;
        });
    });
    lines.read()
}

#[test]
fn the_log_names_who_was_cut_off_and_counts_whom_it_did_not_name() {
    // In a thread of its own: warnings are limited by thread.
    let lines = std::thread::spawn(log_of_eight_cut_offs).join().unwrap();
    let named: Vec<_> = lines.iter().filter(|line| line["message"] == "client cut off").collect();
    assert_eq!(named.len(), 5, "{lines:?}");
    assert_eq!(named[0]["reason"], "slow_consumer");
    assert!(
        named[0]["session"].as_str().unwrap().starts_with("00000001-0-"),
        "as CONNECTED names it: {lines:?}"
    );
    let others: Vec<_> = lines.iter().filter(|line| line["message"] == "more clients cut off").collect();
    assert_eq!(others.len(), 1, "{lines:?}");
    assert_eq!((&others[0]["reason"], &others[0]["suppressed"]), (&"slow_consumer".into(), &3.into()));
    let ended = lines.iter().find(|line| line["message"] == "connection ended").unwrap();
    assert_eq!((&ended["reason"], &ended["rule"]), (&"refused".into(), &"unknown_command".into()));
    assert_eq!(ended["session"], "00000001-0-8-9");
}

#[test]
fn a_burst_does_not_cut_off_who_reads_as_fast_as_it_can() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(1000);
        let key = bench.open(&wire);
        bench.subscribe(key, "s", "/topic/t").await;
        let reader = wire.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(Duration::from_micros(300)).await;
                if reader.0.borrow().wake.is_some() {
                    reader.give(1000);
                }
            }
        });
        for number in 0..5000 {
            bench.publish("/topic/t", format!("{number:9}")).await;
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(bench.cut_offs("slow_consumer"), 0);
        assert_eq!(wire.text().matches("[Ms").count(), 5000);
    });
}

#[test]
fn one_that_does_not_read_slows_down_nobody() {
    run(async {
        let bench = Bench::new(Limits::default());
        let (stopped, quick) = (Wire::with_room(5), Wire::with_room(usize::MAX));
        let keys = [bench.open(&stopped), bench.open(&quick)];
        bench.subscribe(keys[0], "s", "/topic/t").await;
        bench.subscribe(keys[1], "q", "/topic/t").await;
        let begun = tokio::time::Instant::now();
        for number in 0..5000 {
            bench.publish("/topic/t", number.to_string()).await;
        }
        // The clock moves only while everybody waits: that is what the rests took.
        let rested = begun.elapsed();
        assert!(rested <= Duration::from_millis(20), "{rested:?}");
        turns().await;
        assert_eq!(bench.cut_offs("slow_consumer"), 1);
        assert_eq!(quick.text().matches("[Mq").count(), 5000);
    });
}

#[test]
fn timers_have_their_time_while_the_mailbox_is_never_empty() {
    run(async {
        let bench = Bench::new(Limits::default());
        let (busy, idle) = (Wire::with_room(usize::MAX), Wire::with_room(usize::MAX));
        let key = bench.open(&busy);
        bench.subscribe(key, "s", "/topic/t").await;
        let idle_key = bench.worker.open(Box::new(idle.clone()), &BRACKETS, "test");
        bench.worker.connected(idle_key, &BRACKETS, beats(100, 0));
        for _ in 0..1000 {
            tokio::time::advance(Duration::from_millis(1)).await;
            for _ in 0..64 {
                bench.publish("/topic/t", "x").await;
            }
        }
        let beats = idle.text().matches("[B]").count();
        assert!((9..=10).contains(&beats), "{beats} beats in a second");
    });
}

#[test]
fn all_outboxes_together_are_bounded() {
    run(async {
        let limits = Limits { outboxes: 10_000, ..Limits::default() };
        let bench = Bench::new(limits);
        let wires: Vec<Wire> = (0..20).map(|_| Wire::with_room(10)).collect();
        for (at, wire) in wires.iter().enumerate() {
            let key = bench.open(wire);
            bench.subscribe(key, &at.to_string(), "/topic/t").await;
        }
        bench.publish("/topic/t", "x".repeat(2000)).await;
        turns().await;
        let cut = bench.cut_offs("slow_consumer");
        assert!((15..=16).contains(&cut), "{cut} of 20 had to go");
    });
}

#[test]
fn one_message_larger_than_the_outbox_is_delivered() {
    run(async {
        let limits = Limits { outbox: OutboxLimits { messages: 4, bytes: 100 }, ..Limits::default() };
        let bench = Bench::new(limits);
        let wire = Wire::with_room(10);
        let key = bench.open(&wire);
        bench.subscribe(key, "s", "/topic/t").await;
        bench.publish("/topic/t", "x".repeat(1000)).await;
        turns().await;
        wire.give(usize::MAX);
        turns().await;
        assert!(wire.text().ends_with("x]"));
        assert_eq!(bench.cut_offs("slow_consumer"), 0);
    });
}

#[test]
fn a_stalled_client_is_given_up() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(5);
        let key = bench.open(&wire);
        bench.subscribe(key, "s", "/topic/t").await;
        bench.publish("/topic/t", "0").await;
        tokio::time::sleep(Duration::from_secs(59)).await;
        assert_eq!(bench.cut_offs("stalled"), 0);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(bench.cut_offs("stalled"), 1);
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert!(wire.0.borrow().aborted);
    });
}

#[test]
fn beats_go_out_when_nothing_else_does() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(usize::MAX);
        let key = bench.worker.open(Box::new(wire.clone()), &BRACKETS, "test");
        bench.worker.connected(key, &BRACKETS, beats(1_000, 0));
        bench.subscribe(key, "s", "/topic/t").await;
        tokio::time::sleep(Duration::from_millis(10_500)).await;
        let beats = wire.text().matches("[B]").count();
        assert_eq!(beats, 10, "{}", wire.text());
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_millis(250)).await;
            bench.publish("/topic/t", "x").await;
        }
        let more = wire.text().matches("[B]").count() - beats;
        assert!(more <= 1, "{more} beats beside four messages a second");
    });
}

#[test]
fn a_silent_client_is_given_up_and_one_that_is_heard_is_not() {
    run(async {
        let bench = Bench::new(Limits::default());
        let (silent, alive) = (Wire::with_room(usize::MAX), Wire::with_room(usize::MAX));
        let keys = [&silent, &alive].map(|wire| {
            let key = bench.worker.open(Box::new(wire.clone()), &BRACKETS, "test");
            bench.worker.connected(key, &BRACKETS, beats(0, 90_000));
            key
        });
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            bench.worker.heard(keys[1]);
        }
        assert_eq!(silent.text(), "[F silent]");
        assert_eq!(alive.text(), "");
    });
}

#[test]
fn who_never_connects_is_told() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(usize::MAX);
        bench.worker.open(Box::new(wire.clone()), &BRACKETS, "test");
        tokio::time::sleep(Duration::from_secs(29)).await;
        assert_eq!(wire.text(), "");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(wire.text(), "[F never_connected]");
    });
}

#[test]
fn a_client_that_does_not_read_is_not_read_from() {
    run(async {
        let limits = Limits { outbox: OutboxLimits { messages: 10, bytes: 1024 }, ..Limits::default() };
        let bench = Bench::new(limits);
        let wire = Wire::with_room(0);
        let key = bench.open(&wire);
        for number in 0..6 {
            bench.worker.send(key, Bytes::from(format!("[R{number}]")));
        }
        bench.worker.flush();
        let room = bench.worker.room(key);
        tokio::pin!(room);
        assert!(tokio::time::timeout(Duration::from_secs(1), &mut room).await.is_err());
        wire.give(usize::MAX);
        assert!(tokio::time::timeout(Duration::from_secs(1), room).await.unwrap(), "it is listened to");
    });
}

#[test]
fn lingers_until_the_peer_closes_but_not_for_ever() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(usize::MAX);
        let key = bench.open(&wire);
        bench.worker.linger(key, Bytes::from_static(b"[R]"));
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(wire.text(), "[R]");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(wire.text(), "[R][F disconnected]");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(wire.0.borrow().aborted);
    });
}

#[derive(Debug, Clone)]
enum Step {
    Publish(usize),
    Subscribe(usize, usize, usize),
    Unsubscribe(usize, usize),
    Private(usize),
    Give(usize, usize),
    Turn,
}

const TOPICS: [&str; 3] = ["/topic/a.x", "/topic/a.y", "/topic/b"];
const FILTERS: [&str; 4] = ["/topic/a.x", "/topic/a.*", "/topic/#", "/topic/b"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..TOPICS.len()).prop_map(Step::Publish),
        2 => (0..3usize, 0..3usize, 0..FILTERS.len()).prop_map(|(s, i, f)| Step::Subscribe(s, i, f)),
        1 => (0..3usize, 0..3usize).prop_map(|(s, i)| Step::Unsubscribe(s, i)),
        1 => (0..3usize).prop_map(Step::Private),
        3 => (0..3usize, 1..60usize).prop_map(|(s, n)| Step::Give(s, n)),
        2 => Just(Step::Turn),
    ];
    proptest::collection::vec(step, 1..80)
}

/// What each session should have been sent, by a model that knows no groups, batches or sockets.
#[derive(Default)]
struct Model {
    expected: [String; 3],
    subscriptions: [HashMap<usize, usize>; 3],
}

impl Model {
    fn publish(&mut self, topic: usize, number: usize) {
        let destination = Destination::parse(Tenant::DEFAULT, TOPICS[topic].into()).unwrap();
        for (session, subscriptions) in self.subscriptions.iter().enumerate() {
            let mut ids: Vec<usize> = subscriptions
                .iter()
                .filter(|(_, filter)| {
                    let filter = Filter::parse(Tenant::DEFAULT, FILTERS[**filter].into()).unwrap();
                    filter.matches(&destination)
                })
                .map(|(id, _)| *id)
                .collect();
            ids.sort_unstable();
            for id in ids {
                self.expected[session] += &format!("[M{id} {number}]");
            }
        }
    }
}

/// Copies of one message for several subscriptions of a session may come in any order.
fn sorted_copies(text: &str) -> Vec<String> {
    let mut frames: Vec<String> = text.split_inclusive(']').map(str::to_owned).collect();
    let number = |frame: &str| frame.starts_with("[M").then(|| frame.split(' ').nth(1).unwrap().to_owned());
    let mut from = 0;
    while from < frames.len() {
        let same = number(&frames[from]);
        let mut to = from + 1;
        while to < frames.len() && same.is_some() && number(&frames[to]) == same {
            to += 1;
        }
        frames[from..to].sort();
        from = to;
    }
    frames
}

async fn follow(steps: Vec<Step>) {
    let bench =
        Bench::new(Limits { outbox: OutboxLimits { messages: 10_000, bytes: 1 << 20 }, ..Limits::default() });
    let wires = [Wire::with_room(0), Wire::with_room(40), Wire::with_room(usize::MAX)];
    let keys = [0, 1, 2].map(|at| bench.open(&wires[at]));
    let mut model = Model::default();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Publish(topic) => {
                bench.publish(TOPICS[topic], number.to_string()).await;
                model.publish(topic, number);
            }
            Step::Subscribe(session, id, filter) => {
                if model.subscriptions[session].contains_key(&id) {
                    continue;
                }
                bench.subscribe(keys[session], &id.to_string(), FILTERS[filter]).await;
                model.expected[session] += &format!("[R{id}]");
                model.subscriptions[session].insert(id, filter);
            }
            Step::Unsubscribe(session, id) => {
                // What was published before is delivered before.
                turns().await;
                let was = bench.worker.unsubscribe(keys[session], &id.to_string());
                assert_eq!(was, model.subscriptions[session].remove(&id).is_some());
            }
            Step::Private(session) => {
                turns().await;
                bench.worker.send(keys[session], Bytes::from(format!("[P{number}]")));
                model.expected[session] += &format!("[P{number}]");
            }
            Step::Give(session, octets) => wires[session].give(octets),
            Step::Turn => turns().await,
        }
    }
    turns().await;
    bench.worker.flush();
    for (at, wire) in wires.iter().enumerate() {
        wire.give(usize::MAX);
        turns().await;
        assert_eq!(sorted_copies(&wire.text()), sorted_copies(&model.expected[at]), "session {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the sockets take, each connection is written exactly what its subscriptions match, receipts before
    /// first messages, nothing after an UNSUBSCRIBE, all in one order.
    #[test]
    fn one_order_a_connection(steps in steps()) {
        run(follow(steps));
    }
}
