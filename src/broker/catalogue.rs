//! The catalogue: which kind of channel a topic is, and how much of it is kept.
//!
//! Owns the rules, configured and built in, and which of them wins. What a kind promises is kept by the channels
//! (`channel.rs`), the log (`log/`) and the hubs.
//!
//! A rule gives a kind to a pattern. Where several match a name, a configured one comes before a built-in one, and
//! among these the more specific: compared from the left, a literal segment before `*` before `#`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use smallvec::SmallVec;

use super::destination::{Filter, Kind, segments};

/// What a channel promises its subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChannelKind {
    /// The newest value matters: it is kept, and a slow subscriber skips to it.
    Snapshot,
    /// Every message matters: a bounded history lets a subscriber come back.
    Events,
    /// Whoever listens gets it.
    Plain,
}

impl ChannelKind {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            ChannelKind::Snapshot => "snapshot",
            ChannelKind::Events => "events",
            ChannelKind::Plain => "plain",
        }
    }
}

/// How much of one events channel is kept; whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Messages.
    pub messages: usize,
    /// Octets of memory that they take, about.
    pub bytes: usize,
    /// The age of the oldest.
    pub age: Duration,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        HistoryLimits { messages: 10_000, bytes: 16 * 1024 * 1024, age: Duration::from_secs(3600) }
    }
}

/// The kind of all channels that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// As a SUBSCRIBE has it, without `/topic/`.
    pub pattern: String,
    /// What it is.
    pub kind: ChannelKind,
    /// How much is kept of each events channel.
    pub history: HistoryLimits,
    /// How many messages a SUBSCRIBE gets that asks for nothing.
    pub tail: usize,
    /// By the configuration, not built in.
    pub is_configured: bool,
}

/// The channels that everybody finds: patterns of snapshots.
const SNAPSHOTS: [&str; 9] = [
    "metrics",
    "nodes",
    "host-metrics:#",
    "vm-metrics:#",
    "sessions",
    "cluster",
    "agents",
    "workers",
    "status",
];

/// The same of events, and how many messages each hands out unasked.
const EVENTS: [(&str, usize); 12] = [
    ("vm-events:#", 0),
    ("vm-volume-migration-events:#", 0),
    ("task-events", 0),
    ("session-events:#", 0),
    ("agent-events", 0),
    ("logs:#", 100),
    ("jobs:#", 0),
    ("tasklog:#", 0),
    ("last-rendered", 0),
    ("workertags", 0),
    ("lifecycle", 0),
    ("chat", 0),
];

/// All rules, found by name.
#[derive(Debug)]
pub struct Catalogue {
    rules: Vec<Rule>,
    nodes: Vec<Node>,
}

/// A segment of patterns that begin alike.
#[derive(Debug, Default)]
struct Node {
    literal: HashMap<Box<str>, u32>,
    star: Option<u32>,
    /// The rule whose pattern ends here.
    here: Option<u32>,
    /// The rule whose `#` follows here.
    rest: Option<u32>,
}

/// Where the configured patterns begin, and where the built-in ones do.
const ROOTS: [u32; 2] = [0, 1];

/// What a name can still turn out to be, behind some of its segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    Node(u32),
    /// This rule, whatever follows.
    Rest(u32),
}

/// The best first; nothing follows an [`At::Rest`].
type State = SmallVec<[At; 4]>;

/// A segment that no rule names.
const OTHER: &str = "\0";

/// Beyond this many steps a pattern is taken to match anything.
const EFFORT: usize = 100_000;

/// What the channels are that a filter can match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach {
    /// Some may be snapshots.
    pub snapshots: bool,
    /// Some may be events channels.
    pub events: bool,
    /// Some may be plain.
    pub plain: bool,
    /// How many messages a SUBSCRIBE gets of each that asks for nothing; only where all agree.
    pub tail: usize,
}

