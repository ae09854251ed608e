//! History against a plain list of everything that was ever published.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::cursor::Cursor;
use super::history::{History, Read, Reading, Start};
use super::{Gap, LogIdentity};
use crate::broker::catalogue::HistoryLimits;
use crate::broker::destination::{Destination, Filter, Tenant};
use crate::broker::message::{Headers, Message};

const LOG: LogIdentity = LogIdentity { installation: 1, epoch: 2, base: 0 };
/// What begins with `=` came by key.
const NAMES: [&str; 7] = ["e.a", "e:a", "=e.a", "e.b", "e.b.c", "=e.b.c", "f"];
const FILTERS: [&str; 10] = ["e.a", "e:a", "e/a", "e.b", "e.b:c", "f", "e.*", "e.#", "#", "g"];
const LIMITS: HistoryLimits = HistoryLimits { messages: 4, bytes: 2000, age: Duration::from_millis(100) };
/// Less than four full channels.
const TOTAL: usize = 4000;

fn filter(name: &str) -> Filter {
    Filter::parse(Tenant::DEFAULT, format!("/topic/{name}").into()).unwrap()
}

fn destination(name: &str) -> Destination {
    let spelled = || Destination::topic(Tenant::DEFAULT, name);
    name.strip_prefix('=').map_or_else(spelled, |key| Destination::foreign(Tenant::DEFAULT, key)).unwrap()
}

fn message(name: &str, octets: usize) -> Arc<Message> {
    Arc::new(Message::new(destination(name), Headers::new(), vec![b'x'; octets]))
}

/// One published message.
#[derive(Debug, Clone)]
struct Item {
    name: &'static str,
    octets: usize,
    at: u64,
    gone: bool,
}

/// All of them; numbered by their place, from 1.
#[derive(Debug, Default)]
struct Model(Vec<Item>);

impl Model {
    fn kept(&self, name: &str) -> Vec<usize> {
        (0..self.0.len()).filter(|at| self.0[*at].name == name && !self.0[*at].gone).collect()
    }

    fn trim(&mut self, name: &str, now: u64) {
        loop {
            let kept = self.kept(name);
            let bytes: usize = kept.iter().map(|at| self.0[*at].octets).sum();
            let Some(first) = kept.first() else { break };
            let is_old = now - self.0[*first].at > LIMITS.age.as_millis() as u64;
            if kept.len() <= LIMITS.messages && bytes <= LIMITS.bytes && !is_old {
                break;
            }
            self.0[*first].gone = true;
        }
    }

    fn append(&mut self, name: &'static str, octets: usize, now: u64) {
        self.0.push(Item { name, octets, at: now, gone: false });
        self.trim(name, now);
        let channels = NAMES.iter().filter(|name| self.0.iter().any(|item| item.name == **name)).count();
        loop {
            let kept: usize = self.0.iter().filter(|item| !item.gone).map(|item| item.octets).sum();
            let Some(first) = self.0.iter_mut().find(|item| !item.gone) else { break };
            if kept + 128 * channels <= TOTAL {
                break;
            }
            first.gone = true;
        }
    }

    fn matching(&self, filter: &Filter) -> impl Iterator<Item = (u64, &Item)> {
        let items = self.0.iter().enumerate().map(|(at, item)| (at as u64 + 1, item));
        items.filter(move |(_, item)| filter.matches(&destination(item.name)))
    }

    /// What is there behind a number, and whether something is missing.
    fn behind(&self, filter: &Filter, number: u64) -> (Vec<u64>, bool) {
        let behind = || self.matching(filter).filter(|(at, _)| *at > number);
        let there = behind().filter(|(_, item)| !item.gone).map(|(at, _)| at).collect();
        (there, behind().any(|(_, item)| item.gone))
    }

