//! A line of a queue that is elsewhere, against a model of clients and of RabbitMQ.

use super::rabbit::{Rabbit, assert_empty, with_rabbit};
use super::*;

#[derive(Debug, Clone, Copy)]
enum Act {
    Publish,
    Send(u8),
    Arrive(u8),
    Join(u32, u32, Option<u32>),
    Room(u32, u32),
    Settle(u32, usize, bool, u8),
    /// Those from this one on were not given to it yet.
    Stop(u32, usize),
    Leave(u32, usize),
    Die,
}

fn act() -> impl Strategy<Value = Act> {
    let who = || 0..4u32;
    prop_oneof![
        6 => Just(Act::Publish),
        6 => (1..6u8).prop_map(Act::Send),
        6 => (1..6u8).prop_map(Act::Arrive),
        3 => (who(), 1..4u32, prop::option::of(1..5u32)).prop_map(|(who, room, share)| Act::Join(who, room, share)),
        3 => (who(), 1..5u32).prop_map(|(who, more)| Act::Room(who, more)),
        6 => (who(), 0..5usize, any::<bool>(), 0..3u8).prop_map(|(who, at, all, v)| Act::Settle(who, at, all, v)),
        1 => (who(), 0..5usize).prop_map(|(who, given)| Act::Stop(who, given)),
        1 => (who(), 0..5usize).prop_map(|(who, given)| Act::Leave(who, given)),
        1 => Just(Act::Die),
    ]
}

/// A client's consumer, as the model sees it.
#[derive(Debug, Default)]
struct Client {
    share: usize,
    room: u32,
    is_stopped: bool,
    /// By delivery: the message, and whether its channel was lost.
    has: BTreeMap<u64, (u64, bool)>,
}

struct Model {
    rabbit: Arc<Rabbit>,
    queues: Queues,
    line: Option<Arc<Queue>>,
    clients: HashMap<u32, Client>,
    published: u64,
    acknowledged: BTreeSet<u64>,
    rejected: BTreeSet<u64>,
}

impl Model {
    fn new() -> Model {
        let (rabbit, queues) = with_rabbit(QueueLimits::default());
        let (acknowledged, rejected) = Default::default();
        Model { rabbit, queues, line: None, clients: HashMap::new(), published: 0, acknowledged, rejected }
    }

