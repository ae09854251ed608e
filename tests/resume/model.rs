//! What was published, and what a subscription to it must get.
//!
//! A place is the number of a message among all of a run, from 1; a position says that everything up to that place was sent.
//! Where a SUBSCRIBE and a SEND happen at the same time nobody knows which was first, so there is an account for each
//! possibility, and what comes rules out those that say otherwise. When none is left, the broker is wrong.

#![allow(missing_docs, unreachable_pub)]

use bytes::Bytes;
use stomp_parser::Frame;

/// The messages that a channel of [`Kind::Small`] keeps.
pub const KEPT: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Events, of which few are kept.
    Small,
    /// Events, of which all are kept.
    Wide,
    Snapshot,
    Plain,
}

impl Kind {
    pub fn is_events(self) -> bool {
        matches!(self, Kind::Small | Kind::Wide)
    }
}

pub struct Channel {
    pub destination: String,
    pub kind: Kind,
    places: Vec<usize>,
}

/// All that was published in a run.
#[derive(Default)]
pub struct World {
    pub channels: Vec<Channel>,
    log: Vec<(usize, Bytes)>,
}

impl World {
    pub fn add(&mut self, destination: String, kind: Kind) {
        self.channels.push(Channel { destination, kind, places: Vec::new() });
    }

    /// The last place.
    pub fn end(&self) -> usize {
        self.log.len()
    }

    /// Notes what is published now.
    pub fn publish(&mut self, channel: usize, body: Bytes) {
        self.log.push((channel, body));
        self.channels[channel].places.push(self.log.len());
    }

    /// How many messages a channel had by `end`, and how many of them have gone.
    fn count(&self, channel: usize, end: usize) -> (usize, usize) {
        let Channel { places, kind, .. } = &self.channels[channel];
        let all = places.partition_point(|place| *place <= end);
        (all, if *kind == Kind::Small { all.saturating_sub(KEPT) } else { 0 })
    }

    /// Where a channel's messages up to `end` stand that are kept then.
    fn kept(&self, channel: usize, end: usize) -> &[usize] {
        let (all, gone) = self.count(channel, end);
        &self.channels[channel].places[gone..all]
    }

    /// The place of the newest of a channel's messages that have gone by `end`; 0 if none have.
    fn trimmed(&self, channel: usize, end: usize) -> usize {
        let gone = self.count(channel, end).1;
        gone.checked_sub(1).map_or(0, |last| self.channels[channel].places[last])
    }

    fn newest(&self, channel: usize, end: usize) -> usize {
        self.kept(channel, end).last().copied().unwrap_or(0)
    }

    /// A channel's first place beyond another.
    fn behind(&self, channel: usize, place: usize) -> Option<usize> {
        let places = &self.channels[channel].places;
        places.get(places.partition_point(|have| *have <= place)).copied()
    }
}

/// What a SUBSCRIBE asked of history.
#[derive(Debug, Clone)]
pub enum Asked {
    Nothing,
    History(usize),
    /// The cursor of one of these positions.
    Cursor(Vec<usize>),
    /// A cursor that says nothing there.
    Nonsense,
}

/// What became of a SUBSCRIBE if it took place at one of the possible moments.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    /// The place that it stood behind.
    made: usize,
    /// The first place that is wanted of each channel.
    from: Vec<usize>,
    resumed: Option<bool>,
    gap: Option<&'static str>,
    /// What the RECEIPT's cursor stands for.
    position: Option<usize>,
}

/// A subscription, and what came of it.
pub struct Subscription {
    pub id: String,
    pub destination: String,
    /// The channels that it matches.
    matches: Vec<usize>,
    is_pattern: bool,
    has_events: bool,
    asked: Asked,
    /// The place that it stands behind at least.
    earliest: usize,
    accounts: Option<Vec<Account>>,
    /// The RECEIPT that it waits for.
    pub receipt: Option<String>,
    /// The RECEIPT of an UNSUBSCRIBE that ends it.
    pub ends: Option<String>,
    /// The place of the last event.
    at: usize,
    /// The place of the last message of each channel.
    last: Vec<usize>,
    is_first: bool,
    /// The newest cursor that came.
    pub cursor: Option<String>,
}

