//! Seams between a replay and what goes on live, and between views, conflation and answers.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;

use super::*;

/// What a subscription of a test asks for.
#[derive(Default)]
struct Asked<'a> {
    rate: Option<&'a str>,
    delta: bool,
    start: StartAt,
}

fn terms(id: &str, topic: &str, asked: Asked<'_>) -> SubscriberTerms {
    let filter = Filter::parse(Tenant::DEFAULT, topic.into()).unwrap();
    let subscription = Subscription { id: id.into(), ack: AckMode::Auto };
    let view = View::parse(None, asked.rate, asked.delta.then_some("merge-patch")).unwrap();
    SubscriberTerms { view, start: asked.start, ..SubscriberTerms::of(filter, subscription) }
}

async fn subscribe(bench: &Bench, key: SessionKey, id: &str, topic: &str, asked: Asked<'_>) {
    bench.worker.subscribe(&Identity::anonymous(), key, terms(id, topic, asked)).await.unwrap();
}

/// Leaves a subscription in the mailbox, so that what follows is taken in the same turn.
async fn leave_in_mailbox(bench: &Bench, session: SessionKey, id: &str, topic: &str, start: StartAt) {
    let terms = terms(id, topic, Asked { start, ..Asked::default() });
    let subscribe = Box::new(Subscribe { session, terms, found: Found::default() });
    bench.broker.channels.subscribe(&bench.broker.router, WorkerId(0), subscribe).await;
}

/// More than a worker lets be pending before it writes in the middle of a turn.
fn large() -> String {
    "x".repeat(300_000)
}

fn quick(bench: &Bench) -> (Wire, SessionKey) {
    let wire = Wire::with_room(usize::MAX);
    let key = bench.open(&wire);
    (wire, key)
}

fn unknown() -> StartAt {
    StartAt::Cursor("of nowhere".into())
}

#[test]
fn who_comes_up_with_the_log_while_a_message_is_delivered_gets_it_once() {
    run(async {
        for is_before in [false, true] {
            let bench = Bench::new(Limits::default());
            let ((_, one), (wire, other)) = (quick(&bench), quick(&bench));
            bench.publish("/topic/chat", "e").await;
            turns().await;
            // Whose group gets the message first decides whether it would be lost or come twice.
            if !is_before {
                subscribe(&bench, one, "s", "/topic/#", Asked::default()).await;
            }
            leave_in_mailbox(&bench, other, "s", "/topic/#", StartAt::Last(1)).await;
            if is_before {
                leave_in_mailbox(&bench, one, "s", "/topic/#", StartAt::Usual).await;
            }
            bench.publish("/topic/p", large()).await;
            turns().await;
            bench.publish("/topic/p", "next").await;
            turns().await;
            let text = wire.text();
            assert_eq!(text.matches("[Ms e").count(), 1, "{is_before}");
            assert_eq!(text.matches("[Ms xxx").count(), 1, "{is_before}");
            assert_eq!(text.matches("[Ms next").count(), 1, "{is_before}");
        }
    });
}

#[test]
fn a_group_made_while_a_message_is_delivered_does_not_get_what_another_was_to_get() {
    run(async {
        let bench = Bench::new(Limits::default());
        let ((_, first), (_, alone), (wire, late)) = (quick(&bench), quick(&bench), quick(&bench));
        subscribe(&bench, first, "p", "/topic/p", Asked::default()).await;
        // With a gap to tell it stays by itself, until it has told it.
        subscribe(&bench, alone, "a", "/topic/#", Asked { start: unknown(), ..Asked::default() }).await;
        turns().await;
        bench.publish("/topic/chat", "e").await;
        leave_in_mailbox(&bench, late, "j", "/topic/jobs", StartAt::Last(0)).await;
        bench.publish("/topic/p", large()).await;
        turns().await;
        assert_eq!(wire.text().len(), 0, "it asked for jobs alone");
    });
}

