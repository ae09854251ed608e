//! What happened lately: counts in rings of slices of time, read as windows.
//!
//! A window ends now and never holds anything older than its name says; it may miss the oldest part of it, up to one
//! slice: 0.1 s of the last ten seconds and of the last minute, 1 s of the last 5 and 15 minutes (5 s for the latency
//! percentiles), 10 s of the last hour, 1 min of the last 24 hours. What counts is when an event came in.
//!
//! All times here are milliseconds since 1970 by a steady clock, set by the time of day when it was started: slices
//! begin at the same moments on every node, and so can be added to those of others ([`Slices`]).

use std::iter::Sum;
use std::ops::{AddAssign, RangeInclusive};
use std::time::Duration;

use jiff::Timestamp;

use super::latency::Latencies;
use super::peak::{LastMinute, Peak};
use super::slices::{Row, Slices};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// What "current" is the mean of.
pub(super) const CURRENT: Duration = Duration::from_secs(10);
pub(super) const CURRENT_MS: u64 = 10 * SECOND;

/// How finely, and for how long, time is remembered: slices of `width` ms, `span` ms of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) width: u64,
    pub(super) span: u64,
}

/// The last minute, half of it, and the last ten seconds.
pub(super) const FINE: Scale = Scale { width: SECOND / 10, span: MINUTE };
/// The last 5 and 15 minutes.
pub(super) const QUARTER: Scale = Scale { width: SECOND, span: 15 * MINUTE };
/// The last hour.
pub(super) const HOURLY: Scale = Scale { width: 10 * SECOND, span: HOUR };
/// The last day.
pub(super) const DAILY: Scale = Scale { width: MINUTE, span: 24 * HOUR };
/// The latencies of the last 5 minutes.
pub(super) const SKETCHED: Scale = Scale { width: 5 * SECOND, span: 5 * MINUTE };

impl Scale {
    /// The numbers of the slices of the window of `span` ms that ends with `moment`.
    pub(super) fn window(self, moment: u64, span: u64) -> RangeInclusive<u64> {
        let last = moment / self.width;
        (last + 1).saturating_sub(span / self.width)..=last
    }
}

/// The events of some span.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// All events.
    pub events: u64,
    /// Those of severity ERROR or CRITICAL.
    pub errors: u64,
    /// Those with a latency.
    pub latencies: u64,
    /// The sum of these latencies in ms.
    pub latency_sum: f64,
}

impl Tally {
    fn record(&mut self, error: bool, latency: Option<f64>) {
        self.events += 1;
        self.errors += u64::from(error);
        if let Some(ms) = latency {
            self.latencies += 1;
            self.latency_sum += ms;
        }
    }
}

impl AddAssign<&Tally> for Tally {
    fn add_assign(&mut self, other: &Tally) {
        self.events += other.events;
        self.errors += other.errors;
        self.latencies += other.latencies;
        self.latency_sum += other.latency_sum;
    }
}

impl<'a> Sum<&'a Tally> for Tally {
    fn sum<I: Iterator<Item = &'a Tally>>(tallies: I) -> Self {
        tallies.fold(Tally::default(), |mut sum, tally| {
            sum += tally;
            sum
        })
    }
}

/// The windows as of one moment: a node's part of them, mergeable with the parts of others.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// Since the start or the last reset.
    pub elapsed: Duration,
    /// Events of the last ten seconds.
    pub last_10_seconds: u64,
    /// Events of the last half minute.
    pub last_30_seconds: u64,
    /// The last minute.
    pub last_1_minute: Tally,
    /// The last five minutes.
    pub last_5_minutes: Tally,
    /// The last quarter of an hour.
    pub last_15_minutes: Tally,
    /// The last hour.
    pub last_1_hour: Tally,
    /// The last day.
    pub last_24_hours: Tally,
    /// The most events that any ten seconds had. Of merged parts, the highest of any one node; what all had together
    /// is found elsewhere.
    pub peak: u64,
    /// When the ten seconds of the peak ended.
    pub peak_at: Option<Timestamp>,
    /// The latencies of the last five minutes.
    pub(super) latencies: Latencies,
}