    fn line(&self) -> &Arc<Queue> {
        self.line.as_ref().unwrap()
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Publish => {
                self.rabbit.state().ready.insert(self.published, false);
                self.published += 1;
            }
            Act::Send(count) => (0..count).for_each(|_| self.rabbit.send()),
            Act::Arrive(count) => (0..count).for_each(|_| self.rabbit.arrive(&self.queues)),
            Act::Join(who, room, prefetch) if !self.clients.contains_key(&who) => {
                let share = prefetch.unwrap_or(room) as usize;
                self.clients.insert(who, Client { share, room, ..Client::default() });
                self.line = Some(self.queues.consume(&queue("m"), key(who), terms(room, prefetch)).unwrap());
            }
            Act::Room(who, more) if self.clients.get(&who).is_some_and(|client| !client.is_stopped) => {
                self.clients.get_mut(&who).unwrap().room += more;
                self.queues.room(self.line(), key(who), more);
            }
            Act::Settle(who, at, all, verdict) => self.settle(who, at, all, verdict),
            Act::Stop(who, given) if self.clients.get(&who).is_some_and(|client| !client.is_stopped) => {
                let client = self.clients.get_mut(&who).unwrap();
                client.is_stopped = true;
                let ungiven: Vec<u64> = client.has.keys().copied().skip(given).collect();
                client.has.retain(|delivery, _| !ungiven.contains(delivery));
                self.queues.stop(self.line(), key(who));
                for delivery in ungiven {
                    assert!(self.queues.settle(self.line(), key(who), delivery, false, Verdict::Untried));
                    self.take_assigned();
                }
                self.assert_trimmed();
                self.forget_if_done(who);
            }
            Act::Leave(who, given) => {
                let Some(client) = self.clients.remove(&who) else { return };
                let given = given.checked_sub(1).map_or(0, |last| {
                    let last = client.has.keys().nth(last).or(client.has.keys().last());
                    last.copied().unwrap_or(0)
                });
                self.queues.cancel(self.line(), key(who), given);
                self.take_assigned();
                if !client.is_stopped {
                    self.assert_trimmed();
                }
            }
            Act::Die => {
                let channel = self.rabbit.state().channel;
                self.rabbit.die();
                self.queues.channel_lost(&queue("m"), channel);
                for has in self.clients.values_mut().flat_map(|client| client.has.values_mut()) {
                    has.1 = true;
                }
            }
            _ => {}
        }
    }

    fn settle(&mut self, who: u32, at: usize, all: bool, verdict: u8) {
        let Some(client) = self.clients.get_mut(&who) else { return };
        let Some(delivery) = client.has.keys().nth(at).copied() else { return };
        let verdict = [Verdict::Done, Verdict::Again, Verdict::Dead][usize::from(verdict)];
        let is_meant = |other: &u64| *other == delivery || all && *other < delivery;
        let settled: Vec<(u64, bool)> =
            client.has.iter().filter(|(other, _)| is_meant(other)).map(|(_, has)| *has).collect();
        client.has.retain(|other, _| !is_meant(other));
        assert!(self.queues.settle(self.line(), key(who), delivery, all, verdict));
        for (message, _) in settled.into_iter().filter(|(_, is_lost)| !is_lost) {
            match verdict {
                Verdict::Done => assert!(self.acknowledged.insert(message)),
                Verdict::Dead => assert!(self.rejected.insert(message)),
                _ => {}
            }
        }
        self.forget_if_done(who);
    }

    fn forget_if_done(&mut self, who: u32) {
        let client = &self.clients[&who];
        if client.is_stopped && client.has.is_empty() {
            assert!(self.queues.stop(self.line(), key(who)));
            self.queues.cancel(self.line(), key(who), u64::MAX);
            self.clients.remove(&who);
        }
    }

    fn take_assigned(&mut self) {
        for (who, delivery, body, redelivered) in assigned(&self.queues) {
            let message: u64 = body.parse().unwrap();
            let with_another = |client: &Client| client.has.values().any(|has| *has == (message, false));
            assert!(!self.clients.values().any(with_another), "two have it");
            let told = self.rabbit.state().unsettled.values().find(|(it, ..)| *it == message).copied();
            assert_eq!(told.map(|(_, before, _)| before), Some(redelivered), "as RabbitMQ says");
            let client = self.clients.get_mut(&who).expect("it is there");
            assert!(!client.is_stopped && client.room > 0, "it has room");
            client.room -= 1;
            client.has.insert(delivery, (message, false));
            assert!(client.has.len() <= client.share, "more than it may have");
        }
    }

    fn ready(&self) -> usize {
        self.line.as_ref().map_or(0, |line| line.line().ready_len())
    }

    fn active(&self) -> impl Iterator<Item = &Client> {
        self.clients.values().filter(|client| !client.is_stopped)
    }

    /// How many are with clients whose channel was not lost.
    fn live(client: &Client) -> usize {
        client.has.values().filter(|(_, is_lost)| !is_lost).count()
    }

    /// What is to be told: what clients may have, and what those have that stopped.
    fn prefetch(&self) -> usize {
        let of = |client: &Client| if client.is_stopped { Model::live(client) } else { client.share };
        self.clients.values().map(of).sum()
    }

    /// After a consumer has ended nothing waits here that its share had asked for.
    fn assert_trimmed(&self) {
        let live: usize = self.clients.values().map(Model::live).sum();
        let (ready, prefetch) = (self.ready(), self.prefetch());
        assert!(ready == 0 || ready + live <= prefetch, "{ready} wait, {live} are out of {prefetch}");
    }

    fn check(&mut self) {
        self.take_assigned();
        let shares: usize = self.active().map(|client| client.share).sum();
        let state = self.rabbit.state();
        assert_eq!(state.prefetch as usize, self.prefetch());
        assert_eq!((&state.acknowledged, &state.rejected), (&self.acknowledged, &self.rejected));
        let gone = state.acknowledged.len() + state.rejected.len();
        assert_eq!((gone + state.ready.len() + state.unsettled.len()) as u64, self.published);
        let has = self.clients.values().flat_map(|client| client.has.values().copied());
        let (lost, live): (Vec<_>, Vec<_>) = has.partition(|(_, is_lost)| *is_lost);
        assert_eq!(state.unsettled.len(), state.in_flight.len() + live.len() + self.ready(), "accounted for");
        let here = (self.ready() + live.len() + lost.len()) as i64;
        assert_eq!(self.queues.metrics.queue_messages.get(), here);
        assert!(shares > 0 || self.ready() == 0, "nobody would take it");
    }
}

proptest! {
    /// Whatever happens, each message is settled once or in the queue still, with one client unless its channel broke, and nobody
    /// has more than he asked for. In the end nothing is left here.
    #[test]
    fn every_message_is_settled_once_or_still_in_the_queue(acts in prop::collection::vec(act(), 1..150)) {
        let mut model = Model::new();
        for act in acts {
            model.act(act);
            model.check();
        }
        for who in 0..4 {
            model.act(Act::Leave(who, usize::MAX));
            model.check();
        }
        while !model.rabbit.state().in_flight.is_empty() {
            model.act(Act::Arrive(1));
            model.check();
        }
        assert_empty(&model.rabbit, &model.queues);
    }
}
