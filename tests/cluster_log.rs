//! The log of several nodes at its edges: ends of segments, what was trimmed, streams made anew, nodes that start together, that
//! are away and that are behind, and confirms that were lost.
//!
//! Each scenario is an installation of its own with a stream of its own, since RabbitMQ takes seconds to start.

#![allow(clippy::unwrap_used)]

#[path = "cluster_log/kit.rs"]
mod kit;
mod support;

use std::time::Duration;

use kit::{Installation, cursor_of, events, numbers, resume, take};
use support::{Foreign, Line, Proxy, Rabbit, run_within, until};

const TOPIC: &str = "/topic/task-events";

/// Small segments, and a stream that keeps them all or a few.
const MANY_SEGMENTS: &str = "stream_segment_bytes = \"32KiB\"\n";
const FEW_SEGMENTS: &str = "stream_segment_bytes = \"32KiB\"\nstream_bytes = \"128KiB\"\n";

#[test]
fn the_log_at_its_edges() {
    run_within(Duration::from_secs(400), async {
        let rabbit = Rabbit::start();
        a_foreign_event_reaches_every_spelling_once(&rabbit).await;
        the_end_of_a_segment_is_no_gap(&rabbit).await;
        what_was_trimmed_is_a_told_gap(&rabbit).await;
        a_stream_made_anew_is_a_told_gap(&rabbit).await;
        all_nodes_may_be_restarted(&rabbit).await;
        nodes_that_start_together_agree(&rabbit).await;
    });
}

async fn a_foreign_event_reaches_every_spelling_once(rabbit: &Rabbit) {
    let nodes = Installation::new(rabbit, "foreign", "").await.start(2).await;
    let spellings = ["/topic/vm-events:web1", "/topic/vm-events.web1", "/topic/vm-events:#"];
    let shown = ["/topic/vm-events:web1", "/topic/vm-events.web1", "/topic/vm-events.web1"];
    let foreign = Foreign::connect(rabbit).await;
    for (node, _) in nodes.servers.iter().enumerate() {
        let mut clients = Vec::new();
        for spelling in spellings {
            let mut client = nodes.client(node).await;
            client.subscribe("1", spelling).await;
            clients.push(client);
        }
        for n in 0..3 {
            foreign.publish(&nodes.exchange, "vm-events.web1", &n.to_string()).await;
        }
        let mut cursors = Vec::new();
        for (client, shown) in clients.iter_mut().zip(shown) {
            for n in 0..3 {
                let frame = client.frame().await.unwrap();
                assert_eq!(
                    (frame.get("destination"), &frame.body[..]),
                    (Some(shown), n.to_string().as_bytes())
                );
                assert_eq!(frame.get("gap"), None);
                if n == 0 {
                    cursors.push(cursor_of(&frame));
                }
            }
            assert!(client.is_quiet().await, "{shown}: once each");
        }
        for ((spelling, shown), cursor) in spellings.into_iter().zip(shown).zip(&cursors) {
            for other in 0..nodes.servers.len() {
                let mut back = resume(&nodes, other, spelling, cursor, None).await;
                for n in 1..3 {
                    let frame = back.frame().await.unwrap();
                    let found = (frame.get("destination"), &frame.body[..]);
                    assert_eq!(found, (Some(shown), n.to_string().as_bytes()));
                }
                assert!(back.is_quiet().await);
            }
        }
    }
}

