//! What one subscriber has got of one topic: each message once and in order, or what is wrong.

use std::ops::Range;

/// Gaps that are remembered for one subscriber. Beyond it the oldest is written off: what comes late from it counts as
/// repeated.
const GAPS: usize = 1024;

/// Counts the numbers that come.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The number after the highest that came.
    next: u64,
    /// Numbers below `next` that did not come, in order.
    gaps: Vec<Range<u64>>,
    written_off: u64,
    /// Messages that came after a later one.
    pub(super) late: u64,
    /// Messages that came again.
    pub(super) repeated: u64,
}

/// What a number was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Counted {
    /// Beyond all before it: the numbers up to it, and itself, will not be waited for any more.
    Passed(Range<u64>),
    /// One that was missing.
    Late,
    /// One that had come before.
    Repeated,
}

impl Tally {
    /// The number that is expected.
    #[inline]
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Counts a message.
    #[inline]
    pub(super) fn count(&mut self, number: u64) -> Counted {
        if number < self.next {
            return self.count_old(number);
        }
        let passed = self.next..number + 1;
        if number > self.next {
            if self.gaps.len() == GAPS {
                let oldest = self.gaps.remove(0);
                self.written_off += oldest.end - oldest.start;
            }
            self.gaps.push(self.next..number);
        }
        self.next = number + 1;
        Counted::Passed(passed)
    }

    fn count_old(&mut self, number: u64) -> Counted {
        let Some(at) = self.gaps.iter().position(|gap| gap.contains(&number)) else {
            self.repeated += 1;
            return Counted::Repeated;
        };
        self.late += 1;
        let gap = self.gaps.remove(at);
        let parts = [gap.start..number, number + 1..gap.end];
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        self.gaps.splice(at..at, parts);
        Counted::Late
    }

    /// How many of the numbers below `sent` never came.
    pub(super) fn lost(&self, sent: u64) -> u64 {
        let gaps: u64 = self.gaps.iter().map(|gap| gap.end - gap.start).sum();
        gaps + self.written_off + sent.saturating_sub(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(numbers: &[u64]) -> Tally {
        let mut tally = Tally::default();
        for number in numbers {
            tally.count(*number);
        }
        tally
    }

    /// Lost of ten, late, repeated.
    fn found(numbers: &[u64]) -> (u64, u64, u64) {
        let tally = tally(numbers);
        (tally.lost(10), tally.late, tally.repeated)
    }

    #[test]
    fn everything_once_and_in_order_is_clean() {
        assert_eq!(found(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), (0, 0, 0));
    }

    #[test]
    fn lost_messages_are_noticed_wherever_they_are() {
        assert_eq!(found(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), (1, 0, 0));
        assert_eq!(found(&[0, 1, 4, 5, 6, 7, 9]), (3, 0, 0));
        assert_eq!(found(&[0, 1, 2]), (7, 0, 0));
        assert_eq!(found(&[]), (10, 0, 0));
    }

    #[test]
    fn repeated_messages_are_noticed() {
        assert_eq!(found(&[0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]), (0, 0, 2));
        assert_eq!(found(&[0, 3, 2, 2, 4, 5, 6, 7, 8, 9]), (1, 1, 1));
    }

    #[test]
    fn messages_out_of_order_are_noticed_and_not_lost() {
        assert_eq!(found(&[0, 2, 1, 3, 4, 5, 6, 7, 8, 9]), (0, 1, 0));
        assert_eq!(found(&[9, 5, 4, 3, 2, 1, 0, 8, 7, 6]), (0, 9, 0));
    }

    #[test]
    fn what_passed_is_told_once() {
        let mut tally = Tally::default();
        assert_eq!(tally.count(0), Counted::Passed(0..1));
        assert_eq!(tally.count(3), Counted::Passed(1..4));
        assert_eq!(tally.count(2), Counted::Late);
        assert_eq!(tally.count(2), Counted::Repeated);
        assert_eq!(tally.next(), 4);
    }

    #[test]
    fn gaps_are_bounded_and_stay_lost() {
        let odd: Vec<u64> = (0..2 * GAPS as u64 + 20).filter(|n| n % 2 == 1).collect();
        let mut tally = tally(&odd);
        assert_eq!(tally.gaps.len(), GAPS);
        assert_eq!(tally.lost(tally.next()), GAPS as u64 + 10);
        assert_eq!(tally.count(0), Counted::Repeated, "the oldest gap was written off");
        assert_eq!(tally.count(2 * GAPS as u64), Counted::Late);
    }
}
