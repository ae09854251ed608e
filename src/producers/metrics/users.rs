//! Users: how many there are and who sends most, in bounded space.
//!
//! Up to [`MAX_TRACKED`] users everything is exact. Beyond, the half with the fewest events is forgotten whenever the
//! table is full, and `floor` remembers the most events that any of those forgotten can have had. So a user's count
//! is too low by at most its `missed`; one who has more events than `floor` is surely in the table; and the floor is
//! at most 2·N / [`MAX_TRACKED`] of N events (a Misra–Gries summary that forgets in batches, and merges like one).

use std::cmp::Ordering;
use std::collections::HashMap;

use jiff::Timestamp;

use super::distinct::Distinct;
use super::wire::{BadPart, Reader, Writer};
use crate::producers::ingest::MAX_ID;

/// Users told apart. One who has 0.1 % of the events of all is always among them.
pub(super) const MAX_TRACKED: usize = 2_048;
/// Users of all nodes told apart.
const MAX_MERGED: usize = 8 * MAX_TRACKED;
/// Octets of the longest name.
const MAX_NAME: usize = 4 * MAX_ID;

/// What is known of one user.
#[derive(Clone, Copy, Debug)]
pub(super) struct User {
    /// Events since the user is tracked: never more than there were.
    pub(super) events: u64,
    /// Events that may have come before.
    missed: u64,
    /// In whole milliseconds, as it is shown.
    pub(super) last_seen: Timestamp,
}

impl User {
    fn at_most(&self) -> u64 {
        self.events + self.missed
    }
}

/// The users of some events.
#[derive(Clone, Debug, Default)]
pub(super) struct Users {
    tracked: HashMap<Box<str>, User>,
    seen: Distinct,
    floor: u64,
}

impl Users {
    /// Counts an event of `user` that came in at `when`.
    pub(super) fn record(&mut self, user: &str, when: Timestamp) {
        let when = Timestamp::from_millisecond(when.as_millisecond()).unwrap_or(when);
        if let Some(known) = self.tracked.get_mut(user) {
            known.events += 1;
            known.last_seen = known.last_seen.max(when);
            return;
        }
        self.seen.insert(user);
        if self.tracked.len() >= MAX_TRACKED {
            self.forget_down_to(MAX_TRACKED / 2);
        }
        let newcomer = User { events: 1, missed: self.floor, last_seen: when };
        self.tracked.insert(user.into(), newcomer);
    }

    /// Adds what another node counted. In what order parts are added makes no difference while they have no more than
    /// [`MAX_MERGED`] users.
    pub(super) fn merge(&mut self, part: &Users) {
        self.seen.merge(&part.seen);
        for (name, mine) in &mut self.tracked {
            if !part.tracked.contains_key(name) {
                mine.missed += part.floor;
            }
        }
        for (name, theirs) in &part.tracked {
            let mine = self.tracked.entry(name.clone()).or_insert(User {
                events: 0,
                missed: self.floor,
                last_seen: theirs.last_seen,
            });
            mine.events += theirs.events;
            mine.missed += theirs.missed;
            mine.last_seen = mine.last_seen.max(theirs.last_seen);
        }
        self.floor += part.floor;
        if self.tracked.len() > MAX_MERGED {
            self.forget_down_to(MAX_MERGED);
        }
    }

    /// How many users there were: exact while all are tracked, an estimate thereafter.
    pub(super) fn count(&self) -> u64 {
        let tracked = self.tracked.len() as u64;
        if self.floor == 0 { tracked } else { self.seen.estimate().max(tracked) }
    }

    /// The `most` users with the most events, in falling order; of equals, the one seen last comes first.
    pub(super) fn top(&self, most: usize) -> Vec<(&str, User)> {
        let all = self.tracked.iter();
        let mut top: Vec<_> = all.map(|(name, &user)| (&**name, user)).collect();
        if top.len() > most {
            top.select_nth_unstable_by(most, by_rank);
            top.truncate(most);
        }
        top.sort_unstable_by(by_rank);
        top
    }

    /// Forgets the users with the fewest events, so that `keep` are left.
    fn forget_down_to(&mut self, keep: usize) {
        let mut all: Vec<_> = self.tracked.drain().collect();
        let surplus = all.len() - keep;
        all.select_nth_unstable_by(surplus, |(name, user), (other_name, other)| {
            let rank = (user.at_most(), user.last_seen).cmp(&(other.at_most(), other.last_seen));
            rank.then_with(|| name.cmp(other_name))
        });
        let forgotten = all.drain(..surplus).map(|(_, user)| user.at_most());
        self.floor = forgotten.max().unwrap_or(0).max(self.floor);
        self.tracked.extend(all);
    }

