//! However parts are lost, repeated, late and handed on, whoever dies and whoever comes: all nodes show what one
//! node would that took all events.

use proptest::prelude::*;

use super::*;

/// Something that happens, `gap` ms after what happened before.
#[derive(Clone, Debug)]
struct Step {
    gap: u64,
    kind: Kind,
    /// Which node does it, and with which other, of those that live.
    node: usize,
    other: usize,
}

#[derive(Clone, Debug)]
enum Kind {
    Event(Box<Event>),
    /// A part is sent to all, and reaches those that this says by their place.
    Send {
        reached: u8,
    },
    /// A part is made, and reaches the other one much later.
    Delay,
    /// What was delayed comes.
    Arrive,
    /// All that is known is handed to the other one.
    Hand,
    /// It shows its figures.
    Show,
    /// It dies; the other one was handed all that it knew.
    Die,
    /// One starts, and is handed what the other one knows.
    Start,
}

fn events() -> impl Strategy<Value = Kind> {
    let name = || prop_oneof![5 => 0..5_u32, 1 => 0..60_u32];
    let severity = prop::sample::select(Severity::ALL.to_vec());
    // Sums of these are exact in any order.
    let latency = prop::option::of((1..1_u64 << 30).prop_map(|n| n as f64 / 1024.0));
    let user = prop::option::of(0..30_u32);
    (name(), name(), severity, latency, user).prop_map(|(event_type, source, severity, latency, user)| {
        Kind::Event(Box::new(Event {
            event_type: format!("type{event_type}"),
            source: format!("source{source}"),
            user_id: user.map(|user| format!("user{user}")),
            severity,
            latency,
            ..event(at(0))
        }))
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let gap = prop_oneof![12 => 0..500_u64, 2 => 0..100_000_u64, 1 => 0..10_000_000_u64];
    let kind = prop_oneof![
        20 => events(),
        6 => any::<u8>().prop_map(|reached| Kind::Send { reached }),
        2 => Just(Kind::Delay),
        2 => Just(Kind::Arrive),
        1 => Just(Kind::Hand),
        2 => Just(Kind::Show),
        1 => Just(Kind::Die),
        1 => Just(Kind::Start),
    ];
    let step = (gap, kind, 0..8_usize, 0..8_usize);
    let step = step.prop_map(|(gap, kind, node, other)| Step { gap, kind, node, other });
    proptest::collection::vec(step, 0..300)
}

/// Nodes, of which some died, and one that took all events.
struct Nodes {
    live: Vec<Figures>,
    whole: Figures,
    delayed: Vec<(usize, Bytes)>,
    started: u32,
    now: u64,
}

impl Nodes {
    fn new(count: u32) -> Self {
        let live = (1..=count).map(|n| node(n, at(0))).collect();
        Self { live, whole: node(0, at(0)), delayed: Vec::new(), started: count, now: 0 }
    }

    fn step(&mut self, step: Step) {
        self.now += step.gap;
        let now = at(self.now);
        let count = self.live.len();
        let (place, other) = (step.node % count, (step.node + 1 + step.other) % count);
        match step.kind {
            Kind::Event(event) => {
                let event = Event { received_at: now.wall, ..*event };
                lock(&self.live[place].own).record(&event, now);
                lock(&self.whole.own).record(&event, now);
            }
            Kind::Send { reached } => {
                let Some(part) = self.live[place].own_part_at(false, now) else { return };
                let reached = |n: &usize| reached >> (n % 8) & 1 == 1;
                (0..count).filter(reached).for_each(|n| self.live[n].take_part_at(&part, now).unwrap());
            }
            Kind::Delay => {
                let part = self.live[place].own_part_at(true, now).unwrap();
                self.delayed.push((other, part));
            }
            Kind::Arrive => {
                for (to, part) in self.delayed.drain(..) {
                    self.live[to % count].take_part_at(&part, now).unwrap();
                    self.live[to % count].take_part_at(&part, now).unwrap();
                }
            }
            Kind::Hand => hand(&self.live[place], &self.live[other], now),
            Kind::Show => {
                shown(&self.live[place], now);
            }
            Kind::Die if other != place => {
                hand(&self.live[place], &self.live[other], now);
                self.live.remove(place);
            }
            Kind::Die => {}
            Kind::Start => {
                self.started += 1;
                let started = node(self.started, now);
                hand(&self.live[place], &started, now);
                self.live.push(started);
            }
        }
    }

    /// Everybody hands all that it knows to everybody.
    fn exchange(&self) {
        let now = at(self.now);
        for from in self.live.iter().chain(self.live.iter().rev()) {
            self.live.iter().for_each(|to| hand(from, to, now));
        }
    }
}

/// Takes the peak and its moment out of figures.
fn without_peak(mut figures: Value) -> (Value, f64) {
    let throughput = figures["throughput"].as_object_mut().unwrap();
    throughput.remove("peakTimestamp").unwrap();
    let peak = throughput.remove("peak").unwrap();
    (figures, peak.as_f64().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn all_nodes_show_what_one_would(count in 1..5_u32, steps in steps(), rest in 0..200_000_u64) {
        let mut nodes = Nodes::new(count);
        steps.into_iter().for_each(|step| nodes.step(step));
        nodes.now += rest;
        nodes.exchange();
        let now = at(nodes.now);
        let found: Vec<_> = nodes.live.iter().map(|node| shown(node, now)).collect();
        for other in &found[1..] {
            prop_assert_eq!(other, &found[0]);
        }
        let (whole, highest) = without_peak(shown(&nodes.whole, now));
        let (found, peak) = without_peak(found[0].clone());
        prop_assert_eq!(found, whole);
        // It is exact only if it is looked for often enough.
        prop_assert!(peak <= highest, "{peak} of {highest}");
        let current = nodes.live.iter().map(|node| lock(&node.own).snapshot(now).throughput.peak);
        prop_assert!(current.fold(0.0, f64::max) <= peak);
    }

    #[test]
    fn a_reset_is_the_same_for_all(count in 1..4_u32, before in steps(), after in steps(), by in 0..8_usize) {
        let mut nodes = Nodes::new(count);
        before.into_iter().for_each(|step| nodes.step(step));
        nodes.exchange();
        nodes.live[by % nodes.live.len()].reset_at(at(nodes.now));
        nodes.whole.reset_at(at(nodes.now));
        // Who dies before it is heard of by all is as good as any; who counts before it hears forgets.
        nodes.exchange();
        after.into_iter().for_each(|step| nodes.step(step));
        nodes.exchange();
        let now = at(nodes.now);
        let found: Vec<_> = nodes.live.iter().map(|node| shown(node, now)).collect();
        for other in &found[1..] {
            prop_assert_eq!(other, &found[0]);
        }
        let (whole, found) = (without_peak(shown(&nodes.whole, now)).0, without_peak(found[0].clone()).0);
        prop_assert_eq!(found, whole);
    }

    #[test]
    fn octets_that_were_tampered_with_never_panic(
        steps in steps(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut nodes = Nodes::new(1);
        let steps = steps.into_iter().filter(|step| matches!(step.kind, Kind::Event(_)));
        steps.for_each(|step| nodes.step(step));
        let now = at(nodes.now);
        let mut octets = nodes.live[0].own_part_at(true, now).unwrap().to_vec();
        for (place, octet) in changes {
            let place = place.index(octets.len());
            octets[place] = octet;
        }
        let other = node(99, now);
        let taken = other.take_part_at(&octets.into(), now);
        let known = other.all_parts_at(now).len();
        prop_assert!(known == 1 || taken.is_ok());
        // Figures can be made of what is taken, and what is handed on is taken by others.
        shown(&other, now);
        let third = node(98, now);
        hand(&other, &third, now);
        shown(&third, at(nodes.now + 100_000_000));
        hand(&third, &other, now);
        shown(&other, now);
    }

    #[test]
    fn any_octets_are_refused(octets in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let other = node(99, at(0));
        let octets: Bytes = [&[1], &octets[..]].concat().into();
        // Nothing is said of the few that happen to be a part without events.
        let _ = other.take_part_at(&octets, at(0));
        shown(&other, at(0));
    }
}