    /// The last so many of each channel, merged; of one that is asked for by its name, together with what came by its key.
    fn last(&self, filter: &Filter, count: usize) -> Vec<u64> {
        let mut all = Vec::new();
        if filter.exact().is_some() {
            all = self.behind(filter, 0).0;
            return all.split_off(all.len().saturating_sub(count));
        }
        for name in NAMES {
            let kept: Vec<u64> = self
                .matching(filter)
                .filter(|(_, item)| item.name == name && !item.gone)
                .map(|(at, _)| at)
                .collect();
            all.extend_from_slice(&kept[kept.len().saturating_sub(count)..]);
        }
        all.sort_unstable();
        all
    }
}

/// Reads to the end, a little at a time.
fn read(history: &History, filter: &Filter, reading: Option<Reading>, octets: usize) -> Vec<u64> {
    let Some(mut reading) = reading else { return Vec::new() };
    let mut numbers = Vec::new();
    loop {
        match history.read(filter, &mut reading, octets) {
            Read::Some(messages) => numbers.extend(messages.iter().map(|message| number(message))),
            Read::End => return numbers,
            Read::Overtaken => panic!("nothing was published meanwhile"),
        }
    }
}

/// The number that a test put into a message's id.
fn number(message: &Message) -> u64 {
    message.id.number
}

#[derive(Debug, Clone)]
enum Step {
    Publish { name: usize, octets: usize },
    Wait(u64),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..NAMES.len(), prop_oneof![3 => 1usize..40, 1 => 1usize..900]).prop_map(|(name, octets)| Step::Publish { name, octets }),
        2 => (1u64..60).prop_map(Step::Wait),
        1 => Just(Step::Sweep),
    ]
}

fn run(steps: &[Step]) -> (History, Model) {
    let (mut history, mut model) = (History::new(TOTAL), Model::default());
    let mut now = 0;
    for step in steps {
        match step {
            Step::Publish { name, octets } => {
                let number = model.0.len() as u64 + 1;
                let mut message = message(NAMES[*name], *octets);
                Arc::get_mut(&mut message).unwrap().id.number = number;
                model.append(NAMES[*name], message.octets() + 128, now);
                history.append(number, message, LIMITS, now);
            }
            Step::Wait(millis) => now += millis,
            Step::Sweep => {
                NAMES.iter().for_each(|name| model.trim(name, now));
                history.expire(now, |_| false);
            }
        }
    }
    (history, model)
}

proptest! {
    /// From any cursor comes what is there, and a gap is told exactly where something is missing.
    #[test]
    fn a_cursor_gives_what_followed_it(
        steps in proptest::collection::vec(step(), 0..60),
        at in 0.0f64..=1.0,
        which in 0..FILTERS.len(),
        octets in 1usize..3000,
    ) {
        let (history, model) = run(&steps);
        let filter = filter(FILTERS[which]);
        let number = (at * model.0.len() as f64) as u64;
        let cursor = Cursor::new(LOG, number, &filter).to_string();
        let (reading, gap) = history.start(LOG, &filter, Start::Cursor(&cursor));
        let (there, missing) = model.behind(&filter, number);
        prop_assert_eq!(gap, missing.then_some(Gap::Trimmed));
        prop_assert_eq!(read(&history, &filter, reading, octets), there);
        let (reading, gap) = history.start(LOG, &filter, Start::Cursor("no cursor"));
        prop_assert_eq!(gap, Some(Gap::Unknown));
        prop_assert_eq!(read(&history, &filter, reading, octets), model.behind(&filter, 0).0);
    }

    /// The last so many of each channel come, in the order of the log.
    #[test]
    fn history_gives_the_last_of_each(
        steps in proptest::collection::vec(step(), 0..60),
        count in 0usize..6,
        which in 0..FILTERS.len(),
    ) {
        let (history, model) = run(&steps);
        let filter = filter(FILTERS[which]);
        let (reading, gap) = history.start(LOG, &filter, Start::Last(count));
        prop_assert_eq!(gap, None);
        prop_assert_eq!(read(&history, &filter, reading, 1000), model.last(&filter, count));
    }

    /// What is published while somebody reads is either read too, or it is known that something was not.
    #[test]
    fn a_reader_is_overtaken_only_by_what_it_would_have_read(
        before in proptest::collection::vec(step(), 0..40),
        after in proptest::collection::vec(step(), 0..20),
        which in 0..FILTERS.len(),
    ) {
        let (mut history, mut model) = run(&before);
        let filter = filter(FILTERS[which]);
        let cursor = Cursor::new(LOG, 0, &filter).to_string();
        let (reading, gap) = history.start(LOG, &filter, Start::Cursor(&cursor));
        let mut reading = reading.unwrap();
        let there: Vec<u64> = model.behind(&filter, 0).0;
        for step in &after {
            if let Step::Publish { name, octets } = step {
                let number = model.0.len() as u64 + 1;
                let mut message = message(NAMES[*name], *octets);
                Arc::get_mut(&mut message).unwrap().id.number = number;
                model.append(NAMES[*name], message.octets() + 128, 10_000);
                history.append(number, message, LIMITS, 10_000);
            }
        }
        let (now_there, _) = model.behind(&filter, 0);
        let last = there.last().copied().unwrap_or(0);
        // Who was told of a gap begins with what is left of what was there.
        let lost = gap.is_none() && there.iter().any(|number| !now_there.contains(number))
            || model.matching(&filter).any(|(at, item)| at > last && item.gone && at > before_count(&before));
        match history.read(&filter, &mut reading, 100_000) {
            Read::Overtaken => prop_assert!(lost),
            Read::Some(messages) => {
                prop_assert!(!lost);
                let numbers: Vec<u64> = messages.iter().map(|message| number(message)).collect();
                prop_assert_eq!(numbers, now_there);
            }
            Read::End => prop_assert!(!lost && now_there.is_empty()),
        }
    }
}

