//! What a run found, for people and for scripts.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::ledger::Faults;
use super::process::Usage;

/// Figures by name, in the order in which they are shown. Names end with their unit.
#[derive(Debug, Default)]
pub(super) struct Report {
    figures: Vec<(&'static str, Value)>,
    /// What a reader must know to judge the figures.
    notes: Vec<String>,
}

impl Report {
    /// Adds a figure.
    pub(super) fn add(&mut self, name: &'static str, value: impl Into<Value>) {
        self.figures.push((name, value.into()));
    }

    /// Adds a figure that is not whole, to four digits.
    pub(super) fn add_rounded(&mut self, name: &'static str, value: f64) {
        let digits = 3.0 - value.abs().max(f64::MIN_POSITIVE).log10().floor();
        let scale = 10f64.powi(digits.clamp(0.0, 9.0) as i32);
        self.add(name, (value * scale).round() / scale);
    }

    /// Adds the percentiles of microseconds as milliseconds, under names for p50, p90, p99 and the largest.
    pub(super) fn add_percentiles(&mut self, names: [&'static str; 4], of: &Histogram<u64>) {
        if of.is_empty() {
            return;
        }
        for (name, at) in names.into_iter().zip([50.0, 90.0, 99.0, 100.0]) {
            self.add_rounded(name, of.value_at_percentile(at) as f64 / 1000.0);
        }
    }

    /// Adds what went wrong.
    pub(super) fn add_faults(&mut self, faults: Faults) {
        self.add("lost", faults.lost);
        self.add("repeated", faults.repeated);
        self.add("out_of_order", faults.out_of_order);
        self.add("stray", faults.stray);
    }

    /// Adds what server and client used while `units` of work were done, and how each compares.
    pub(super) fn add_cost(&mut self, cost: &Cost, units: u64, per_unit: [&'static str; 2]) {
        let [rate, each] = per_unit;
        let client = cost.client.as_secs_f64();
        if let Some((before, after)) = cost.server {
            let server = after.cpu.saturating_sub(before.cpu).as_secs_f64();
            self.add_rounded("server_cpu_s", server);
            if server > 0.0 && units > 0 {
                self.add_rounded(rate, units as f64 / server);
                self.add_rounded(each, server * 1e6 / units as f64);
                self.add_rounded("client_cpu_to_server_cpu", client / server);
            }
            self.add("server_memory_before_kib", before.resident);
            self.add("server_memory_after_kib", after.resident);
        }
        self.add_rounded("client_cpu_s", client);
        if let Some(busy) = cost.busy {
            self.add_rounded("client_busy", busy);
            if busy > BUSY {
                self.note(format!(
                    "this client was the limit: its thread ran, or waited for a processor, {:.0} % of the time",
                    busy * 100.0
                ));
            }
        }
    }

    /// Adds something to know.
    pub(super) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// One line of JSON.
    pub(super) fn json(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        format!("{text}\n")
    }
}

/// A thread that runs more than this share of the time has no time to spare.
const BUSY: f64 = 0.9;

/// What was used meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// The server before and after, if its process is known.
    pub(super) server: Option<(Usage, Usage)>,
    /// This process's time on the processors.
    pub(super) client: Duration,
    /// The share of the time that the reading thread ran or waited for a processor.
    pub(super) busy: Option<f64>,
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let notes = Value::from(self.notes.clone());
        let figures = self.figures.iter().map(|(name, value)| (*name, value));
        serializer.collect_map(figures.chain([("notes", &notes)]))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.figures.iter().map(|(name, _)| name.len());
        let width = names.max().unwrap_or_default() + 2;
        for (name, value) in &self.figures {
            let name = name.replace('_', " ");
            writeln!(f, "{name:width$}{}", readable(value))?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

/// Numbers with their thousands apart, text without quotes.
fn readable(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => {
            let text = number.to_string();
            let (whole, part) = match text.split_once('.') {
                Some((whole, "0")) => (whole, None),
                Some((whole, part)) => (whole, Some(part)),
                None => (text.as_str(), None),
            };
            let mut shown = String::new();
            for (at, digit) in whole.char_indices() {
                if at > 0 && (whole.len() - at).is_multiple_of(3) && !shown.ends_with('-') {
                    shown.push(',');
                }
                shown.push(digit);
            }
            part.map_or(shown.clone(), |part| format!("{shown}.{part}"))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.add("mode", "fanout");
        report.add("delivered", 1_234_567);
        report.add_rounded("rate_per_s", 1_234_567.891);
        report.add_rounded("each_us", 0.123_456);
        report.note("so be it".to_owned());
        report
    }

    #[test]
    fn people_get_a_table() {
        assert_eq!(
            report().to_string(),
            "mode        fanout\ndelivered   1,234,567\nrate per s  1,234,568\neach us     0.1235\nnote: so be it\n"
        );
    }

    #[test]
    fn scripts_get_one_line_in_the_same_order() {
        assert_eq!(
            report().json(),
            "{\"mode\":\"fanout\",\"delivered\":1234567,\"rate_per_s\":1234568.0,\"each_us\":0.1235,\
             \"notes\":[\"so be it\"]}\n"
        );
    }

    #[test]
    fn a_client_without_time_to_spare_is_named() {
        let cost = |busy| Cost { server: None, client: Duration::from_secs(1), busy: Some(busy) };
        let notes = |busy| {
            let mut report = Report::default();
            report.add_cost(&cost(busy), 1, ["a", "b"]);
            report.notes
        };
        assert!(notes(0.5).is_empty());
        assert!(notes(0.95)[0].contains("this client was the limit"));
    }
}
