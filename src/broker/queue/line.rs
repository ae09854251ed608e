//! One queue's line: its messages in order, its consumers in turn, and who has what.
//!
//! Owns the order and the account of deliveries. Knows no workers but by name, and waits for nothing. What is different where the
//! queue itself is elsewhere is in `line/prefetched.rs`.

mod prefetched;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use self::prefetched::Prefetching;
pub(super) use self::prefetched::Told;
use super::QueueLimits;
use super::remote::Origin;
use crate::broker::message::Message;
use crate::broker::router::WorkerId;
use crate::broker::selector::Selector;

/// A message's place: the more urgent first, then the older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    priority: Reverse<u8>,
    number: u64,
}

/// The highest priority; 0 is the lowest, as in JMS.
pub(super) const MOST_URGENT: u8 = 9;

impl Position {
    pub(super) fn new(priority: u8, number: u64) -> Position {
        Position { priority: Reverse(priority), number }
    }
}

/// A message that is in a queue.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) message: Arc<Message>,
    position: Position,
    /// When it is a dead letter, in milliseconds since 1970.
    expires: Option<u64>,
    /// How often it was delivered before.
    deliveries: u32,
    /// What names it where its queue is, if that is elsewhere and waits to hear of it.
    origin: Option<Origin>,
}

impl Item {
    pub(super) fn new(message: Arc<Message>, position: Position, expires: Option<u64>) -> Item {
        Item { message, position, expires, deliveries: 0, origin: None }
    }

    pub(super) fn octets(&self) -> usize {
        octets_of(&self.message)
    }
}

/// What a message weighs in a queue.
pub(super) fn octets_of(message: &Message) -> usize {
    /// What the queue needs for a message beside it, about.
    const OVERHEAD: usize = 256;
    message.octets() + OVERHEAD
}

/// A consumer: one subscription of one session of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::broker) struct ConsumerKey {
    pub(in crate::broker) worker: WorkerId,
    pub(in crate::broker) index: u32,
    pub(in crate::broker) generation: u32,
}

/// On what terms a consumer gets messages.
#[derive(Debug, Clone)]
pub(in crate::broker) struct Terms {
    /// How many it takes before it says that it has room again.
    pub(in crate::broker) room: u32,
    /// How many it may have without acknowledging them.
    pub(in crate::broker) prefetch: Option<u32>,
    /// Which it wants.
    pub(in crate::broker) selector: Option<Selector>,
}

/// A delivery on its way to a consumer.
#[derive(Debug)]
pub(in crate::broker) struct Assigned {
    pub(in crate::broker) consumer: ConsumerKey,
    pub(in crate::broker) delivery: u64,
    pub(in crate::broker) message: Arc<Message>,
    pub(in crate::broker) redelivered: bool,
}

/// What a consumer says of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Done,
    /// Another shall try.
    Again,
    /// It was never given to it.
    Untried,
    /// Nobody shall.
    Dead,
}

/// A message that is out of its queue unheard.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) item: Item,
    pub(super) reason: Death,
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    Expired,
    Rejected,
    TriedTooOften,
    Overflow,
}

impl Death {
    /// RabbitMQ's words.
    pub(super) fn label(self) -> &'static str {
        match self {
            Death::Expired => "expired",
            Death::Rejected => "rejected",
            Death::TriedTooOften => "delivery_limit",
            Death::Overflow => "maxlen",
        }
    }
}

/// What left a queue.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Freed {
    pub(super) messages: usize,
    pub(super) octets: usize,
}

#[derive(Debug)]
struct Consumer {
    terms: Terms,
    /// What it has and did not acknowledge, by delivery.
    has: BTreeMap<u64, Item>,
    /// Nothing up to here is for its selector, but what may be `again`.
    looked: Option<Position>,
    /// What came to stand before that since.
    again: BTreeSet<Position>,
    /// It stands in the turn.
    is_waiting: bool,
}

impl Consumer {
    fn has_room(&self) -> bool {
        self.terms.room > 0 && self.terms.prefetch.is_none_or(|most| self.has.len() < most as usize)
    }

    /// The first of these messages that it wants.
    fn find(&mut self, ready: &BTreeMap<Position, Item>) -> Option<Position> {
        let Some(selector) = &self.terms.selector else {
            return ready.first_key_value().map(|(at, _)| *at);
        };
        let wanted =
            |item: &Item| selector.matches(|name| item.message.headers.get(name).map(|value| &**value));
        while let Some(at) = self.again.pop_first() {
            if ready.get(&at).is_some_and(wanted) {
                return Some(at);
            }
        }
        let from = self.looked.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        for (at, item) in ready.range((from, std::ops::Bound::Unbounded)) {
            if wanted(item) {
                return Some(*at);
            }
            self.looked = Some(*at);
        }
        None
    }

    /// A message came to stand at this place.
    fn look_again(&mut self, at: Position) {
        if self.looked.is_none_or(|looked| looked < at) {
            return;
        }
        self.again.insert(at);
        if self.again.len() > AGAIN {
            self.again.clear();
            self.looked = None;
        }
    }
}

