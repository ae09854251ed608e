//! Counts by name, for a bounded number of names: the first [`MAX_NAMES`] have a row of their own, all later ones
//! share the row [`OTHER`]. Every event is in exactly one row, so that the rows always add up to the whole.

use std::collections::{BTreeMap, HashMap};

use super::distinct::Distinct;
use super::latency::Latencies;
use super::wire::{BadPart, Reader, Writer};
use crate::producers::ingest;

/// Names with a row of their own. A message of metrics names each up to six times and goes to every subscriber each
/// second; hundreds of types would be a list nobody reads.
pub(super) const MAX_NAMES: usize = 100;
/// Names of all nodes that are told apart before it is known which of them keep a row.
const MAX_MERGED: usize = 10 * MAX_NAMES;
/// Octets of the longest name.
const MAX_NAME: usize = 4 * ingest::MAX_NAME;
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

    /// Adds what another node counted, and keeps all names that have a row with either. In what order parts are added
    /// makes no difference while they have no more than [`MAX_MERGED`] names.
    pub(super) fn absorb(&mut self, part: &Breakdown) {
        self.shared |= part.shared;
        self.seen.merge(&part.seen);
        for (name, row) in &part.rows {
            let known = self.rows.len() < MAX_MERGED || self.rows.contains_key(name);
            self.shared |= !known;
            let name = if known { &**name } else { OTHER };
            self.rows.entry(name.into()).or_default().merge(row);
        }
    }

    /// Leaves a row to the [`MAX_NAMES`] names that have the most events, and has all others share one.
    pub(super) fn fold(&mut self) {
        if self.own_rows() <= MAX_NAMES {
            return;
        }
        let mut other = self.rows.remove(OTHER).unwrap_or_default();
        let mut rows: Vec<_> = self.rows.drain().collect();
        rows.sort_unstable_by(|(name, row), (other_name, other)| {
            other.events.cmp(&row.events).then_with(|| name.cmp(other_name))
        });
        rows.drain(MAX_NAMES..).for_each(|(_, row)| other.merge(&row));
        self.rows.extend(rows);
        self.rows.insert(OTHER.into(), other);
        self.shared = true;
    }

    /// The sums of all rows: events, errors, and those with a latency.
    pub(super) fn sums(&self) -> [u64; 3] {
        let rows = self.rows.values();
        rows.fold([0; 3], |[events, errors, latencies], row| {
            [events + row.events, errors + row.errors, latencies + row.latencies.count()]
        })
    }

    /// Writes all rows, in the order of their names.
    pub(super) fn encode(&self, writer: &mut Writer) {
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_unstable_by_key(|(name, _)| *name);
        writer.octet(self.shared.into());
        writer.uint(rows.len() as u64);
        let mut before = "";
        for (name, row) in rows {
            writer.name(before, name);
            writer.uint(row.events);
            writer.uint(row.errors);
            row.latencies.encode(writer);
            before = name;
        }
        if self.shared {
            self.seen.encode(writer);
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, BadPart> {
        let mut breakdown = Self { shared: reader.octet()? != 0, ..Self::default() };
        let mut before = Box::from("");
        for _ in 0..reader.at_most(MAX_NAMES as u64 + 1, "names")? {
            let name = reader.name(&before, MAX_NAME)?;
            let (events, errors) = (reader.count()?, reader.count()?);
            let row = Row { events, errors, latencies: Latencies::decode(reader)? };
            breakdown.seen.insert(&name);
            breakdown.rows.insert(name.clone(), row);
            before = name;
        }
        if breakdown.shared {
            breakdown.seen = Distinct::decode(reader)?;
        }
        Ok(breakdown)
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
        let name = if self.own_rows() < MAX_NAMES || name == OTHER {
            name
        } else {
            self.shared = true;
            OTHER
        };
        self.rows.entry(name.into()).or_default()
    }

    fn own_rows(&self) -> usize {
        self.rows.len() - usize::from(self.rows.contains_key(OTHER))
    }

    #[cfg(test)]
    pub(super) fn bins(&self) -> usize {
        self.rows.values().map(|row| row.latencies.length()).sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

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
        merged.absorb(&breakdown(numbered(0..1_000)));
        assert_eq!(merged.events()[OTHER], 900);
        assert!(merged.names() > 900);
    }

    #[test]
    fn merged_rows_still_add_up() {
        let mut merged = breakdown(numbered(0..80));
        merged.absorb(&breakdown(numbered(40..140)));
        merged.fold();
        let events = merged.events();
        assert_eq!(events.len(), MAX_NAMES + 1);
        assert_eq!(events["name50"], 2);
        assert_eq!(events.values().sum::<u64>(), 180);
        let names = merged.names();
        assert!((136..=144).contains(&names), "{names}");
    }

    #[test]
    fn what_is_written_is_read() {
        for count in [0, 1, 100, 101, 130, 1_000] {
            let known = breakdown(numbered(0..count));
            let mut writer = Writer::default();
            known.encode(&mut writer);
            let octets = writer.finish();
            let mut reader = Reader::new(&octets);
            let read = Breakdown::decode(&mut reader).unwrap();
            assert_eq!(reader.finish(), Ok(()));
            assert_eq!(
                (read.events(), read.errors(), read.names()),
                (known.events(), known.errors(), known.names())
            );
            assert_eq!(read.latencies(Latencies::summary), known.latencies(Latencies::summary));
        }
    }

    #[test]
    fn those_with_the_most_events_keep_a_row_in_any_order() {
        let parts: Vec<_> = (0..6).map(|n| breakdown(numbered(n * 20..150 - n * 10))).collect();
        let sum = |parts: &mut dyn Iterator<Item = &Breakdown>| {
            let mut sum = Breakdown::default();
            parts.for_each(|part| sum.absorb(part));
            sum.fold();
            (sum.events(), sum.errors(), sum.names())
        };
        let (events, errors, names) = sum(&mut parts.iter());
        assert_eq!(sum(&mut parts.iter().rev()), (events.clone(), errors, names));
        assert_eq!(events.values().sum::<u64>(), parts.iter().map(|part| part.sums()[0]).sum::<u64>());
        assert_eq!((events.len(), events["name99"]), (MAX_NAMES + 1, 5));
    }

    #[test]
    fn any_number_of_parts_has_a_bounded_number_of_rows() {
        let mut sum = Breakdown::default();
        for n in 0..50 {
            sum.absorb(&breakdown(numbered(n * 100..n * 100 + 100)));
        }
        assert!(sum.rows.len() <= MAX_MERGED + 1, "{}", sum.rows.len());
        sum.fold();
        assert_eq!((sum.events().len(), sum.sums()[0]), (MAX_NAMES + 1, 5_000));
        assert!((4_850..5_150).contains(&sum.names()), "{}", sum.names());
    }
}
