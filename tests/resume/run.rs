//! One run: what a seed has a few clients and a publisher do, each answer of the broker's held against the model.

#![allow(missing_docs, unreachable_pub)]

use std::time::Duration;

use bytes::Bytes;
use stentor::broker::{Destination, Door, Headers, Identity, Message, Tenant};
use stomp_parser::Frame;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::dice::Dice;
use crate::model::{Asked, Given, Kind, Subscription, World};
use crate::support::{Carrier, Client, Server};

/// Messages that may wait for a client.
pub const OUTBOX: usize = 64;
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The one that a run uses follows from its seed.
pub const TRANSPORTS: [Carrier; 6] =
    [Carrier::Raw, Carrier::SockJs, Carrier::Tcp, Carrier::Streaming, Carrier::Polling, Carrier::EventSource];

/// A destination, the channels that it matches, and whether it can match events.
type Target = (String, Vec<usize>, bool);

/// What a run did; told if it fails.
pub struct Script(Vec<String>);

impl Drop for Script {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.0.is_empty() {
            eprintln!("\n{}", self.0.join("\n"));
        }
    }
}

/// What all runs came to.
#[derive(Debug, Default)]
pub struct Sums {
    pub published: usize,
    pub messages: usize,
    pub subscribes: usize,
    pub resumed: usize,
    pub trimmed: usize,
    pub unknown: usize,
    pub cuts: usize,
    pub overtaken: usize,
    pub overflowed: usize,
}

pub struct Run<'s> {
    server: &'s Server,
    seed: u64,
    transport: Carrier,
    dice: Dice,
    world: World,
    targets: Vec<Target>,
    /// Every cursor that came.
    given: Vec<Given>,
    client: Option<Client>,
    subscriptions: Vec<Subscription>,
    publisher: Option<Client>,
    /// What a client that does not keep up is sent is large.
    is_slow: bool,
    born: usize,
    counter: usize,
    barrier: Option<String>,
    sums: Sums,
    script: Script,
}

