//! Chaos: nodes and RabbitMQ are killed, stopped and cut off from each other, at times that follow from a seed, while clients
//! publish, read and consume on random nodes. At the end nothing may be missing, double or in another order for one than for
//! another.
//!
//! `CHAOS_SECONDS` sets how long it lasts, `CHAOS_SEED` what happens when; what happens at the same time differs from run to run.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "chaos/client.rs"]
mod client;
#[path = "chaos/cluster.rs"]
mod cluster;
#[allow(dead_code)]
#[path = "resume/dice.rs"]
mod dice;
#[path = "chaos/faults.rs"]
mod faults;
#[path = "chaos/ledger.rs"]
mod ledger;
#[path = "chaos/order.rs"]
mod order;
#[path = "chaos/publishers.rs"]
mod publishers;
#[path = "chaos/readers.rs"]
mod readers;
mod support;
#[path = "chaos/world.rs"]
mod world;

use std::rc::Rc;
use std::time::Duration;

use cluster::Cluster;
use faults::NODES;
use ledger::Ledger;
use publishers::{QUEUES, VALUES};
use readers::Views;
use support::run_within;
use tokio::sync::{oneshot, watch};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};
use world::{Phase, Shared, World};

const PUBLISHERS: usize = 6;
/// A message of each publisher.
const EVERY: Duration = Duration::from_millis(25);
/// What all subscribers of events ask for: one of each, and patterns.
const READERS: [&str; 6] = [
    "/topic/task-events",
    "/topic/vm-events:x",
    "/topic/vm-events:#",
    "/topic/logs:y",
    "/topic/#",
    "/topic/#",
];
const CONSUMERS: usize = 4;

/// How long it may take until all is well again after the last fault: longer than promised, since machines are slow.
const RECOVERY: Duration = Duration::from_secs(45);
/// How long it may take at rest until all has come and all agree.
const REST: Duration = Duration::from_secs(60);

#[test]
fn nothing_is_lost_double_or_out_of_order() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (seed, seconds) = (number("CHAOS_SEED").unwrap_or(1), number("CHAOS_SECONDS").unwrap_or(40));
    run_within(Duration::from_secs(seconds + 400), async {
        LocalSet::new().run_until(chaos(seed, seconds)).await;
    });
}

async fn chaos(seed: u64, seconds: u64) {
    let (phase, _) = watch::channel(Phase::Chaos);
    let world = Rc::new(World { cluster: Cluster::start().await, ledger: Ledger::new(), phase, seed });
    let mut clients = Vec::new();
    let mut began = Vec::new();
    for (who, destination) in READERS.into_iter().enumerate() {
        let (begins, has_begun) = oneshot::channel();
        clients.push(spawn_local(readers::read(world.clone(), who, destination, begins)));
        began.push(has_begun);
    }
    for has_begun in began {
        has_begun.await.expect("a reader begins");
    }
    let views = Views::default();
    for node in 0..NODES {
        clients.push(spawn_local(readers::watch(world.clone(), node, views.clone())));
    }
    for who in 0..CONSUMERS {
        let queue = QUEUES[who % QUEUES.len()].to_owned();
        clients.push(spawn_local(readers::consume(world.clone(), 100 + who, queue, false)));
    }
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|who| spawn_local(publishers::publish(world.clone(), 200 + who, EVERY)))
        .collect();
    let poster = spawn_local(publishers::post(world.clone(), 300, 4 * EVERY));
    let begun = Instant::now();
    let faults = faults::schedule(seed, seconds).into_iter().map(|(at, fault)| {
        let world = world.clone();
        spawn_local(async move {
            sleep_until(begun + at).await;
            world.cluster.befall(fault, &world.ledger).await;
        })
    });
    for fault in faults.collect::<Vec<_>>() {
        fault.await.expect("a fault ends");
    }
    match world.cluster.recovered(RECOVERY).await {
        Ok(time) => println!("all was well again {:.1} s after the last fault", time.as_secs_f64()),
        Err(why) => world.ledger.wrong(format!("not well again: {why}")),
    }
    // Some more, which nothing befalls.
    sleep(Duration::from_secs(2)).await;
    world.phase.send_replace(Phase::Rest);
    for publisher in publishers {
        publisher.await.expect("a publisher ends");
    }
    let posted = poster.await.expect("the events are posted");
    for (who, queue) in QUEUES.iter().enumerate() {
        let dead = queue.replacen("/queue/", "/queue/dlq.", 1);
        clients.push(spawn_local(readers::consume(world.clone(), 400 + who, dead, true)));
    }
    world.ledger.note("at rest");
    rest(&world, &views, posted).await;
    if !world.ledger.is_right() {
        let shown = world.cluster.shown().await;
        world.ledger.note(format!("RabbitMQ has\n{shown}"));
    }
    world.phase.send_replace(Phase::End);
    for client in clients {
        client.await.expect("a client ends");
    }
    world.ledger.conclude(seed);
}

/// Waits until all has come and all nodes agree, and a little for what must not come.
async fn rest(world: &Shared, views: &Views, (tried, taken): (u64, u64)) {
    let begun = Instant::now();
    while !world.ledger.missing().is_empty() && begun.elapsed() < REST {
        sleep(Duration::from_secs(1)).await;
    }
    let complete = begun.elapsed();
    let mut wrongs = vec!["it was not looked".to_owned()];
    while !wrongs.is_empty() && begun.elapsed() < REST {
        sleep(Duration::from_secs(1)).await;
        wrongs = disagreements(world, views, tried).await;
    }
    wrongs.into_iter().for_each(|wrong| world.ledger.wrong(wrong));
    println!(
        "all had come after {:.1} s of rest, all agreed after {:.1} s; of {tried} events posted {taken} were taken",
        complete.as_secs_f64(),
        begun.elapsed().as_secs_f64()
    );
    sleep(Duration::from_secs(2)).await;
}

/// What nodes do not agree on: last values, as they hand them out and as those see who stayed, and the count of events.
async fn disagreements(world: &Shared, views: &Views, tried: u64) -> Vec<String> {
    let mut wrongs = Vec::new();
    let (mut values, mut totals) = (Vec::new(), Vec::new());
    for node in 0..NODES {
        values.push(readers::values(world, node).await);
        totals.push(readers::total(world, node).await);
    }
    if values.iter().any(|of| of.is_none() || *of != values[0]) {
        let shown = |value: &String| world.ledger.shown(value);
        let values: Vec<Option<Vec<String>>> =
            values.iter().map(|of| of.as_ref().map(|of| of.iter().map(shown).collect())).collect();
        wrongs.push(format!("nodes do not agree on last values: {values:#?}"));
    }
    if totals.iter().any(|of| of.is_none_or(|total| total == 0 || total > tried) || *of != totals[0]) {
        wrongs.push(format!("nodes do not agree on the count of events, of {tried} posted: {totals:?}"));
    }
    for node in 0..NODES {
        for (at, value) in VALUES.iter().enumerate() {
            let seen = views.borrow().get(&(node, (*value).to_owned())).cloned().unwrap_or_default();
            let handed_out = values[node].as_ref().map_or("", |values| &values[at]);
            if seen != handed_out {
                wrongs.push(format!("node {node} hands out {handed_out:?} of {value}, and showed {seen:?}"));
            }
        }
    }
    wrongs
}
