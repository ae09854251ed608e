//! The most events that any ten seconds had, of one node and of all.
//!
//! The peak of all nodes is more than that of any one of them, and none has seen it when it passed. It is found in
//! the slices of the last minute of all nodes, which each node looks through whenever it shows or sends figures; what
//! it finds is part of what it sends, and the highest that any node ever found counts. So the peak is exact if events
//! reach another node within 50 s, and too low by what came later than that.

use jiff::Timestamp;

use super::windows::{CURRENT_MS, FINE, Scale};

/// A number of events within ten seconds, and when these ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::producers) struct Peak {
    pub(in crate::producers) events: u64,
    pub(in crate::producers) at: Option<Timestamp>,
}

impl Peak {
    /// The higher one; of equals the earlier, or, where both are of one slice of time, the one that is known better.
    pub(in crate::producers) fn best(self, other: Peak) -> Peak {
        let place = |peak: Peak| {
            let ms = peak.at.map_or(0, Timestamp::as_millisecond);
            let slice = ms.div_euclid(FINE.width as i64);
            (peak.events, -slice, ms)
        };
        if place(other) > place(self) { other } else { self }
    }
}

/// Events of all nodes in the slices of the last minute.
pub(super) struct LastMinute {
    first: u64,
    counts: [u64; (FINE.span / FINE.width) as usize],
}

impl LastMinute {
    /// No events yet; the minute ends at `moment`, in ms since 1970.
    pub(super) fn new(moment: u64) -> Self {
        Self {
            first: *FINE.window(moment, FINE.span).start(),
            counts: [0; (FINE.span / FINE.width) as usize],
        }
    }

    /// Adds the events of the slice with this number, if it is in the minute.
    pub(super) fn add(&mut self, number: u64, events: u64) {
        let place = number.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        if let Some(count) = place.and_then(|place| self.counts.get_mut(place)) {
            *count += events;
        }
    }

    /// The most that ten seconds had which lie in the minute as a whole.
    pub(super) fn peak(&self) -> Peak {
        const SLICES: usize = (CURRENT_MS / FINE.width) as usize;
        let Scale { width, .. } = FINE;
        let mut running = 0;
        let mut peak = Peak::default();
        for (place, count) in self.counts.iter().enumerate() {
            running += count;
            running -= place.checked_sub(SLICES).map_or(0, |expired| self.counts[expired]);
            if place + 1 >= SLICES && running > peak.events {
                let ms = (self.first + place as u64).saturating_mul(width);
                let at = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
                peak = Peak { events: running, at };
            }
        }
        peak
    }
}