async fn the_end_of_a_segment_is_no_gap(rabbit: &Rabbit) {
    const EVENTS: u64 = 3000;
    let mut nodes = Installation::new(rabbit, "segments", MANY_SEGMENTS).await.start(2).await;
    let mut live = nodes.client(0).await;
    live.subscribe("1", TOPIC).await;
    let mut publisher = nodes.client(1).await;
    events(&mut publisher, TOPIC, 0..EVENTS).await;
    let heard = take(&mut live, EVENTS as usize).await;
    assert_eq!(numbers(&heard), (0..EVENTS).collect::<Vec<_>>());
    let places: Vec<u64> = heard.iter().map(kit::place_of).collect();
    let holes = places.windows(2).filter(|two| two[1] != two[0] + 1).count();
    assert!(holes > 10, "{holes} holes: there are to be many segments");
    nodes.start_one().await;
    // From before and behind each hole, and from the beginning, on nodes that were there and on one that was not.
    let ends = places.windows(2).enumerate().filter(|(_, two)| two[1] != two[0] + 1).map(|(at, _)| at);
    for (round, at) in [0].into_iter().chain(ends.flat_map(|at| [at, at + 1])).enumerate() {
        let mut back = resume(&nodes, round % 3, TOPIC, &cursor_of(&heard[at]), None).await;
        // To the next few ends; all of it once.
        let some = if round == 0 { EVENTS as usize - 1 } else { 200.min(EVENTS as usize - 1 - at) };
        let from = at as u64 + 1;
        assert_eq!(numbers(&take(&mut back, some).await), (from..from + some as u64).collect::<Vec<_>>());
    }
    // And what comes next joins on.
    let mut back = resume(&nodes, 2, TOPIC, &cursor_of(heard.last().unwrap()), None).await;
    events(&mut publisher, TOPIC, EVENTS..EVENTS + 200).await;
    assert_eq!(numbers(&take(&mut back, 200).await), (EVENTS..EVENTS + 200).collect::<Vec<_>>());
}

async fn what_was_trimmed_is_a_told_gap(rabbit: &Rabbit) {
    const EVENTS: u64 = 3000;
    let mut nodes = Installation::new(rabbit, "trimmed", FEW_SEGMENTS).await.start(1).await;
    let proxy = Proxy::start(([127, 0, 0, 1], rabbit.port()).into()).await;
    nodes.start_by(proxy.address).await;
    let (mut here, mut away) = (nodes.client(0).await, nodes.client(1).await);
    here.subscribe("1", TOPIC).await;
    away.subscribe("1", TOPIC).await;
    let mut publisher = nodes.client(0).await;
    events(&mut publisher, TOPIC, 0..100).await;
    let mut heard = take(&mut here, 100).await;
    assert_eq!(numbers(&take(&mut away, 100).await), (0..100).collect::<Vec<_>>());
    let cut = Line { cut_after: Some(0), ..Line::default() };
    proxy.to_server(cut);
    proxy.to_client(cut);
    until("the node is cut off", || nodes.servers[1].metric("stentor_rabbitmq_connected") == 0).await;
    events(&mut publisher, TOPIC, 100..EVENTS).await;
    heard.extend(take(&mut here, EVENTS as usize - 100).await);
    assert_eq!(numbers(&heard), (0..EVENTS).collect::<Vec<_>>(), "who was there missed nothing");
    proxy.to_server(Line::default());
    proxy.to_client(Line::default());
    // Who was away is told, once, and goes on with what there is.
    let first = away.frame().await.unwrap();
    assert_eq!((first.get("gap"), first.get("gap-reason")), (Some("true"), Some("trimmed")));
    let begin = numbers(std::slice::from_ref(&first))[0];
    assert!(begin > 100 && begin < EVENTS - 1, "{begin}");
    let rest = take(&mut away, (EVENTS - 1 - begin) as usize).await;
    assert_eq!(numbers(&rest), (begin + 1..EVENTS).collect::<Vec<_>>());
    nodes.start_one().await;
    for node in [1, 2] {
        let begin = oldest(&nodes, node, &cursor_of(&heard[0]), EVENTS).await;
        assert!(begin > 100, "{begin}");
        // The one before the first that is there can't be known to be the last that is not.
        for at in [50, 99, begin as usize / 2, begin as usize - 2] {
            assert_eq!(oldest(&nodes, node, &cursor_of(&heard[at]), EVENTS).await, begin, "node {node}");
        }
        for at in [begin, begin + 1, (begin + EVENTS) / 2, EVENTS - 2] {
            let mut back = resume(&nodes, node, TOPIC, &cursor_of(&heard[at as usize]), None).await;
            let rest = take(&mut back, (EVENTS - 1 - at) as usize).await;
            assert_eq!(numbers(&rest), (at + 1..EVENTS).collect::<Vec<_>>(), "node {node}");
        }
    }
    // The first node has it all in its memory.
    let mut back = resume(&nodes, 0, TOPIC, &cursor_of(&heard[0]), None).await;
    assert_eq!(numbers(&take(&mut back, EVENTS as usize - 1).await), (1..EVENTS).collect::<Vec<_>>());
}