fn before_count(steps: &[Step]) -> u64 {
    steps.iter().filter(|step| matches!(step, Step::Publish { .. })).count() as u64
}

#[test]
fn channels_are_forgotten_into_the_floor() {
    let mut history = History::new(usize::MAX);
    let limits = HistoryLimits { age: Duration::from_millis(10), ..HistoryLimits::default() };
    for number in 1..=20_000u64 {
        history.append(number, message(&format!("e.{number}"), 1), limits, 0);
    }
    history.append(20_001, message("wanted", 1), limits, 0);
    assert_eq!(history.expire(11, |destination| destination.name() == "wanted"), 20_001);
    let gap = |history: &History, name: &str, number| {
        let filter = filter(name);
        let cursor = Cursor::new(LOG, number, &filter).to_string();
        history.start(LOG, &filter, Start::Cursor(&cursor)).1
    };
    assert_eq!(gap(&history, "e.5", 5), Some(Gap::Trimmed), "forgotten, so that it can't be known");
    assert_eq!(gap(&history, "e.19999", 19_999), None, "still known");
    assert_eq!(gap(&history, "wanted", 20_000), Some(Gap::Trimmed));
    assert_eq!(gap(&history, "wanted", 20_001), None);
    assert_eq!(gap(&history, "e.#", 20_001), None, "behind all");
    assert_eq!(gap(&history, "never", 20_001), None, "above the floor");
}

#[test]
fn only_what_is_old_goes_by_age() {
    let mut history = History::new(usize::MAX);
    let limits = |millis| HistoryLimits { age: Duration::from_millis(millis), ..HistoryLimits::default() };
    for number in 1..=10 {
        history.append(2 * number - 1, message("short", 1), limits(10), number);
        history.append(2 * number, message("long", 1), limits(1000), number);
    }
    assert_eq!(history.expire(15, |_| true), 4, "those of 1 to 4");
    assert_eq!(history.expire(100, |_| true), 6);
    assert_eq!(history.expire(1005, |_| true), 4);
    assert_eq!(history.size().0, 6);
}