impl Recent {
    /// Adds the windows of another node, taken at about the same moment.
    pub fn merge(&mut self, part: &Recent) {
        self.elapsed = self.elapsed.max(part.elapsed);
        self.last_10_seconds += part.last_10_seconds;
        self.last_30_seconds += part.last_30_seconds;
        self.last_1_minute += &part.last_1_minute;
        self.last_5_minutes += &part.last_5_minutes;
        self.last_15_minutes += &part.last_15_minutes;
        self.last_1_hour += &part.last_1_hour;
        self.last_24_hours += &part.last_24_hours;
        self.note_peak(part.known_peak());
        self.latencies.merge(&part.latencies);
    }

    /// The windows that end with `moment`, of slices which `fine`, `quarter`, `hourly`, `daily` and `sketched` give by
    /// the length of a window. There is neither a start nor a peak to them.
    pub(super) fn of_slices<'a, T, L>(
        fine: impl Fn(u64) -> T,
        quarter: impl Fn(u64) -> T,
        hourly: impl Fn(u64) -> T,
        daily: impl Fn(u64) -> T,
        sketched: L,
    ) -> Self
    where
        T: Iterator<Item = &'a Tally>,
        L: Iterator<Item = &'a Latencies>,
    {
        let mut latencies = Latencies::default();
        sketched.for_each(|slice| latencies.merge(slice));
        Self {
            last_10_seconds: fine(CURRENT_MS).sum::<Tally>().events,
            last_30_seconds: fine(MINUTE / 2).sum::<Tally>().events,
            last_1_minute: fine(MINUTE).sum(),
            last_5_minutes: quarter(5 * MINUTE).sum(),
            last_15_minutes: quarter(15 * MINUTE).sum(),
            last_1_hour: hourly(HOUR).sum(),
            last_24_hours: daily(24 * HOUR).sum(),
            latencies,
            ..Self::default()
        }
    }

    /// What is known here of the peak.
    pub(super) fn known_peak(&self) -> Peak {
        Peak { events: self.peak, at: self.peak_at }
    }

    /// Takes account of a peak that somebody found.
    pub(super) fn note_peak(&mut self, peak: Peak) {
        let best = self.known_peak().best(peak);
        (self.peak, self.peak_at) = (best.events, best.at);
    }
}

/// A ring of slices. A slice has a number, its time divided by its width.
#[derive(Debug)]
struct Ring<T> {
    scale: Scale,
    newest: u64,
    slices: Box<[T]>,
}

impl<T: Default> Ring<T> {
    fn new(scale: Scale) -> Self {
        Self { scale, newest: 0, slices: (0..scale.span / scale.width).map(|_| T::default()).collect() }
    }

    /// The slice of `moment`, after handing on those that it pushes out.
    fn slice(&mut self, moment: u64, mut expire: impl FnMut(T)) -> &mut T {
        let number = (moment / self.scale.width).max(self.newest);
        let passed = (number - self.newest).min(self.slices.len() as u64);
        for passing in number - passed + 1..=number {
            expire(std::mem::take(self.at(passing)));
        }
        self.newest = number;
        self.at(number)
    }

    /// The slices of the window that ends with `moment`, up to `span` ms of them.
    fn window(&self, moment: u64, span: u64) -> impl Iterator<Item = &T> {
        self.numbered(moment, span).map(|(_, slice)| slice)
    }

    /// The same, each with its number.
    fn numbered(&self, moment: u64, span: u64) -> impl Iterator<Item = (u64, &T)> {
        let window = self.scale.window(moment.max(self.newest * self.scale.width), span);
        (*window.start()..=self.newest).map(|number| (number, &self.slices[self.place(number)]))
    }

    /// The slices up to `moment` in which `counts` says there is something, numbered by a clock that is ahead by `ahead`
    /// ms.
    fn row(&self, moment: u64, ahead: i64, counts: impl Fn(&T) -> u64) -> Row<T>
    where
        T: Clone,
    {
        let slices = self.numbered(moment, self.scale.span).filter(|(_, slice)| counts(slice) > 0);
        slices.map(|(number, slice)| (shifted(number, ahead, self.scale), slice.clone())).collect()
    }

