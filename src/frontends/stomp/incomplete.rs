//! The memory of frames that have begun and not ended, and of transactions, of all sessions of the node together.
//!
//! Owns the count and its bound. One session's frame is bounded by the limits of frames; without a bound for all of them,
//! many sessions with the largest frame each, and none of them ever complete, would take the machine's memory. When a frame
//! would grow beyond the bound, the session that it is of is refused: it, and not whichever holds most, since it is at hand,
//! on its own thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::refusal::Refusal;
use crate::telemetry::Metrics;

/// What is not counted of a frame: no more than an idle connection takes anyway. So a small frame that comes in two pieces
/// passes however much others hold.
const SMALL: usize = 1024;

/// Counts, and keeps the count below a bound.
#[derive(Debug)]
pub struct IncompleteFrames {
    held: AtomicUsize,
    most: usize,
    metrics: Arc<Metrics>,
}

impl IncompleteFrames {
    /// At most so many octets.
    pub fn at_most(most: usize, metrics: Arc<Metrics>) -> Arc<IncompleteFrames> {
        Arc::new(IncompleteFrames { held: AtomicUsize::new(0), most, metrics })
    }

    /// The share of one session, none yet.
    pub(super) fn share(this: &Arc<IncompleteFrames>) -> Share {
        Share { of: this.clone(), octets: 0 }
    }

    /// Says whether there is room for so much more, and if so takes it.
    fn grow(&self, octets: usize) -> bool {
        let room = |held: usize| held.checked_add(octets).filter(|held| *held <= self.most);
        let grown = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok();
        if grown {
            self.metrics.incomplete_frames.inc_by(octets as i64);
        }
        grown
    }

    fn shrink(&self, octets: usize) {
        self.held.fetch_sub(octets, Ordering::Relaxed);
        self.metrics.incomplete_frames.dec_by(octets as i64);
    }
}

/// One session's part of the count, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    of: Arc<IncompleteFrames>,
    octets: usize,
}

impl Share {
    /// Says how much it is now.
    ///
    /// # Errors
    /// There is no room for that; then it is none at all.
    pub(super) fn set(&mut self, octets: usize) -> Result<(), TooMuch> {
        let (now, before) = (if octets > SMALL { octets } else { 0 }, self.octets);
        if now > before && !self.of.grow(now - before) {
            self.of.shrink(std::mem::take(&mut self.octets));
            return Err(TooMuch { most: self.of.most });
        }
        if now < before {
            self.of.shrink(before - now);
        }
        self.octets = now;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.octets > 0 {
            self.of.shrink(self.octets);
        }
    }
}

/// All incomplete frames together would take too much.
#[derive(Debug)]
pub(super) struct TooMuch {
    most: usize,
}

impl From<TooMuch> for Refusal {
    fn from(TooMuch { most }: TooMuch) -> Refusal {
        Refusal::new(
            "incomplete_frames",
            "out of memory for frames",
            format!(
                "Frames and transactions of all clients that have begun and not ended may take {most} octets together, and with this one \
                 they would take more. Reconnect, and send it again later, or in smaller messages."
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shares_are_counted_together_and_given_back() {
        let all = IncompleteFrames::at_most(10_000, Arc::new(Metrics::new()));
        let held = || all.held.load(Ordering::Relaxed);
        let (mut one, mut other) = (IncompleteFrames::share(&all), IncompleteFrames::share(&all));
        one.set(6_000).unwrap();
        other.set(SMALL).unwrap();
        assert_eq!(held(), 6_000, "small ones are not counted");
        other.set(4_000).unwrap();
        assert_eq!(held(), 10_000);
        assert!(one.set(6_001).is_err());
        assert_eq!(held(), 4_000, "who is refused holds nothing");
        one.set(5_000).unwrap();
        one.set(2_000).unwrap();
        other.set(0).unwrap();
        assert_eq!(held(), 2_000);
        drop((one, other));
        assert_eq!((held(), all.metrics.incomplete_frames.get()), (0, 0));
    }
}
