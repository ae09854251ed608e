//! What was sent, what came, and what of that must not be.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::time::Instant;

use crate::order;

/// Of a message, as its body says it.
pub type Id = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Event,
    Queue,
    Value,
}

#[derive(Debug, Clone)]
pub struct Sent {
    pub kind: Kind,
    pub destination: &'static str,
    /// Of the connection that it was sent on: no two have the same.
    pub connection: usize,
    pub node: usize,
    at: Instant,
    pub is_receipted: bool,
}

/// When RabbitMQ was certainly out of reach, of one node or of all.
pub struct Outage {
    pub node: Option<usize>,
    pub from: Instant,
    pub to: Option<Instant>,
}

/// What one subscriber was given from a start, or from a gap, on.
#[derive(Default)]
pub struct Stretch {
    /// Why there is a gap before it.
    pub gap: Option<String>,
    pub ids: Vec<Id>,
    pub seen: HashSet<Id>,
}

/// What one subscriber was given of events.
pub struct Reading {
    pub destination: &'static str,
    pub stretches: Vec<Stretch>,
    pub resumes: usize,
}

#[derive(Default)]
struct State {
    sent: Vec<Sent>,
    outages: Vec<Outage>,
    readings: Vec<Reading>,
    /// Messages of queues that were acknowledged, or are dead letters; how often they came.
    acknowledged: HashSet<Id>,
    dead: HashSet<Id>,
    deliveries: usize,
    connections: usize,
    wrongs: Vec<String>,
    happened: Vec<String>,
    refusals: HashMap<String, usize>,
}

pub struct Ledger {
    begun: Instant,
    state: RefCell<State>,
}

impl Ledger {
    pub fn new() -> Ledger {
        Ledger { begun: Instant::now(), state: RefCell::default() }
    }

    /// Something happened, which is told if the test fails.
    pub fn note(&self, what: impl std::fmt::Display) {
        self.state.borrow_mut().happened.push(format!("{:8.3} {what}", self.begun.elapsed().as_secs_f64()));
    }

    /// Something is wrong, by which the test fails.
    pub fn wrong(&self, what: impl std::fmt::Display) {
        let what = format!("{:8.3} {what}", self.begun.elapsed().as_secs_f64());
        self.state.borrow_mut().wrongs.push(what);
    }

    pub fn connection(&self) -> usize {
        let mut state = self.state.borrow_mut();
        state.connections += 1;
        state.connections
    }

    /// A message that is about to be sent.
    pub fn send(&self, kind: Kind, destination: &'static str, connection: usize, node: usize) -> Id {
        let mut state = self.state.borrow_mut();
        let at = Instant::now();
        state.sent.push(Sent { kind, destination, connection, node, at, is_receipted: false });
        state.sent.len() - 1
    }

    /// A SEND or a COMMIT has its RECEIPT.
    pub fn receipted(&self, ids: &[Id]) {
        let mut state = self.state.borrow_mut();
        let State { sent, outages, wrongs, .. } = &mut *state;
        for id in ids {
            let message = &mut sent[*id];
            message.is_receipted = true;
            let is_during = |outage: &&Outage| {
                outage.to.is_none()
                    && outage.node.is_none_or(|node| node == message.node)
                    && message.at >= outage.from
            };
            if let Some(outage) = outages.iter().find(is_during) {
                let (at, age) = (self.begun.elapsed(), outage.from.elapsed());
                wrongs.push(format!(
                    "{at:?}: {id} got its receipt though RabbitMQ was out of reach for {age:?}: {message:?}"
                ));
            }
        }
    }

    /// A client was refused something.
    pub fn refused(&self, why: &str) {
        *self.state.borrow_mut().refusals.entry(why.to_owned()).or_default() += 1;
    }

    pub fn begin_outage(&self, outage: Outage) -> usize {
        let mut state = self.state.borrow_mut();
        state.outages.push(outage);
        state.outages.len() - 1
    }

    pub fn end_outage(&self, outage: usize) {
        self.state.borrow_mut().outages[outage].to = Some(Instant::now());
    }

