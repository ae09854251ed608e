//! Stamps: which of two values is the newer, whichever node they came by.
//!
//! Owns hybrid logical time. A stamp has the milliseconds of its node's clock above a counter, and two rules move the
//! clock that gives them out: each stamp is greater than the one before, and greater than every stamp that was seen from
//! elsewhere. So whoever answers to a value has the greater stamp, however wrong the machines' clocks are.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// When a value came to be. Greater is newer; of the same time the greater node's is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp {
    /// Milliseconds since 1970 above 16 bits of counter.
    pub time: u64,
    /// The incarnation of the node that gave it out. One node never gives out a time twice.
    pub node: u32,
}

/// The text is no stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a stamp: it is 16 and 8 hexadecimal digits in small letters, with '-' between them")]
pub struct InvalidStamp;

const TIME_DIGITS: usize = 16;
const NODE_DIGITS: usize = 8;

impl fmt::Display for Stamp {
    /// Always as long, so that texts sort as stamps do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:08x}", self.time, self.node)
    }
}

impl FromStr for Stamp {
    type Err = InvalidStamp;

    /// Reads what [`Display`](fmt::Display) wrote, and nothing else.
    fn from_str(text: &str) -> Result<Stamp, InvalidStamp> {
        let is_digit = |octet: u8| matches!(octet, b'0'..=b'9' | b'a'..=b'f');
        let (time, node) = text.split_once('-').ok_or(InvalidStamp)?;
        if time.len() != TIME_DIGITS
            || node.len() != NODE_DIGITS
            || !(time.bytes().chain(node.bytes())).all(is_digit)
        {
            return Err(InvalidStamp);
        }
        let time = u64::from_str_radix(time, 16).map_err(|_| InvalidStamp)?;
        let node = u32::from_str_radix(node, 16).map_err(|_| InvalidStamp)?;
        Ok(Stamp { time, node })
    }
}

/// How far ahead of this machine's clock a stamp from elsewhere may be. One node with a wrong clock, or one that lies,
/// would else take all others with it, and what it stamped would stay the newest for as long as it is ahead.
const MOST_AHEAD: u64 = 60 * 60 * 1000;

/// Gives out a node's stamps.
#[derive(Debug)]
pub struct StampClock {
    node: u32,
    /// The time of the greatest stamp given out or seen.
    last: AtomicU64,
}

impl StampClock {
    /// The clock of the node of this incarnation.
    pub fn new(node: u32) -> StampClock {
        StampClock { node, last: AtomicU64::new(0) }
    }

    /// A stamp greater than all that this clock gave out or saw.
    pub fn now(&self) -> Stamp {
        self.at(wall())
    }

    /// Takes notice of a stamp from elsewhere: what [`now`](Self::now) gives out from here on is greater. Says `false`, and
    /// takes no notice, if the stamp is more than an hour ahead of this machine's clock: whatever carries it is not to be
    /// kept under it.
    #[must_use]
    pub fn observe(&self, stamp: Stamp) -> bool {
        self.observe_at(stamp, wall())
    }

    fn at(&self, millis: u64) -> Stamp {
        let wall = millis << COUNTER;
        let next = |last: u64| wall.max(last.saturating_add(1));
        // The order of changes of this one number is all that is asked for.
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        Stamp { time: next(last.unwrap_or_else(|last| last)), node: self.node }
    }

    fn observe_at(&self, stamp: Stamp, millis: u64) -> bool {
        let is_sane = stamp.time >> COUNTER <= millis.saturating_add(MOST_AHEAD);
        if is_sane {
            self.last.fetch_max(stamp.time, Ordering::Relaxed);
        }
        is_sane
    }
}

/// Bits of the counter. One that runs over takes from the next millisecond.
const COUNTER: u32 = 16;

