//! History: the newest messages of all events channels, in the order of the log.
//!
//! Owns the bounds of each channel and of all together, and what is known of what had to go: for a channel, up to which
//! number it was trimmed; for channels that were forgotten, the floor. Time is a number of milliseconds that only rises.
//!
//! What came by key is kept once, as a channel of its own. Who reads one spelling reads that one too.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::Gap;
use super::cursor::{Claim, Cursor, LogIdentity};
use crate::broker::catalogue::HistoryLimits;
use crate::broker::destination::{Destination, Filter};
use crate::broker::message::Message;

/// What a message takes in memory beside itself, and a channel.
const EACH: usize = 128;

/// Channels without messages whose trimming is remembered, beside those with subscribers.
const REMEMBERED: usize = 10_000;

/// The same with those that have subscribers.
const REMEMBERED_WANTED: usize = 100_000;

/// Messages that one look passes over without finding one, so that it does not hold up publishers for long.
const LOOK: usize = 1024;

/// The kept messages of all events channels.
#[derive(Debug)]
pub(in crate::broker) struct History {
    /// By number, each with its time.
    messages: BTreeMap<u64, (u64, Arc<Message>)>,
    channels: HashMap<Destination, Channel>,
    /// The number of the last message.
    last: u64,
    /// Channels that were forgotten had nothing beyond it.
    floor: u64,
    /// Those by key had nothing beyond this, so that what is forgotten of others is no gap to who reads one that is there.
    floor_by_key: u64,
    /// The last message that went of each channel, by number.
    trims: BTreeMap<u64, Destination>,
    /// The least age that a channel lets go at, in milliseconds.
    least_age: u64,
    bytes: usize,
    most_bytes: usize,
    /// Channels without messages, and how many there must be for some to be forgotten.
    empty: usize,
    forget_at: usize,
}

/// One channel's part.
#[derive(Debug)]
struct Channel {
    kept: VecDeque<Kept>,
    bytes: usize,
    /// Messages up to this number went.
    trimmed: u64,
    limits: HistoryLimits,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    number: u64,
    octets: usize,
    at: u64,
}

/// What a SUBSCRIBE asks of history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum Start<'a> {
    /// Nothing.
    Live,
    /// What followed a cursor.
    Cursor(&'a str),
    /// So many messages of each channel.
    Last(usize),
}

/// How far a subscription has read.
#[derive(Debug, Clone)]
pub(in crate::broker) struct Reading {
    /// Everything up to this number was read, or is not wanted.
    pub(in crate::broker) position: u64,
    /// Where channels begin that do not begin behind `since`.
    begins: HashMap<Destination, u64>,
    /// Where all others begin, exclusive.
    since: u64,
    /// Until it was given something: of what was there when it was made, up to this number, some may go. 0 for nothing.
    open_to: u64,
    /// The floor when it was made.
    floor: u64,
}

/// What a look at history gives.
#[derive(Debug)]
pub(in crate::broker) enum Read {
    /// These follow, and perhaps more.
    Some(Vec<Arc<Message>>),
    /// Nothing more is there.
    End,
    /// What was to follow has gone.
    Overtaken,
}

impl History {
    /// An empty history that keeps at most `most_bytes` octets.
    pub(in crate::broker) fn new(most_bytes: usize) -> History {
        History {
            messages: BTreeMap::new(),
            channels: HashMap::new(),
            last: 0,
            floor: 0,
            floor_by_key: 0,
            trims: BTreeMap::new(),
            least_age: u64::MAX,
            bytes: 0,
            most_bytes,
            empty: 0,
            forget_at: REMEMBERED,
        }
    }

    /// Forgets everything: what follows has numbers beyond `floor`, and up to there anything may be missing.
    pub(in crate::broker) fn begin(&mut self, floor: u64) {
        *self = History { last: floor, floor, floor_by_key: floor, ..History::new(self.most_bytes) };
    }

    /// The number of the last message, by which anything that follows is told.
    pub(in crate::broker) fn last(&self) -> u64 {
        self.last
    }

    /// How many messages are kept, and their octets.
    pub(in crate::broker) fn size(&self) -> (usize, usize) {
        (self.messages.len(), self.bytes)
    }