impl Catalogue {
    /// The built-in rules, and `configured` ones before them.
    pub fn new(configured: Vec<Rule>, history: HistoryLimits) -> Catalogue {
        let mut catalogue = Catalogue { rules: Vec::new(), nodes: vec![Node::default(), Node::default()] };
        for rule in configured {
            catalogue.add(ROOTS[0], rule);
        }
        let built_in = |pattern: &str, kind, tail| Rule {
            pattern: pattern.to_owned(),
            kind,
            history,
            tail,
            is_configured: false,
        };
        for pattern in SNAPSHOTS {
            catalogue.add(ROOTS[1], built_in(pattern, ChannelKind::Snapshot, 0));
        }
        for (pattern, tail) in EVENTS {
            catalogue.add(ROOTS[1], built_in(pattern, ChannelKind::Events, tail));
        }
        catalogue
    }

    /// The rule of a topic, by its name without `/topic/`; `None` where none matches: it is plain.
    pub fn rule(&self, name: &str) -> Option<&Rule> {
        let mut state = self.start();
        for segment in segments(name) {
            state = self.step(&state, segment);
            if state.is_empty() {
                return None;
            }
        }
        Some(&self.rules[self.accepted(&state)? as usize])
    }

    /// What a filter can match.
    pub fn reach(&self, filter: &Filter) -> Reach {
        let mut reach = Reach::default();
        if filter.kind() != Kind::Topic {
            return Reach { plain: true, ..reach };
        }
        let Some(rules) = self.reachable(filter) else {
            return Reach { snapshots: true, events: true, plain: true, tail: 0 };
        };
        let rules: Vec<Option<&Rule>> =
            rules.into_iter().map(|rule| rule.map(|at| &self.rules[at as usize])).collect();
        for rule in &rules {
            match rule.map_or(ChannelKind::Plain, |rule| rule.kind) {
                ChannelKind::Snapshot => reach.snapshots = true,
                ChannelKind::Events => reach.events = true,
                ChannelKind::Plain => reach.plain = true,
            }
        }
        let mut tails = rules.iter().map(|rule| rule.map_or(0, |rule| rule.tail));
        let first = tails.next().unwrap_or(0);
        reach.tail = if tails.all(|tail| tail == first) { first } else { 0 };
        reach
    }

    /// Every rule, configured ones first.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    fn add(&mut self, root: u32, rule: Rule) {
        let number = self.rules.len() as u32;
        let mut at = root as usize;
        let mut is_rest = false;
        for part in segments(&rule.pattern) {
            let next = self.nodes.len() as u32;
            let node = &mut self.nodes[at];
            let found = match part {
                "#" => {
                    is_rest = true;
                    break;
                }
                "*" => *node.star.get_or_insert(next),
                literal => *node.literal.entry(literal.into()).or_insert(next),
            };
            if found == next {
                self.nodes.push(Node::default());
            }
            at = found as usize;
        }
        let node = &mut self.nodes[at];
        let place = if is_rest { &mut node.rest } else { &mut node.here };
        // Of two rules for one pattern the first counts; the configuration refuses two.
        if place.is_none() {
            *place = Some(number);
        }
        self.rules.push(rule);
    }

    fn start(&self) -> State {
        ROOTS.into_iter().map(At::Node).collect()
    }

    fn step(&self, state: &State, segment: &str) -> State {
        let mut next = State::new();
        for at in state {
            match *at {
                At::Rest(rule) => next.push(At::Rest(rule)),
                At::Node(number) => {
                    let node = &self.nodes[number as usize];
                    next.extend(node.literal.get(segment).copied().map(At::Node));
                    next.extend(node.star.map(At::Node));
                    next.extend(node.rest.map(At::Rest));
                }
            }
            if matches!(next.last(), Some(At::Rest(_))) {
                break;
            }
        }
        next
    }

    /// The rule of a name that ends here.
    fn accepted(&self, state: &State) -> Option<u32> {
        state.iter().find_map(|at| match *at {
            At::Rest(rule) => Some(rule),
            At::Node(number) => {
                let node = &self.nodes[number as usize];
                node.here.or(node.rest)
            }
        })
    }

    /// The rules of all names that a filter matches, `None` for those without; nothing if it takes too long to say.
    fn reachable(&self, filter: &Filter) -> Option<BTreeSet<Option<u32>>> {
        let parts: Vec<&str> = segments(filter.name()).collect();
        let mut found = BTreeSet::new();
        let mut seen: HashSet<(usize, State)> = HashSet::new();
        let mut open = vec![(0, self.start(), true)];
        while let Some((at, state, is_start)) = open.pop() {
            if seen.len() > EFFORT {
                return None;
            }
            if !seen.insert((at, state.clone())) {
                continue;
            }
            match parts.get(at) {
                None => drop(found.insert(self.accepted(&state))),
                Some(&"#") => {
                    // No name is empty.
                    if !is_start {
                        found.insert(self.accepted(&state));
                    }
                    open.extend(self.any(&state).map(|next| (at, next, false)));
                }
                Some(&"*") => open.extend(self.any(&state).map(|next| (at + 1, next, false))),
                Some(literal) => open.push((at + 1, self.step(&state, literal), false)),
            }
        }
        Some(found)
    }

    /// Where any segment may lead.
    fn any<'c>(&'c self, state: &'c State) -> impl Iterator<Item = State> + 'c {
        let nodes = state.iter().filter_map(|at| match at {
            At::Node(number) => Some(&self.nodes[*number as usize]),
            At::Rest(_) => None,
        });
        let named = nodes.flat_map(|node| node.literal.keys().map(|key| &**key));
        named.chain([OTHER]).map(|segment| self.step(state, segment))
    }
}