/// A cursor that came, and what it may stand for.
#[derive(Debug, Clone)]
pub struct Given {
    pub text: String,
    pub destination: String,
    pub positions: Vec<usize>,
    pub is_receipts: bool,
}

type Verdict<T> = Result<T, String>;

macro_rules! demand {
    ($holds:expr, $($why:tt)+) => { if !$holds { return Err(format!($($why)+)); } };
}

impl Subscription {
    pub fn new(
        world: &World,
        id: String,
        destination: String,
        matches: Vec<usize>,
        has_events: bool,
        asked: Asked,
    ) -> Subscription {
        Subscription {
            is_pattern: destination.contains(['*', '#']),
            id,
            destination,
            matches,
            has_events,
            asked,
            earliest: world.end(),
            accounts: None,
            receipt: None,
            ends: None,
            at: 0,
            last: vec![0; world.channels.len()],
            is_first: true,
            cursor: None,
        }
    }

    /// It has been made by now.
    pub fn is_made(&mut self, world: &World) {
        if self.accounts.is_none() {
            let moments = self.earliest..=world.end();
            let mut accounts: Vec<Account> = Vec::new();
            for made in moments {
                match &self.asked {
                    Asked::Cursor(positions) if self.has_events => {
                        accounts.extend(positions.iter().map(|at| self.resume(world, made, *at)));
                    }
                    _ => accounts.push(self.begin(world, made)),
                }
            }
            self.accounts = Some(accounts);
        }
    }

    fn events(&self, world: &World) -> impl Iterator<Item = usize> {
        self.matches.iter().copied().filter(|channel| world.channels[*channel].kind.is_events())
    }

    fn resume(&self, world: &World, made: usize, position: usize) -> Account {
        let mut from = vec![made + 1; world.channels.len()];
        let mut is_gap = false;
        for channel in self.events(world) {
            let trimmed = world.trimmed(channel, made);
            is_gap |= trimmed > position;
            from[channel] = trimmed.max(position) + 1;
        }
        let gap = is_gap.then_some("trimmed");
        Account { made, from, resumed: Some(!is_gap), gap, position: Some(position) }
    }

    fn begin(&self, world: &World, made: usize) -> Account {
        let mut from = vec![made + 1; world.channels.len()];
        let mut account = Account { made, from: Vec::new(), resumed: None, gap: None, position: Some(made) };
        match self.asked {
            _ if !self.has_events => account.position = None,
            Asked::History(count) => {
                for channel in self.events(world) {
                    let kept = world.kept(channel, made);
                    if let Some(first) = kept.get(kept.len().saturating_sub(count)) {
                        from[channel] = *first;
                    }
                }
                account.position = from.iter().min().map(|first| first - 1);
            }
            Asked::Nonsense => {
                for channel in self.events(world) {
                    from[channel] = world.trimmed(channel, made) + 1;
                }
                (account.resumed, account.gap) = (Some(false), Some("unknown"));
                account.position = Some(if self.is_pattern {
                    0
                } else {
                    self.events(world).map(|channel| world.trimmed(channel, made)).sum()
                });
            }
            Asked::Nothing | Asked::Cursor(_) => {}
        }
        account.from = from;
        account
    }

    /// The next event by one account.
    fn next_event(&self, world: &World, account: &Account) -> Option<usize> {
        let next = |channel: usize| world.behind(channel, self.at.max(account.from[channel] - 1));
        self.events(world).filter_map(next).min()
    }

    fn next_of(&self, world: &World, account: &Account, channel: usize) -> Option<usize> {
        world.behind(channel, self.last[channel].max(account.from[channel] - 1))
    }