    /// Adds a message under a number higher than all before. Gives how many others had to go.
    pub(in crate::broker) fn append(
        &mut self,
        number: u64,
        message: Arc<Message>,
        limits: HistoryLimits,
        now: u64,
    ) -> usize {
        let before = self.messages.len();
        let octets = message.octets() + EACH;
        let destination = &message.destination;
        self.least_age = self.least_age.min(millis(limits.age));
        if !self.channels.contains_key(destination) {
            // One of this name may have been forgotten.
            let channel =
                Channel { kept: VecDeque::new(), bytes: 0, trimmed: self.floor_of(destination), limits };
            self.channels.insert(destination.clone(), channel);
            self.empty += 1;
            self.bytes += EACH;
        }
        if let Some(channel) = self.channels.get_mut(destination) {
            self.empty -= usize::from(channel.kept.is_empty());
            channel.kept.push_back(Kept { number, octets, at: now });
            channel.bytes += octets;
        }
        self.last = number;
        self.bytes += octets;
        let destination = destination.clone();
        self.messages.insert(number, (now, message));
        self.trim(&destination, now);
        while self.bytes > self.most_bytes {
            let oldest = self.messages.values().next();
            let Some(destination) = oldest.map(|(_, message)| message.destination.clone()) else { break };
            self.drop_oldest(&destination);
        }
        before + 1 - self.messages.len()
    }

    /// Lets go what is too old, and forgets channels of which nothing is left and that are not `wanted`. Gives how many
    /// messages went.
    pub(in crate::broker) fn expire(&mut self, now: u64, wanted: impl Fn(&Destination) -> bool) -> usize {
        let before = self.messages.len();
        for destination in self.with_old(now) {
            self.trim(&destination, now);
        }
        self.forget(wanted);
        before - self.messages.len()
    }

    /// The channels that have something too old. The log is in the order of time, so only its beginning is looked at.
    fn with_old(&self, now: u64) -> Vec<Destination> {
        let is_young = |at: u64| now.saturating_sub(at) <= self.least_age;
        let mut old = Vec::new();
        for (number, (_, message)) in self.messages.iter().take_while(|(_, (at, _))| !is_young(*at)) {
            let Some(channel) = self.channels.get(&message.destination) else { continue };
            let first = channel.kept.front().filter(|first| first.number == *number);
            if first.is_some_and(|first| channel.is_old(*first, now)) {
                old.push(message.destination.clone());
            }
        }
        old
    }

    /// Forgets channels without messages, those without subscribers first; the others too where they are many, since a
    /// subscriber by a pattern would have all names kept for ever.
    fn forget(&mut self, wanted: impl Fn(&Destination) -> bool) {
        if self.empty <= self.forget_at {
            return;
        }
        let empty = self.channels.iter().filter(|(_, channel)| channel.kept.is_empty());
        let mut empty: Vec<(bool, u64, Destination)> = empty
            .map(|(destination, channel)| (wanted(destination), channel.trimmed, destination.clone()))
            .collect();
        empty.sort_unstable_by_key(|(wanted, trimmed, _)| (*wanted, *trimmed));
        // A tenth at a time, so that this is rare.
        let many = self.empty - REMEMBERED + REMEMBERED / 10;
        for (wanted, trimmed, destination) in empty.into_iter().take(many) {
            if wanted && self.empty <= REMEMBERED_WANTED {
                break;
            }
            self.floor = self.floor.max(trimmed);
            if destination.is_by_key() {
                self.floor_by_key = self.floor_by_key.max(trimmed);
            }
            self.forget_trim(trimmed, &destination);
            self.channels.remove(&destination);
            self.bytes -= EACH;
            self.empty -= 1;
        }
        self.forget_at = REMEMBERED.max(self.empty + REMEMBERED / 10);
    }

    fn trim(&mut self, destination: &Destination, now: u64) {
        while let Some(channel) = self.channels.get(destination)
            && let Some(oldest) = channel.kept.front()
            && (channel.kept.len() > channel.limits.messages
                || channel.bytes > channel.limits.bytes
                || channel.is_old(*oldest, now))
        {
            self.drop_oldest(destination);
        }
    }

    fn drop_oldest(&mut self, destination: &Destination) {
        let Some(channel) = self.channels.get_mut(destination) else { return };
        let Some(Kept { number, octets, .. }) = channel.kept.pop_front() else { return };
        channel.bytes -= octets;
        let before = std::mem::replace(&mut channel.trimmed, number);
        self.empty += usize::from(channel.kept.is_empty());
        self.bytes -= octets;
        self.messages.remove(&number);
        self.forget_trim(before, destination);
        self.trims.insert(number, destination.clone());
    }

    fn forget_trim(&mut self, number: u64, destination: &Destination) {
        if self.trims.get(&number) == Some(destination) {
            self.trims.remove(&number);
        }
    }

