//! Consumers: subscriptions of a hub's sessions to queues.
//!
//! Owns what a consumer's session was given and did not acknowledge, as far as the queue has to hear of it. Who gets what is
//! the queue's business.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::session::Phase;
use super::{Hub, PENDING, of_key};
use crate::broker::destination::Destination;
use crate::broker::encoder::{AckMode, Subscription};
use crate::broker::key::SessionKey;
use crate::broker::message::MessageId;
use crate::broker::queue::{Assigned, ConsumerKey, Full, Queue, Terms, Verdict};
use crate::broker::selector::Selector;

/// Messages that are on their way to a consumer and not yet written. What its session's outbox has no room for waits before it.
const ROOM: u32 = 64;

/// How much longer a message may be on the wire than it is, about, where a framing escapes characters.
const QUOTED: usize = 2;

/// One subscription of a session to a queue.
pub(super) struct Consuming {
    generation: u32,
    session: SessionKey,
    pub(super) subscription: Subscription,
    queue: Arc<Queue>,
    /// Messages given to the session since its outbox was last empty.
    unwritten: u32,
    /// The last delivery given to it.
    last: u64,
    /// It was unsubscribed: it gets no more, and what it has can still be acknowledged.
    is_stopped: bool,
}

/// What a client asks of a queue.
#[derive(Debug)]
pub(in crate::broker) struct Consume {
    pub(in crate::broker) destination: Destination,
    pub(in crate::broker) subscription: Subscription,
    /// A wire frame that goes out before the first message.
    pub(in crate::broker) receipt: Option<Bytes>,
    pub(in crate::broker) prefetch: Option<u32>,
    pub(in crate::broker) selector: Option<Selector>,
}

impl Hub {
    /// Takes up a subscription to a queue: its receipt first, then what the queue has.
    pub(in crate::broker) fn consume(&mut self, key: SessionKey, consume: Consume) -> Result<(), Full> {
        let is_open = |session: &super::Session| session.phase == Phase::Open && !session.doomed;
        if !self.session_mut(key).is_some_and(|session| is_open(session)) {
            return Ok(());
        }
        let Consume { destination, subscription, receipt, prefetch, selector } = consume;
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let index = self.consumers.vacant_key();
        let consumer = ConsumerKey { worker: self.worker, index: index as u32, generation };
        // What acknowledges itself when it is written is never more than there is room for.
        let prefetch = match subscription.ack {
            AckMode::Auto => Some(prefetch.unwrap_or(ROOM).min(ROOM)),
            AckMode::Client | AckMode::ClientIndividual => prefetch,
        };
        // One that is to go is assigned nothing any more.
        let prefetch = if self.draining.is_some() { Some(0) } else { prefetch };
        let terms = Terms { room: ROOM, prefetch, selector };
        let queue = self.queues.consume(&destination, consumer, terms)?;
        let consuming = Consuming {
            generation,
            session: key,
            subscription,
            queue,
            unwritten: 0,
            last: 0,
            is_stopped: false,
        };
        self.consumers.insert(consuming);
        self.catch_up(key);
        if let Some(receipt) = receipt {
            self.send(key, receipt);
        }
        if let Some(session) = of_key(&mut self.sessions, key) {
            session.consumers.push(index as u32);
        }
        self.metrics.subscriptions.inc();
        Ok(())
    }

    /// Gives consumers what was assigned to them.
    pub(in crate::broker) fn assigned(&mut self, assigned: Vec<Assigned>) {
        self.tick();
        let mut given = 0;
        for one in assigned {
            given += one.message.octets();
            let consuming = self.consumers.get(one.consumer.index as usize);
            let Some(key) = consuming.map(|consuming| consuming.session) else { continue };
            if self.has_room(key, &one) {
                self.give(&one);
            } else if let Some(session) = of_key(&mut self.sessions, key) {
                session.assigned.push_back(one);
            }
            if given > PENDING {
                given = 0;
                self.flush();
            }
        }
        self.flush();
    }