/// The first event that a cursor gives of before what was trimmed; all behind it are there.
async fn oldest(nodes: &Installation<'_>, node: usize, cursor: &str, end: u64) -> u64 {
    let mut back = resume(nodes, node, TOPIC, cursor, Some("trimmed")).await;
    let first = back.frame().await.unwrap();
    assert_eq!((first.get("gap"), first.get("gap-reason")), (Some("true"), Some("trimmed")));
    let begin = numbers(&[first])[0];
    let rest = take(&mut back, (end - 1 - begin) as usize).await;
    assert_eq!(numbers(&rest), (begin + 1..end).collect::<Vec<_>>());
    begin
}

async fn a_stream_made_anew_is_a_told_gap(rabbit: &Rabbit) {
    let mut nodes = Installation::new(rabbit, "anew", FEW_SEGMENTS).await.start(2).await;
    let (mut one, mut other) = (nodes.client(0).await, nodes.client(1).await);
    for client in [&mut one, &mut other] {
        client.subscribe("1", TOPIC).await;
    }
    let mut publisher = nodes.client(0).await;
    events(&mut publisher, TOPIC, 0..100).await;
    let before = take(&mut one, 100).await;
    take(&mut other, 100).await;
    Foreign::connect(rabbit).await.delete("anew.events").await;
    for node in &nodes.servers {
        until("a node notices", || node.metric("stentor_gaps_total{reason=\"lost\"}") > 0).await;
    }
    // More than the stream keeps, so that its beginning is gone soon.
    const END: u64 = 2000;
    events(&mut publisher, TOPIC, 100..END).await;
    for client in [&mut one, &mut other] {
        let first = client.frame().await.unwrap();
        assert_eq!((first.get("gap"), first.get("gap-reason")), (Some("true"), Some("lost")));
        let mut after = vec![first];
        after.extend(take(client, (END - 101) as usize).await);
        assert_eq!(numbers(&after), (100..END).collect::<Vec<_>>());
    }
    nodes.start_one().await;
    const MORE: u64 = END + 20;
    events(&mut publisher, TOPIC, END..MORE).await;
    let after = take(&mut other, 20).await;
    for node in 0..3 {
        let mut back = resume(&nodes, node, TOPIC, &cursor_of(&before[50]), Some("lost")).await;
        let first = back.frame().await.unwrap();
        assert_eq!((first.get("gap"), first.get("gap-reason")), (Some("true"), Some("lost")));
        let from = numbers(&[first])[0];
        let rest = take(&mut back, (MORE - 1 - from) as usize).await;
        assert_eq!(numbers(&rest), (from + 1..MORE).collect::<Vec<_>>());
        // Cursors of one node, on all.
        let mut back = resume(&nodes, node, TOPIC, &cursor_of(&after[0]), None).await;
        assert_eq!(numbers(&take(&mut back, 19).await), (END + 1..MORE).collect::<Vec<_>>());
    }
}

async fn all_nodes_may_be_restarted(rabbit: &Rabbit) {
    let mut nodes = Installation::new(rabbit, "restarted", "").await.start(2).await;
    let mut client = nodes.client(0).await;
    client.subscribe("1", TOPIC).await;
    let mut publisher = nodes.client(1).await;
    events(&mut publisher, TOPIC, 0..100).await;
    let heard = take(&mut client, 100).await;
    drop((client, publisher));
    let foreign = Foreign::connect(rabbit).await;
    for from in [100, 200] {
        nodes.stop();
        for n in from..from + 100 {
            foreign.publish(&nodes.exchange, "task-events", &n.to_string()).await;
        }
        nodes = nodes.start(2).await;
        let end = from + 100;
        for node in 0..2 {
            for at in [0, 42, 99] {
                let mut back = resume(&nodes, node, TOPIC, &cursor_of(&heard[at]), None).await;
                let rest = take(&mut back, (end - 1) as usize - at).await;
                assert_eq!(numbers(&rest), (at as u64 + 1..end).collect::<Vec<_>>());
                assert!(back.is_quiet().await);
            }
        }
    }
}