/// Milliseconds since 1970.
fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const NOON: u64 = 1_790_000_000_000;

    fn stamp(millis: u64, counter: u64, node: u32) -> Stamp {
        Stamp { time: millis << COUNTER | counter, node }
    }

    #[test]
    fn stamps_rise_though_the_clock_does_not() {
        let clock = StampClock::new(7);
        assert_eq!(clock.at(NOON), stamp(NOON, 0, 7));
        assert_eq!(clock.at(NOON), stamp(NOON, 1, 7));
        assert_eq!(clock.at(NOON - 5000), stamp(NOON, 2, 7), "the machine's clock was set back");
        assert_eq!(clock.at(NOON + 1), stamp(NOON + 1, 0, 7));
    }

    #[test]
    fn a_full_counter_takes_from_the_next_millisecond() {
        let clock = StampClock::new(7);
        assert!(clock.observe_at(stamp(NOON, 0xffff, 1), NOON));
        assert_eq!(clock.at(NOON), stamp(NOON + 1, 0, 7));
        assert_eq!(clock.at(NOON + 1), stamp(NOON + 1, 1, 7));
    }

    #[test]
    fn what_was_seen_is_older_than_what_follows() {
        let clock = StampClock::new(7);
        let seen = stamp(NOON + 90_000, 3, u32::MAX);
        assert!(clock.observe_at(seen, NOON));
        assert!(clock.at(NOON) > seen);
        assert!(clock.observe_at(stamp(NOON, 0, 1), NOON), "an old one changes nothing");
        assert!(clock.at(NOON) > seen);
    }

    #[test]
    fn a_stamp_far_ahead_drags_nobody_along() {
        let clock = StampClock::new(7);
        assert!(clock.observe_at(stamp(NOON + MOST_AHEAD, 0xffff, 1), NOON));
        let clock = StampClock::new(7);
        for bad in [stamp(NOON + MOST_AHEAD + 1, 0, 1), Stamp { time: u64::MAX, node: 1 }] {
            assert!(!clock.observe_at(bad, NOON));
        }
        assert_eq!(clock.at(NOON), stamp(NOON, 0, 7));
    }

    #[test]
    fn the_machines_clock_is_read() {
        let clock = StampClock::new(7);
        let before = wall();
        let now = clock.now();
        assert!((before..=wall()).contains(&(now.time >> COUNTER)));
        assert!(clock.observe(now));
        assert!(clock.now() > now);
    }

    #[test]
    fn no_two_threads_get_the_same() {
        let clock = StampClock::new(7);
        let mut all: Vec<Stamp> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..2000).map(|_| clock.now()).collect::<Vec<_>>())).collect();
            let each = threads.into_iter().map(|thread| thread.join().unwrap());
            each.inspect(|own| assert!(own.is_sorted_by(|a, b| a < b))).flatten().collect()
        });
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 8000);
    }

    #[test]
    fn nothing_else_is_a_stamp() {
        let good = "019f0e4a6c000002-00c0ffee";
        let read: Stamp = good.parse().unwrap();
        assert_eq!(read, Stamp { time: 0x019f_0e4a_6c00_0002, node: 0x00c0_ffee });
        for bad in [
            "",
            "-",
            "19f0e4a6c000002-00c0ffee",
            "0019f0e4a6c000002-00c0ffee",
            "019f0e4a6c000002-c0ffee",
            "019F0E4A6C000002-00c0ffee",
            "+19f0e4a6c000002-00c0ffee",
            "019f0e4a6c000002-+0c0ffee",
            " 19f0e4a6c000002-00c0ffee",
            "019f0e4a6c000002-00c0ffee ",
            "019f0e4a6c000002-00c0ffee-",
            "019f0e4a6c000002_00c0ffee",
            "019f0e4a6c00000é-00c0ffee",
        ] {
            assert_eq!(bad.parse::<Stamp>(), Err(InvalidStamp), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn texts_read_and_sort_as_stamps(a: (u64, u32), b: (u64, u32)) {
            let [a, b] = [a, b].map(|(time, node)| Stamp { time, node });
            prop_assert_eq!(a.to_string().parse::<Stamp>(), Ok(a));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            if let Ok(stamp) = text.parse::<Stamp>() {
                prop_assert_eq!(stamp.to_string(), text);
            }
        }
    }
}