    /// Whether a session's outbox has room for a delivery, and it is that one's turn.
    fn has_room(&self, key: SessionKey, assigned: &Assigned) -> bool {
        self.session(key).is_none_or(|session| session.assigned.is_empty() && self.fits(session, assigned))
    }

    /// However little an outbox may hold, it takes one; and half of it is left to what no queue keeps.
    fn fits(&self, session: &super::Session, assigned: &Assigned) -> bool {
        let limits = self.limits.outbox;
        let (outbox, octets) = (&session.outbox, assigned.message.octets() * QUOTED);
        outbox.is_empty() || (!outbox.is_half_full(limits) && outbox.bytes() + octets <= limits.bytes / 2)
    }

    /// Gives a session whose outbox is empty what waited for that. Says whether there was something.
    pub(super) fn give_waiting(&mut self, key: SessionKey) -> bool {
        let mut gave = false;
        loop {
            let Some(session) = self.session(key).filter(|session| !session.doomed) else { return gave };
            if !session.assigned.front().is_some_and(|first| self.fits(session, first)) {
                return gave;
            }
            let first = of_key(&mut self.sessions, key).and_then(|session| session.assigned.pop_front());
            let Some(first) = first else { return gave };
            self.give(&first);
            gave = true;
        }
    }

    fn give(&mut self, assigned: &Assigned) {
        let Assigned { consumer, delivery, message, redelivered, .. } = assigned;
        let Some(consuming) = self.consumers.get_mut(consumer.index as usize) else { return };
        // One that has gone has given it back.
        if consuming.generation != consumer.generation {
            return;
        }
        if consuming.is_stopped {
            // Assigned before it was, and not given.
            let (queue, delivery) = (consuming.queue.clone(), *delivery);
            let (key, index) = (consuming.session, consumer.index);
            self.queues.settle(&queue, *consumer, delivery, false, Verdict::Untried);
            return self.forget_if_done(key, index);
        }
        consuming.unwritten += 1;
        consuming.last = *delivery;
        let key = consuming.session;
        let Some(session) = of_key(&mut self.sessions, key) else { return };
        let mut frame = BytesMut::new();
        let id = MessageId { incarnation: self.channels.incarnation(), number: *delivery };
        session.encoder.delivery(message, &consuming.subscription, id, *redelivered, &mut frame);
        self.metrics.encodes.inc();
        self.catch_up(key);
        let taken = self.send(key, frame.freeze());
        self.tally.messages += u64::from(taken);
    }

    /// Everything that a session was given is written: what acknowledges itself is acknowledged, and there is room again.
    pub(super) fn replenish(&mut self, key: SessionKey) {
        let Some(session) = self.session(key) else { return };
        for index in session.consumers.clone() {
            let Some(consuming) = self.consumers.get_mut(index as usize) else { continue };
            let unwritten = std::mem::take(&mut consuming.unwritten);
            if unwritten == 0 {
                continue;
            }
            let consumer = ConsumerKey { worker: self.worker, index, generation: consuming.generation };
            if consuming.subscription.ack == AckMode::Auto {
                self.queues.settle(&consuming.queue, consumer, consuming.last, true, Verdict::Done);
            }
            if consuming.is_stopped {
                self.forget_if_done(key, index);
            } else {
                self.queues.room(&consuming.queue, consumer, unwritten);
            }
        }
    }

    /// What a client says of a delivery, by the subscription's id if it names that. Says whether it was given such a one.
    pub(in crate::broker) fn settle(
        &mut self,
        key: SessionKey,
        subscription: Option<&str>,
        delivery: u64,
        verdict: Verdict,
    ) -> bool {
        if self.session(key).is_none() {
            return true;
        }
        let found = self.acknowledging(key, subscription).find_map(|(consuming, consumer)| {
            if !self.queues.has(&consuming.queue, consumer, delivery) {
                return None;
            }
            let cumulative = consuming.subscription.ack == AckMode::Client;
            let settled = self.queues.settle(&consuming.queue, consumer, delivery, cumulative, verdict);
            settled.then_some(consumer.index)
        });
        if let Some(index) = found {
            self.forget_if_done(key, index);
        }
        found.is_some()
    }