impl Default for Catalogue {
    fn default() -> Self {
        Catalogue::new(Vec::new(), HistoryLimits::default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::broker::destination::{Destination, Tenant};
    use proptest::prelude::*;

    fn rule(pattern: &str, kind: ChannelKind) -> Rule {
        let history = HistoryLimits::default();
        Rule { pattern: pattern.to_owned(), kind, history, tail: 0, is_configured: true }
    }

    fn kind(catalogue: &Catalogue, name: &str) -> ChannelKind {
        catalogue.rule(name).map_or(ChannelKind::Plain, |rule| rule.kind)
    }

    fn reach(catalogue: &Catalogue, pattern: &str) -> (bool, bool, bool) {
        let filter = Filter::parse(Tenant::DEFAULT, format!("/topic/{pattern}").into()).unwrap();
        let Reach { snapshots, events, plain, .. } = catalogue.reach(&filter);
        (snapshots, events, plain)
    }

    #[test]
    fn the_built_in_catalogue_knows_its_channels() {
        let catalogue = Catalogue::default();
        for name in ["metrics", "host-metrics", "host-metrics:a", "host-metrics:web1.example.org", "workers"]
        {
            assert_eq!(kind(&catalogue, name), ChannelKind::Snapshot, "{name}");
        }
        for name in ["task-events", "jobs", "jobs:1", "logs:a.b.c", "vm-volume-migration-events:u:d", "chat"]
        {
            assert_eq!(kind(&catalogue, name), ChannelKind::Events, "{name}");
        }
        for name in ["metrics:a", "greetings", "task-events:1", "host-metricsx"] {
            assert_eq!(kind(&catalogue, name), ChannelKind::Plain, "{name}");
        }
        assert_eq!(catalogue.rule("logs:a").unwrap().tail, 100);
    }

    #[test]
    fn the_more_specific_pattern_wins_and_a_configured_one_before_all() {
        use ChannelKind::{Events, Plain, Snapshot};
        let catalogue = Catalogue::new(
            vec![
                rule("#", Events),
                rule("a:*", Snapshot),
                rule("a:b", Plain),
                rule("*.b.c", Snapshot),
                rule("a.*.c", Plain),
                rule("metrics", Plain),
            ],
            HistoryLimits::default(),
        );
        for (name, expected) in [
            ("a.b", Plain),
            ("a/c", Snapshot),
            ("x", Events),
            ("a.b.c", Plain),
            ("x.b.c", Snapshot),
            ("a.b.d", Events),
            ("metrics", Plain),
            ("host-metrics:a", Events),
        ] {
            assert_eq!(kind(&catalogue, name), expected, "{name}");
        }
    }

    #[test]
    fn what_a_pattern_can_match_is_known() {
        let catalogue = Catalogue::default();
        assert_eq!(reach(&catalogue, "host-metrics:#"), (true, false, false));
        assert_eq!(reach(&catalogue, "host-metrics:*"), (true, false, false));
        assert_eq!(reach(&catalogue, "metrics"), (true, false, false));
        assert_eq!(reach(&catalogue, "jobs:#"), (false, true, false));
        assert_eq!(reach(&catalogue, "*"), (true, true, true));
        assert_eq!(reach(&catalogue, "#"), (true, true, true));
        let secret =
            Catalogue::new(vec![rule("host-metrics:x", ChannelKind::Plain)], HistoryLimits::default());
        assert_eq!(reach(&secret, "host-metrics:#"), (true, false, true));
        let all = Catalogue::new(vec![rule("#", ChannelKind::Snapshot)], HistoryLimits::default());
        assert_eq!(reach(&all, "#"), (true, false, false));
        let filter = |text: &str| Filter::parse(Tenant::DEFAULT, text.into()).unwrap();
        assert_eq!(catalogue.reach(&filter("/topic/logs:#")).tail, 100);
        assert_eq!(catalogue.reach(&filter("/topic/#")).tail, 0);
    }

    fn names() -> impl Strategy<Value = String> {
        proptest::collection::vec("[abc]", 1..4).prop_map(|parts| parts.join("."))
    }

    fn patterns() -> impl Strategy<Value = String> {
        (proptest::collection::vec("[ab*]", 0..4), any::<bool>())
            .prop_filter("not empty", |(parts, hash)| *hash || !parts.is_empty())
            .prop_map(|(mut parts, hash)| {
                if hash {
                    parts.push("#".into());
                }
                parts.join(".")
            })
    }

    /// Literal before `*` before `#`, from the left; what ends before all.
    fn rank(pattern: &str) -> Vec<u8> {
        let rank = |part| match part {
            "#" => 2,
            "*" => 1,
            _ => 0,
        };
        segments(pattern).map(rank).collect()
    }

    fn filter(pattern: &str) -> Filter {
        Filter::parse(Tenant::DEFAULT, format!("/topic/{pattern}").into()).unwrap()
    }

    fn matches(pattern: &str, name: &str) -> bool {
        filter(pattern).matches(&Destination::topic(Tenant::DEFAULT, name).unwrap())
    }

    proptest! {
        /// The rule found is the best of those that match, one by one; and a pattern reaches what its names are.
        #[test]
        fn finds_the_best_rule(
            rules in proptest::collection::hash_map(patterns(), 0usize..3, 0..8),
            all in proptest::collection::vec(names(), 1..20),
            asked in patterns(),
        ) {
            let kinds = [ChannelKind::Snapshot, ChannelKind::Events, ChannelKind::Plain];
            let rules: Vec<Rule> = rules.iter().map(|(pattern, at)| rule(pattern, kinds[*at])).collect();
            let catalogue = Catalogue::new(rules.clone(), HistoryLimits::default());
            let reach = catalogue.reach(&filter(&asked));
            for name in &all {
                let fitting = rules.iter().filter(|rule| matches(&rule.pattern, name));
                let best = fitting.min_by_key(|rule| rank(&rule.pattern));
                prop_assert_eq!(catalogue.rule(name), best, "{}", name);
                if matches(&asked, name) {
                    let reached = match best.map_or(ChannelKind::Plain, |rule| rule.kind) {
                        ChannelKind::Snapshot => reach.snapshots,
                        ChannelKind::Events => reach.events,
                        ChannelKind::Plain => reach.plain,
                    };
                    prop_assert!(reached, "{} of {}", name, asked);
                }
            }
        }
    }
}