    /// Where a subscription begins to read, and why something may be missing. `None` where it reads nothing.
    pub(in crate::broker) fn start(
        &self,
        log: LogIdentity,
        filter: &Filter,
        start: Start<'_>,
    ) -> (Option<Reading>, Option<Gap>) {
        match start {
            Start::Live => (None, None),
            Start::Last(count) => (Some(self.newest(filter, count).open(self.last)), None),
            Start::Cursor(text) => match Cursor::read(text, log, self.last, filter) {
                Claim::UpTo(number) => {
                    let reading = self.behind(filter, number);
                    let may_miss = !reading.begins.is_empty() || self.may_have_forgotten(filter, number);
                    let reading = if may_miss { reading.open(self.last) } else { reading };
                    (Some(reading), may_miss.then_some(Gap::Trimmed))
                }
                Claim::Lost => (Some(self.oldest(filter).open(self.last)), Some(Gap::Lost)),
                Claim::Unknown => (Some(self.oldest(filter).open(self.last)), Some(Gap::Unknown)),
            },
        }
    }

    /// Whether of what a filter reads behind a number some may have been forgotten with its channel. Of a channel that is there
    /// it is known what went.
    fn may_have_forgotten(&self, filter: &Filter, number: u64) -> bool {
        let Some(both) = of_key(filter) else { return number < self.floor };
        both.iter().any(|one| number < self.floor_of(one) && !self.channels.contains_key(one))
    }

    /// What a channel that is not there may have had.
    fn floor_of(&self, destination: &Destination) -> u64 {
        if destination.is_by_key() { self.floor_by_key } else { self.floor }
    }

    /// Everything that there is.
    fn oldest(&self, filter: &Filter) -> Reading {
        // As far on as can be, so that who breaks off before the first message is not told of a gap again.
        let position = match of_key(filter) {
            Some(both) => self.before_first(&both),
            None => 0,
        };
        self.behind(filter, position)
    }

    /// The last number that is not behind what is there of some channels, nor before what went as far as that can be.
    fn before_first(&self, some: &[Destination]) -> u64 {
        let there = || some.iter().filter_map(|one| self.channels.get(one));
        if there().next().is_none() {
            return self.last;
        }
        let went = |one| self.channels.get(one).map_or_else(|| self.floor_of(one), |channel| channel.trimmed);
        let went = some.iter().map(went).max().unwrap_or(0);
        let first = there().filter_map(|channel| channel.kept.front()).map(|kept| kept.number).min();
        first.map_or(went, |first| went.min(first - 1))
    }

    /// Everything behind `number` that is there.
    fn behind(&self, filter: &Filter, number: u64) -> Reading {
        let begins = self.trimmed_beyond(filter, number).map(|(name, at)| (name.clone(), at + 1)).collect();
        Reading { position: number, begins, since: number, open_to: 0, floor: self.floor }
    }

    /// The channels of which something went that stood behind a number: each with the last that did.
    fn trimmed_beyond(&self, filter: &Filter, number: u64) -> impl Iterator<Item = (&Destination, u64)> {
        let both = of_key(filter);
        let is_wild = both.is_none();
        let ones = both.into_iter().flatten().filter_map(|one| self.channels.get_key_value(&one));
        let ones = ones.map(|(name, channel)| (name, channel.trimmed)).filter(move |(_, at)| *at > number);
        let all = is_wild.then(|| self.trims.range(number + 1..).map(|(at, name)| (name, *at)));
        let all = all.into_iter().flatten().filter(|(name, _)| filter.matches(name));
        ones.chain(all)
    }

    fn newest(&self, filter: &Filter, count: usize) -> Reading {
        let mut begins = HashMap::new();
        if let Some(both) = of_key(filter) {
            if let Some(first) = self.first_of_last(&both, count) {
                begins.extend(both.map(|one| (one, first)));
            }
        } else {
            for (destination, channel) in self.channels.iter().filter(|(name, _)| filter.matches(name)) {
                let first = channel.kept.len().saturating_sub(count);
                if let Some(kept) = channel.kept.get(first) {
                    begins.insert(destination.clone(), kept.number);
                }
            }
        }
        let first = begins.values().min().copied();
        let position = first.map_or(self.last, |first| first - 1);
        Reading { position, begins, since: self.last, open_to: 0, floor: self.floor }
    }

    /// The number of the first of the last `count` messages of some channels together, if there is one.
    fn first_of_last(&self, some: &[Destination], count: usize) -> Option<u64> {
        let there = some.iter().filter_map(|one| self.channels.get(one));
        let last = there.flat_map(|channel| channel.kept.iter().rev().take(count));
        let mut numbers: Vec<u64> = last.map(|kept| kept.number).collect();
        numbers.sort_unstable_by_key(|number| Reverse(*number));
        numbers.truncate(count);
        numbers.last().copied()
    }