    pub fn reader(&self, destination: &'static str) -> usize {
        let mut state = self.state.borrow_mut();
        state.readings.push(Reading { destination, stretches: vec![Stretch::default()], resumes: 0 });
        state.readings.len() - 1
    }

    pub fn resumed(&self, reader: usize) {
        self.state.borrow_mut().readings[reader].resumes += 1;
    }

    /// A subscriber was given an event, perhaps the first behind a gap.
    pub fn read(&self, reader: usize, id: Id, gap: Option<&str>, place: &str) {
        let mut state = self.state.borrow_mut();
        let State { readings, wrongs, .. } = &mut *state;
        let stretches = &mut readings[reader].stretches;
        if let Some(gap) = gap {
            stretches.push(Stretch { gap: Some(gap.to_owned()), ..Stretch::default() });
        }
        let stretch = stretches.last_mut().expect("there is always one");
        stretch.ids.push(id);
        if !stretch.seen.insert(id) {
            let before = stretch.ids.iter().position(|one| *one == id);
            let at = self.begun.elapsed();
            wrongs.push(format!(
                "{at:?}: reader {reader} got {id} again, {place}; before at {before:?} of {}",
                stretch.ids.len()
            ));
        }
    }

    pub fn delivered(&self) {
        self.state.borrow_mut().deliveries += 1;
    }

    pub fn acknowledged(&self, id: Id) {
        self.state.borrow_mut().acknowledged.insert(id);
    }

    pub fn dead(&self, id: Id) {
        self.state.borrow_mut().dead.insert(id);
    }

    /// What must have come to somebody and has not, as text.
    pub fn missing(&self) -> Vec<String> {
        let state = self.state.borrow();
        let mut missing = order::missing(&state.sent, &state.readings);
        for (id, sent) in state.sent.iter().enumerate() {
            let is_accounted = state.acknowledged.contains(&id) || state.dead.contains(&id);
            if sent.kind == Kind::Queue && sent.is_receipted && !is_accounted {
                missing.push(format!("{id} of {} was never acknowledged: {sent:?}", sent.destination));
            }
        }
        missing
    }

    /// Who sent a message, for people.
    pub fn shown(&self, body: &str) -> String {
        let id: Option<Id> = body.parse().ok();
        match id.and_then(|id| self.state.borrow().sent.get(id).cloned()) {
            Some(sent) => format!("{body} sent to node {}, receipted: {}", sent.node, sent.is_receipted),
            None => format!("{body:?}"),
        }
    }

    pub fn is_right(&self) -> bool {
        self.state.borrow().wrongs.is_empty() && self.missing().is_empty()
    }

    /// Tells what came to pass, and fails if some of it is wrong.
    pub fn conclude(&self, seed: u64) {
        let mut wrongs = self.missing();
        let state = self.state.borrow();
        wrongs.extend(state.wrongs.iter().cloned());
        wrongs.extend(order::contradictions(&state.sent, &state.readings));
        let receipted =
            |kind| state.sent.iter().filter(|sent| sent.kind == kind && sent.is_receipted).count();
        let gaps: Vec<&String> = state
            .readings
            .iter()
            .flat_map(|reading| &reading.stretches)
            .filter_map(|one| one.gap.as_ref())
            .collect();
        println!(
            "CHAOS_SEED={seed}: of {} sent were receipted: {} events, {} of queues, {} values; {} reads by {} resumes, gaps: {gaps:?}; \
             {} deliveries of queues, {} acknowledged, {} dead; {} connections of publishers; refusals: {:?}",
            state.sent.len(),
            receipted(Kind::Event),
            receipted(Kind::Queue),
            receipted(Kind::Value),
            state
                .readings
                .iter()
                .flat_map(|reading| &reading.stretches)
                .map(|one| one.ids.len())
                .sum::<usize>(),
            state.readings.iter().map(|reading| reading.resumes).sum::<usize>(),
            state.deliveries,
            state.acknowledged.len(),
            state.dead.len(),
            state.connections,
            state.refusals,
        );
        if wrongs.is_empty() {
            return;
        }
        let shown = wrongs.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
        panic!("CHAOS_SEED={seed}\n{}\n\n{} are wrong:\n{shown}", state.happened.join("\n"), wrongs.len());
    }
}
