//! Resume, against a model: random publishes, subscribes, cuts at random places of the octets, and resumes by old and new
//! cursors, on each transport. Every subscription gets exactly what the model says, or is told of a gap where it says so.
//!
//! `RESUME_RUNS` sets how many runs there are, `RESUME_SEED` makes the one run of that seed. What a run does follows from its
//! seed; what happens at the same time does not, and the model takes it either way.

#![allow(clippy::unwrap_used)]

#[path = "resume/dice.rs"]
mod dice;
#[path = "resume/model.rs"]
mod model;
#[path = "resume/run.rs"]
mod run;
mod support;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{self, StreamExt as _};
use run::{OUTBOX, Run, Sums, TRANSPORTS};
use stentor::broker::{Destination, Door, Headers, Identity, Message, Tenant};
use stentor::config::Config;
use support::{Carrier, Client, Server, run_within};

/// Runs that go on at the same time.
const AT_ONCE: usize = 6;
/// Runs that share a server, so that no history has to go because there is too much of it.
const TOGETHER: u64 = 120;
/// Events of which few are kept, events of which all are, and the newest value; every other topic is plain.
fn config() -> Config {
    let mut config = support::config();
    config.channels.events = [format!("r.*.small.# messages={}", model::KEPT), "r.*.wide.#".to_owned()]
        .map(|text| text.parse().unwrap())
        .to_vec();
    config.channels.snapshot = vec!["r.*.snap.#".parse().unwrap()];
    config.outbox.messages = OUTBOX;
    // Sessions whose receiver was cut are there for a while.
    config.shutdown_timeout = Duration::ZERO;
    config
}

/// Makes the runs of these seeds, some at the same time.
async fn runs(seeds: std::ops::Range<u64>, sums: &mut Vec<Sums>) {
    let server = Server::with(config());
    // Others go on to their end, so that what is told is of those that failed.
    let runs = stream::iter(seeds.map(|seed| AssertUnwindSafe(Run::new(&server, seed).all()).catch_unwind()));
    for done in runs.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await {
        sums.push(done.unwrap_or_else(|failed| std::panic::resume_unwind(failed)));
    }
}

#[test]
fn a_subscription_gets_what_was_published_or_is_told_of_a_gap() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (first, count) = match number("RESUME_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("RESUME_RUNS").unwrap_or(120)),
    };
    run_within(Duration::from_secs(120 + count), async {
        let mut sums = Vec::new();
        for from in (first..first + count).step_by(TOGETHER as usize) {
            let seeds = from..(from + TOGETHER).min(first + count);
            runs(seeds, &mut sums).await;
        }
        for (at, transport) in TRANSPORTS.iter().enumerate() {
            let of = |figure: fn(&Sums) -> usize| -> usize {
                sums.iter().skip(at).step_by(TRANSPORTS.len()).map(figure).sum()
            };
            let (resumed, trimmed, unknown) =
                (of(|sums| sums.resumed), of(|sums| sums.trimmed), of(|sums| sums.unknown));
            println!(
                "{transport:?}: {} published, {} messages by {} subscriptions; receipts: {resumed} resumed, {trimmed} trimmed, \
                 {unknown} unknown; {} cuts, {} cut off by history, {} by the outbox",
                of(|sums| sums.published),
                of(|sums| sums.messages),
                of(|sums| sums.subscribes),
                of(|sums| sums.cuts),
                of(|sums| sums.overtaken),
                of(|sums| sums.overflowed)
            );
            assert!(count < 120 || resumed.min(trimmed).min(unknown) > 0, "nothing of a kind happened");
        }
    });
}

/// A server of an installation of this name, whose log begins anew.
fn installation(name: &str) -> Server {
    let text = format!("installation = {name:?}");
    Server::with(Config { installation: Config::parse("".as_ref(), &text).unwrap().installation, ..config() })
}

async fn publish(server: &Server, bodies: &[&'static str]) {
    let destination = Destination::parse(Tenant::DEFAULT, "/topic/r.0.wide.a".into()).unwrap();
    for body in bodies {
        let message = Message::new(destination.clone(), Headers::new(), *body);
        server.broker.publish(&Identity::anonymous(), Door::Rest, message).await.unwrap();
    }
}

/// Subscribes with a cursor, and takes two messages; the first and the RECEIPT tell of a gap for this reason.
async fn takes_two(server: &Server, destination: &str, cursor: &str, reason: &str) {
    let mut client = Client::connect(server.address, Carrier::Raw).await;
    let headers = format!("id:s\ndestination:{destination}\ncursor:{cursor}\nreceipt:r\n");
    client.send(&format!("SUBSCRIBE\n{headers}\n\0")).await;
    let receipt = client.frame().await.unwrap();
    assert_eq!(
        (receipt.get("receipt-id"), receipt.get("resumed")),
        (Some("r"), Some("false")),
        "{receipt:?}"
    );
    let (first, second) = (client.frame().await.unwrap(), client.frame().await.unwrap());
    assert_eq!((&first.body[..], &second.body[..]), (&b"4"[..], &b"5"[..]));
    for told in [receipt, first] {
        assert_eq!((told.get("gap"), told.get("gap-reason")), (Some("true"), Some(reason)), "{told:?}");
    }
    assert_eq!((second.get("gap"), second.get("gap-reason")), (None, None));
}

#[test]
fn a_cursor_of_before_a_restart_is_lost_and_one_of_another_installation_unknown() {
    support::run(async {
        let destinations = ["/topic/r.0.wide.a", "/topic/r.0.#"];
        let mut before = installation("one");
        let mut client = Client::connect(before.address, Carrier::Raw).await;
        for destination in destinations {
            client.subscribe(destination, destination).await;
        }
        publish(&before, &["1", "2", "3"]).await;
        let mut cursors = Vec::new();
        for _ in 0..destinations.len() * 3 {
            let frame = client.frame().await.unwrap();
            let text = |name| frame.get(name).unwrap().to_owned();
            cursors.push((text("subscription"), text("cursor")));
        }
        drop(client);
        before.stop();
        for (name, reason) in [("one", "lost"), ("two", "unknown")] {
            let after = installation(name);
            publish(&after, &["4", "5"]).await;
            for (destination, cursor) in &cursors {
                takes_two(&after, destination, cursor, reason).await;
            }
        }
    });
}