#[test]
fn who_has_come_up_with_the_log_joins_the_others_at_any_message() {
    run(async {
        let bench = Bench::new(Limits::default());
        let ((_, one), (wire, other)) = (quick(&bench), quick(&bench));
        subscribe(&bench, one, "s", "/topic/#", Asked::default()).await;
        subscribe(&bench, other, "s", "/topic/#", Asked { start: unknown(), ..Asked::default() }).await;
        assert_eq!(bench.broker.metrics().groups.get(), 2, "it has a gap to tell");
        for number in 0..3 {
            bench.publish("/topic/metrics", number.to_string()).await;
            turns().await;
        }
        assert_eq!(wire.text(), "[Ms 0|gap=unknown][Ms 1][Ms 2]");
        assert_eq!(bench.broker.metrics().groups.get(), 1);
    });
}

#[test]
fn a_value_that_was_held_back_follows_also_if_a_door_took_it_out_of_the_mailbox() {
    run(async {
        let bench = Bench::new(Limits::default());
        let ((wire, key), (_, other)) = (quick(&bench), quick(&bench));
        subscribe(&bench, key, "s", "/topic/metrics", Asked { rate: Some("1/5s"), ..Asked::default() }).await;
        bench.publish("/topic/metrics", "1").await;
        turns().await;
        // The turn that takes it is that of the SUBSCRIBE.
        bench.publish("/topic/metrics", "2").await;
        subscribe(&bench, other, "s", "/topic/p", Asked::default()).await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(wire.text(), "[Ms 1][Ms 2]");
    });
}

#[test]
fn a_gap_is_told_even_if_the_value_that_tells_it_is_not_the_newest_any_more() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(0);
        let key = bench.open(&wire);
        subscribe(&bench, key, "s", "/topic/#", Asked { start: unknown(), ..Asked::default() }).await;
        bench.worker.send(key, Bytes::from_static(b"[R]"));
        bench.worker.flush();
        for number in 0..3 {
            bench.publish("/topic/metrics", number.to_string()).await;
            turns().await;
        }
        wire.give(usize::MAX);
        turns().await;
        assert_eq!(wire.text(), "[R][Ms 0|gap=unknown][Ms 2]");
    });
}

fn answer(topic: &str, body: &'static str) -> Message {
    Message::json(Destination::parse(Tenant::DEFAULT, topic.into()).unwrap(), body)
}

#[test]
fn a_patch_is_for_the_value_that_was_written_before_also_behind_an_answer() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(0);
        let key = bench.open(&wire);
        subscribe(&bench, key, "s", "/topic/metrics", Asked { delta: true, ..Asked::default() }).await;
        let value = |n: u32| format!("{{\"long\":\"0123456789012345678901234567890123456789\",\"n\":{n}}}");
        bench.worker.send(key, Bytes::from_static(b"[R]"));
        bench.worker.flush();
        bench.publish("/topic/metrics", value(1)).await;
        turns().await;
        assert_eq!(bench.worker.reply(key, answer("/topic/metrics", "{\"n\":0}")), 1);
        bench.worker.flush();
        bench.publish("/topic/metrics", value(2)).await;
        turns().await;
        wire.give(usize::MAX);
        turns().await;
        bench.publish("/topic/metrics", value(3)).await;
        turns().await;
        let text = wire.text();
        let frames: Vec<&str> = text.split_inclusive(']').collect();
        // Each patch is for what came right before it.
        let number = |frame: &str| {
            let told = frame.rsplit('|').next().unwrap().trim_end_matches(']').to_owned();
            told.rsplit(['=', '>']).next().unwrap().parse::<u64>().unwrap()
        };
        for pair in frames[1..].windows(2) {
            if let Some((base, _)) = pair[1].rsplit('|').next().unwrap().split_once('>') {
                assert_eq!(base.parse::<u64>().unwrap(), number(pair[0]), "{text}");
            }
            assert!(number(pair[0]) < number(pair[1]), "{text}");
        }
        assert!(text.contains('>'), "{text}");
    });
}

#[test]
fn after_a_clear_that_was_held_back_comes_a_whole_value() {
    run(async {
        let bench = Bench::new(Limits::default());
        let (wire, key) = quick(&bench);
        let asked = Asked { rate: Some("1/5s"), delta: true, ..Asked::default() };
        subscribe(&bench, key, "s", "/topic/metrics", asked).await;
        let value = |n: u32| format!("{{\"long\":\"0123456789012345678901234567890123456789\",\"n\":{n}}}");
        bench.publish("/topic/metrics", value(1)).await;
        turns().await;
        let mut headers = Headers::new();
        headers.push("retain", "clear");
        let metrics = Destination::topic(Tenant::DEFAULT, "metrics").unwrap();
        let clear = Message::new(metrics, headers, "");
        bench.broker.publish(&Identity::anonymous(), Door::Producer, clear).await.unwrap();
        bench.publish("/topic/metrics", value(2)).await;
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(wire.text().matches("|full=").count(), 2, "{}", wire.text());
    });
}

