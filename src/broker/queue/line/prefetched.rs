//! A line of what was prefetched of a queue that is elsewhere.
//!
//! Owns how much is wanted of that queue, what is to be told there, and what is given back unassigned. Its messages stand in the
//! order in which they came.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Item, Line, Position, Terms, Verdict};
use crate::broker::message::Message;
use crate::broker::queue::remote::{Fate, Origin};

/// What a line keeps of a queue that is elsewhere.
#[derive(Debug)]
pub(super) struct Prefetching {
    /// The most that may be prefetched, however much consumers have room for.
    most: u32,
    /// How many its consumers may have together, but those that ended.
    shares: u64,
    /// How many those have that ended, and may still acknowledge.
    ended: usize,
    /// How many are here that were not settled: all but those whose channel is lost.
    unsettled: usize,
    /// There may be more than is wanted.
    is_over: bool,
    /// Channels up to this one are lost.
    lost: Option<u64>,
    /// The prefetch that was told.
    told: u32,
    /// What is to be told.
    fates: Vec<(Origin, Fate)>,
    /// Somebody is telling.
    is_telling: bool,
}

/// What is told of a queue where it is.
#[derive(Debug)]
pub(in crate::broker::queue) struct Told {
    /// How many are wanted, if that has changed.
    pub(in crate::broker::queue) prefetch: Option<u32>,
    /// What became of deliveries.
    pub(in crate::broker::queue) fates: Vec<(Origin, Fate)>,
}

impl Prefetching {
    fn prefetch(&self) -> u32 {
        let shares = u32::try_from(self.shares).unwrap_or(u32::MAX).min(self.most);
        shares.saturating_add(u32::try_from(self.ended).unwrap_or(u32::MAX))
    }

    fn has_to_tell(&self) -> bool {
        self.prefetch() != self.told || !self.fates.is_empty()
    }

    /// All is told.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.is_telling && !self.has_to_tell()
    }

    /// A consumer comes, with its share. One that names none has as many as it has room for: what is prefetched has a bound.
    pub(super) fn add(&mut self, terms: &mut Terms) {
        let share = terms.prefetch.unwrap_or(terms.room);
        terms.prefetch = Some(share);
        self.shares += u64::from(share);
    }

    /// A consumer gets no more, and has these. Once it has ended its share is 0.
    pub(super) fn end<'a>(&mut self, share: Option<u32>, has: impl Iterator<Item = &'a Item>) {
        if let Some(share) = share.filter(|share| *share > 0) {
            self.shares -= u64::from(share);
            self.ended += waiting(has);
            self.is_over = true;
        }
    }

    /// A consumer of this share has these no more.
    pub(super) fn released<'a>(&mut self, share: Option<u32>, items: impl Iterator<Item = &'a Item>) {
        if share == Some(0) {
            self.ended -= waiting(items);
        }
    }

    fn settle(&mut self, origin: Origin, fate: Fate) {
        self.unsettled -= 1;
        self.fates.push((origin, fate));
    }
}

/// How many of these are waited for where their queue is.
fn waiting<'a>(items: impl Iterator<Item = &'a Item>) -> usize {
    items.filter(|item| item.origin.is_some()).count()
}

impl Line {
    /// Of a queue that is elsewhere, of which no more than `most` are prefetched.
    pub(in crate::broker::queue) fn prefetched(most: usize) -> Line {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let prefetching = Prefetching {
            most,
            shares: 0,
            ended: 0,
            unsettled: 0,
            is_over: false,
            lost: None,
            told: 0,
            fates: Vec::new(),
            is_telling: false,
        };
        Line { prefetching: Some(prefetching), ..Line::default() }
    }

    /// Takes in what was delivered, and says of how many octets it is; `None` if its channel is lost.
    pub(in crate::broker::queue) fn receive(
        &mut self,
        origin: Origin,
        message: Arc<Message>,
        redelivered: bool,
        number: u64,
    ) -> Option<usize> {
        let prefetching = self.prefetching.as_mut()?;
        if prefetching.lost.is_some_and(|lost| origin.channel <= lost) {
            return None;
        }
        // More than is wanted waits: it would come again at once. Not if nobody is there to take it.
        prefetching.is_over |= prefetching.shares == 0;
        prefetching.unsettled += 1;
        let mut item = Item::new(message, Position::new(0, number), None);
        item.origin = Some(origin);
        item.deliveries = u32::from(redelivered);
        let octets = item.octets();
        self.octets += octets;
        self.put(item);
        Some(octets)
    }