    /// Whether a session was given such a delivery, and has not acknowledged it.
    pub(in crate::broker) fn may_settle(
        &self,
        key: SessionKey,
        subscription: Option<&str>,
        delivery: u64,
    ) -> bool {
        self.acknowledging(key, subscription)
            .any(|(consuming, consumer)| self.queues.has(&consuming.queue, consumer, delivery))
    }

    /// The consumers of a session that acknowledge, by the subscription's id if that is named.
    fn acknowledging(
        &self,
        key: SessionKey,
        subscription: Option<&str>,
    ) -> impl Iterator<Item = (&Consuming, ConsumerKey)> {
        let consumers = self.session(key).map_or(&[][..], |session| &session.consumers);
        consumers.iter().filter_map(move |index| {
            let consuming = self.consumers.get(*index as usize)?;
            let Subscription { id, ack } = &consuming.subscription;
            let is_meant = *ack != AckMode::Auto && subscription.is_none_or(|named| named == &**id);
            let generation = consuming.generation;
            is_meant.then_some((consuming, ConsumerKey { worker: self.worker, index: *index, generation }))
        })
    }

    /// Forgets a consumer that was unsubscribed and has acknowledged everything.
    fn forget_if_done(&mut self, key: SessionKey, index: u32) {
        let Some(consuming) = self.consumers.get(index as usize).filter(|one| one.is_stopped) else { return };
        let consumer = ConsumerKey { worker: self.worker, index, generation: consuming.generation };
        if self.queues.stop(&consuming.queue, consumer) {
            if let Some(session) = of_key(&mut self.sessions, key) {
                session.consumers.retain(|other| *other != index);
            }
            self.cancel(index);
        }
    }

    /// Ends a session's consumer of this subscription id: it gets no more. What it was given it may still acknowledge, as with
    /// RabbitMQ. Says whether there was one.
    pub(super) fn stop_consuming(&mut self, key: SessionKey, subscription: &str) -> bool {
        let consumers = match self.session(key) {
            Some(session) => session.consumers.clone(),
            None => return false,
        };
        let found = consumers.into_iter().find(|index| {
            let one = self.consumers.get(*index as usize);
            one.is_some_and(|one| !one.is_stopped && one.subscription.id == subscription)
        });
        let Some(index) = found else { return false };
        if let Some(consuming) = self.consumers.get_mut(index as usize) {
            consuming.is_stopped = true;
        }
        self.forget_if_done(key, index);
        true
    }

    /// No consumer is assigned anything more. What they have they may still acknowledge.
    pub(super) fn pause_consuming(&self) {
        for (index, one) in &self.consumers {
            let (worker, index) = (self.worker, index as u32);
            self.queues.stop(&one.queue, ConsumerKey { worker, index, generation: one.generation });
        }
    }

    /// Ends all of a session's consumers.
    pub(super) fn stop_all_consuming(&mut self, key: SessionKey) {
        let Some(session) = of_key(&mut self.sessions, key) else { return };
        session.assigned = Default::default();
        for index in std::mem::take(&mut session.consumers) {
            self.cancel(index);
        }
    }

    fn cancel(&mut self, index: u32) {
        let Some(Consuming { generation, queue, last, .. }) = self.consumers.try_remove(index as usize)
        else {
            return;
        };
        self.queues.cancel(&queue, ConsumerKey { worker: self.worker, index, generation }, last);
        self.metrics.subscriptions.dec();
    }

    /// The subscriptions of a session to queues: each with the queue's name.
    pub(super) fn consuming(&self, key: SessionKey) -> impl Iterator<Item = (&Subscription, &ByteString)> {
        let consumers = self.session(key).map_or(&[][..], |session| &session.consumers);
        consumers.iter().filter_map(|index| {
            let one = self.consumers.get(*index as usize).filter(|one| !one.is_stopped)?;
            Some((&one.subscription, one.queue.destination.text()))
        })
    }
}