/// Places that a consumer keeps to look at again; with more it begins anew.
const AGAIN: usize = 1024;

/// The line of one queue.
#[derive(Debug, Default)]
pub(super) struct Line {
    ready: BTreeMap<Position, Item>,
    /// Those of `ready` that expire, by when.
    expiring: BTreeSet<(u64, Position)>,
    consumers: HashMap<ConsumerKey, Consumer>,
    /// How many of them have a selector.
    selecting: usize,
    /// Consumers with room, each at its turn.
    waiting: VecDeque<ConsumerKey>,
    /// Messages that consumers have.
    out: usize,
    /// Octets of all messages.
    octets: usize,
    freed: Freed,
    dead: Vec<Dead>,
    /// The queue is elsewhere, and this is what is kept of it.
    prefetching: Option<Prefetching>,
    /// The queue is not to be found under its name any more.
    pub(super) is_forgotten: bool,
}

impl Line {
    pub(super) fn has_room(&self, octets: usize, limits: &QueueLimits) -> bool {
        self.has_room_for(1, octets, limits)
    }

    /// Whether so many messages more, of so many octets together, are within the limits. An empty line takes any one.
    pub(super) fn has_room_for(&self, more: usize, octets: usize, limits: &QueueLimits) -> bool {
        let messages = self.ready.len() + self.out;
        let is_one = messages == 0 && more == 1;
        messages + more <= limits.messages && (is_one || self.octets + octets <= limits.bytes)
    }

    /// Whether a consumer has a delivery that it has not acknowledged.
    pub(super) fn has(&self, key: ConsumerKey, delivery: u64) -> bool {
        self.consumers.get(&key).is_some_and(|consumer| consumer.has.contains_key(&delivery))
    }

    /// Makes room for so many octets by what is oldest.
    pub(super) fn drop_oldest(&mut self, octets: usize, limits: &QueueLimits) {
        while !self.has_room(octets, limits) {
            let Some(oldest) = self.oldest() else { return };
            self.kill(oldest, Death::Overflow);
        }
    }

    /// The oldest that is ready: the first of some priority.
    fn oldest(&self) -> Option<Position> {
        let first = |priority: u8| {
            let of_priority = Position::new(priority, 0)..=Position::new(priority, u64::MAX);
            self.ready.range(of_priority).next().map(|(at, _)| *at)
        };
        (0..=MOST_URGENT).filter_map(first).min_by_key(|at| at.number)
    }

    pub(super) fn push(&mut self, item: Item, now: u64) {
        self.octets += item.octets();
        if item.expires.is_some_and(|at| at <= now) {
            self.bury(item, Death::Expired);
        } else {
            self.put(item);
        }
    }

    fn put(&mut self, item: Item) {
        if self.selecting > 0 {
            for consumer in self.consumers.values_mut() {
                consumer.look_again(item.position);
            }
        }
        if let Some(at) = item.expires {
            self.expiring.insert((at, item.position));
        }
        self.ready.insert(item.position, item);
    }

    fn take(&mut self, at: Position) -> Option<Item> {
        let item = self.ready.remove(&at)?;
        if let Some(expires) = item.expires {
            self.expiring.remove(&(expires, at));
        }
        Some(item)
    }

    fn kill(&mut self, at: Position, reason: Death) {
        if let Some(item) = self.take(at) {
            self.bury(item, reason);
        }
    }

    fn bury(&mut self, item: Item, reason: Death) {
        self.free(&item);
        self.dead.push(Dead { item, reason });
    }

    /// A message has left the queue.
    fn free(&mut self, item: &Item) {
        self.octets -= item.octets();
        self.freed.messages += 1;
        self.freed.octets += item.octets();
    }

    pub(super) fn has_expired(&self, now: u64) -> bool {
        self.expiring.first().is_some_and(|(at, _)| *at <= now)
    }

    pub(super) fn expire(&mut self, now: u64) {
        while let Some((at, position)) = self.expiring.first().copied().filter(|(at, _)| *at <= now) {
            self.expiring.remove(&(at, position));
            self.kill(position, Death::Expired);
        }
    }

    pub(super) fn add_consumer(&mut self, key: ConsumerKey, mut terms: Terms, now: u64) {
        self.expire(now);
        if let Some(prefetching) = &mut self.prefetching {
            prefetching.add(&mut terms);
        }
        self.selecting += usize::from(terms.selector.is_some());
        let consumer =
            Consumer { terms, has: BTreeMap::new(), looked: None, again: BTreeSet::new(), is_waiting: false };
        self.consumers.insert(key, consumer);
        self.wait(key);
    }