#[test]
fn an_answer_that_is_the_first_message_tells_of_the_gap() {
    run(async {
        let bench = Bench::new(Limits::default());
        let (wire, key) = quick(&bench);
        subscribe(&bench, key, "s", "/topic/#", Asked { start: unknown(), ..Asked::default() }).await;
        bench.worker.reply(key, answer("/topic/metrics", "1"));
        bench.worker.flush();
        bench.publish("/topic/metrics", "2").await;
        turns().await;
        assert_eq!(wire.text(), "[Ms 1|gap=unknown][Ms 2]");
    });
}

/// A look at history passes over many messages; a client that asks for many looks must not have them all at once.
#[test]
fn many_replays_of_one_session_do_not_hold_up_a_worker() {
    run(async {
        let bench = Bench::new(Limits::default());
        let (wire, key) = quick(&bench);
        for number in 0..20_000 {
            bench.publish(&format!("/topic/jobs:{}", number % 4), "x").await;
        }
        for id in 0..100 {
            leave_in_mailbox(&bench, key, &id.to_string(), "/topic/jobs:*:none", StartAt::Last(0)).await;
        }
        leave_in_mailbox(&bench, key, "all", "/topic/jobs:#", StartAt::Last(10)).await;
        for id in 100..200 {
            leave_in_mailbox(&bench, key, &id.to_string(), "/topic/jobs:*:none", unknown()).await;
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(wire.text().matches("[Mall x").count(), 40, "each is worked off");
    });
}

/// They kept 100 MB here, as /proc/self/statm told.
#[test]
fn waiting_values_do_not_keep_what_was_pending_beside_them() {
    run(async {
        let bench = Bench::new(Limits::default());
        let wire = Wire::with_room(0);
        let key = bench.open(&wire);
        subscribe(&bench, key, "s", "/topic/host-metrics:#", Asked::default()).await;
        bench.worker.send(key, Bytes::from_static(b"[R]"));
        bench.worker.flush();
        for number in 0..500 {
            bench.publish(&format!("/topic/host-metrics:{number}"), "1").await;
            bench.publish("/topic/host-metrics:busy", "x".repeat(200_000)).await;
            turns().await;
        }
        wire.give(usize::MAX);
        turns().await;
        let text = wire.text();
        assert_eq!(text.matches("[Ms 1|").count(), 500);
        assert_eq!(text.matches("[Ms xxx").count(), 1);
    });
}

/// They kept 100 MB here, as /proc/self/statm told.
#[test]
fn groups_of_one_at_rest_keep_no_frame_of_what_was_handed_out() {
    run(async {
        let bench = Bench::new(Limits::default());
        bench.publish("/topic/agents", "x".repeat(1_000_000)).await;
        let wires: Vec<Wire> = (0..100).map(|_| Wire::with_room(usize::MAX)).collect();
        for (at, wire) in wires.iter().enumerate() {
            let key = bench.open(wire);
            subscribe(&bench, key, &at.to_string(), "/topic/agents", Asked::default()).await;
            turns().await;
            assert!(wire.text().ends_with("x|retained]"));
            wire.clear();
        }
    });
}

#[test]
fn who_begins_where_history_ends_is_not_overtaken_before_the_first_look() {
    run(async {
        for start in [unknown(), StartAt::Last(10_000)] {
            let bench = Bench::new(Limits::default());
            let (wire, key) = quick(&bench);
            for number in 0..10_000 {
                bench.publish("/topic/chat", number.to_string()).await;
            }
            turns().await;
            leave_in_mailbox(&bench, key, "s", "/topic/chat", start).await;
            bench.publish("/topic/chat", "last").await;
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(bench.cut_offs("slow_consumer"), 0);
            assert_eq!(wire.text().matches("[Ms ").count(), 10_000);
            assert!(wire.text().starts_with("[Ms 1|"));
        }
    });
}