    fn at(&mut self, number: u64) -> &mut T {
        &mut self.slices[self.place(number)]
    }

    fn place(&self, number: u64) -> usize {
        (number % self.slices.len() as u64) as usize
    }
}

/// The number that the slice `number` has, to within half a slice, on a clock that is ahead by `ahead` ms.
fn shifted(number: u64, ahead: i64, scale: Scale) -> u64 {
    let width = scale.width as i64;
    number.saturating_add_signed(ahead.saturating_add(width / 2).div_euclid(width))
}

/// All that is kept of late events.
#[derive(Debug)]
pub(super) struct Windows {
    minute: Ring<Tally>,
    quarter: Ring<Tally>,
    hour: Ring<Tally>,
    day: Ring<Tally>,
    latencies: Ring<Latencies>,
    current: Ring<u64>,
    /// The sum of `current` as of the last event.
    running: u64,
    peak: u64,
    peak_at: Option<Timestamp>,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            minute: Ring::new(FINE),
            quarter: Ring::new(QUARTER),
            hour: Ring::new(HOURLY),
            day: Ring::new(DAILY),
            latencies: Ring::new(SKETCHED),
            current: Ring::new(Scale { span: CURRENT_MS, ..FINE }),
            running: 0,
            peak: 0,
            peak_at: None,
        }
    }
}

impl Windows {
    /// Counts an event that came in at `moment`, which was `wall` by the time of day.
    pub(super) fn record(&mut self, moment: u64, wall: Timestamp, error: bool, latency: Option<f64>) {
        let rings = [&mut self.minute, &mut self.quarter, &mut self.hour, &mut self.day];
        for ring in rings {
            ring.slice(moment, drop).record(error, latency);
        }
        if let Some(ms) = latency {
            self.latencies.slice(moment, drop).record(ms);
        }
        let running = &mut self.running;
        *self.current.slice(moment, |expired| *running -= expired) += 1;
        *running += 1;
        // The sum only ever rises here, so its highest value is seen here.
        if self.running > self.peak {
            (self.peak, self.peak_at) = (self.running, Some(wall));
        }
    }

    /// The windows that end with `moment`.
    pub(super) fn recent(&self, moment: u64, elapsed: Duration) -> Recent {
        let windows = Recent::of_slices(
            |span| self.minute.window(moment, span),
            |span| self.quarter.window(moment, span),
            |span| self.hour.window(moment, span),
            |span| self.day.window(moment, span),
            self.latencies.window(moment, SKETCHED.span),
        );
        Recent { elapsed, peak: self.peak, peak_at: self.peak_at, ..windows }
    }

    /// What there is to send to other nodes at `moment`, numbered by the time of day, which is `ahead` ms ahead of it.
    pub(super) fn slices(&self, moment: u64, ahead: i64) -> Slices {
        let tallied = |ring: &Ring<Tally>| ring.row(moment, ahead, |tally| tally.events);
        Slices {
            minute: tallied(&self.minute),
            quarter: tallied(&self.quarter),
            hour: tallied(&self.hour),
            day: tallied(&self.day),
            latencies: self.latencies.row(moment, ahead, Latencies::count),
        }
    }

    /// The most events that any ten seconds had, on this node alone.
    pub(super) fn peak(&self) -> Peak {
        Peak { events: self.peak, at: self.peak_at }
    }

    /// Adds the events of the last minute to those of others, numbered likewise.
    pub(super) fn add_to(&self, all: &mut LastMinute, moment: u64, ahead: i64) {
        for (number, tally) in self.minute.numbered(moment, FINE.span) {
            all.add(shifted(number, ahead, FINE), tally.events);
        }
    }

