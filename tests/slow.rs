//! Many readers of which some are slow, against the built program: the others notice nothing, a slow one of a snapshot
//! channel always gets the newest that its line allows, a slow one of an events channel is cut off and comes back.
//!
//! `SLOW_READERS` sets how many there are, of which three in ten are slow; `SLOW_SECONDS` how long it goes on,
//! `SLOW_PERIOD_MS` how often something is published and `SLOW_RATE` how many octets a slow one reads in a second;
//! `SLOW_EVENTS` and `SLOW_EVENTS_PERIOD_MS` are those of the events.

#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use support::{Carrier, Client, Pace, Program, number, number_of, run_within};
use tokio::sync::watch;
use tokio::task::JoinSet;

const WAYS: [Carrier; 4] = [Carrier::Raw, Carrier::SockJs, Carrier::Tcp, Carrier::Streaming];

/// The receive buffer that a slow reader asks for.
const WINDOW: u32 = 4096;

/// What the kernel holds between the program's write and a slow reader's read, at the most: what is not sent, up to
/// `TCP_NOTSENT_LOWAT`, and the receive buffer, of which Linux makes twice what is asked for; the last write may go beyond
/// the former by half a window.
const KERNEL: u64 = 16 * 1024 + 2 * WINDOW as u64 + WINDOW as u64 / 2;

/// What a busy machine may need from a publisher's RECEIPT to a write.
const LATE: Duration = Duration::from_secs(1);

/// What the program's memory may grow by, whatever the slow readers do. A slow one has at most the value under way to it
/// and shares the one that waits, so that what is held is less than what is published while one value is read.
const MEMORY: usize = 32 << 20;

fn is_slow(at: usize) -> bool {
    // Three of ten, and the same of each way.
    at / WAYS.len() % 10 < 3
}

/// As slow as `SLOW_RATE` says, in small steps.
fn slow() -> Pace {
    let rate = number("SLOW_RATE", 32 * 1024);
    Pace { octets: rate.div_ceil(8), every: Duration::from_millis(125) }
}

/// A reader that has connected; one that is slow has a small window.
async fn reader(program: &Program, at: usize) -> Client {
    let carrier = WAYS[at % WAYS.len()];
    connect(program.at(carrier), carrier, is_slow(at)).await
}

async fn connect(address: SocketAddr, carrier: Carrier, is_slow: bool) -> Client {
    let mut client = Client::with_window(address, carrier, is_slow.then_some(WINDOW)).await;
    client.greet("1.2", "0,0").await;
    client
}

/// What is published: numbers from 0 on.
#[derive(Clone, Copy)]
struct Stream {
    destination: &'static str,
    count: u64,
    period: Duration,
    size: usize,
}

/// Publishes all of it, says how many are out, and gives the moments by which the program had them.
async fn publish(program: &Program, stream: Stream, out: watch::Sender<u64>) -> Vec<Instant> {
    let Stream { destination, count, period, size } = stream;
    let mut publisher = Client::connect(program.tcp, Carrier::Tcp).await;
    let padding = "x".repeat(size);
    let mut published = Vec::new();
    let begun = Instant::now();
    for number in 0..count {
        tokio::time::sleep_until((begun + period * number as u32).into()).await;
        // The moment of sending, for those who measure how long it took.
        let sent = EPOCH.with(Instant::elapsed).as_micros();
        publisher
            .send(&format!("SEND\ndestination:{destination}\nreceipt:r\n\n{number} {sent} {padding}\0"))
            .await;
        assert_eq!(publisher.frame().await.unwrap().get("receipt-id"), Some("r"));
        published.push(Instant::now());
        let _ = out.send(number + 1);
    }
    published
}

thread_local! {
    static EPOCH: Instant = Instant::now();
}

/// Reads every value in order; gives how long each took, in microseconds.
async fn read_all(mut client: Client, count: u64) -> (Client, Vec<u64>) {
    let mut took = Vec::new();
    for expected in 0..count {
        let frame = client.frame().await.expect("a value, not the end");
        assert_eq!(number_of(&frame), expected);
        let text = std::str::from_utf8(&frame.body).unwrap();
        let sent: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
        took.push(EPOCH.with(Instant::elapsed).as_micros() as u64 - sent);
    }
    (client, took)
}

