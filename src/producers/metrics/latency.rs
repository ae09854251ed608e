//! Latencies as a sketch: any number of samples in bounded space, mergeable, with percentiles near the true ones.
//!
//! A percentile is within 1 % of the sample at its nearest rank (place ⌈p·n / 100⌉ of the n samples in order, so that
//! p % are no longer); count, minimum, maximum and average are exact. Where there is no sample, every figure is 0.

use serde::{Deserialize, Serialize, Serializer};
use sketches_ddsketch::{Config, DDSketch};

use super::wire::{BadPart, Reader, Writer};

/// Relative error of a percentile.
const RELATIVE_ERROR: f64 = 0.01;
/// Bins of one sketch, eight octets each. All latencies that [`countable`] lets through need 1,843, so that a sketch
/// never has to merge bins and its error holds for every percentile.
const MAX_BINS: u32 = 2_048;
/// A microsecond: shorter latencies count as this.
const SHORTEST: f64 = 1e-3;
/// Three centuries: longer latencies count as this.
const LONGEST: f64 = 1e13;

/// The latency of `ms` milliseconds as it is counted, in every sum and sketch alike. Only what no clock could have
/// measured is changed; without bounds, one absurd value would make an average infinite, or blur all percentiles.
pub(super) fn countable(ms: f64) -> f64 {
    ms.clamp(SHORTEST, LONGEST)
}

/// Percentiles and average of some latencies, in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LatencyPercentiles {
    /// Half of them were no longer.
    #[serde(serialize_with = "shown")]
    pub p50: f64,
    /// 95 % of them were no longer.
    #[serde(serialize_with = "shown")]
    pub p95: f64,
    /// 99 % of them were no longer.
    #[serde(serialize_with = "shown")]
    pub p99: f64,
    /// Their mean.
    #[serde(serialize_with = "shown")]
    pub avg: f64,
}

/// Everything shown of some latencies, in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LatencySummary {
    /// Percentiles and average.
    #[serde(flatten)]
    pub percentiles: LatencyPercentiles,
    /// The shortest.
    #[serde(serialize_with = "shown")]
    pub min: f64,
    /// The longest.
    #[serde(serialize_with = "shown")]
    pub max: f64,
    /// How many there are.
    pub sample_count: u64,
}

/// Latencies in milliseconds.
///
/// What is exact is kept beside the sketch: a sketch made anew of another's bins has lost it.
#[derive(Clone)]
pub(super) struct Latencies {
    sketch: DDSketch,
    min: f64,
    max: f64,
    sum: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { sketch: DDSketch::new(config()), min: f64::INFINITY, max: 0.0, sum: 0.0 }
    }
}

impl std::fmt::Debug for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.summary().fmt(f)
    }
}

impl Latencies {
    /// Adds a latency that is [`countable`].
    pub(super) fn record(&mut self, ms: f64) {
        self.sketch.add(ms);
        self.note(ms, ms, ms);
    }

    pub(super) fn merge(&mut self, other: &Latencies) {
        let merged = self.sketch.merge(&other.sketch);
        debug_assert!(merged.is_ok(), "all sketches have one configuration");
        self.note(other.min, other.max, other.sum);
    }

    fn note(&mut self, min: f64, max: f64, sum: f64) {
        self.min = self.min.min(min);
        self.max = self.max.max(max);
        self.sum += sum;
    }

    pub(super) fn count(&self) -> u64 {
        self.sketch.count() as u64
    }

    /// The percentile `percent`, from 1 to 100.
    pub(super) fn percentile(&self, percent: u64) -> f64 {
        let Some(last) = self.count().checked_sub(1) else {
            return 0.0;
        };
        let place = (percent * (last + 1)).div_ceil(100).saturating_sub(1);
        if place == last {
            return self.max;
        }
        // The sketch takes the sample at ⌊q · last⌋, which for half a place more is that of the place.
        let q = (place as f64 + 0.5) / last as f64;
        let estimate = self.sketch.quantile(q).ok().flatten();
        // The middle of a bin may lie beyond all that was seen.
        estimate.unwrap_or(0.0).clamp(self.min, self.max)
    }

    pub(super) fn percentiles(&self) -> LatencyPercentiles {
        LatencyPercentiles {
            p50: self.percentile(50),
            p95: self.percentile(95),
            p99: self.percentile(99),
            avg: average(self.sum, self.count()),
        }
    }

    pub(super) fn summary(&self) -> LatencySummary {
        LatencySummary {
            percentiles: self.percentiles(),
            min: if self.count() == 0 { 0.0 } else { self.min },
            max: self.max,
            sample_count: self.count(),
        }
    }

