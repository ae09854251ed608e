//! Lines of queues that are elsewhere: rule by rule, and among threads.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{OnceLock, Weak};

use super::rabbit::{Rabbit, assert_empty, flow, with_messages, with_rabbit};
use super::*;

#[test]
fn no_more_is_prefetched_than_consumers_may_have() {
    let (rabbit, queues) = with_messages(20);
    let q = queues.consume(&queue("m"), key(1), terms(64, Some(2))).unwrap();
    assert_eq!(rabbit.state().prefetch, 2);
    queues.consume(&queue("m"), key(2), terms(5, None)).unwrap();
    assert_eq!(rabbit.state().prefetch, 7, "without a number as many as it has room for");
    flow(&rabbit, &queues);
    assert_eq!(assigned(&queues).len(), 7);
    queues.room(&q, key(2), 5);
    flow(&rabbit, &queues);
    assert_eq!(assigned(&queues), [], "written is not acknowledged");
    assert!(queues.settle(&q, key(2), 2, false, Verdict::Done));
    flow(&rabbit, &queues);
    assert_eq!(assigned(&queues), [(2, 8, "7".into(), false)]);
    queues.cancel(&q, key(1), u64::MAX);
    assert_eq!(rabbit.state().prefetch, 5);
    let back: Vec<u64> = rabbit.state().ready.iter().filter(|(_, again)| **again).map(|(m, _)| *m).collect();
    assert_eq!(back, [0, 2], "what it had is for whoever RabbitMQ takes");
    queues.cancel(&q, key(2), u64::MAX);
    assert_eq!(rabbit.state().ready.len(), 19);
    assert_empty(&rabbit, &queues);
}

#[test]
fn what_consumers_ask_for_together_has_a_bound() {
    let (rabbit, queues) = with_rabbit(QueueLimits { messages: 10, queues: 1, ..QueueLimits::default() });
    let q = queues.consume(&queue("m"), key(1), terms(64, Some(u32::MAX))).unwrap();
    queues.consume(&queue("m"), key(2), terms(64, Some(u32::MAX))).unwrap();
    assert_eq!(rabbit.state().prefetch, 10);
    assert_eq!(queues.consume(&queue("n"), key(3), terms(64, None)).unwrap_err(), Full::TooMany);
    queues.have_room([message("n", "x", &[])].iter()).unwrap();
    queues.cancel(&q, key(1), u64::MAX);
    queues.cancel(&q, key(2), u64::MAX);
    assert_empty(&rabbit, &queues);
}

#[test]
fn each_verdict_is_told_and_rabbitmq_does_the_rest() {
    let (rabbit, queues) = with_messages(3);
    let q = queues.consume(&queue("m"), key(1), terms(64, Some(3))).unwrap();
    flow(&rabbit, &queues);
    let verdicts = [Verdict::Dead, Verdict::Again, Verdict::Done];
    for ((_, delivery, _, redelivered), verdict) in assigned(&queues).into_iter().zip(verdicts) {
        assert!(!redelivered);
        assert!(queues.settle(&q, key(1), delivery, false, verdict));
    }
    assert_eq!(rabbit.state().rejected, [0].into());
    assert_eq!(rabbit.state().acknowledged, [2].into());
    assert_eq!(bodies(&queues), Vec::<String>::new(), "not from here");
    flow(&rabbit, &queues);
    assert_eq!(assigned(&queues), [(1, 4, "1".into(), true)]);
    assert_eq!(queues.by_name.lock().unwrap().len(), 1, "no dead letters here");
}

#[test]
fn what_was_not_tried_goes_to_another_here_or_back() {
    let (rabbit, queues) = with_messages(6);
    let q = queues.consume(&queue("m"), key(1), terms(64, Some(4))).unwrap();
    flow(&rabbit, &queues);
    let given = assigned(&queues)[0].1;
    queues.consume(&queue("m"), key(2), terms(64, Some(2))).unwrap();
    queues.cancel(&q, key(1), given);
    let expected = [(2, 5, "1".into(), false), (2, 6, "2".into(), false)];
    assert_eq!(assigned(&queues), expected, "as new, and no more than it may have");
    let ready = rabbit.state().ready.clone();
    assert_eq!(ready, [(0, true), (3, true), (4, false), (5, false)].into());
}