/// What a slow reader got.
struct Seen {
    client: Client,
    /// The number of each value, the place of its first octet in all that was read, and when its last one came.
    values: Vec<(u64, u64, Instant)>,
}

/// Reads slowly until told to stop.
async fn crawl(mut client: Client, mut stop: watch::Receiver<bool>) -> Seen {
    client.pace = Some(slow());
    let mut values = Vec::new();
    loop {
        let place = client.place();
        let frame = tokio::select! {
            frame = client.frame() => frame.expect("a value, not the end"),
            _ = stop.changed() => return Seen { client, values },
        };
        values.push((number_of(&frame), place, Instant::now()));
    }
}

impl Seen {
    /// Numbers only rise, and each value was new when its first octet went to the kernel. That was no earlier than when all
    /// but what the kernel holds had been read of what stands before it.
    fn check(&self, published: &[Instant]) {
        let mut last = None;
        for (number, place, _) in &self.values {
            assert!(last < Some(*number), "{number} after {last:?}");
            last = Some(*number);
            let reads = &self.client.reads;
            let first = reads.partition_point(|(taken, _)| *taken + KERNEL < *place);
            let Some((_, read)) = reads.get(first).filter(|_| *place > KERNEL) else { continue };
            let newest = published.partition_point(|at| *at + LATE <= *read) as u64;
            assert!(number + 1 >= newest, "{number} went out when {newest} values were there");
        }
        // What it read is values and little else: it was never left waiting.
        assert!(self.client.closes.is_empty());
    }
}

fn percentile(sorted: &[u64], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100] as f64 / 1000.0
}

#[test]
fn slow_readers_of_a_snapshot_get_the_newest_and_harm_nobody() {
    const SIZE: usize = 20 * 1024;
    let (readers, seconds) = (number("SLOW_READERS", 40), number("SLOW_SECONDS", 6));
    let period = Duration::from_millis(number("SLOW_PERIOD_MS", 200) as u64);
    let count = (seconds * 1000) as u64 / period.as_millis() as u64;
    // What the kernel holds at the end of a response takes a slow reader longer than 5 s.
    let program = Program::start(&[]);
    run_within(Duration::from_secs(120 + 2 * seconds as u64), async {
        let before = program.memory();
        let (stop, stopped) = watch::channel(false);
        let (mut fast, mut crawling) = (JoinSet::new(), JoinSet::new());
        for at in 0..readers {
            let mut client = reader(&program, at).await;
            client.subscribe("s", "/topic/status").await;
            match is_slow(at) {
                true => drop(crawling.spawn(crawl(client, stopped.clone()))),
                false => drop(fast.spawn(read_all(client, count))),
            }
        }
        let with = program.memory();
        let open = program.metric("stentor_connections").await;
        assert_eq!(open, readers as u64);

        let stream = Stream { destination: "/topic/status", count, period, size: SIZE };
        let publishing = publish(&program, stream, watch::channel(0).0);
        let mut most = 0;
        let watching = async {
            loop {
                tokio::time::sleep(period).await;
                most = most.max(program.memory());
                assert!(most - before < MEMORY, "{} octets", most - before);
                assert!(program.metric("stentor_connections").await >= open, "somebody was disconnected");
            }
        };
        let published = tokio::select! {
            published = publishing => published,
            () = watching => unreachable!(),
        };
        let mut took = Vec::new();
        let mut others = Vec::new();
        while let Some(done) = fast.join_next().await {
            let (client, some) = done.unwrap();
            others.push(client);
            took.extend(some);
        }
        assert_eq!(program.metric("stentor_connections").await, open, "all are there");
        assert_eq!(program.metric("stentor_cut_offs_total").await, 0);
        assert_eq!(program.metric("stentor_errors_total").await, 0);
        let conflated = program.metric("stentor_conflated_total").await;
        assert!(conflated > 0);
        let _ = stop.send(true);
        let (mut got, mut ages) = (Vec::new(), Vec::new());
        while let Some(done) = crawling.join_next().await {
            let seen = done.unwrap();
            seen.check(&published);
            got.push(seen.values.len() as u64 * 1000);
            ages.extend(seen.values.iter().map(|(number, _, at)| {
                at.saturating_duration_since(published[*number as usize]).as_micros() as u64
            }));
        }
        [&mut took, &mut got, &mut ages].into_iter().for_each(|figures| figures.sort_unstable());
        println!(
            "{} fast readers had each of {count} values after {:.1} ms (half), {:.1} ms (99 %), {:.1} ms (all)",
            others.len(),
            percentile(&took, 50),
            percentile(&took, 99),
            percentile(&took, 100),
        );
        println!(
            "{} slow readers had {} to {} values whole, {:.1} s (half), {:.1} s (all) after they were published; {conflated} skipped",
            got.len(),
            percentile(&got, 0),
            percentile(&got, 100),
            percentile(&ages, 50) / 1000.0,
            percentile(&ages, 100) / 1000.0,
        );
        println!(
            "memory: {} KiB, {} KiB with all connected, at most {} KiB",
            before >> 10,
            with >> 10,
            most >> 10
        );
        assert!(percentile(&took, 99) < 1000.0, "fast readers had to wait");
        assert!(got.is_empty() || percentile(&got, 0) >= 2.0, "a slow reader got too little to tell");
    });
}