async fn nodes_that_start_together_agree(rabbit: &Rabbit) {
    for round in 0..10 {
        let nodes = Installation::new(rabbit, &format!("together{round}"), "").await.start_at_once(2).await;
        let mut client = nodes.client(0).await;
        client.subscribe("1", TOPIC).await;
        let mut publisher = nodes.client(1).await;
        events(&mut publisher, TOPIC, 0..2).await;
        let heard = take(&mut client, 2).await;
        let mut back = resume(&nodes, 1, TOPIC, &cursor_of(&heard[0]), None).await;
        let again = take(&mut back, 1).await;
        assert_eq!(numbers(&again), [1]);
        assert_eq!(again[0].get("cursor"), heard[1].get("cursor"));
    }
}

#[test]
fn the_log_by_bad_lines() {
    run_within(Duration::from_secs(400), async {
        let rabbit = Rabbit::start();
        what_was_confirmed_in_vain_comes_once(&rabbit).await;
        a_reader_that_is_cut_off_misses_nothing(&rabbit).await;
        a_cursor_may_be_ahead_of_a_node(&rabbit).await;
    });
}

async fn what_was_confirmed_in_vain_comes_once(rabbit: &Rabbit) {
    const ROUNDS: u64 = 10;
    const EACH: u64 = 200;
    let mut nodes = Installation::new(rabbit, "repeats", "").await.start(1).await;
    let proxy = Proxy::start(([127, 0, 0, 1], rabbit.port()).into()).await;
    nodes.start_by(proxy.address).await;
    let (mut here, mut there) = (nodes.client(1).await, nodes.client(0).await);
    here.subscribe("1", TOPIC).await;
    there.subscribe("1", TOPIC).await;
    let mut publisher = nodes.client(1).await;
    let mut heard = Vec::new();
    for round in 0..ROUNDS {
        let (from, to) = (round * EACH, (round + 1) * EACH);
        // RabbitMQ gets them and confirms, and nobody hears of it before the line is cut.
        proxy.to_client(Line { delay: Duration::from_millis(100), ..Line::default() });
        for n in from..to {
            publisher.send(&kit::event(TOPIC, n, Some(n))).await;
        }
        heard.extend(take(&mut there, 100).await);
        proxy.to_client(Line { cut_after: Some(0), ..Line::default() });
        until("the node is cut off", || nodes.servers[1].metric("stentor_rabbitmq_connected") == 0).await;
        proxy.to_client(Line::default());
        for n in from..to {
            let receipt = publisher.frame().await.unwrap();
            assert_eq!(receipt.get("receipt-id"), Some(&*n.to_string()), "{receipt:?}");
        }
        heard.extend(take(&mut there, EACH as usize - 100).await);
    }
    let all: Vec<u64> = (0..ROUNDS * EACH).collect();
    assert_eq!(numbers(&heard), all);
    assert_eq!(numbers(&take(&mut here, all.len()).await), all);
    assert!(here.is_quiet().await && there.is_quiet().await);
    for node in &nodes.servers {
        let repeats = node.metric("stentor_log_repeats_total");
        assert!(repeats > ROUNDS * 10, "only {repeats} were sent again");
    }
}

