//! Many subscribers of one topic, a publisher that keeps a window; and one that stops reading among them.
//!
//! `FANOUT_MESSAGES` sets how many messages each subscriber gets.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use support::{CARRIERS, Carrier, Client, Server, config, run, run_within, until};
use tokio::sync::Notify;

const SUBSCRIBERS: usize = 1000;
const WINDOW: u64 = 16;

fn messages() -> u64 {
    std::env::var("FANOUT_MESSAGES").map_or(200, |text| text.parse().expect("a number"))
}

/// Counts the deliveries of the messages that are under way.
#[derive(Default)]
struct Deliveries {
    of: [AtomicU64; WINDOW as usize],
    complete: Notify,
}

impl Deliveries {
    fn count(&self, number: u64, subscribers: u64) {
        let before = self.of[(number % WINDOW) as usize].fetch_add(1, Ordering::AcqRel);
        if before + 1 == subscribers {
            self.complete.notify_one();
        }
    }

    /// Waits until the place of `number` is free: until the message before it in that place has reached everybody.
    async fn free(&self, number: u64, subscribers: u64) {
        let place = &self.of[(number % WINDOW) as usize];
        if number >= WINDOW {
            while place.load(Ordering::Acquire) < subscribers {
                self.complete.notified().await;
            }
            place.store(0, Ordering::Release);
        }
    }
}

/// Sends messages numbered from 0, no more than a window ahead of the last subscriber.
async fn publish(
    client: &mut Client,
    deliveries: &Deliveries,
    count: u64,
    subscribers: u64,
    padding: &str,
) {
    for number in 0..count {
        deliveries.free(number, subscribers).await;
        client
            .publish("/topic/fanout", &format!("{number} {padding}"))
            .await;
    }
}

/// Takes `count` messages and sees that they come in order, none twice, none lost.
async fn take(
    mut client: Client,
    deliveries: Arc<Deliveries>,
    count: u64,
    subscribers: u64,
) -> Client {
    for number in 0..count {
        let frame = client.frame().await.expect("a message, not the end");
        let text = std::str::from_utf8(&frame.body).unwrap();
        let (got, _) = text.split_once(' ').unwrap();
        assert_eq!(got.parse(), Ok(number));
        deliveries.count(number, subscribers);
    }
    client
}

async fn subscribers(
    server: &Server,
    count: usize,
    carrier: impl Fn(usize) -> Carrier,
) -> VecDeque<Client> {
    let mut clients = VecDeque::new();
    for at in 0..count {
        let mut client = Client::connect(server.address, carrier(at)).await;
        client.subscribe("sub-0", "/topic/fanout").await;
        clients.push_back(client);
    }
    clients
}

#[test]
fn a_thousand_subscribers_get_everything_once_and_in_order() {
    let server = Server::start();
    let count = messages();
    run_within(Duration::from_secs(600), async {
        let clients = subscribers(&server, SUBSCRIBERS, |at| CARRIERS[at % 2]).await;
        let mut publisher = Client::connect(server.address, Carrier::Raw).await;
        let deliveries = Arc::new(Deliveries::default());
        // One group for each framing on each worker that has some of it.
        let groups = server.metric("stentor_groups");
        assert!((2..=4).contains(&groups), "{groups} groups");
        let mut tasks = tokio::task::JoinSet::new();
        for client in clients {
            tasks.spawn(take(client, deliveries.clone(), count, SUBSCRIBERS as u64));
        }
        publish(&mut publisher, &deliveries, count, SUBSCRIBERS as u64, "").await;
        while let Some(done) = tasks.join_next().await {
            let mut client = done.unwrap();
            if tasks.is_empty() {
                assert!(client.is_quiet().await, "nothing more comes");
            }
        }
        assert_eq!(server.metric("stentor_encodes_total"), count * groups);
        assert_eq!(
            server.metric("stentor_messages_out_total"),
            count * SUBSCRIBERS as u64
        );
    });
}

#[test]
fn one_that_stops_reading_is_cut_off_and_the_others_notice_nothing() {
    const OTHERS: usize = 50;
    let mut config = config();
    config.outbox.close_timeout = Duration::from_millis(500);
    let server = Server::with(config);
    for carrier in CARRIERS {
        run(async {
            let clients = subscribers(&server, OTHERS, |at| CARRIERS[at % 2]).await;
            let mut stopped = Client::with_window(server.address, carrier, Some(4096)).await;
            stopped.greet("1.2", "0,0").await;
            stopped.subscribe("stopped", "/topic/fanout").await;
            let mut publisher = Client::connect(server.address, Carrier::Raw).await;
            let deliveries = Arc::new(Deliveries::default());
            let cut = "stentor_cut_offs_total{reason=\"slow_consumer\"}";
            let before = server.metric(cut);
            let padding = "x".repeat(10_000);
            let mut tasks = tokio::task::JoinSet::new();
            for client in clients {
                tasks.spawn(take(client, deliveries.clone(), 400, OTHERS as u64));
            }
            publish(&mut publisher, &deliveries, 400, OTHERS as u64, &padding).await;
            let mut alive = Vec::new();
            while let Some(done) = tasks.join_next().await {
                alive.push(done.unwrap());
            }
            assert_eq!(server.metric(cut), before + 1);
            // Its connection is gone in the kernel too, though it never reads another octet.
            until("the connection is gone", || {
                server.connections() == OTHERS as u64 + 1
            })
            .await;
            let mut last = None;
            while let Some(frame) = stopped.frame().await {
                last = Some(frame);
            }
            drop(last);
            assert!(stopped.frame().await.is_none());
            for client in &mut alive {
                client.publish("/topic/other", "x").await;
            }
        });
    }
}