    /// Whether an event is the next by an account. Where nobody was promised what a channel begins with, it begins with what
    /// was left when it was looked at: what had gone by then is wanted no more.
    fn is_next(&self, world: &World, account: &mut Account, place: usize) -> bool {
        let is_open = account.gap.is_some() || matches!(self.asked, Asked::History(_));
        while let Some(next) = self.next_event(world, account).filter(|next| *next != place) {
            let channel = world.log[next - 1].0;
            let has_gone = next <= account.made && next <= world.trimmed(channel, usize::MAX);
            if !is_open || self.last[channel] > 0 || !has_gone {
                return false;
            }
            account.from[channel] = next + 1;
        }
        self.next_event(world, account) == Some(place)
    }

    /// Keeps the accounts that agree with what came.
    fn rule_out(
        &mut self,
        world: &World,
        what: &str,
        agrees: impl Fn(&Subscription, &mut Account) -> bool,
    ) -> Verdict<()> {
        self.is_made(world);
        let mut accounts = self.accounts.take().unwrap_or_default();
        let last = accounts.first().cloned();
        accounts.retain_mut(|account| agrees(self, account));
        let is_wrong = accounts.is_empty();
        self.accounts = Some(accounts);
        let next = last.as_ref().and_then(|account| self.next_event(world, account));
        demand!(
            !is_wrong,
            "{} to {} ({:?}): {what}; the last that came is {}, next is {next:?} by {last:?}",
            self.id,
            self.destination,
            self.asked,
            self.at
        );
        Ok(())
    }

    /// Its RECEIPT came.
    pub fn take_receipt(&mut self, world: &World, frame: &Frame) -> Verdict<Option<Given>> {
        self.receipt = None;
        demand!(self.is_first, "{}: the RECEIPT came behind a MESSAGE", self.id);
        let resumed = frame.get("resumed").map(|text| text == "true");
        let gap = gap(frame)?;
        self.rule_out(world, &format!("{frame:?}"), |_, account| {
            account.resumed == resumed && account.gap.map(str::to_owned) == gap
        })?;
        let cursor = frame.get("cursor");
        demand!(cursor.is_some() == self.has_events, "{}: {frame:?}", self.id);
        self.cursor = cursor.map(str::to_owned);
        Ok(cursor.map(|text| Given { is_receipts: true, ..self.given(text) }))
    }

    /// A cursor that stands for what it was sent by now.
    fn given(&self, text: &str) -> Given {
        let accounts = self.accounts.iter().flatten();
        let mut positions: Vec<usize> = match self.at {
            0 => accounts.filter_map(|account| account.position).collect(),
            at => vec![at],
        };
        positions.dedup();
        Given { text: text.to_owned(), destination: self.destination.clone(), positions, is_receipts: false }
    }

    /// A MESSAGE came.
    pub fn take_message(&mut self, world: &World, frame: &Frame) -> Verdict<Option<Given>> {
        demand!(self.receipt.is_none(), "{}: the RECEIPT did not come first", self.id);
        let destination = frame.get("destination").unwrap_or_default();
        let found = self.matches.iter().find(|channel| world.channels[**channel].destination == destination);
        let Some(&channel) = found else { return Err(format!("{} got {frame:?}", self.id)) };
        let digits = frame.body.iter().take_while(|octet| octet.is_ascii_digit()).count();
        let place: usize = std::str::from_utf8(&frame.body[..digits]).unwrap_or("").parse().unwrap_or(0);
        demand!(
            place.checked_sub(1).and_then(|at| world.log.get(at)) == Some(&(channel, frame.body.clone())),
            "no such message was published: {frame:?}"
        );
        let what = format!("{place} came on {destination}");
        let gap = gap(frame)?;
        if self.is_first {
            let what = format!("{what}, the first, with a gap {gap:?}");
            self.rule_out(world, &what, |_, account| account.gap.map(str::to_owned) == gap)?;
        } else {
            demand!(gap.is_none(), "{}: {what} with a gap {gap:?} and is not the first", self.id);
        }
        self.is_first = false;
        let kind = world.channels[channel].kind;
        let (cursor, retained) = (frame.get("cursor"), frame.get("retained"));
        demand!(cursor.is_some() == kind.is_events(), "{}: {what}: {frame:?}", self.id);
        demand!(retained.is_none() || kind == Kind::Snapshot, "{}: {what}: {frame:?}", self.id);
        match kind {
            Kind::Small | Kind::Wide => {
                self.rule_out(world, &what, |this, account| this.is_next(world, account, place))?;
                self.at = place;
            }
            Kind::Plain => {
                self.rule_out(world, &what, |this, account| {
                    this.next_of(world, account, channel) == Some(place)
                })?;
            }
            Kind::Snapshot => {
                demand!(place > self.last[channel], "{}: {what} behind a newer", self.id);
                let is_kept = retained.is_some();
                demand!(!is_kept || self.last[channel] == 0, "{}: {what}, kept, behind others", self.id);
                self.rule_out(world, &format!("{what}, kept: {is_kept}"), |_, account| {
                    if is_kept { place == world.newest(channel, account.made) } else { place > account.made }
                })?;
            }
        }
        self.last[channel] = place;
        if let Some(cursor) = cursor {
            self.cursor = Some(cursor.to_owned());
        }
        Ok(cursor.map(|cursor| self.given(cursor)))
    }