async fn a_reader_that_is_cut_off_misses_nothing(rabbit: &Rabbit) {
    const EVENTS: u64 = 5000;
    const CUTS: u64 = 6;
    let mut nodes = Installation::new(rabbit, "cut", "").await.start(1).await;
    let proxy = Proxy::start(([127, 0, 0, 1], rabbit.port()).into()).await;
    // With hardly a mailbox and much to look at, the log waits for a worker nearly all the time.
    nodes.mailbox = Some(16);
    nodes.start_by(proxy.address).await;
    let mut here = nodes.client(1).await;
    here.subscribe("1", TOPIC).await;
    for n in 0..200 {
        let selector = format!("x = '{n}' OR y LIKE '%{n}%'");
        here.send(&format!("SUBSCRIBE\nid:no{n}\ndestination:{TOPIC}\nselector:{selector}\n\n\0")).await;
    }
    here.subscribe("2", "/topic/nothing").await;
    let mut publisher = nodes.client(0).await;
    let publishes = async {
        for from in (0..EVENTS).step_by(500) {
            events(&mut publisher, TOPIC, from..from + 500).await;
        }
    };
    let node = &nodes.servers[1];
    let cuts = async {
        for time in 0..CUTS {
            // Wherever in the flow that is.
            tokio::time::sleep(Duration::from_millis(50 + time * 17 % 50)).await;
            let before = node.metric("stentor_rabbitmq_connects_total");
            proxy.to_client(Line { cut_after: Some(0), ..Line::default() });
            until("the node is cut off", || node.metric("stentor_rabbitmq_connected") == 0).await;
            proxy.to_client(Line::default());
            until("it is back", || node.metric("stentor_rabbitmq_connects_total") > before).await;
            until("it is back", || node.metric("stentor_rabbitmq_connected") == 1).await;
        }
    };
    let reads = async {
        for n in 0..EVENTS {
            assert_eq!(numbers(&take(&mut here, 1).await), [n]);
        }
    };
    futures_util::future::join3(publishes, cuts, reads).await;
}

async fn a_cursor_may_be_ahead_of_a_node(rabbit: &Rabbit) {
    const ROUNDS: usize = 1000;
    let mut nodes = Installation::new(rabbit, "ahead", "").await.start(1).await;
    let proxy = Proxy::start(([127, 0, 0, 1], rabbit.port()).into()).await;
    nodes.start_by(proxy.address).await;
    // What one node has read, the other has not, most of the time.
    proxy.to_client(Line { delay: Duration::from_millis(2), ..Line::default() });
    let mut first = nodes.client(0).await;
    first.subscribe("1", TOPIC).await;
    let mut publisher = nodes.client(0).await;
    let publishes = async {
        for n in 0.. {
            publisher.send(&kit::event(TOPIC, n, None)).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let resumes = async {
        let mut last = first.frame().await.unwrap();
        for round in 1..=ROUNDS {
            let cursor = cursor_of(&last);
            let mut back = nodes.client(round % 2).await;
            let receipt = if round % 3 == 0 { "" } else { "receipt:r\n" };
            back.send(&format!("SUBSCRIBE\nid:1\ndestination:{TOPIC}\ncursor:{cursor}\n{receipt}\n\0")).await;
            if !receipt.is_empty() {
                let receipt = back.frame().await.unwrap();
                assert_eq!(receipt.get("resumed"), Some("true"), "round {round}: {receipt:?}");
            }
            let next = take(&mut back, 1 + round % 3).await;
            assert!(next.iter().all(|frame| frame.get("gap").is_none()), "round {round}: {next:?}");
            let from = numbers(std::slice::from_ref(&last))[0] + 1;
            assert_eq!(numbers(&next), (from..from + next.len() as u64).collect::<Vec<_>>(), "round {round}");
            last = next.into_iter().next_back().unwrap();
        }
    };
    tokio::select! {
        () = resumes => {}
        () = publishes => unreachable!("it goes on"),
    }
    drop(first);
    let mut late = nodes.client(1).await;
    // One that nobody gave out is ahead of everything.
    late.send(&format!("SUBSCRIBE\nid:1\ndestination:{TOPIC}\ncursor:x\nreceipt:r\n\n\0")).await;
    assert_eq!(late.frame().await.unwrap().get("gap-reason"), Some("unknown"));
}
