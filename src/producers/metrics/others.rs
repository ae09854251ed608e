//! What other nodes counted, living and dead: the newest part of each incarnation, and their sum.
//!
//! The sum is kept in two layers, so that making it anew costs no more than adding up the parts that changed lately:
//! parts that have rested for a while are added to `settled` once, the others each time that one of them changes.
//! What is not additive, a settled part that changes after all, makes all be added anew, and that part waits longer
//! the next time.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::part::{Head, Part};
use super::peak::{LastMinute, Peak};
use super::slices::Slices;
use super::totals::Totals;
use super::windows::{FINE, Recent};
use crate::producers::clock::Now;

/// Incarnations of nodes whose parts are kept, the own one included. Of more, those go whose parts were made longest
/// ago, so that all nodes that were told the same keep the same.
const MAX_PARTS: usize = 1_000;
/// Octets of all parts together, likewise.
const MAX_OCTETS: usize = 64 << 20;
/// For how long a part must rest to be settled at first, and at most.
const REST: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(24 * 60 * 60));

/// A part of another node.
#[derive(Debug)]
struct Known {
    head: Head,
    octets: Bytes,
    /// None once it is settled.
    totals: Option<Totals>,
    slices: Slices,
    /// When it came, by the steady clock, and for how long it must rest from then on.
    came: Duration,
    rest: Duration,
}

impl Known {
    /// Forgets slices that are too old for any window ending with `moment`; with the last of them it gets shorter.
    fn prune(&mut self, moment: u64) {
        if self.slices.is_empty() {
            return;
        }
        self.slices.prune(moment);
        if self.slices.is_empty()
            && let Ok(part) = Part::decode(&self.octets)
        {
            self.octets = Part { slices: Slices::default(), ..part }.encode();
        }
    }
}

/// What other nodes counted.
#[derive(Debug, Default)]
pub(in crate::producers) struct Others {
    parts: BTreeMap<u32, Known>,
    settled: Totals,
    /// A part that is in `settled` is no longer what it was.
    unsettled: bool,
    /// The sum of all, while no part changes.
    totals: Option<Totals>,
    /// The windows of all, while no part changes and the finest slice lasts: its number comes first.
    recent: Option<(u64, Recent)>,
    forgotten: u64,
}

impl Others {
    /// Whether there are none.
    pub(in crate::producers) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Parts that had to go because there were too many.
    pub(in crate::producers) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// When the one began that began last.
    pub(in crate::producers) fn latest_since(&self) -> u64 {
        self.parts.values().map(|known| known.head.since).max().unwrap_or(0)
    }

    /// Whether a part with this head is news.
    pub(in crate::producers) fn wants(&self, head: &Head) -> bool {
        self.parts.get(&head.incarnation).is_none_or(|known| known.head.version < head.version)
    }

    /// Takes a part that came `now` as `octets`.
    pub(in crate::producers) fn take(&mut self, part: Part, octets: Bytes, now: Now) {
        let Part { head, totals, slices } = part;
        let mut known = Known { head, octets, totals: Some(totals), slices, came: now.steady, rest: REST.0 };
        if let Some(before) = self.parts.get(&head.incarnation) {
            known.rest = before.rest;
            if before.totals.is_none() {
                self.unsettled = true;
                known.rest = REST.1.min(before.rest * 2);
            }
        }
        self.parts.insert(head.incarnation, known);
        self.bound();
        self.settle(now);
        (self.totals, self.recent) = (None, None);
    }

    /// Forgets the parts that began before `epoch`.
    pub(in crate::producers) fn forget_before(&mut self, epoch: u64) {
        self.parts.retain(|_, known| known.head.since >= epoch);
        (self.unsettled, self.totals, self.recent) = (true, None, None);
    }

    /// The parts as they came, but without what is too old for any window.
    pub(in crate::producers) fn octets(&self) -> impl Iterator<Item = Bytes> {
        self.parts.values().map(|known| known.octets.clone())
    }

    /// The sum of what all counted. It has all names; see [`Totals::fold`].
    pub(super) fn totals(&mut self, now: Now) -> &Totals {
        if self.totals.is_none() {
            self.settle(now);
            self.settle_anew();
        }
        let (settled, parts) = (&self.settled, &self.parts);
        self.totals.get_or_insert_with(|| {
            let mut sum = settled.clone();
            parts.values().filter_map(|known| known.totals.as_ref()).for_each(|totals| sum.absorb(totals));
            sum
        })
    }

    /// The windows of all, as of `now`.
    pub(super) fn recent(&mut self, now: Now) -> Recent {
        let (moment, wall) = (now.wall_millis(), now.wall_millis() / FINE.width);
        if let Some((_, recent)) = self.recent.as_ref().filter(|(number, _)| *number == wall) {
            return recent.clone();
        }
        let mut sum = Recent::default();
        for known in self.parts.values_mut() {
            known.prune(moment);
            let elapsed = Duration::from_millis(moment.saturating_sub(known.head.since));
            sum.merge(&Recent { elapsed, ..known.slices.recent(moment) });
        }
        self.recent = Some((wall, sum.clone()));
        sum
    }

    /// The highest peak that any of them had or found, of those that know of the same reset.
    pub(in crate::producers) fn peak(&self, epoch: u64) -> Peak {
        let heads = self.parts.values().map(|known| known.head);
        heads.filter(|head| head.epoch == epoch).fold(Peak::default(), |best, head| best.best(head.peak))
    }

    /// Adds the events of all nodes in the last minute.
    pub(super) fn add_to(&self, all: &mut LastMinute) {
        self.parts.values().for_each(|known| known.slices.add_to(all));
    }

    /// Adds parts that have rested to what is settled.
    fn settle(&mut self, now: Now) {
        let parts = self.parts.values_mut();
        for known in parts.filter(|known| now.steady.saturating_sub(known.came) >= known.rest) {
            if let Some(totals) = known.totals.take().filter(|_| !self.unsettled) {
                self.settled.absorb(&totals);
            }
        }
    }

    /// Adds all settled parts anew, if what was added is no longer so.
    fn settle_anew(&mut self) {
        if !std::mem::take(&mut self.unsettled) {
            return;
        }
        self.settled = Totals::default();
        for known in self.parts.values().filter(|known| known.totals.is_none()) {
            // It was read once already, so that it can be read again.
            if let Ok(part) = Part::decode(&known.octets) {
                self.settled.absorb(&part.totals);
            }
        }
    }

    fn bound(&mut self) {
        let mut octets: usize = self.parts.values().map(|known| known.octets.len()).sum();
        while self.parts.len() >= MAX_PARTS || octets > MAX_OCTETS {
            let oldest = self.parts.values().min_by_key(|known| (known.head.made, known.head.incarnation));
            let Some(gone) = oldest.and_then(|known| self.parts.get(&known.head.incarnation)) else {
                return;
            };
            (octets, self.unsettled) = (octets - gone.octets.len(), self.unsettled | gone.totals.is_none());
            let incarnation = gone.head.incarnation;
            self.parts.remove(&incarnation);
            self.forgotten += 1;
        }
    }
}