#[test]
fn who_stopped_may_acknowledge_and_others_are_not_kept_waiting() {
    let (rabbit, queues) = with_messages(5);
    let q = queues.consume(&queue("m"), key(1), terms(64, Some(2))).unwrap();
    flow(&rabbit, &queues);
    let had = assigned(&queues);
    queues.consume(&queue("m"), key(2), terms(64, Some(2))).unwrap();
    assert!(!queues.stop(&q, key(1)));
    assert!(!queues.stop(&q, key(1)), "and again is no more");
    assert_eq!(rabbit.state().prefetch, 4, "what it has, and the other's");
    flow(&rabbit, &queues);
    assert_eq!(bodies(&queues), ["2", "3"]);
    assert!(queues.settle(&q, key(1), had[0].1, false, Verdict::Done));
    assert_eq!(rabbit.state().prefetch, 3);
    flow(&rabbit, &queues);
    assert_eq!(bodies(&queues), Vec::<String>::new());
    // Never given to it after all.
    assert!(queues.settle(&q, key(1), had[1].1, false, Verdict::Untried));
    assert!(queues.stop(&q, key(1)));
    assert_eq!(rabbit.state().acknowledged, [0].into());
    assert_eq!(rabbit.state().ready, [(1, true), (4, false)].into(), "nobody here has room for it");
    queues.cancel(&q, key(1), u64::MAX);
    queues.cancel(&q, key(2), u64::MAX);
    assert_empty(&rabbit, &queues);
}

#[test]
fn of_a_lost_channel_nothing_is_told_and_nothing_waits() {
    let (rabbit, queues) = with_messages(4);
    let q = queues.consume(&queue("m"), key(1), terms(1, Some(4))).unwrap();
    flow(&rabbit, &queues);
    let had = assigned(&queues)[0].1;
    assert_eq!(queues.metrics.queue_messages.get(), 4);
    rabbit.die();
    queues.channel_lost(&queue("m"), 1);
    queues.channel_lost(&queue("unknown"), 1);
    assert_eq!(queues.metrics.queue_messages.get(), 1, "what its client has");
    let late = Origin { channel: 1, tag: 9 };
    queues.delivered(&queue("m"), late, message("m", "late", &[]), false);
    assert_eq!(queues.metrics.queue_messages.get(), 1);
    assert!(queues.has(&q, key(1), had));
    assert!(queues.settle(&q, key(1), had, false, Verdict::Done), "it is taken");
    assert!(!queues.settle(&q, key(1), had, false, Verdict::Done), "once");
    assert_eq!(rabbit.state().acknowledged, [].into());
    queues.room(&q, key(1), 9);
    flow(&rabbit, &queues);
    let again: Vec<(String, bool)> = assigned(&queues).into_iter().map(|(_, _, m, r)| (m, r)).collect();
    assert_eq!(again, ["0", "1", "2", "3"].map(|body| (body.to_owned(), true)));
}

#[test]
fn what_nobody_consumes_any_more_is_given_back() {
    let (rabbit, queues) = with_messages(2);
    let q = queues.consume(&queue("m"), key(1), terms(64, Some(2))).unwrap();
    rabbit.send();
    rabbit.send();
    queues.cancel(&q, key(1), u64::MAX);
    assert_empty_but_in_flight(&rabbit, 2);
    rabbit.arrive(&queues);
    rabbit.arrive(&queues);
    assert_eq!(rabbit.state().ready, [(0, true), (1, true)].into());
    assert_empty(&rabbit, &queues);
}

fn assert_empty_but_in_flight(rabbit: &Rabbit, in_flight: usize) {
    let state = rabbit.state();
    assert_eq!((state.prefetch, state.unsettled.len(), state.in_flight.len()), (0, in_flight, in_flight));
}

/// Delivers from within the call that asks for it, and counts what it hears.
#[derive(Debug, Default)]
struct Prompt {
    queues: OnceLock<Weak<Queues>>,
    tag: AtomicU64,
    heard: Mutex<BTreeMap<u64, u32>>,
    prefetches: Mutex<Vec<u32>>,
}

impl Prompt {
    fn new() -> (Arc<Prompt>, Arc<Queues>) {
        let prompt = Arc::new(Prompt::default());
        let queues = Queues::new(
            QueueLimits::default(),
            Some(prompt.clone()),
            1,
            Arc::default(),
            Arc::new(Metrics::new()),
        );
        let queues = Arc::new(queues);
        prompt.queues.set(Arc::downgrade(&queues)).unwrap();
        (prompt, queues)
    }

    fn deliver(&self) {
        let tag = self.tag.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(queues) = self.queues.get().and_then(Weak::upgrade) else { return };
        queues.delivered(&queue("m"), Origin { channel: 1, tag }, message("m", &tag.to_string(), &[]), false);
    }
}

impl RemoteQueues for Prompt {
    fn consume(&self, _: &Destination, prefetch: u32) {
        self.prefetches.lock().unwrap().push(prefetch);
        (0..prefetch).for_each(|_| self.deliver());
    }

    fn settle(&self, _: &Destination, origin: Origin, _: Fate) {
        *self.heard.lock().unwrap().entry(origin.tag).or_default() += 1;
    }
}