    /// A message that a consumer had: what is told of it, if its channel is not lost.
    pub(super) fn conclude_prefetched(&mut self, item: Item, verdict: Verdict) {
        let Some(prefetching) = &mut self.prefetching else { return };
        if let Some(origin) = item.origin {
            let fate = match verdict {
                Verdict::Done => Fate::Acknowledged,
                Verdict::Again => Fate::Returned,
                Verdict::Dead => Fate::Rejected,
                Verdict::Untried => {
                    prefetching.is_over = true;
                    return self.put(item);
                }
            };
            prefetching.settle(origin, fate);
        }
        self.free(&item);
    }

    /// Gives back what is unassigned beyond what is wanted: the newest, each before those that are newer.
    pub(in crate::broker::queue) fn trim(&mut self) {
        let Some(prefetching) = &mut self.prefetching else { return };
        if !std::mem::take(&mut prefetching.is_over) {
            return;
        }
        let beyond = prefetching.unsettled.saturating_sub(prefetching.prefetch() as usize);
        let Some(last) = beyond.min(self.ready.len()).checked_sub(1) else { return };
        let Some(first) = self.ready.keys().nth_back(last).copied() else { return };
        for (_, item) in self.ready.split_off(&first) {
            if let (Some(origin), Some(prefetching)) = (item.origin, &mut self.prefetching) {
                prefetching.settle(origin, Fate::Returned);
            }
            self.free(&item);
        }
    }

    /// What came by channels up to this one is not to be told of any more; what nobody has of it is forgotten.
    pub(in crate::broker::queue) fn lose(&mut self, channel: u64) {
        let Some(prefetching) = &mut self.prefetching else { return };
        prefetching.lost = prefetching.lost.max(Some(channel));
        let is_lost = |origin: Origin| origin.channel <= channel;
        prefetching.fates.retain(|(origin, _)| !is_lost(*origin));
        (prefetching.ended, prefetching.unsettled) = (0, 0);
        for consumer in self.consumers.values_mut() {
            for item in consumer.has.values_mut() {
                item.origin = item.origin.filter(|origin| !is_lost(*origin));
            }
            let have = waiting(consumer.has.values());
            prefetching.unsettled += have;
            prefetching.ended += if consumer.terms.prefetch == Some(0) { have } else { 0 };
        }
        let ready = std::mem::take(&mut self.ready).into_iter();
        let (lost, ready): (BTreeMap<_, _>, _) = ready.partition(|(_, item)| item.origin.is_none_or(is_lost));
        self.ready = ready;
        prefetching.unsettled += self.ready.len();
        for item in lost.values() {
            self.free(item);
        }
    }

    /// Messages that nobody has.
    #[cfg(test)]
    pub(in crate::broker::queue) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// What is to be told. Whoever gets it tells it, and [asks](Line::tell_more) for more until there is none. `None` if there is
    /// nothing to tell, or another is telling.
    pub(in crate::broker::queue) fn begin_to_tell(&mut self) -> Option<Told> {
        if self.prefetching.as_ref().is_none_or(|prefetching| prefetching.is_telling) {
            return None;
        }
        self.tell_more()
    }

    /// What is to be told by now; with `None` nobody is telling any more.
    pub(in crate::broker::queue) fn tell_more(&mut self) -> Option<Told> {
        let prefetching = self.prefetching.as_mut()?;
        prefetching.is_telling = prefetching.has_to_tell();
        prefetching.is_telling.then(|| {
            let prefetch = prefetching.prefetch();
            let before = std::mem::replace(&mut prefetching.told, prefetch);
            Told {
                prefetch: (before != prefetch).then_some(prefetch),
                fates: std::mem::take(&mut prefetching.fates),
            }
        })
    }
}