#[test]
fn who_reads_a_pattern_is_overtaken_by_what_was_forgotten_too() {
    let mut history = History::new(usize::MAX);
    let limits = HistoryLimits { age: Duration::from_millis(10), ..HistoryLimits::default() };
    history.append(1, message("e.a", 1), limits, 0);
    let filter = filter("e.#");
    let cursor = Cursor::new(LOG, 1, &filter).to_string();
    let (reading, gap) = history.start(LOG, &filter, Start::Cursor(&cursor));
    assert_eq!(gap, None);
    let mut reading = reading.unwrap();
    for number in 2..=20_000u64 {
        history.append(number, message(&format!("e.{number}"), 1), limits, 0);
    }
    history.expire(11, |_| false);
    assert!(matches!(history.read(&filter, &mut reading, 1000), Read::Overtaken));
}

#[test]
fn what_came_by_key_is_read_by_every_spelling_in_the_order_of_the_log() {
    let mut history = History::new(usize::MAX);
    for (at, name) in ["e.a", "=e.a", "e:a", "=e.a", "e/a", "e.a", "=e.b"].into_iter().enumerate() {
        let mut message = message(name, 1);
        Arc::get_mut(&mut message).unwrap().id.number = at as u64 + 1;
        history.append(at as u64 + 1, message, HistoryLimits::default(), 0);
    }
    assert_eq!(history.size().0, 7, "each is kept once");
    let last = |name: &str, count| {
        let filter = filter(name);
        read(&history, &filter, history.start(LOG, &filter, Start::Last(count)).0, 1)
    };
    assert_eq!(last("e.a", 9), [1, 2, 4, 6]);
    assert_eq!(last("e.a", 3), [2, 4, 6]);
    assert_eq!(last("e:a", 2), [3, 4]);
    assert_eq!(last("e/a", 1), [5]);
    assert_eq!(last("e/b", 9), [7]);
    assert_eq!(last("e.*", 9), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_gap_in_what_came_by_key_is_one_of_every_spelling() {
    let mut history = History::new(usize::MAX);
    let limits = HistoryLimits { messages: 2, ..HistoryLimits::default() };
    for (at, name) in ["e.a", "=e.a", "e:b", "=e.a", "=e.a", "e.a"].into_iter().enumerate() {
        history.append(at as u64 + 1, message(name, 1), limits, 0);
    }
    let gap = |name: &str, number| {
        let filter = filter(name);
        let cursor = Cursor::new(LOG, number, &filter).to_string();
        history.start(LOG, &filter, Start::Cursor(&cursor)).1
    };
    for name in ["e.a", "e:a", "e/a", "e.#"] {
        assert_eq!((gap(name, 1), gap(name, 2)), (Some(Gap::Trimmed), None), "{name}");
    }
    assert_eq!(gap("e:b", 0), None);
    // Who breaks off before the first message is not told again.
    let filter = filter("e/a");
    let (reading, _) = history.start(LOG, &filter, Start::Cursor("no cursor"));
    assert_eq!(gap("e/a", reading.unwrap().position), None);
}

#[test]
fn what_was_forgotten_of_names_is_no_gap_by_key() {
    let mut history = History::new(usize::MAX);
    let limits = HistoryLimits { age: Duration::from_millis(10), ..HistoryLimits::default() };
    let one = HistoryLimits { messages: 1, ..HistoryLimits::default() };
    history.append(1, message("e.a", 1), one, 0);
    let forget = |history: &mut History, first: u64, by_key: &str| {
        for number in first..first + 20_000 {
            history.append(number, message(&format!("{by_key}x.{number}"), 1), limits, first);
        }
        history.expire(first + 11, |_| false);
    };
    let filter = filter("e.a");
    let gap = |history: &History, number| {
        let cursor = Cursor::new(LOG, number, &filter).to_string();
        history.start(LOG, &filter, Start::Cursor(&cursor)).1
    };
    forget(&mut history, 2, "");
    assert_eq!(gap(&history, 1), None, "it is there, and nothing by key was forgotten");
    forget(&mut history, 20_002, "=");
    assert_eq!(gap(&history, 1), Some(Gap::Trimmed), "something by its key may have been");
    history.append(50_000, message("e.a", 1), one, 50_000);
    let (reading, _) = history.start(LOG, &filter, Start::Cursor("no cursor"));
    assert_eq!(gap(&history, reading.unwrap().position), None, "who was told is not told again");
}