    /// What follows, up to about `octets`, but at least one message. Moves the reading on.
    pub(in crate::broker) fn read(&self, filter: &Filter, reading: &mut Reading, octets: usize) -> Read {
        if !self.keeps_up(filter, reading) {
            return Read::Overtaken;
        }
        let read = match of_key(filter) {
            Some(both) => self.read_channels(&both, reading, octets),
            None => self.read_all(filter, reading, octets),
        };
        if !matches!(&read, Read::Some(found) if found.is_empty()) {
            reading.open_to = 0;
        }
        read
    }

    /// Whether nothing went that was still to be read. One that was given nothing yet begins with what is left of what was
    /// there when it was made.
    fn keeps_up(&self, filter: &Filter, reading: &mut Reading) -> bool {
        // What was forgotten meanwhile may have been of it.
        if self.floor > reading.floor && self.floor > reading.position.max(reading.open_to) {
            return false;
        }
        for (destination, trimmed) in self.trimmed_beyond(filter, reading.position) {
            if trimmed >= reading.begin(destination) {
                if trimmed > reading.open_to {
                    return false;
                }
                reading.begins.insert(destination.clone(), trimmed + 1);
            }
        }
        true
    }

    /// Reads a channel and that by its key, in the order of the log.
    fn read_channels(&self, [own, by_key]: &[Destination; 2], reading: &mut Reading, octets: usize) -> Read {
        let mut own = self.behind_in(own, reading.read_of(own)).peekable();
        let mut by_key = self.behind_in(by_key, reading.read_of(by_key)).peekable();
        let mut found = Vec::new();
        let mut taken = 0;
        loop {
            let number = |kept: Option<&&Kept>| kept.map_or(u64::MAX, |kept| kept.number);
            let is_own = number(own.peek()) <= number(by_key.peek());
            let next = if is_own { &mut own } else { &mut by_key };
            let is_wanted = |kept: &&Kept| taken == 0 || taken + kept.octets <= octets;
            let Some(kept) = next.next_if(is_wanted) else { break };
            taken += kept.octets;
            reading.position = kept.number;
            found.extend(self.messages.get(&kept.number).map(|(_, message)| message.clone()));
        }
        if found.is_empty() { Read::End } else { Read::Some(found) }
    }

    /// What is kept of a channel behind a number.
    fn behind_in(&self, destination: &Destination, number: u64) -> impl Iterator<Item = &Kept> {
        let kept = self.channels.get(destination).map(|channel| &channel.kept);
        kept.into_iter()
            .flat_map(move |kept| kept.range(kept.partition_point(|kept| kept.number <= number)..))
    }

    fn read_all(&self, filter: &Filter, reading: &mut Reading, octets: usize) -> Read {
        let mut found: Vec<Arc<Message>> = Vec::new();
        let (mut taken, mut looked) = (0, 0);
        for (number, (_, message)) in self.messages.range(reading.position + 1..) {
            looked += 1;
            if looked > LOOK {
                return Read::Some(found);
            }
            if filter.matches(&message.destination) && *number >= reading.begin(&message.destination) {
                if taken > 0 && taken + message.octets() > octets {
                    return Read::Some(found);
                }
                taken += message.octets();
                found.push(message.clone());
            }
            reading.position = *number;
        }
        if found.is_empty() { Read::End } else { Read::Some(found) }
    }
}

impl Channel {
    fn is_old(&self, kept: Kept, now: u64) -> bool {
        now.saturating_sub(kept.at) > millis(self.limits.age)
    }
}

/// The channels that a filter reads which is no pattern: its own, and that by its key.
fn of_key(filter: &Filter) -> Option<[Destination; 2]> {
    filter.exact().map(|one| [one.clone(), one.with_key()])
}

fn millis(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

impl Reading {
    /// Nobody was promised what it begins with.
    fn open(mut self, last: u64) -> Reading {
        self.open_to = last;
        self
    }

    /// Nothing more is read: what told where each channel begins is let go.
    pub(in crate::broker) fn end(&mut self) {
        self.begins = HashMap::new();
    }

    /// The number up to which a channel was read, or is not wanted.
    fn read_of(&self, destination: &Destination) -> u64 {
        self.position.max(self.begin(destination).saturating_sub(1))
    }

    /// The first number that is wanted of a channel.
    fn begin(&self, destination: &Destination) -> u64 {
        self.begins.get(destination).copied().unwrap_or(self.since + 1)
    }
}
