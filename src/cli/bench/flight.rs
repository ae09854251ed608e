//! The messages of one topic that are under way: how many subscribers still wait for each.

use std::collections::VecDeque;
use std::ops::Range;

/// Messages under way, oldest first.
#[derive(Debug)]
pub(super) struct Flight {
    /// All messages below this number have reached everybody, or were passed over.
    done: u64,
    /// Subscribers that wait for `done`, `done + 1` and so on.
    waiting: VecDeque<u32>,
    /// Subscribers that there are.
    audience: u32,
}

impl Flight {
    pub(super) fn new(audience: u32) -> Flight {
        Flight { done: 0, waiting: VecDeque::new(), audience }
    }

    /// All messages below this number have arrived wherever they will.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    /// Subscribers that there are.
    pub(super) fn audience(&self) -> u32 {
        self.audience
    }

    /// One subscriber waits for these numbers no more. Whether it was the last to wait for the last of them.
    #[inline]
    pub(super) fn pass(&mut self, numbers: Range<u64>) -> bool {
        let mut last = false;
        for number in numbers {
            // Below `done` there is nobody left to wait.
            let Some(at) = number.checked_sub(self.done) else {
                continue;
            };
            let at = at as usize;
            if at >= self.waiting.len() {
                self.waiting.resize(at + 1, self.audience);
            }
            self.waiting[at] = self.waiting[at].saturating_sub(1);
            last = self.waiting[at] == 0;
        }
        self.land();
        last
    }

    /// A subscriber that expected `next` is gone.
    pub(super) fn leave(&mut self, next: u64) {
        let end = self.done + self.waiting.len() as u64;
        self.pass(next..end);
        self.audience = self.audience.saturating_sub(1);
    }

    #[inline]
    fn land(&mut self) {
        while self.waiting.front() == Some(&0) {
            self.waiting.pop_front();
            self.done += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_done_when_the_last_has_it_and_all_before_it_are() {
        let mut flight = Flight::new(2);
        assert!(!flight.pass(0..1));
        assert!(!flight.pass(1..2));
        assert!(flight.pass(0..1));
        assert_eq!(flight.done(), 1);
        assert!(flight.pass(1..2));
        assert_eq!(flight.done(), 2);
    }

    #[test]
    fn a_gap_is_not_waited_for() {
        let mut flight = Flight::new(2);
        flight.pass(0..5);
        assert!(flight.pass(0..5));
        assert_eq!(flight.done(), 5);
    }

    #[test]
    fn who_leaves_is_not_waited_for() {
        let mut flight = Flight::new(3);
        flight.pass(0..3);
        flight.pass(0..2);
        flight.leave(0);
        assert_eq!((flight.done(), flight.audience()), (2, 2));
        flight.pass(2..3);
        assert_eq!(flight.done(), 3);
        // Later messages wait for two only.
        flight.pass(3..4);
        assert!(flight.pass(3..4));
        assert_eq!(flight.done(), 4);
    }

    #[test]
    fn the_last_to_leave_leaves_nothing_waiting() {
        let mut flight = Flight::new(2);
        flight.pass(0..4);
        flight.pass(0..1);
        flight.leave(4);
        flight.leave(1);
        assert_eq!((flight.done(), flight.audience()), (4, 0));
    }
}
