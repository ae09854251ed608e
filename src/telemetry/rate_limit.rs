//! A limiter for warnings, which one misbehaving client could otherwise write a thousand times a second.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How long the interval of this thread's warnings is.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// Lets through at most so many warnings of each kind in an interval, and counts the others. Kinds must be few: they
/// are never forgotten.
#[derive(Debug)]
pub struct RateLimit<K> {
    most: u32,
    interval: Duration,
    kinds: HashMap<K, Window>,
}

/// The interval of one kind that is under way.
#[derive(Debug)]
struct Window {
    start: Instant,
    passed: u32,
    suppressed: u64,
}

impl<K: Eq + Hash + Copy> RateLimit<K> {
    /// At most `most` of each kind in an `interval`, which starts with the first one.
    pub fn new(most: u32, interval: Duration) -> RateLimit<K> {
        RateLimit { most, interval, kinds: HashMap::new() }
    }

    /// Whether a warning of this kind may be written now. `Some(n)`: yes, and `n` were suppressed since the last one
    /// written; the line should say so where `n` is not 0. `None`: no, and it is counted.
    pub fn permit(&mut self, kind: K, now: Instant) -> Option<u64> {
        let window = self.kinds.entry(kind).or_insert(Window { start: now, passed: 0, suppressed: 0 });
        if now.saturating_duration_since(window.start) >= self.interval {
            window.start = now;
            window.passed = 0;
        }
        if window.passed >= self.most {
            window.suppressed += 1;
            return None;
        }
        window.passed += 1;
        Some(std::mem::take(&mut window.suppressed))
    }

    /// The counts of kinds whose interval is over and whose suppressed warnings no line has told of yet, for a timer to
    /// write; they are then told.
    pub fn overdue(&mut self, now: Instant) -> Vec<(K, u64)> {
        let interval = self.interval;
        let over = |window: &Window| {
            window.suppressed > 0 && now.saturating_duration_since(window.start) >= interval
        };
        let windows = self.kinds.iter_mut().filter(|(_, window)| over(window));
        windows.map(|(kind, window)| (*kind, std::mem::take(&mut window.suppressed))).collect()
    }
}

thread_local! {
    /// Five of a kind in ten seconds, by each worker.
    static WARNINGS: RefCell<RateLimit<&'static str>> = RefCell::new(RateLimit::new(5, INTERVAL));
}

/// [`RateLimit::permit`] with a limit that this thread's warnings share: five of a kind in ten seconds. While a thread
/// ends, nothing is limited.
pub fn permit_warning(kind: &'static str) -> Option<u64> {
    WARNINGS.try_with(|warnings| warnings.borrow_mut().permit(kind, now())).unwrap_or(Some(0))
}

/// [`RateLimit::overdue`] of this thread's warnings.
pub fn overdue_warnings() -> Vec<(&'static str, u64)> {
    WARNINGS.try_with(|warnings| warnings.borrow_mut().overdue(now())).unwrap_or_default()
}

/// By tokio's clock, which tests can move.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn so_many_of_a_kind_pass_and_the_next_one_tells_of_the_others() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut limit = RateLimit::new(2, Duration::from_secs(10));
        assert_eq!([(); 4].map(|()| limit.permit("a", at(0))), [Some(0), Some(0), None, None]);
        assert_eq!(limit.permit("b", at(1)), Some(0), "kinds are apart");
        assert_eq!(limit.permit("a", at(9)), None);
        assert_eq!(limit.permit("a", at(10)), Some(3));
        assert_eq!(limit.permit("a", at(11)), Some(0));
        assert_eq!(limit.permit("a", at(19)), None, "the interval starts anew with the one that passed");
    }

    #[test]
    fn what_was_suppressed_is_told_once_when_its_interval_is_over() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut limit = RateLimit::new(1, Duration::from_secs(10));
        for kind in ["a", "b"] {
            limit.permit(kind, at(0));
        }
        limit.permit("a", at(5));
        assert_eq!(limit.overdue(at(9)), []);
        assert_eq!(limit.overdue(at(10)), [("a", 1)]);
        assert_eq!(limit.overdue(at(11)), []);
        assert_eq!(limit.permit("a", at(12)), Some(0));
    }
}