    /// A consumer goes, to whose client nothing was given behind the delivery `given`.
    pub(super) fn remove_consumer(&mut self, key: ConsumerKey, given: u64, most: u32, now: u64) {
        let Some(consumer) = self.consumers.remove(&key) else { return };
        self.selecting -= usize::from(consumer.terms.selector.is_some());
        // Where it stands in the turn it is passed over; when many such stand there, they go together.
        if self.waiting.len() > 2 * self.consumers.len() + 64 {
            self.waiting.retain(|waiting| self.consumers.contains_key(waiting));
        }
        if let Some(prefetching) = &mut self.prefetching {
            prefetching.end(consumer.terms.prefetch, consumer.has.values());
            prefetching.released(Some(0), consumer.has.values());
        }
        for (delivery, item) in consumer.has {
            self.conclude(item, if delivery <= given { Verdict::Again } else { Verdict::Untried }, most);
        }
        self.expire(now);
    }

    pub(super) fn room(&mut self, key: ConsumerKey, more: u32, now: u64) {
        self.expire(now);
        if let Some(consumer) = self.consumers.get_mut(&key) {
            consumer.terms.room += more;
            self.wait(key);
        }
    }

    /// A consumer gets no more. Says whether it has nothing that is to be acknowledged.
    pub(super) fn stop(&mut self, key: ConsumerKey) -> bool {
        let Some(consumer) = self.consumers.get_mut(&key) else { return true };
        let share = consumer.terms.prefetch.replace(0);
        if let Some(prefetching) = &mut self.prefetching {
            prefetching.end(share, consumer.has.values());
        }
        consumer.has.is_empty()
    }

    /// Puts a consumer at the end of the turn, if it has room and does not stand there.
    fn wait(&mut self, key: ConsumerKey) {
        if let Some(consumer) = self.consumers.get_mut(&key)
            && consumer.has_room()
            && !std::mem::replace(&mut consumer.is_waiting, true)
        {
            self.waiting.push_back(key);
        }
    }

    pub(super) fn settle(
        &mut self,
        key: ConsumerKey,
        delivery: u64,
        cumulative: bool,
        verdict: Verdict,
        most: u32,
        now: u64,
    ) -> bool {
        let Some(consumer) = self.consumers.get_mut(&key) else { return false };
        if !consumer.has.contains_key(&delivery) {
            return false;
        }
        let settled: Vec<Item> = if cumulative {
            let later = consumer.has.split_off(&(delivery + 1));
            std::mem::replace(&mut consumer.has, later).into_values().collect()
        } else {
            consumer.has.remove(&delivery).into_iter().collect()
        };
        if let Some(prefetching) = &mut self.prefetching {
            prefetching.released(consumer.terms.prefetch, settled.iter());
        }
        for item in settled {
            self.conclude(item, verdict, most);
        }
        self.wait(key);
        self.expire(now);
        true
    }

    /// A consumer has this message no more.
    fn conclude(&mut self, item: Item, verdict: Verdict, most: u32) {
        self.out -= 1;
        if self.prefetching.is_some() {
            return self.conclude_prefetched(item, verdict);
        }
        match verdict {
            Verdict::Again => self.give_back(item, most),
            Verdict::Untried => self.put(item),
            Verdict::Done => self.free(&item),
            Verdict::Dead => self.bury(item, Death::Rejected),
        }
    }

    /// A message that was tried is there for others, at its old place.
    fn give_back(&mut self, mut item: Item, most: u32) {
        item.deliveries += 1;
        if most > 0 && item.deliveries >= most {
            return self.bury(item, Death::TriedTooOften);
        }
        self.put(item);
    }

    /// Assigns messages to consumers in turn, as far as there are both.
    pub(super) fn assign(&mut self, mut number: impl FnMut() -> u64, mut hand: impl FnMut(Assigned)) {
        let mut passed_over = 0;
        while passed_over < self.waiting.len() && !self.ready.is_empty() {
            let Some(key) = self.waiting.pop_front() else { return };
            let Some(consumer) = self.consumers.get_mut(&key) else { continue };
            if !consumer.has_room() {
                consumer.is_waiting = false;
                continue;
            }
            let Some(at) = consumer.find(&self.ready) else {
                self.waiting.push_back(key);
                passed_over += 1;
                continue;
            };
            passed_over = 0;
            let Some(item) = self.take(at) else { continue };
            let Some(consumer) = self.consumers.get_mut(&key) else { continue };
            let delivery = number();
            hand(Assigned {
                consumer: key,
                delivery,
                message: item.message.clone(),
                redelivered: item.deliveries > 0,
            });
            consumer.has.insert(delivery, item);
            consumer.terms.room -= 1;
            self.out += 1;
            consumer.is_waiting = consumer.has_room();
            if consumer.is_waiting {
                self.waiting.push_back(key);
            }
        }
    }

    pub(super) fn take_freed(&mut self) -> Freed {
        std::mem::take(&mut self.freed)
    }

    pub(super) fn take_dead(&mut self) -> Vec<Dead> {
        std::mem::take(&mut self.dead)
    }

    /// Whether it has neither messages nor consumers, nor anything to tell.
    pub(super) fn is_idle(&self) -> bool {
        let is_at_rest = self.prefetching.as_ref().is_none_or(Prefetching::is_at_rest);
        self.ready.is_empty() && self.out == 0 && self.consumers.is_empty() && is_at_rest
    }
}
