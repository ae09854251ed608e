//! Queues that another holds, RabbitMQ say: this node hands what it got of them to its own clients' consumers.
//!
//! Owns what the core asks of such a queue, and what comes from there. A node's line of it (`line/prefetched.rs`) has only what the
//! node was given: order, dead letters, expiry, limits and counts of deliveries are the other's.
//!
//! Nothing here is called while a lock is held. Whoever finds something to tell of a queue tells it, and meanwhile what others find
//! of the same queue too: so it is told in the order in which it happened.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::line::Told;
use super::{Queue, Queues, lock};
use crate::broker::destination::Destination;
use crate::broker::message::Message;

/// Where queues are that this node does not hold itself.
///
/// None of this may wait. It is called from any thread, and may call [`Broker::delivered`] and [`Broker::channel_lost`] from
/// within.
///
/// [`Broker::delivered`]: crate::broker::Broker::delivered
/// [`Broker::channel_lost`]: crate::broker::Broker::channel_lost
pub trait RemoteQueues: fmt::Debug + Send + Sync {
    /// No more than `prefetch` deliveries of this queue may be unsettled at a time from now on, by this channel and those that follow
    /// it: what the node's consumers may have, and what ended subscriptions can still acknowledge. 0: nothing more is wanted, and
    /// nothing is here; what is on its way is given back when it comes, by [`RemoteQueues::settle`] like all else.
    fn consume(&self, queue: &Destination, prefetch: u32);

    /// What became of a delivery. Each is settled once, or its channel is lost. Nothing is to be done for one of a channel that
    /// was lost meanwhile.
    fn settle(&self, queue: &Destination, origin: Origin, fate: Fate);
}

/// What names a delivery where the queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// Which channel it came by. Each channel of a queue has a higher number than those before it.
    pub channel: u64,
    /// Its number there.
    pub tag: u64,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is done.
    Acknowledged,
    /// Another shall try.
    Returned,
    /// Nobody shall: it is a dead letter.
    Rejected,
}

impl Queues {
    /// Whether the queues are another's.
    pub(in crate::broker) fn are_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// A message came of a queue that this node consumes. One that nobody here wants any more is given back.
    pub(in crate::broker) fn delivered(
        &self,
        destination: &Destination,
        origin: Origin,
        message: Message,
        redelivered: bool,
    ) {
        let Some(remote) = &self.remote else { return };
        let message = Arc::new(message);
        while let Some(queue) = self.find(destination) {
            let mut line = queue.line();
            if line.is_forgotten {
                continue;
            }
            let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
            if let Some(octets) = line.receive(origin, message, redelivered, number) {
                self.bytes.fetch_add(octets, Ordering::Relaxed);
                self.metrics.queue_messages.inc();
            }
            return self.finish(&queue, line);
        }
        remote.settle(destination, origin, Fate::Returned);
    }

    /// What came by this channel, or one before it, will be delivered again by another. What clients have of it they may
    /// acknowledge, which tells nobody anything.
    pub(in crate::broker) fn channel_lost(&self, destination: &Destination, channel: u64) {
        while let Some(queue) = self.find(destination) {
            let mut line = queue.line();
            if line.is_forgotten {
                continue;
            }
            line.lose(channel);
            return self.finish(&queue, line);
        }
    }

    pub(super) fn find(&self, destination: &Destination) -> Option<Arc<Queue>> {
        lock(&self.by_name).get(&(destination.tenant(), destination.text().clone())).cloned()
    }

    /// Tells where the queue is what became of deliveries and how many are wanted, until there is no more to tell. `told` was taken
    /// from its line, by whom no other tells of it. Says whether the line is idle then.
    pub(super) fn tell(&self, queue: &Arc<Queue>, mut told: Told) -> bool {
        let Some(remote) = &self.remote else { return false };
        loop {
            // Fewer are wanted before some are given back, which would come again else.
            if let Some(prefetch) = told.prefetch {
                remote.consume(&queue.destination, prefetch);
            }
            for (origin, fate) in told.fates {
                remote.settle(&queue.destination, origin, fate);
            }
            let mut line = queue.line();
            match line.tell_more() {
                Some(more) => told = more,
                None => return line.is_idle(),
            }
        }
    }
}
