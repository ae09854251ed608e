//! Counts by name, for a bounded number of names: the first [`MAX_NAMES`] have a row of their own, all later ones
//! share the row [`OTHER`]. Every event is in exactly one row, so that the rows always add up to the whole.

use std::collections::{BTreeMap, HashMap};

use super::latency::Latencies;
use super::users::Distinct;

/// Names with a row of their own. A message of metrics names each up to six times and goes to every subscriber each
/// second; hundreds of types would be a list nobody reads.
pub(super) const MAX_NAMES: usize = 100;
/// The row of all names that came too late. A name spelt like this shares it.
pub(super) const OTHER: &str = "other";

/// What is counted of one name.
#[derive(Clone, Debug, Default)]
struct Row {
    events: u64,
    errors: u64,
    latencies: Latencies,
}

impl Row {
    fn record(&mut self, error: bool, latency: Option<f64>) {
        self.events += 1;
        self.errors += u64::from(error);
        if let Some(ms) = latency {
            self.latencies.record(ms);
        }
    }

    fn merge(&mut self, part: &Row) {
        self.events += part.events;
        self.errors += part.errors;
        self.latencies.merge(&part.latencies);
    }
}

/// Events, errors and latencies of each name.
#[derive(Clone, Debug, Default)]
pub(super) struct Breakdown {
    rows: HashMap<Box<str>, Row>,
    /// All names that ever missed the rows; needed only once a name had to share a row.
    seen: Distinct,
    shared: bool,
}

impl Breakdown {
    /// Counts an event of `name`.
    pub(super) fn record(&mut self, name: &str, error: bool, latency: Option<f64>) {
        // Twice looked up when new, which is rare, but never copied when known.
        match self.rows.get_mut(name) {
            Some(row) => row.record(error, latency),
            None => self.row_of_newcomer(name).record(error, latency),
        }
    }

    /// Adds what another node counted.
    pub(super) fn merge(&mut self, part: &Breakdown) {
        self.shared |= part.shared;
        self.seen.merge(&part.seen);
        for (name, row) in &part.rows {
            match self.rows.get_mut(name) {
                Some(mine) => mine.merge(row),
                None => self.row_of_newcomer(name).merge(row),
            }
        }
    }

    /// How many names there were: exact while each has its own row, an estimate (see [`Distinct`]) thereafter.
    pub(super) fn names(&self) -> u64 {
        let rows = self.rows.len() as u64;
        if self.shared { self.seen.estimate().max(rows) } else { rows }
    }

    /// Name → events.
    pub(super) fn events(&self) -> BTreeMap<String, u64> {
        self.rows_by_name(|row| Some(row.events))
    }

    /// Name → errors, of the names that have some.
    pub(super) fn errors(&self) -> BTreeMap<String, u64> {
        self.rows_by_name(|row| Some(row.errors).filter(|&errors| errors > 0))
    }

    /// Name → a view of its latencies, of the names that have some.
    pub(super) fn latencies<T>(&self, view: impl Fn(&Latencies) -> T) -> BTreeMap<String, T> {
        self.rows_by_name(|row| (row.latencies.count() > 0).then(|| view(&row.latencies)))
    }

    fn rows_by_name<T>(&self, view: impl Fn(&Row) -> Option<T>) -> BTreeMap<String, T> {
        let rows = self.rows.iter();
        rows.filter_map(|(name, row)| Some((String::from(&**name), view(row)?))).collect()
    }

    fn row_of_newcomer(&mut self, name: &str) -> &mut Row {
        self.seen.insert(name);
        let own = self.rows.len() - usize::from(self.rows.contains_key(OTHER));
        let name = if own < MAX_NAMES || name == OTHER {
            name
        } else {
            self.shared = true;
            OTHER
        };
        self.rows.entry(name.into()).or_default()
    }

    #[cfg(test)]
    pub(super) fn bins(&self) -> usize {
        self.rows.values().map(|row| row.latencies.bins()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breakdown(names: impl IntoIterator<Item = String>) -> Breakdown {
        let mut breakdown = Breakdown::default();
        for name in names {
            breakdown.record(&name, name.ends_with('7'), Some(5.0));
        }
        breakdown
    }

    fn numbered(range: std::ops::Range<usize>) -> impl Iterator<Item = String> {
        range.map(|n| format!("name{n}"))
    }

    #[test]
    fn names_beyond_the_bound_share_a_row() {
        let breakdown = breakdown(numbered(0..1_000));
        let events = breakdown.events();
        assert_eq!(events.len(), MAX_NAMES + 1);
        assert_eq!(events[OTHER], 900);
        assert_eq!(events["name99"], 1);
        assert_eq!(events.values().sum::<u64>(), 1_000);
        assert_eq!(breakdown.errors().values().sum::<u64>(), 100);
        assert_eq!(breakdown.errors()[OTHER], 90);
        assert_eq!(breakdown.latencies(Latencies::count).values().sum::<u64>(), 1_000);
        let names = breakdown.names();
        assert!((970..=1_030).contains(&names), "{names}");
    }

    #[test]
    fn a_name_spelt_other_is_a_name() {
        let mut few = breakdown(["other".to_owned(), "a".to_owned()]);
        assert_eq!((few.names(), few.events()[OTHER]), (2, 1));
        for name in numbered(0..MAX_NAMES) {
            few.record(&name, false, None);
        }
        assert_eq!(few.events()[OTHER], 2);
        assert_eq!(few.events().len(), MAX_NAMES + 1);
    }

    #[test]
    fn names_are_exact_up_to_the_bound() {
        assert_eq!(breakdown(numbered(0..MAX_NAMES)).names(), MAX_NAMES as u64);
        assert!(breakdown(numbered(0..MAX_NAMES)).errors().len() == 10);
    }

    #[test]
    fn a_part_that_had_too_many_names_makes_the_whole_an_estimate() {
        let mut merged = Breakdown::default();
        merged.merge(&breakdown(numbered(0..1_000)));
        assert_eq!(merged.events()[OTHER], 900);
        assert!(merged.names() > 900);
    }

    #[test]
    fn merged_rows_still_add_up() {
        let mut merged = breakdown(numbered(0..80));
        merged.merge(&breakdown(numbered(40..140)));
        let events = merged.events();
        assert_eq!(events.len(), MAX_NAMES + 1);
        assert_eq!(events["name50"], 2);
        assert_eq!(events.values().sum::<u64>(), 180);
        let names = merged.names();
        assert!((136..=144).contains(&names), "{names}");
    }
}
