//! The count of a run: who got what, how late, and what is missing.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::flight::Flight;
use super::stamp::Stamp;
use super::tally::{Counted, Tally};

/// Latencies above this are counted as this.
const LONGEST: Duration = Duration::from_secs(3600);

/// Everything that is counted while messages come.
#[derive(Debug)]
pub(super) struct Ledger {
    /// One for each topic.
    flights: Vec<Flight>,
    subscribers: Vec<Subscriber>,
    /// No topic gets as many messages as this.
    limit: u64,
    /// Messages that came for the first time.
    pub(super) delivered: u64,
    /// Stamps that nobody sent to whom they came.
    pub(super) strays: u64,
    /// Microseconds from when a message was due until a subscriber had it: one value for each delivery.
    pub(super) latency: Histogram<u64>,
    /// The same until the last subscriber had it: one value for each message.
    pub(super) last: Histogram<u64>,
    /// When the last message came, in microseconds since the run began.
    pub(super) latest: u64,
}

#[derive(Debug)]
struct Subscriber {
    topic: u32,
    tally: Tally,
}

/// What went wrong with the messages of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Faults {
    /// Sent, and never came.
    pub(super) lost: u64,
    /// Came again.
    pub(super) repeated: u64,
    /// Came after a later one.
    pub(super) out_of_order: u64,
    /// Came to whom they were not sent.
    pub(super) stray: u64,
}

impl Ledger {
    /// A ledger for subscribers of the topics named, in a run in which no topic gets `limit` messages.
    ///
    /// # Errors
    /// If there is no memory for the histograms.
    pub(super) fn new(topics: usize, subscribed: &[u32], limit: u64) -> Result<Ledger, String> {
        let longest = LONGEST.as_micros() as u64;
        let histogram = || Histogram::new_with_max(longest, 3).map_err(|error| error.to_string());
        let audience = |topic: usize| {
            let mine = subscribed.iter().filter(|at| **at as usize == topic);
            u32::try_from(mine.count()).unwrap_or(u32::MAX)
        };
        let subscriber = |topic: &u32| Subscriber { topic: *topic, tally: Tally::default() };
        Ok(Ledger {
            flights: (0..topics).map(|topic| Flight::new(audience(topic))).collect(),
            subscribers: subscribed.iter().map(subscriber).collect(),
            limit,
            delivered: 0,
            strays: 0,
            latency: histogram()?,
            last: histogram()?,
            latest: 0,
        })
    }

    /// Whether this is just the message that the subscriber should get next.
    #[inline]
    pub(super) fn expects(&self, subscriber: usize, stamp: Stamp) -> bool {
        let subscriber = &self.subscribers[subscriber];
        subscriber.topic == stamp.topic && subscriber.tally.next() == stamp.number
    }

    /// A message came to a subscriber, `now` microseconds after the run began.
    #[inline]
    pub(super) fn count(&mut self, subscriber: usize, stamp: Stamp, now: u64) {
        let Subscriber { topic, tally } = &mut self.subscribers[subscriber];
        if *topic != stamp.topic || stamp.number >= self.limit {
            self.strays += 1;
            return;
        }
        let took = now.saturating_sub(stamp.due);
        match tally.count(stamp.number) {
            Counted::Passed(numbers) => {
                if self.flights[*topic as usize].pass(numbers) {
                    self.last.saturating_record(took);
                }
            }
            Counted::Late => {}
            Counted::Repeated => return,
        }
        self.latency.saturating_record(took);
        self.delivered += 1;
        self.latest = now;
    }

    /// A subscriber is gone, and is not waited for.
    pub(super) fn leave(&mut self, subscriber: usize) {
        let Subscriber { topic, tally } = &self.subscribers[subscriber];
        self.flights[*topic as usize].leave(tally.next());
    }

    /// The messages of a topic that are under way.
    pub(super) fn flight(&self, topic: usize) -> &Flight {
        &self.flights[topic]
    }

    /// Whether the subscribers that are left have all that was sent to the topics.
    pub(super) fn is_complete(&self, sent: &[u64]) -> bool {
        self.flights.iter().zip(sent).all(|(flight, sent)| flight.done() >= *sent || flight.audience() == 0)
    }

    /// Whether anybody is left.
    pub(super) fn is_deserted(&self) -> bool {
        self.flights.iter().all(|flight| flight.audience() == 0)
    }

    /// Deliveries that there should have been.
    pub(super) fn expected(&self, sent: &[u64]) -> u64 {
        self.subscribers.iter().map(|one| sent[one.topic as usize]).sum()
    }

    /// What went wrong, when so many messages were sent to each topic.
    pub(super) fn faults(&self, sent: &[u64]) -> Faults {
        let mut faults = Faults { stray: self.strays, ..Faults::default() };
        for Subscriber { topic, tally } in &self.subscribers {
            faults.lost += tally.lost(sent[*topic as usize]);
            faults.repeated += tally.repeated;
            faults.out_of_order += tally.late;
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ledger(subscribed: &[u32]) -> Ledger {
        Ledger::new(2, subscribed, 100).unwrap()
    }

    fn stamp(topic: u32, number: u64) -> Stamp {
        Stamp { topic, number, due: 1000 * number }
    }

    #[test]
    fn a_clean_run_is_clean() {
        let mut ledger = ledger(&[0, 0, 1]);
        for number in 0..3 {
            for subscriber in 0..3 {
                let stamp = stamp(u32::from(subscriber == 2), number);
                assert!(ledger.expects(subscriber, stamp));
                ledger.count(subscriber, stamp, 1000 * number + 5);
            }
        }
        let sent = [3, 3];
        assert!(ledger.is_complete(&sent));
        assert_eq!(ledger.faults(&sent), Faults::default());
        assert_eq!((ledger.delivered, ledger.expected(&sent)), (9, 9));
        assert_eq!((ledger.latency.len(), ledger.last.len()), (9, 6));
        assert_eq!((ledger.latency.max(), ledger.latest), (5, 2005));
    }

    #[test]
    fn each_fault_shows_as_what_it_is() {
        let sent = [4, 0];
        let faults = |numbers: &[(u32, u64)]| {
            let mut ledger = ledger(&[0]);
            for (topic, number) in numbers {
                ledger.count(0, stamp(*topic, *number), 0);
            }
            let Faults { lost, repeated, out_of_order, stray } = ledger.faults(&sent);
            (lost, repeated, out_of_order, stray)
        };
        assert_eq!(faults(&[(0, 0), (0, 1), (0, 2), (0, 3)]), (0, 0, 0, 0));
        assert_eq!(faults(&[(0, 0), (0, 2), (0, 3)]), (1, 0, 0, 0));
        assert_eq!(faults(&[(0, 0), (0, 1), (0, 1), (0, 2), (0, 3)]), (0, 1, 0, 0));
        assert_eq!(faults(&[(0, 0), (0, 2), (0, 1), (0, 3)]), (0, 0, 1, 0));
        assert_eq!(faults(&[(0, 0), (1, 1), (0, 1), (0, 2), (0, 3), (0, 100)]), (0, 0, 0, 2));
    }

    #[test]
    fn who_left_is_lost_to_but_not_waited_for() {
        let mut ledger = ledger(&[0, 0]);
        let sent = [1, 0];
        ledger.count(0, stamp(0, 0), 0);
        assert!(!ledger.is_complete(&sent));
        ledger.leave(1);
        assert!(ledger.is_complete(&sent) && !ledger.is_deserted());
        assert_eq!(ledger.faults(&sent).lost, 1);
        ledger.leave(0);
        assert!(ledger.is_deserted());
    }
}