    /// Writes all of them, in the order of their names. `base` is a moment in ms near which most were seen.
    pub(super) fn encode(&self, writer: &mut Writer, base: i64) {
        let mut all: Vec<_> = self.tracked.iter().collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        writer.uint(self.floor);
        writer.uint(all.len() as u64);
        let mut before = "";
        for (name, user) in all {
            writer.name(before, name);
            writer.uint(user.events);
            if self.floor > 0 {
                writer.uint(user.missed);
            }
            writer.int(user.last_seen.as_millisecond() - base);
            before = name;
        }
        if self.floor > 0 {
            self.seen.encode(writer);
        }
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(reader: &mut Reader<'_>, base: i64) -> Result<Self, BadPart> {
        let mut users = Self { floor: reader.count()?, ..Self::default() };
        let mut before = Box::from("");
        for _ in 0..reader.at_most(MAX_TRACKED as u64, "users")? {
            let name = reader.name(&before, MAX_NAME)?;
            let events = reader.count()?;
            let missed = if users.floor > 0 { reader.count()? } else { 0 };
            let last_seen = Timestamp::from_millisecond(base.saturating_add(reader.int()?));
            let last_seen = last_seen.map_err(|_| BadPart::Absurd("users"))?;
            users.seen.insert(&name);
            users.tracked.insert(name.clone(), User { events, missed, last_seen });
            before = name;
        }
        if users.floor > 0 {
            users.seen = Distinct::decode(reader)?;
        }
        Ok(users)
    }

    #[cfg(test)]
    pub(super) fn tracked(&self) -> usize {
        self.tracked.len()
    }
}

/// More events first, then the one seen last, then by name so that the order is the same each time.
fn by_rank((name, user): &(&str, User), (other_name, other): &(&str, User)) -> Ordering {
    (other.events, other.last_seen).cmp(&(user.events, user.last_seen)).then_with(|| name.cmp(other_name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn users(events: impl IntoIterator<Item = u64>) -> Users {
        let mut users = Users::default();
        for (second, user) in events.into_iter().enumerate() {
            users.record(&format!("u{user}"), at(second as i64));
        }
        users
    }

    /// Checks the promises at the head of this file for `users`, who had `events`.
    fn check(users: &Users, events: &[u64]) {
        let mut exact: HashMap<String, u64> = HashMap::new();
        for user in events {
            *exact.entry(format!("u{user}")).or_default() += 1;
        }
        assert!(users.tracked.len() <= MAX_MERGED);
        assert!(users.floor <= 2 * events.len() as u64 / MAX_TRACKED as u64);
        for (name, user) in &users.tracked {
            let count = exact[&**name];
            assert!(user.events <= count && count <= user.at_most(), "{name}");
        }
        for (name, &count) in &exact {
            assert!(count <= users.floor || users.tracked.contains_key(&**name));
        }
        let (counted, true_count) = (users.count() as f64, exact.len() as f64);
        let error = (counted - true_count).abs() / true_count;
        assert!(error < 0.035, "{counted} for {true_count}");
    }

    #[test]
    fn few_users_are_counted_exactly() {
        let events = (0..10_000_u64).map(|n| n % 2_000);
        let users = users(events);
        assert_eq!(users.count(), 2_000);
        assert!(users.top(10).iter().all(|(_, user)| user.events == 5));
        assert_eq!(users.floor, 0);
    }

    #[test]
    fn top_users_come_in_order() {
        let users = users([1, 2, 2, 3, 3, 3, 4]);
        let top: Vec<_> =
            users.top(3).into_iter().map(|(name, user)| (name, user.events, user.last_seen)).collect();
        assert_eq!(top, [("u3", 3, at(5)), ("u2", 2, at(2)), ("u4", 1, at(6))]);
        assert!(users.top(10).len() == 4);
        assert!(Users::default().top(10).is_empty());
    }

    #[test]
    fn those_who_send_most_are_found_among_many() {
        // Every tenth event is of one of ten known users, the others are of ever new ones.
        let events: Vec<u64> =
            (0..200_000).map(|n| if n % 10 == 0 { n / 10 % 10 } else { 1_000 + n }).collect();
        let users = users(events.iter().copied());
        check(&users, &events);
        let mut names: Vec<_> = users.top(10).into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        assert_eq!(names, ["u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7", "u8", "u9"]);
        assert!(users.top(10).iter().all(|(_, user)| user.events == 2_000), "never forgotten, hence exact");
    }

    #[test]
    fn a_list_is_shown_even_just_after_forgetting() {
        let users = users(0..MAX_TRACKED as u64 + 1);
        assert_eq!(users.tracked(), MAX_TRACKED / 2 + 1);
        assert_eq!(users.top(10).len(), 10);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn promises_hold_under_any_load(
            population in 2_000..9_000_u64, skew in 1.0..4.0_f64, count in 5_000..30_000_u64, seed in any::<u32>(),
        ) {
            let events = skewed(population, skew, count, seed);
            check(&users(events.iter().copied()), &events);
        }

        #[test]
        fn promises_hold_for_merged_parts(
            population in 2_000..9_000_u64, skew in 1.0..3.0_f64, count in 5_000..20_000_u64, seed in any::<u32>(),
        ) {
            let all = skewed(population, skew, count, seed);
            let parts: Vec<_> = all.chunks(all.len() / 3 + 1).collect();
            let mut merged = Users::default();
            for part in &parts {
                merged.merge(&again(&users(part.iter().copied())));
            }
            check(&merged, &all);
        }
    }

    /// The same, written and read.
    fn again(users: &Users) -> Users {
        let mut writer = Writer::default();
        users.encode(&mut writer, 77);
        let octets = writer.finish();
        let mut reader = Reader::new(&octets);
        let read = Users::decode(&mut reader, 77).unwrap();
        reader.finish().unwrap();
        read
    }

    #[test]
    fn what_is_written_is_read() {
        for count in [0, 5, 2_000, 100_000] {
            let known = users((0..count).map(|n| n * n % 7_919));
            let read = again(&known);
            assert_eq!((read.floor, read.count()), (known.floor, known.count()));
            let all = |users: &Users| {
                let all = users.top(usize::MAX).into_iter();
                all.map(|(name, user)| (name.to_owned(), user.events, user.missed, user.last_seen))
                    .collect::<Vec<_>>()
            };
            assert_eq!(all(&read), all(&known));
        }
    }

    fn skewed(population: u64, skew: f64, count: u64, seed: u32) -> Vec<u64> {
        let mut state = u64::from(seed) | 1;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        (0..count).map(|_| (random().powf(skew) * population as f64) as u64).collect()
    }
}