    /// Writes the bins from the first that has some to the last, a row of empty ones as 0 and how many, and what is
    /// exact.
    pub(super) fn encode(&self, writer: &mut Writer) {
        let (first, bins) = self.bins();
        writer.uint(bins.len() as u64);
        if bins.is_empty() {
            return;
        }
        writer.int(first.into());
        for bins in bins.chunk_by(|a, b| (*a == 0) == (*b == 0)) {
            if bins[0] == 0 {
                writer.uint(0);
                writer.uint(bins.len() as u64);
            } else {
                bins.iter().for_each(|&count| writer.uint(count));
            }
        }
        [self.min, self.max, self.sum].into_iter().for_each(|exact| writer.float(exact));
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, BadPart> {
        const WHAT: BadPart = BadPart::Absurd("latencies");
        let mut latencies = Self::default();
        let mut left = reader.at_most(MAX_BINS.into(), "latencies")?;
        if left == 0 {
            return Ok(latencies);
        }
        let config = config();
        let known = i64::from(config.key(SHORTEST))..=i64::from(config.key(LONGEST));
        let mut key = reader.int()?;
        while left > 0 {
            let count = reader.count()?;
            let bins = if count == 0 { reader.at_most(left, "latencies")?.max(1) } else { 1 };
            if count > 0 {
                let place = i32::try_from(key).ok().filter(|_| known.contains(&key)).ok_or(WHAT)?;
                latencies.sketch.add_with_count(config.value(place), count);
            }
            (key, left) = (key.saturating_add(bins as i64), left - bins);
        }
        let (min, max, sum) = (reader.float()?, reader.float()?, reader.float()?);
        let sound = SHORTEST <= min && min <= max && max <= LONGEST && sum >= min && latencies.count() > 0;
        latencies.note(min, max, sum);
        if sound { Ok(latencies) } else { Err(WHAT) }
    }

    /// The key of the first bin that has some, and all bins from it to the last that has some.
    fn bins(&self) -> (i32, Vec<u64>) {
        // A sketch shows its bins to nobody but serde.
        let octets = postcard::to_allocvec(&self.sketch).unwrap_or_default();
        let Ok(Opened { store: Store { mut bins, offset, .. }, .. }) = postcard::from_bytes(&octets) else {
            return (0, Vec::new());
        };
        let first = bins.iter().position(|&count| count > 0).unwrap_or(0);
        let end = bins.iter().rposition(|&count| count > 0).map_or(0, |last| last + 1);
        bins.truncate(end);
        bins.drain(..first.min(end));
        (offset + first as i32, bins)
    }

    #[cfg(test)]
    pub(super) fn length(&self) -> usize {
        self.sketch.length()
    }
}

fn config() -> Config {
    let smallest = SHORTEST / 2.0; // The sketch takes what is above this; below is zero to it.
    Config::new(RELATIVE_ERROR, MAX_BINS, smallest)
}

/// What a [`DDSketch`] says of itself to serde, field by field, as far as it is wanted.
#[derive(Deserialize)]
struct Opened {
    _config: Config,
    store: Store,
}

/// A row of bins in it.
#[derive(Deserialize)]
struct Store {
    bins: Vec<u64>,
    _count: u64,
    _min_key: i32,
    _max_key: i32,
    offset: i32,
}

/// A figure as it is shown: to a thousandth, which is finer than it is exact, and half as long.
pub(super) fn shown<S: Serializer>(figure: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    /// Beyond this a thousandth is nothing to a `f64`.
    const LARGE: f64 = 1e12;
    let rounded = if figure.abs() < LARGE { (figure * 1000.0).round() / 1000.0 } else { *figure };
    serializer.serialize_f64(rounded)
}

/// The mean of `count` values; 0 if there are none.
pub(super) fn average(sum: f64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { sum / count as f64 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn sketch(values: &[f64]) -> Latencies {
        let mut sketch = Latencies::default();
        values.iter().for_each(|&value| sketch.record(countable(value)));
        sketch
    }

    /// Checks every figure of `sketch` against `values` in order.
    fn check(sketch: &Latencies, mut values: Vec<f64>) -> Result<(), TestCaseError> {
        values.sort_by(f64::total_cmp);
        let last = values.len() - 1;
        for percent in [1, 25, 50, 90, 95, 99, 100] {
            // The least sample that `percent` of all do not exceed.
            let no_longer = |&&sample: &&f64| {
                let count = values.iter().filter(|&&value| value <= sample).count();
                count * 100 >= percent * values.len()
            };
            let exact = values.iter().find(no_longer).copied().unwrap();
            let error = (sketch.percentile(percent as u64) - exact).abs() / exact;
            prop_assert!(error <= RELATIVE_ERROR + 1e-9, "p{percent}: {exact}, error {error}");
        }
        let summary = sketch.summary();
        let bounds = summary.min..=summary.max;
        let percentiles = summary.percentiles;
        prop_assert!(bounds.contains(&percentiles.p50) && bounds.contains(&percentiles.p99));
        prop_assert_eq!(summary.sample_count, values.len() as u64);
        prop_assert_eq!(summary.min, values[0]);
        prop_assert_eq!(summary.max, values[last]);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        prop_assert!((summary.percentiles.avg - mean).abs() <= mean * 1e-9);
        prop_assert!(sketch.length() <= MAX_BINS as usize);
        Ok(())
    }

    /// From a microsecond to three centuries, all magnitudes alike.
    fn magnitudes() -> impl Strategy<Value = f64> {
        (SHORTEST.log10()..LONGEST.log10()).prop_map(|exponent| 10_f64.powf(exponent))
    }

    proptest! {
        #[test]
        fn percentiles_keep_their_error_at_any_magnitude(
            values in proptest::collection::vec(magnitudes(), 1..400),
        ) {
            check(&sketch(&values), values)?;
        }

        #[test]
        fn merged_sketches_are_as_good_as_one(
            parts in proptest::collection::vec(proptest::collection::vec(magnitudes(), 0..60), 1..8),
        ) {
            let mut merged = Latencies::default();
            for part in &parts {
                merged.merge(&sketch(part));
            }
            let all = parts.concat();
            if !all.is_empty() {
                check(&merged, all)?;
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_to_the_last_figure(
            parts in proptest::collection::vec(proptest::collection::vec(magnitudes(), 0..60), 1..4),
        ) {
            let (mut merged, mut read) = (Latencies::default(), Latencies::default());
            for part in &parts {
                let part = sketch(part);
                let mut writer = Writer::default();
                part.encode(&mut writer);
                let octets = writer.finish();
                let mut reader = Reader::new(&octets);
                let again = Latencies::decode(&mut reader).unwrap();
                prop_assert_eq!(reader.finish(), Ok(()));
                prop_assert_eq!(again.bins(), part.bins());
                merged.merge(&part);
                read.merge(&again);
            }
            prop_assert_eq!(merged.summary(), read.summary());
            for percent in 1..=100 {
                prop_assert_eq!(merged.percentile(percent), read.percentile(percent));
            }
        }
    }

    #[test]
    fn bins_are_written_in_few_octets() {
        let mut writer = Writer::default();
        let mut values: Vec<_> = (100..1_000).map(f64::from).collect();
        values.extend([SHORTEST, LONGEST]);
        sketch(&values).encode(&mut writer);
        let length = writer.finish().len();
        assert!(length < 160, "{length}");
    }

    #[test]
    fn duplicates_are_not_lost() {
        let mut values = vec![10.0; 95];
        values.extend([1_000.0; 5]);
        let percentiles = sketch(&values).percentiles();
        assert!((percentiles.p50 - 10.0).abs() <= 0.1);
        assert!((percentiles.p95 - 10.0).abs() <= 0.1);
        assert!((percentiles.p99 - 1_000.0).abs() <= 10.0);
        assert_eq!(percentiles.avg, 59.5);
    }

    #[test]
    fn few_samples_have_sensible_percentiles() {
        let two = sketch(&[1.0, 100.0]).percentiles();
        assert!((two.p50 - 1.0).abs() < 0.0101 && two.p95 == 100.0 && two.p99 == 100.0);
        let one = sketch(&[7.0]).percentiles();
        assert_eq!((one.p50, one.p95, one.p99, one.avg), (7.0, 7.0, 7.0, 7.0));
    }

    #[test]
    fn nothing_gives_zeros() {
        assert_eq!(sketch(&[]).summary(), LatencySummary::default());
    }

    #[test]
    fn absurd_values_blur_nothing() {
        let mut values = vec![50.0; 98];
        values.extend([f64::MAX, f64::MIN_POSITIVE]);
        let summary = sketch(&values).summary();
        assert!((summary.percentiles.p95 - 50.0).abs() <= 0.5);
        assert_eq!((summary.min, summary.max), (SHORTEST, LONGEST));
        assert!(summary.percentiles.avg.is_finite());
        let extremes = sketch(&[f64::MAX, f64::MIN_POSITIVE]);
        assert!(extremes.length() < MAX_BINS as usize, "{}", extremes.length());
    }
}