impl<'s> Run<'s> {
    pub fn new(server: &'s Server, seed: u64) -> Run<'s> {
        let mut dice = Dice(seed.wrapping_mul(0x0123_4567_89ab_cdef));
        let transport = TRANSPORTS[(seed % TRANSPORTS.len() as u64) as usize];
        let mut world = World::default();
        for name in ["a", "b", "c", "d"].iter().take(1 + dice.below(4)) {
            let (kind, part) = if dice.percent(65) { (Kind::Small, "small") } else { (Kind::Wide, "wide") };
            world.add(format!("/topic/r.{seed}.{part}.{name}"), kind);
        }
        if dice.percent(30) {
            world.add(format!("/topic/r.{seed}.plain.a"), Kind::Plain);
        }
        if dice.percent(30) {
            world.add(format!("/topic/r.{seed}.snap.a"), Kind::Snapshot);
        }
        let is_slow = dice.percent(20);
        let born = 1 + dice.below(world.channels.len());
        let first = format!(
            "RESUME_SEED={seed}, {transport:?}, slow: {is_slow}, {:?}",
            world.channels.iter().map(|channel| &channel.destination).collect::<Vec<_>>()
        );
        Run {
            server,
            seed,
            transport,
            dice,
            world,
            targets: Vec::new(),
            given: Vec::new(),
            client: None,
            subscriptions: Vec::new(),
            publisher: None,
            is_slow,
            born,
            counter: 0,
            barrier: None,
            sums: Sums::default(),
            script: Script(vec![first]),
        }
    }

    fn note(&mut self, step: String) {
        self.script.0.push(step);
    }

    /// A part of a run's name that no other has.
    fn count(&mut self) -> usize {
        self.counter += 1;
        self.counter
    }

    fn body(&mut self) -> Bytes {
        const TEXT: &str = "12%, \"quoted\"\n\\ 3 \u{e9}\u{2014} and so on; ";
        let most = match self.dice.below(20) {
            _ if self.is_slow => 12_000,
            0..12 => 60,
            12..19 => 2_000,
            _ => 6_000,
        };
        let length = self.dice.below(most);
        let text: String = TEXT.chars().cycle().take(length).collect();
        format!("{} {text}", self.world.end() + 1).into()
    }

    async fn publish(&mut self, channel: usize) {
        let body = self.body();
        let destination = self.world.channels[channel].destination.clone();
        self.sums.published += 1;
        self.world.publish(channel, body.clone());
        if self.dice.percent(10) {
            let address = self.server.tcp;
            let publisher = match &mut self.publisher {
                Some(publisher) => publisher,
                none => none.insert(Client::connect(address, Carrier::Tcp).await),
            };
            // What only the broker says it does not take from others.
            let head = "cursor:x\ngap:true\ngap-reason:lost\nresumed:true\nretained:true";
            let text = std::str::from_utf8(&body).unwrap();
            let send = format!(
                "SEND\ndestination:{destination}\n{head}\nreceipt:r\ncontent-length:{}\n\n{text}\0",
                body.len()
            );
            publisher.send(&send).await;
            let receipt = timeout(PATIENCE, publisher.frame()).await.expect("a SEND's RECEIPT").unwrap();
            assert_eq!(receipt.command.as_str(), "RECEIPT", "{receipt:?}");
        } else {
            let destination = Destination::parse(Tenant::DEFAULT, destination.into()).unwrap();
            let message = Message::new(destination, Headers::new(), body);
            let nobody = Identity::anonymous();
            let published = self.server.broker.publish(&nobody, Door::Rest, message);
            timeout(PATIENCE, published).await.expect("a publish that ends").unwrap();
        }
    }

    async fn burst(&mut self, most: usize) {
        let count = self.dice.below(most + 1);
        let from = self.world.end() + 1;
        for _ in 0..count {
            let channel = self.dice.below(self.born);
            self.publish(channel).await;
            if self.dice.percent(20) {
                yield_now().await;
            }
        }
        self.note(format!("published {from}..={}", self.world.end()));
    }

    /// Where to subscribe, often where it was done before.
    fn target(&mut self) -> Target {
        let seed = self.seed;
        let all: Vec<(String, Kind)> =
            self.world.channels.iter().map(|channel| (channel.destination.clone(), channel.kind)).collect();
        let places = |holds: &dyn Fn(&(String, Kind)) -> bool| -> Vec<usize> {
            all.iter().enumerate().filter(|(_, channel)| holds(channel)).map(|(at, _)| at).collect()
        };
        if self.dice.percent(75)
            && let Some(before) = self.dice.one_of(&self.targets)
        {
            return before.clone();
        }
        let target = match self.dice.below(10) {
            0..4 => {
                let at = self.dice.below(all.len());
                (all[at].0.clone(), vec![at], all[at].1.is_events())
            }
            4 => (format!("/topic/r.{seed}.small.*"), places(&|(_, kind)| *kind == Kind::Small), true),
            5 => (format!("/topic/r.{seed}.wide.#"), places(&|(_, kind)| *kind == Kind::Wide), true),
            6 => (format!("/topic/r.{seed}.*.a"), places(&|(name, _)| name.ends_with(".a")), true),
            7 => (format!("/topic/r.{seed}.snap.#"), places(&|(_, kind)| *kind == Kind::Snapshot), false),
            _ => (format!("/topic/r.{seed}.#"), places(&|_| true), true),
        };
        self.targets.push(target.clone());
        target
    }

    /// What to ask of history, and the headers that do.
    fn asked(&mut self, destination: &str) -> (Asked, String) {
        let (here, elsewhere): (Vec<Given>, Vec<Given>) =
            self.given.iter().cloned().partition(|given| given.destination == destination);
        let receipts: Vec<Given> = here.iter().filter(|given| given.is_receipts).cloned().collect();
        let cursor = match self.dice.below(20) {
            0 | 1 => return (Asked::Nothing, String::new()),
            2 | 3 => {
                let count = [0, 1, 3, 12, 40][self.dice.below(5)];
                return (Asked::History(count), format!("history:{count}\n"));
            }
            4..13 => here.last(),
            13..16 => self.dice.one_of(&here),
            16 | 17 => self.dice.one_of(&receipts),
            _ => None,
        };
        if let Some(cursor) = cursor {
            let history = if self.dice.percent(10) { "history:2\n" } else { "" };
            return (Asked::Cursor(cursor.positions.clone()), format!("cursor:{}\n{history}", cursor.text));
        }
        let text = match (self.dice.below(5), self.dice.one_of(&here), self.dice.one_of(&elsewhere)) {
            (0, Some(cursor), _) => cursor.text[..self.dice.below(cursor.text.len())].to_owned(),
            (1 | 2, Some(cursor), _) => {
                let at = self.dice.below(cursor.text.len());
                let other = if &cursor.text[at..=at] == "A" { "B" } else { "A" };
                format!("{}{other}{}", &cursor.text[..at], &cursor.text[at + 1..])
            }
            (3, _, Some(cursor)) => cursor.text.clone(),
            (4, ..) => "no cursor at all".to_owned(),
            // The first of its kind has no cursor to come back with.
            _ => return (Asked::Nothing, String::new()),
        };
        (Asked::Nonsense, format!("cursor:{text}\n"))
    }

    async fn send(&mut self, frame: &str) {
        if let Some(client) = &mut self.client {
            // A session that has ended does not matter.
            let _ = timeout(PATIENCE, client.try_send(&[frame])).await.expect("a frame that is sent");
        }
    }

    /// Subscribes under an id; `racing` messages are published at the same time. Gives the end of the connection as `None`.
    async fn subscribe(&mut self, id: &str, racing: usize) -> Option<()> {
        let (destination, matches, has_events) = self.target();
        let (asked, headers) = self.asked(&destination);
        let number = self.count();
        let receipt = self.dice.percent(75).then(|| format!("sub-{number}"));
        let line = receipt.as_ref().map(|receipt| format!("receipt:{receipt}\n")).unwrap_or_default();
        self.note(format!("{id}: {destination} {asked:?} {line:?}, {racing} at the same time"));
        let frame = format!("SUBSCRIBE\nid:{id}\ndestination:{destination}\n{headers}{line}\n\0");
        let mut one = Subscription::new(&self.world, id.to_owned(), destination, matches, has_events, asked);
        one.receipt = receipt;
        self.subscriptions.push(one);
        self.sums.subscribes += 1;
        self.send(&frame).await;
        if racing > 0 {
            self.burst(racing).await;
        }
        if racing == 0 || self.dice.percent(30) {
            return self.confirm().await;
        }
        Some(())
    }

    /// Waits until the broker has done all that it was asked.
    async fn confirm(&mut self) -> Option<()> {
        let barrier = format!("barrier-{}", self.count());
        self.send(&format!("SEND\ndestination:/topic/nobody\nreceipt:{barrier}\n\n\0")).await;
        self.barrier = Some(barrier);
        while self.barrier.is_some() {
            self.read("the RECEIPT of a SEND").await?;
        }
        Some(())
    }

    /// Ends one subscription and begins another, perhaps under the same id, perhaps before the first is known to have ended.
    async fn resubscribe(&mut self) -> Option<()> {
        let Some(at) = self.subscriptions.iter().position(|one| one.ends.is_none()) else { return Some(()) };
        let id = self.subscriptions[at].id.clone();
        let receipt = format!("unsub-{}", self.count());
        self.subscriptions[at].ends = Some(receipt.clone());
        self.note(format!("{id}: UNSUBSCRIBE"));
        self.send(&format!("UNSUBSCRIBE\nid:{id}\nreceipt:{receipt}\n\n\0")).await;
        if self.dice.percent(50) {
            self.confirm().await?;
        }
        let id = if self.dice.percent(60) { id } else { format!("x{}", self.count()) };
        let racing = if self.dice.percent(50) { 12 } else { 0 };
        self.subscribe(&id, racing).await
    }

    /// Takes one frame; `None` at the end of the connection.
    async fn read(&mut self, what: &str) -> Option<()> {
        let client = self.client.as_mut()?;
        let Ok(frame) = timeout(PATIENCE, client.frame()).await else { panic!("waited in vain for {what}") };
        let Some(frame) = frame else {
            self.note("the end of the connection".to_owned());
            return None;
        };
        match self.take(&frame) {
            Ok(true) => Some(()),
            Ok(false) => None,
            Err(why) => panic!("{why}"),
        }
    }

    /// Checks one frame. Says whether others follow.
    fn take(&mut self, frame: &Frame) -> Result<bool, String> {
        let world = &self.world;
        match frame.command.as_str() {
            "RECEIPT" => {
                let receipt = frame.get("receipt-id").map(str::to_owned);
                if receipt == self.barrier {
                    self.barrier = None;
                    self.subscriptions.iter_mut().for_each(|one| one.is_made(world));
                } else if let Some(at) = self.subscriptions.iter().position(|one| one.ends == receipt) {
                    self.subscriptions.remove(at);
                } else {
                    let mut all = self.subscriptions.iter_mut();
                    let one = all.find(|one| one.receipt == receipt).ok_or(format!("{frame:?}"))?;
                    self.given.extend(one.take_receipt(world, frame)?);
                    self.sums.resumed += usize::from(frame.get("resumed") == Some("true"));
                    self.sums.trimmed += usize::from(frame.get("gap-reason") == Some("trimmed"));
                    self.sums.unknown += usize::from(frame.get("gap-reason") == Some("unknown"));
                }
                Ok(true)
            }
            "MESSAGE" => {
                let id = frame.get("subscription").unwrap_or_default();
                let mut all = self.subscriptions.iter_mut();
                let one = all.find(|one| one.id == id).ok_or(format!("nobody asked for {frame:?}"))?;
                self.given.extend(one.take_message(world, frame)?);
                self.sums.messages += 1;
                Ok(true)
            }
            "ERROR" => self.take_error(frame).map(|()| false),
            _ => Err(format!("{frame:?}")),
        }
    }

    /// The client was cut off, for which there must be a cause.
    fn take_error(&mut self, frame: &Frame) -> Result<(), String> {
        self.note(format!("cut off: {frame:?}"));
        let world = &self.world;
        let id = frame.get("subscription");
        let waiting: usize = self.subscriptions.iter_mut().map(|one| one.waiting(world)).sum();
        // Of two of one id the first has ended, perhaps, and the RECEIPT that says so was dropped: it is the one that agrees.
        let mut why = format!("nobody is named by {frame:?}");
        let mut is_found = false;
        for named in self.subscriptions.iter_mut().filter(|one| Some(one.id.as_str()) == id) {
            let is_overtaken = named.may_be_overtaken(world);
            if frame.get("message") != Some("slow consumer") || !(is_overtaken || waiting >= OUTBOX) {
                why = format!("no cause for {frame:?}; {waiting} may wait");
                continue;
            }
            match named.take_last_cursor(world, frame.get("cursor")) {
                Ok(given) => {
                    self.given.extend(given);
                    self.sums.overtaken += usize::from(is_overtaken);
                    self.sums.overflowed += usize::from(!is_overtaken);
                    is_found = true;
                    break;
                }
                Err(wrong) => why = wrong,
            }
        }
        if !is_found {
            return Err(why);
        }
        let named = id.unwrap_or_default().to_owned();
        let body = String::from_utf8_lossy(&frame.body).into_owned();
        let others = self.subscriptions.iter_mut().filter(|one| one.id != named && one.ends.is_none());
        for other in others {
            let mut lines = body.lines().filter_map(|line| line.split_once(' '));
            let cursor = lines.find(|(id, _)| *id == other.id).map(|(_, cursor)| cursor);
            // One that is not known to have been made may be missing there.
            if cursor.is_some() || other.cursor.is_some() {
                self.given.extend(other.take_last_cursor(world, cursor)?);
            }
        }
        Ok(())
    }

    /// Publishes to each channel, and reads until all of that has come: nothing can be missing before it then.
    async fn settle(&mut self) -> Option<()> {
        self.confirm().await?;
        for channel in 0..self.born {
            self.publish(channel).await;
        }
        self.note(format!("settle at {}", self.world.end()));
        loop {
            let missing = self.subscriptions.iter().find_map(|one| one.missing(&self.world));
            let Some(missing) = missing else { return Some(()) };
            self.read(&missing).await?;
        }
    }

    fn cut_soon(&mut self) {
        let most = [200, 2_000, 10_000, 60_000][self.dice.below(4)];
        let octets = self.dice.below(most);
        self.note(format!("cut after {octets} octets more"));
        if let Some(client) = &mut self.client {
            client.cut_after(octets);
        }
    }

    async fn connect(&mut self) {
        let window = self.is_slow.then_some(4096);
        self.note("connect".to_owned());
        let connected = async {
            let mut client =
                Client::with_window(self.server.at(self.transport), self.transport, window).await;
            client.asks_anew = false;
            client.greet("1.2", "0,0").await;
            client
        };
        self.client = Some(timeout(PATIENCE, connected).await.expect("a connection"));
    }

    fn end(&mut self) {
        self.sums.cuts += 1;
        self.subscriptions.clear();
        self.barrier = None;
        let reset = self.dice.percent(50);
        match self.client.take() {
            Some(client) if reset => client.vanish(),
            _ => {}
        }
    }

    /// One connection, until it is cut, by whoever it is.
    async fn live(&mut self) -> Option<()> {
        let cut = self.dice.below(4);
        if cut == 0 {
            self.cut_soon();
        }
        for id in ["one", "two"].iter().take(1 + self.dice.below(2)) {
            let racing = if self.dice.percent(45) { 20 } else { 0 };
            self.subscribe(id, racing).await?;
        }
        if cut == 1 {
            self.cut_soon();
        }
        for _ in 0..self.dice.below(5) {
            match self.dice.below(4) {
                0 => self.burst(if self.is_slow { 150 } else { 20 }).await,
                1 => self.settle().await?,
                2 => self.resubscribe().await?,
                _ => self.confirm().await?,
            }
        }
        if cut == 2 {
            self.cut_soon();
            self.burst(20).await;
        }
        self.settle().await?;
        self.confirm().await
    }

    pub async fn all(mut self) -> Sums {
        for _ in 0..2 + self.dice.below(4) {
            let most = if self.dice.percent(50) { 30 } else { 6 };
            self.burst(most).await;
            self.connect().await;
            let _ = self.live().await;
            self.end();
            self.born = (self.born + self.dice.below(3)).min(self.world.channels.len());
        }
        // Whatever was before, in the end all is well.
        self.connect().await;
        let is_well = async {
            self.subscribe("last", 0).await?;
            self.settle().await?;
            self.confirm().await
        };
        let is_well = is_well.await;
        assert!(is_well.is_some() || self.is_slow, "cut off without a cause");
        self.sums
    }
}
