//! A model of RabbitMQ with one queue, which keeps to the prefetch, and whose channel may break.

use std::collections::VecDeque;

use super::*;

/// A queue as RabbitMQ holds it, and the node's channel to it.
#[derive(Debug, Default)]
pub(super) struct Rabbit(Mutex<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    /// Messages by number, and whether they were delivered before.
    pub(super) ready: BTreeMap<u64, bool>,
    /// Each with its prefetch, the number of it first.
    consumers: Vec<(u64, u32)>,
    last_consumer: u64,
    pub(super) channel: u64,
    last_tag: u64,
    /// What the channel has: message, was it delivered before, by which consumer.
    pub(super) unsettled: BTreeMap<Origin, (u64, bool, u64)>,
    pub(super) in_flight: VecDeque<Origin>,
    pub(super) acknowledged: BTreeSet<u64>,
    pub(super) rejected: BTreeSet<u64>,
    pub(super) prefetch: u32,
}

impl RemoteQueues for Rabbit {
    fn consume(&self, _: &Destination, prefetch: u32) {
        let mut state = self.0.lock().unwrap();
        assert_ne!(state.prefetch, prefetch, "told twice");
        state.prefetch = prefetch;
        state.fit();
    }

    fn settle(&self, _: &Destination, origin: Origin, fate: Fate) {
        let mut state = self.0.lock().unwrap();
        assert_eq!(origin.channel, state.channel, "of a channel that was lost");
        let (message, _, _) = state.unsettled.remove(&origin).expect("settled once");
        match fate {
            Fate::Acknowledged => assert!(state.acknowledged.insert(message)),
            Fate::Rejected => assert!(state.rejected.insert(message)),
            Fate::Returned => assert!(state.ready.insert(message, true).is_none()),
        }
        state.fit();
    }
}

impl State {
    fn has(&self, consumer: u64) -> usize {
        self.unsettled.values().filter(|(_, _, by)| *by == consumer).count()
    }

    /// AMQP sets a prefetch when a consumer is made, and knows no other way. So there are several, cancelled until they are few
    /// enough, and made when there may be more; what a cancelled one had still counts.
    fn fit(&mut self) {
        loop {
            let of_consumers: usize = self.consumers.iter().map(|(_, prefetch)| *prefetch as usize).sum();
            let of_cancelled =
                self.unsettled.len() - self.consumers.iter().map(|one| self.has(one.0)).sum::<usize>();
            let have = (of_consumers + of_cancelled) as u32;
            if have > self.prefetch && self.consumers.pop().is_some() {
                continue;
            }
            if have < self.prefetch {
                self.last_consumer += 1;
                self.consumers.push((self.last_consumer, self.prefetch - have));
            }
            return;
        }
    }
}

impl Rabbit {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Puts one message on the wire, if a consumer may have one.
    pub(super) fn send(&self) {
        let mut state = self.state();
        let mut free =
            state.consumers.iter().filter(|(number, prefetch)| state.has(*number) < *prefetch as usize);
        let Some((consumer, _)) = free.next().copied() else { return };
        let Some((message, redelivered)) = state.ready.pop_first() else { return };
        state.last_tag += 1;
        let origin = Origin { channel: state.channel, tag: state.last_tag };
        state.unsettled.insert(origin, (message, redelivered, consumer));
        state.in_flight.push_back(origin);
        assert!(state.unsettled.len() <= state.prefetch as usize, "the model keeps to it");
    }

    /// The node gets what was put on the wire first.
    pub(super) fn arrive(&self, queues: &Queues) {
        let mut state = self.state();
        let Some(origin) = state.in_flight.pop_front() else { return };
        let (number, redelivered, _) = state.unsettled[&origin];
        drop(state);
        queues.delivered(&queue("m"), origin, message("m", &number.to_string(), &[]), redelivered);
    }

    /// The channel breaks; what it had is there for another.
    pub(super) fn die(&self) {
        let mut state = self.state();
        for (message, _, _) in std::mem::take(&mut state.unsettled).into_values() {
            state.ready.insert(message, true);
        }
        state.in_flight.clear();
        state.channel += 1;
        state.consumers.clear();
        state.fit();
    }
}

pub(super) fn with_rabbit(limits: QueueLimits) -> (Arc<Rabbit>, Queues) {
    let rabbit = Arc::new(Rabbit::default());
    rabbit.state().channel = 1;
    let queues = Queues::new(limits, Some(rabbit.clone()), 1, Arc::default(), Arc::new(Metrics::new()));
    (rabbit, queues)
}

/// As [`with_rabbit`], with messages 0, 1, 2… in the queue.
pub(super) fn with_messages(count: u64) -> (Arc<Rabbit>, Queues) {
    let (rabbit, queues) = with_rabbit(QueueLimits::default());
    rabbit.state().ready = (0..count).map(|message| (message, false)).collect();
    (rabbit, queues)
}

pub(super) fn flow(rabbit: &Rabbit, queues: &Queues) {
    loop {
        rabbit.send();
        if rabbit.state().in_flight.is_empty() {
            return;
        }
        rabbit.arrive(queues);
    }
}

pub(super) fn assert_empty(rabbit: &Rabbit, queues: &Queues) {
    assert_eq!(queues.by_name.lock().unwrap().len(), 0);
    assert_eq!(queues.bytes.load(Ordering::Relaxed), 0);
    assert_eq!((queues.metrics.queues.get(), queues.metrics.queue_messages.get()), (0, 0));
    let state = rabbit.state();
    assert_eq!((state.prefetch, state.unsettled.len()), (0, 0));
}