/// One reader of events, over all its connections.
struct Follower {
    address: SocketAddr,
    carrier: Carrier,
    /// What its connections behind the first are like.
    habit: Habit,
    cursor: Option<String>,
    /// The number of the next event.
    next: u64,
    gaps: u64,
    cut_offs: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    /// It reads fast from the beginning.
    Fast,
    /// It is slow once, and then fast.
    Recovers,
    /// It is slow always.
    Slow,
    /// It reads fast until it has come up with what is published, and is slow then.
    Relapses,
}

impl Habit {
    fn of(at: usize) -> Habit {
        match is_slow(at) {
            true => [Habit::Recovers, Habit::Slow, Habit::Relapses][at / WAYS.len() % 3],
            false => Habit::Fast,
        }
    }
}

impl Follower {
    /// Follows the events up to the last of `count`. When all are `out` it reads as fast as it can.
    async fn follow(mut self, mut client: Client, count: u64, out: watch::Receiver<u64>) -> Follower {
        let mut connections = 1;
        while !self.follow_connection(&mut client, connections, count, &out).await {
            self.cut_offs += 1;
            connections += 1;
            client = connect(self.address, self.carrier, self.habit != Habit::Fast).await;
            let cursor = self.cursor.as_ref().unwrap();
            let subscribe =
                format!("SUBSCRIBE\nid:e\ndestination:{EVENTS}\ncursor:{cursor}\nreceipt:r\n\n\0");
            client.send(&subscribe).await;
        }
        self
    }

    /// Follows them on one connection; says whether the last has come.
    async fn follow_connection(
        &mut self,
        client: &mut Client,
        connection: u64,
        count: u64,
        out: &watch::Receiver<u64>,
    ) -> bool {
        let mut gap = false;
        let mut has_come_up = false;
        loop {
            has_come_up |= self.next == *out.borrow();
            let is_slow = match self.habit {
                Habit::Fast => false,
                Habit::Recovers => connection == 1,
                Habit::Slow => true,
                Habit::Relapses => connection == 1 || has_come_up,
            };
            client.pace = (is_slow && *out.borrow() < count).then(slow);
            let Some(frame) = client.frame().await else {
                panic!(
                    "{:?} came to its end without an ERROR: {:?} at {}, reset: {}, {:?}",
                    self.carrier, self.habit, self.next, client.reset, client.closes
                );
            };
            let told = frame.get("gap").map(|gap| (gap, frame.get("gap-reason")));
            match frame.command.as_str() {
                "RECEIPT" => {
                    assert_eq!(frame.get("resumed"), Some(if told.is_some() { "false" } else { "true" }));
                    gap = told.is_some();
                    if gap {
                        assert_eq!(told, Some(("true", Some("trimmed"))));
                        self.gaps += 1;
                    }
                    self.cursor = frame.get("cursor").map(str::to_owned);
                }
                "MESSAGE" => {
                    let got = number_of(&frame);
                    match std::mem::take(&mut gap) {
                        true => {
                            assert_eq!(
                                told,
                                Some(("true", Some("trimmed"))),
                                "told on the first of them too"
                            );
                            assert!(got > self.next, "{got} follows {}, which is no gap", self.next);
                        }
                        false => assert_eq!((got, told), (self.next, None)),
                    }
                    self.cursor = frame.get("cursor").map(str::to_owned);
                    self.next = got + 1;
                    if self.next == count {
                        return true;
                    }
                }
                _ => {
                    assert_eq!(frame.command.as_str(), "ERROR");
                    assert_eq!(frame.get("message"), Some("slow consumer"), "{frame:?}");
                    assert_eq!(frame.get("subscription"), Some("e"));
                    assert_eq!(frame.get("cursor"), self.cursor.as_deref(), "that of the last it was sent");
                    client.pace = None;
                    assert!(client.frame().await.is_none());
                    assert_ne!(self.habit, Habit::Fast, "it was not slow");
                    return false;
                }
            }
        }
    }
}

