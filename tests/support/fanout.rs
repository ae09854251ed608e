//! Fan-out: numbered messages to many, by a publisher that keeps a window, and the proof that each came once and in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{Carrier, Client, Server};

/// Messages that are under way at one time.
const WINDOW: u64 = 16;

/// The topic of all this.
pub const TOPIC: &str = "/topic/fanout";

/// A fan-out that is running: subscribers that take what the publisher sends.
pub struct Fanout {
    subscribers: u64,
    deliveries: Arc<Deliveries>,
    tasks: JoinSet<Client>,
}

impl Fanout {
    /// Has `subscribers` take `count` messages each, in order, none twice, none lost.
    pub fn start(subscribers: Vec<Client>, count: u64) -> Fanout {
        let deliveries = Arc::new(Deliveries::default());
        let many = subscribers.len() as u64;
        let mut tasks = JoinSet::new();
        for client in subscribers {
            tasks.spawn(take(client, deliveries.clone(), count, many));
        }
        Fanout { subscribers: many, deliveries, tasks }
    }

    /// Sends the messages numbered `numbers`, no more than a window ahead of the last subscriber.
    pub async fn publish(&self, publisher: &mut Client, numbers: std::ops::Range<u64>, padding: &str) {
        for number in numbers {
            self.deliveries.free(number, self.subscribers).await;
            publisher.publish(TOPIC, &format!("{number} {padding}")).await;
        }
    }

    /// Waits until all subscribers have everything, and gives them back.
    pub async fn finish(mut self) -> Vec<Client> {
        let mut clients = Vec::new();
        while let Some(done) = self.tasks.join_next().await {
            clients.push(done.unwrap());
        }
        clients
    }
}

/// Connects `count` subscribers of the topic, all under one subscription id.
pub async fn subscribers(server: &Server, count: usize, carrier: impl Fn(usize) -> Carrier) -> Vec<Client> {
    let mut clients = Vec::new();
    for at in 0..count {
        let carrier = carrier(at);
        let mut client = Client::connect(server.at(carrier), carrier).await;
        client.subscribe("sub-0", TOPIC).await;
        clients.push(client);
    }
    clients
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

async fn take(mut client: Client, deliveries: Arc<Deliveries>, count: u64, subscribers: u64) -> Client {
    for number in 0..count {
        let frame = client.frame().await.expect("a message, not the end");
        let text = std::str::from_utf8(&frame.body).unwrap();
        let (got, _) = text.split_once(' ').unwrap();
        assert_eq!(got.parse(), Ok(number));
        deliveries.count(number, subscribers);
    }
    client
}
