//! Whether anybody wants a message: one look-up in the index, as every publisher makes it, among many filters.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use stentor::broker::Destination;

use crate::kit::{Node, Taker, Thread, destination};

/// Destinations that are asked for in turn, spread over all that there are, so that the processor's caches help as little
/// as they would in life.
const ASKED: usize = 1024;

/// Subscriptions of one session; the number is of no matter to the look-up.
const EACH: usize = 100;

/// Makes the name of the one so numbered.
type Name = fn(usize) -> String;

pub(crate) fn bench(criterion: &mut Criterion) {
    let kinds: [(&str, Name, Name); 4] = [
        (
            "one destination",
            |i| format!("/topic/host-metrics.web{i}"),
            |i| format!("/topic/host-metrics.web{i}"),
        ),
        ("pattern with *", |i| format!("/topic/web{i}.*"), |i| format!("/topic/web{i}.cpu")),
        ("pattern with #", |i| format!("/topic/web{i}.#"), |i| format!("/topic/web{i}.disk.sda")),
        ("nobody, among patterns", |i| format!("/topic/web{i}.*"), |i| format!("/topic/db{i}.cpu")),
    ];
    let mut group = criterion.benchmark_group("wanted");
    for subscriptions in [10, 1_000, 100_000, 1_000_000] {
        for (kind, filter, name) in kinds {
            // What is not measured is not built.
            let thread = Thread::new();
            let mut node = None;
            group.bench_function(BenchmarkId::new(kind, subscriptions), |bencher| {
                let node = node.get_or_insert_with(|| thread.run(subscribed(subscriptions, filter)));
                let asked: Vec<Destination> =
                    (0..ASKED).map(|i| destination(&name(i * 7_919 % subscriptions))).collect();
                let mut next = asked.iter().cycle();
                assert_eq!(node.broker.wanted(&asked[0]), !kind.starts_with("nobody"));
                bencher.iter(|| node.broker.wanted(black_box(next.next().expect("endless"))));
            });
        }
    }
    group.finish();
}

async fn subscribed(subscriptions: usize, filter: fn(usize) -> String) -> Node {
    let node = Node::new();
    let taker = Taker::default();
    for first in (0..subscriptions).step_by(EACH) {
        let session = node.open(&taker);
        for at in first..subscriptions.min(first + EACH) {
            node.subscribe(session, &format!("sub-{}", at - first), &filter(at)).await;
        }
    }
    node
}