    #[cfg(test)]
    pub(super) fn bins(&self) -> usize {
        self.latencies.slices.iter().map(Latencies::length).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events(windows: &Windows, moment: u64) -> [u64; 7] {
        let recent = windows.recent(moment, Duration::ZERO);
        [
            recent.last_10_seconds,
            recent.last_30_seconds,
            recent.last_1_minute.events,
            recent.last_5_minutes.events,
            recent.last_15_minutes.events,
            recent.last_1_hour.events,
            recent.last_24_hours.events,
        ]
    }

    const SPANS: [u64; 7] = [CURRENT_MS, MINUTE / 2, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 24 * HOUR];
    const SLICES: [u64; 7] = [100, 100, 100, SECOND, SECOND, 10 * SECOND, MINUTE];

    fn record(windows: &mut Windows, moment: u64) {
        windows.record(moment, Timestamp::UNIX_EPOCH, false, Some(1.0));
    }

    #[test]
    fn an_event_at_the_edge_of_a_slice_leaves_just_when_its_window_has_passed() {
        for start in [0, 7 * MINUTE, 30 * HOUR] {
            let mut windows = Windows::default();
            record(&mut windows, start);
            for (place, span) in SPANS.into_iter().enumerate() {
                assert_eq!(events(&windows, start + span - 1)[place], 1, "{span}");
                assert_eq!(events(&windows, start + span)[place], 0, "{span}");
            }
        }
    }

    #[test]
    fn reading_changes_nothing() {
        let mut windows = Windows::default();
        record(&mut windows, 1_000);
        assert_eq!(events(&windows, 48 * HOUR), [0; 7]);
        assert_eq!(events(&windows, 2_000), [1; 7]);
    }

    #[test]
    fn late_arrivals_are_not_lost() {
        let mut windows = Windows::default();
        record(&mut windows, 70 * SECOND);
        record(&mut windows, 5 * SECOND);
        assert_eq!(events(&windows, 70 * SECOND), [2; 7]);
        assert_eq!(events(&windows, 0), [2; 7]);
    }

    #[test]
    fn the_latencies_of_five_minutes_are_merged() {
        let mut windows = Windows::default();
        for second in 0..600 {
            let latency = if second < 300 { 10.0 } else { 1_000.0 };
            windows.record(second * SECOND, Timestamp::UNIX_EPOCH, false, Some(latency));
        }
        let recent = windows.recent(600 * SECOND - 1, Duration::ZERO);
        assert_eq!(recent.latencies.count(), 300);
        assert!(recent.latencies.percentile(1) > 900.0);
        let later = windows.recent(900 * SECOND, Duration::ZERO);
        assert_eq!(later.latencies.count(), 0);
    }

    #[test]
    fn the_peak_is_the_best_ten_seconds_and_stays() {
        let mut windows = Windows::default();
        let wall = |second| Timestamp::from_second(second as i64).unwrap_or_default();
        for second in 0..60_u64 {
            let count = if (20..30).contains(&second) { 50 } else { 5 };
            for _ in 0..count {
                windows.record(second * SECOND, wall(second), false, None);
            }
        }
        let recent = windows.recent(59 * SECOND, Duration::ZERO);
        assert_eq!((recent.peak, recent.peak_at), (500, Some(wall(29))));
        assert_eq!(recent.last_10_seconds, 50);
        assert_eq!(windows.recent(48 * HOUR, Duration::ZERO).peak, 500);
    }

    proptest! {
        #[test]
        fn a_window_holds_all_but_at_most_its_oldest_slice(
            steps in proptest::collection::vec(prop_oneof![
                4 => 0..300_u64, 2 => 0..20_000_u64, 1 => 0..4_000_000_u64,
            ], 1..300),
            rest in 0..400_000_u64,
        ) {
            let mut windows = Windows::default();
            let mut moments = Vec::new();
            let mut moment = 0;
            for step in steps {
                moment += step;
                moments.push(moment);
                record(&mut windows, moment);
            }
            let now = moment + rest;
            let found = events(&windows, now);
            for place in 0..SPANS.len() {
                let within = |span: u64| moments.iter().filter(|&&at| at + span > now).count() as u64;
                prop_assert!(found[place] <= within(SPANS[place]), "{}", SPANS[place]);
                prop_assert!(found[place] >= within(SPANS[place] - SLICES[place]), "{}", SPANS[place]);
            }
            prop_assert!(found.is_sorted(), "{found:?}");
        }
    }
}
