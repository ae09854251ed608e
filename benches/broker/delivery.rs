//! One message to many connections, from `publish` to the last write.
//!
//! Messages are published 64 at a time, which is what a busy worker takes in one turn, and 1 at a time.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};

use crate::kit::{Node, Taker, Thread, destination};

const BODY: &str = r#"{"host":"web1.example.org","cpu":12.5,"load":[0.73,0.81,0.9],"memory":{"used":8123456,"total":16777216},"disks":[{"path":"/","used":0.41},{"path":"/home","used":0.77}],"network":{"in":123456,"out":654321},"at":1767225600000}"#;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("deliver");
    for (name, deliver) in [
        ("one group, 64 at a time", Deliver { batch: 64, groups: false, lag: false }),
        ("one group, 1 at a time", Deliver { batch: 1, groups: false, lag: false }),
        ("a group each, 64 at a time", Deliver { batch: 64, groups: true, lag: false }),
        ("through outboxes, 64 at a time", Deliver { batch: 64, groups: false, lag: true }),
    ] {
        for connections in [1, 100, 10_000] {
            group.throughput(Throughput::Elements(connections as u64));
            let thread = Thread::new();
            let mut subscribers = None;
            group.bench_function(BenchmarkId::new(name, connections), |bencher| {
                let subscribers = subscribers
                    .get_or_insert_with(|| thread.run(Subscribers::new(connections, deliver.groups)));
                bencher.iter_custom(|messages| thread.run(subscribers.deliver(messages, deliver)));
            });
        }
    }
    group.finish();
}

/// How messages are delivered.
#[derive(Clone, Copy)]
struct Deliver {
    /// Messages that are published before the worker has its turn.
    batch: u64,
    /// Whether every subscription has an id of its own, so that nothing is shared.
    groups: bool,
    /// Whether no connection takes anything until all of a batch wait in its outbox.
    lag: bool,
}

/// Connections with one subscription each, all to one destination.
struct Subscribers {
    node: Node,
    taker: Taker,
    connections: u64,
}

impl Subscribers {
    async fn new(connections: usize, groups: bool) -> Subscribers {
        let (node, taker) = (Node::new(), Taker::default());
        for at in 0..connections {
            let session = node.open(&taker);
            let id = if groups { format!("sub-{at}") } else { "sub-0".to_owned() };
            node.subscribe(session, &id, "/topic/greetings.web1").await;
        }
        Subscribers { node, taker, connections: connections as u64 }
    }

    /// The time for this many messages, by that for whole batches.
    async fn deliver(&self, messages: u64, deliver: Deliver) -> Duration {
        let destination = destination("/topic/greetings.web1");
        let batches = messages.div_ceil(deliver.batch);
        let begun = Instant::now();
        for _ in 0..batches {
            if deliver.lag {
                self.taker.stall();
            }
            let before = self.node.messages_out();
            for _ in 0..deliver.batch {
                self.node.publish(&destination, BODY).await;
            }
            self.node.delivered(before, deliver.batch * self.connections).await;
            self.taker.resume();
        }
        begun.elapsed().mul_f64(messages as f64 / (batches * deliver.batch) as f64)
    }
}