#[test]
fn deliveries_may_come_from_within_a_call() {
    let (prompt, queues) = Prompt::new();
    let q = queues.consume(&queue("m"), key(1), terms(64, Some(2))).unwrap();
    assert_eq!(bodies(&queues), ["1", "2"]);
    queues.consume(&queue("m"), key(2), terms(64, Some(1))).unwrap();
    queues.cancel(&q, key(2), 0);
    queues.cancel(&q, key(1), 0);
    assert_eq!(*prompt.prefetches.lock().unwrap(), [2, 3, 2, 0]);
    assert!(queues.by_name.lock().unwrap().is_empty());
    let tags = prompt.tag.load(Ordering::Relaxed);
    assert_eq!(*prompt.heard.lock().unwrap(), (1..=tags).map(|tag| (tag, 1)).collect());
}

/// Consumers come and go on two threads while a third delivers. What is told in the end is what is: every delivery settled, once.
#[test]
fn threads_tell_in_the_order_in_which_things_happened() {
    const ROUNDS: u32 = 2_000;
    let (prompt, queues) = Prompt::new();
    let come_and_go = |who: u32| {
        for round in 0..ROUNDS {
            let key = ConsumerKey { worker: WorkerId(0), index: who, generation: round };
            let q = queues.consume(&queue("m"), key, terms(64, Some(1 + round % 3))).unwrap();
            let assigned = std::mem::take(&mut *lock(&queues.desks[0].assigned));
            for one in assigned.into_iter().filter(|one| one.consumer == key) {
                assert!(queues.settle(&q, key, one.delivery, false, Verdict::Done));
            }
            queues.cancel(&q, key, u64::MAX);
        }
    };
    std::thread::scope(|scope| {
        let one = scope.spawn(|| come_and_go(1));
        let two = scope.spawn(|| come_and_go(2));
        while !(one.is_finished() && two.is_finished()) {
            prompt.deliver();
        }
    });
    assert_eq!(prompt.prefetches.lock().unwrap().last(), Some(&0));
    let tags = prompt.tag.load(Ordering::Relaxed);
    let heard = std::mem::take(&mut *prompt.heard.lock().unwrap());
    assert_eq!(heard.len() as u64, tags);
    assert!(heard.values().all(|times| *times == 1));
    assert!(queues.by_name.lock().unwrap().is_empty());
    assert_eq!(queues.bytes.load(Ordering::Relaxed), 0);
}

/// Its first call lasts until the test lets it go.
#[derive(Debug)]
struct Slow {
    hold: Mutex<Option<(Sender<()>, Receiver<()>)>>,
    prefetches: Mutex<Vec<u32>>,
}

impl RemoteQueues for Slow {
    fn consume(&self, _: &Destination, prefetch: u32) {
        let hold = self.hold.lock().unwrap().take();
        if let Some((began, go_on)) = hold {
            began.send(()).unwrap();
            let _ = go_on.recv();
        }
        self.prefetches.lock().unwrap().push(prefetch);
    }

    fn settle(&self, _: &Destination, _: Origin, _: Fate) {}
}

/// Joins on another thread, whose call lasts until `meanwhile` is done. Returns what was told, in its order.
fn told_when(meanwhile: impl FnOnce(&Queues)) -> Vec<u32> {
    let (began, has_begun) = channel();
    let (let_go, go_on) = channel::<()>();
    let slow = Arc::new(Slow { hold: Mutex::new(Some((began, go_on))), prefetches: Mutex::default() });
    let remote: Arc<dyn RemoteQueues> = slow.clone();
    let limits = QueueLimits::default();
    let queues = Queues::new(limits, Some(remote), 1, Arc::default(), Arc::new(Metrics::new()));
    let queues = &queues;
    // What is moved into the scope is gone when a test fails in it, and the other thread goes on.
    std::thread::scope(move |scope| {
        scope.spawn(|| queues.consume(&queue("m"), key(1), terms(64, Some(1))).unwrap());
        has_begun.recv().unwrap();
        meanwhile(queues);
        drop(let_go);
    });
    std::mem::take(&mut *slow.prefetches.lock().unwrap())
}

#[test]
fn what_happens_while_something_is_told_is_told_behind_it() {
    let leave = |queues: &Queues| {
        let q = queues.find(&queue("m")).unwrap();
        queues.cancel(&q, key(1), u64::MAX);
        let again = queues.find(&queue("m")).expect("it is there until all is told");
        assert!(Arc::ptr_eq(&q, &again));
    };
    assert_eq!(told_when(leave), [1, 0]);
    let leave_and_join = |queues: &Queues| {
        leave(queues);
        queues.consume(&queue("m"), key(2), terms(64, Some(3))).unwrap();
    };
    assert_eq!(told_when(leave_and_join), [1, 3]);
    assert_eq!(told_when(|_| {}), [1]);
}