const EVENTS: &str = "/topic/task-events";

/// Has slow readers of events come back until they have the last, and gives what became of all, and how many gaps the
/// program told of.
fn events(environment: &[(&str, &str)]) -> (Vec<Follower>, u64) {
    let readers = number("SLOW_READERS", 40);
    let count = number("SLOW_EVENTS", 300) as u64;
    let period = Duration::from_millis(number("SLOW_EVENTS_PERIOD_MS", 10) as u64);
    // So that a slow one takes less time to fill its outbox, and has the time to read what is under way when it is cut off.
    let mut all = vec![("STENTOR_OUTBOX__BYTES", "128KiB"), ("STENTOR_OUTBOX__CLOSE_TIMEOUT", "120s")];
    all.push(("STENTOR_SOCKJS__SESSION_TIMEOUT", "120s"));
    all.extend(environment);
    let program = Program::start(&all);
    let mut followers: Vec<Follower> = Vec::new();
    let mut told = 0;
    run_within(Duration::from_secs(300) + 3 * period * count as u32, async {
        let (progress, out) = watch::channel(0);
        let mut following = JoinSet::new();
        for at in 0..readers {
            let carrier = WAYS[at % WAYS.len()];
            let mut client = reader(&program, at).await;
            client.send(&format!("SUBSCRIBE\nid:e\ndestination:{EVENTS}\nreceipt:r\n\n\0")).await;
            let receipt = client.frame().await.unwrap();
            assert_eq!((receipt.get("receipt-id"), receipt.get("resumed")), (Some("r"), None));
            let cursor = receipt.get("cursor").map(str::to_owned);
            let (address, habit) = (program.at(carrier), Habit::of(at));
            let follower = Follower { address, carrier, habit, cursor, next: 0, gaps: 0, cut_offs: 0 };
            following.spawn(follower.follow(client, count, out.clone()));
        }
        publish(&program, Stream { destination: EVENTS, count, period, size: 4096 }, progress).await;
        while let Some(done) = following.join_next().await {
            followers.push(done.unwrap());
        }
        told = program.metric("stentor_gaps_total").await;
        let cut_offs: u64 = followers.iter().map(|follower| follower.cut_offs).sum();
        let gaps: u64 = followers.iter().map(|follower| follower.gaps).sum();
        println!(
            "{readers} readers have {count} events each, over {cut_offs} cut-offs and {gaps} gaps; memory {} KiB",
            program.memory() >> 10
        );
        assert_eq!(program.metric("stentor_cut_offs_total").await, cut_offs);
    });
    for follower in &followers {
        assert_eq!(follower.cut_offs == 0, follower.habit == Habit::Fast, "{:?}", follower.habit);
    }
    let again = |follower: &Follower| follower.habit == Habit::Relapses && follower.cut_offs > 1;
    assert!(followers.iter().any(again), "one that was slow again was cut off again");
    (followers, told)
}

#[test]
fn slow_readers_of_events_are_cut_off_and_miss_nothing() {
    let (followers, told) = events(&[]);
    assert!(followers.iter().all(|follower| follower.gaps == 0));
    assert_eq!(told, 0);
}

#[test]
fn slow_readers_of_events_are_told_what_history_no_longer_holds() {
    let (followers, told) = events(&[("STENTOR_CHANNELS__EVENTS", "task-events messages=50")]);
    assert!(followers.iter().all(|follower| follower.habit != Habit::Fast || follower.gaps == 0));
    assert!(followers.iter().any(|follower| follower.gaps > 0));
    assert_eq!(told, followers.iter().map(|follower| follower.gaps).sum::<u64>());
}
