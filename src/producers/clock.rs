//! The two readings of time that producers work by, and how a moment is written in JSON.
//!
//! Everything here takes its moment as an argument, so that a test can run on a clock of its own making.

use std::time::{Duration, Instant};

use jiff::Timestamp;

/// One moment on both clocks.
///
/// Windows and rates of one node go by `steady`, which no correction of the machine's clock can move; `wall` is shown,
/// and brings the slices of several nodes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Time since the [`Clock`] was started. Never runs backwards.
    pub steady: Duration,
    /// The time of day, in UTC.
    pub wall: Timestamp,
}

impl Now {
    /// The steady time in whole milliseconds.
    pub fn millis(self) -> u64 {
        u64::try_from(self.steady.as_millis()).unwrap_or(u64::MAX)
    }

    /// The time of day in whole milliseconds since 1970; 0 before that.
    pub fn wall_millis(self) -> u64 {
        u64::try_from(self.wall.as_millisecond()).unwrap_or(0)
    }

    /// How long ago `earlier` was; zero if it was not.
    pub fn since(self, earlier: Now) -> Duration {
        self.steady.saturating_sub(earlier.steady)
    }
}

/// The machine's own clocks. One is started for the process and read wherever a [`Now`] is needed.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts the steady time at zero.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Reads both clocks.
    pub fn now(&self) -> Now {
        Now { steady: self.origin.elapsed(), wall: Timestamp::now() }
    }
}

/// ISO 8601 in UTC with milliseconds, always of the same length: `2026-01-31T12:00:00.250Z`.
pub fn iso(moment: Timestamp) -> String {
    format!("{moment:.3}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn moments_are_written_with_milliseconds() {
        let moment: Timestamp = "2026-01-31T12:00:00.250999Z".parse().unwrap();
        assert_eq!(iso(moment), "2026-01-31T12:00:00.250Z");
        let whole: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        assert_eq!(iso(whole), "2026-01-31T12:00:00.000Z");
    }

    #[test]
    fn steady_time_never_runs_backwards() {
        let clock = Clock::start();
        let (first, second) = (clock.now(), clock.now());
        assert!(second.steady >= first.steady);
        assert_eq!(first.since(second), Duration::ZERO);
    }
}
