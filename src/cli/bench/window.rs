//! Publishes as fast as messages arrive: to each topic a number of messages is under way at most. A message is under way
//! until the last subscriber has it.

use std::time::Duration;

use super::audience::Audience;
use super::topic::Topic;
use crate::client::Carrier;

/// The publishing side of a run at full speed. The same thread reads what comes.
pub(super) struct Window<'a> {
    pub(super) carrier: Carrier,
    pub(super) topics: &'a [Topic],
    /// Members of the audience that send; topics take turns.
    pub(super) publishers: &'a [usize],
    /// Messages under way in each topic.
    pub(super) size: u64,
    /// Messages to each topic.
    pub(super) messages: u64,
    /// Publishing stops after this long.
    pub(super) limit: Duration,
    /// Messages sent to each topic so far.
    pub(super) sent: Vec<u64>,
}

impl Window<'_> {
    /// Sends what there is room for. False when nothing more will be sent.
    pub(super) fn publish(&mut self, audience: &mut Audience) -> bool {
        let now = audience.now();
        if u128::from(now) >= self.limit.as_micros() {
            return false;
        }
        let mut more = false;
        for (at, topic) in self.topics.iter().enumerate() {
            let publisher = self.publishers[at % self.publishers.len()];
            let flight = audience.ledger.flight(at);
            let room = flight.done() + self.size;
            if flight.audience() == 0 || !audience.is_here(publisher) {
                continue;
            }
            let until = room.min(self.messages);
            for number in self.sent[at]..until {
                topic.put(number, now, self.carrier, audience.out(publisher));
            }
            self.sent[at] = self.sent[at].max(until);
            more |= until < self.messages;
        }
        for publisher in self.publishers {
            audience.send(*publisher);
        }
        more
    }
}
