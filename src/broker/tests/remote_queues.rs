//! Consumers of queues that are elsewhere: what clients get of them, and what is told there.

#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use super::*;

/// Writes down what it is told.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<String>>);

impl RemoteQueues for Told {
    fn consume(&self, queue: &Destination, prefetch: u32) {
        self.0.lock().unwrap().push(format!("{} {prefetch}", queue.name()));
    }

    fn settle(&self, queue: &Destination, origin: Origin, fate: Fate) {
        self.0.lock().unwrap().push(format!("{} {}: {fate:?}", queue.name(), origin.tag));
    }
}

impl Told {
    /// What it was told since this was last asked.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn bench(queues: QueueLimits) -> (Bench, Arc<Told>) {
    let told = Arc::new(Told::default());
    let parts = Parts { remote_queues: Some(told.clone()), ..parts() };
    let limits = Limits { queues, ..Limits::default() };
    let (broker, mut mailboxes) = Broker::new(1, limits, 1, Access, parts, Arc::new(Metrics::new()));
    let worker = Worker::start(broker.clone(), mailboxes.remove(0));
    (Bench { worker, broker }, told)
}

fn queue(name: &str) -> Destination {
    Destination::parse(Tenant::DEFAULT, format!("/queue/{name}").into()).unwrap()
}

fn terms(ack: AckMode, prefetch: Option<u32>) -> ConsumerTerms {
    let subscription = Subscription { id: "s".into(), ack };
    ConsumerTerms { subscription, receipt: None, prefetch, selector: None }
}

fn deliver(bench: &Bench, channel: u64, tags: std::ops::RangeInclusive<u64>) {
    for tag in tags {
        let message = Message::new(queue("q"), Headers::new(), tag.to_string());
        bench.broker.delivered(&queue("q"), Origin { channel, tag }, message, false);
    }
}

impl Bench {
    fn consume(&self, session: SessionKey, name: &str, terms: ConsumerTerms) -> Result<(), Unsubscribed> {
        self.worker.consume(&Identity::anonymous(), session, queue(name), terms)
    }

    fn settle(&self, session: SessionKey, number: u64, verdict: Verdict) -> bool {
        self.worker.settle(session, None, MessageId { incarnation: 1, number }, verdict)
    }
}

#[test]
fn what_acknowledges_itself_is_told_when_it_is_written() {
    run(async {
        let (bench, told) = bench(QueueLimits::default());
        let wire = Wire::with_room(0);
        let session = bench.open(&wire);
        bench.consume(session, "q", terms(AckMode::Auto, Some(1000))).unwrap();
        assert_eq!(told.take(), ["q 64"], "no more than there is room for");
        deliver(&bench, 1, 1..=2);
        turns().await;
        assert_eq!(told.take(), [""; 0]);
        wire.give(usize::MAX);
        turns().await;
        assert_eq!(wire.text(), "[Ms 1][Ms 2]");
        assert_eq!(told.take(), ["q 1: Acknowledged", "q 2: Acknowledged"]);
        assert!(bench.worker.unsubscribe(session, "s"));
        assert_eq!(told.take(), ["q 0"]);
    });
}

#[test]
fn what_a_client_says_is_told_and_what_a_gone_one_had_is_given_back() {
    run(async {
        let (bench, told) = bench(QueueLimits::default());
        let wire = Wire::with_room(usize::MAX);
        let session = bench.open(&wire);
        bench.consume(session, "q", terms(AckMode::Client, None)).unwrap();
        deliver(&bench, 1, 1..=5);
        turns().await;
        assert!(bench.settle(session, 2, Verdict::Done));
        assert!(bench.settle(session, 3, Verdict::Again));
        assert!(bench.settle(session, 4, Verdict::Dead));
        assert!(!bench.settle(session, 4, Verdict::Dead), "once");
        bench.worker.remove(session, CloseReason::Shutdown);
        let expected = [
            "q 64",
            "q 1: Acknowledged",
            "q 2: Acknowledged",
            "q 3: Returned",
            "q 4: Rejected",
            "q 0",
            "q 5: Returned",
        ];
        assert_eq!(told.take(), expected);
        assert_eq!(bench.broker.metrics().queues.get(), 0);
    });
}

#[test]
fn an_acknowledgement_that_comes_too_late_for_its_channel_is_taken() {
    run(async {
        let (bench, told) = bench(QueueLimits::default());
        let session = bench.open(&Wire::with_room(usize::MAX));
        bench.consume(session, "q", terms(AckMode::ClientIndividual, Some(2))).unwrap();
        deliver(&bench, 1, 1..=1);
        turns().await;
        bench.broker.channel_lost(&queue("q"), 1);
        deliver(&bench, 2, 1..=1);
        turns().await;
        told.take();
        assert!(bench.settle(session, 1, Verdict::Done));
        assert_eq!(told.take(), [""; 0], "it was of the other channel");
        assert!(bench.settle(session, 2, Verdict::Done));
        assert_eq!(told.take(), ["q 1: Acknowledged"]);
    });
}

#[test]
fn what_can_not_be_consumed_is_refused() {
    run(async {
        let (bench, told) = bench(QueueLimits { queues: 1, ..QueueLimits::default() });
        let session = bench.open(&Wire::with_room(usize::MAX));
        let selector = Some(Selector::parse("kind = 'a'").unwrap());
        let selecting = ConsumerTerms { selector, ..terms(AckMode::Auto, None) };
        assert_eq!(bench.consume(session, "q", selecting), Err(Unsubscribed::QueueSelector));
        assert_eq!(told.take(), [""; 0]);
        bench.consume(session, "q", terms(AckMode::Auto, None)).unwrap();
        let another = bench.consume(session, "another", terms(AckMode::Auto, None));
        assert_eq!(another, Err(Unsubscribed::Full(Full::TooMany)));
    });
}