    /// What is still to come, if anything may be.
    pub fn missing(&self, world: &World) -> Option<String> {
        let Some(accounts) = &self.accounts else { return Some(format!("{}: a sign of life", self.id)) };
        if let Some(receipt) = &self.receipt {
            return Some(format!("the RECEIPT {receipt}"));
        }
        for account in accounts {
            if let Some(place) = self.next_event(world, account) {
                return Some(format!("{}: event {place} by {account:?}", self.id));
            }
            for &channel in &self.matches {
                let next = match world.channels[channel].kind {
                    Kind::Plain => self.next_of(world, account, channel),
                    Kind::Snapshot => world.behind(channel, self.last[channel]),
                    _ => None,
                };
                if next.is_some() {
                    let name = &world.channels[channel].destination;
                    return Some(format!("{}: what follows {} of {name}", self.id, self.last[channel]));
                }
            }
        }
        None
    }

    /// How many messages may wait for it.
    pub fn waiting(&mut self, world: &World) -> usize {
        self.is_made(world);
        let count = |account: &Account| -> usize {
            let of = |channel: &usize| {
                let behind = self.last[*channel].max(account.from[*channel] - 1);
                world.channels[*channel].places.iter().filter(|place| **place > behind).count()
            };
            self.matches.iter().map(of).sum()
        };
        self.accounts.iter().flatten().map(count).max().unwrap_or(0)
    }

    /// Whether it reads history of which something has gone that it did not get.
    pub fn may_be_overtaken(&mut self, world: &World) -> bool {
        self.is_made(world);
        let reads = !matches!(self.asked, Asked::Nothing) && self.has_events;
        let gone = |account: &Account| {
            self.events(world).any(|channel| {
                let next = world.behind(channel, self.at.max(account.from[channel] - 1));
                next.is_some_and(|next| next <= world.trimmed(channel, usize::MAX))
            })
        };
        reads && self.accounts.iter().flatten().any(gone)
    }

    /// An ERROR that ends the connection tells this cursor of it.
    pub fn take_last_cursor(&mut self, world: &World, cursor: Option<&str>) -> Verdict<Option<Given>> {
        self.is_made(world);
        demand!(cursor.is_some() == self.has_events, "{}: cut off with the cursor {cursor:?}", self.id);
        let last = self.cursor.as_deref().filter(|_| self.at > 0);
        demand!(last.is_none() || last == cursor, "{}: cut off at {cursor:?}, not at {last:?}", self.id);
        Ok(cursor.map(|cursor| self.given(cursor)))
    }
}

/// Why a frame tells of a gap, if it does.
fn gap(frame: &Frame) -> Verdict<Option<String>> {
    let (gap, reason) = (frame.get("gap"), frame.get("gap-reason"));
    demand!(gap.is_none_or(|gap| gap == "true") && gap.is_some() == reason.is_some(), "{frame:?}");
    Ok(reason.map(str::to_owned))
}
