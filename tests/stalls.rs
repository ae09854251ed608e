//! Clients that stop reading for a while, as in a tunnel or a tab that sleeps, and those that never read again.
//!
//! `STALL_SECONDS` sets how long they stop; a poller stays away for no more than 3 of the 5 s that it has.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use stentor::config::Config;
use support::{ALL_CARRIERS, Carrier, Client, Server, config, number, number_of, run, run_within, until};

const STATUS: &str = "/topic/status";
const EVENTS: &str = "/topic/task-events";

/// The receive buffer that clients ask for.
const WINDOW: u32 = 4096;

/// A value on the wire, more or less.
const VALUE: usize = 4096;

/// What the kernel holds for a client that does not read: what is not sent, up to `TCP_NOTSENT_LOWAT`, and the receive
/// buffer, of which Linux makes twice what is asked for; the last write may go beyond the former by half a window.
const KERNEL: usize = 16 * 1024 + 2 * WINDOW as usize + WINDOW as usize / 2;

/// Values that a client gets after a stall though newer ones were there when it woke up: those that the kernel held, and the
/// one that was under way.
const OLD: usize = KERNEL / VALUE + 1;

async fn joined(server: &Server, carrier: Carrier, beats: &str) -> Client {
    let mut client = Client::with_window(server.at(carrier), carrier, Some(WINDOW)).await;
    client.greet("1.2", beats).await;
    client.subscribe("value", STATUS).await;
    client.subscribe("event", EVENTS).await;
    client
}

/// Publishes until a moment, a value each tenth of a second and an event with each fifth; gives how many values and events
/// there are.
async fn publish(server: &Server, carrier: Carrier, from: (u64, u64), until: Instant) -> (u64, u64) {
    let mut publisher = Client::connect(server.at(carrier), carrier).await;
    let padding = "x".repeat(VALUE);
    let (mut values, mut events) = from;
    while Instant::now() < until {
        publisher.publish(STATUS, &format!("{values} {padding}")).await;
        values += 1;
        if values.is_multiple_of(5) {
            publisher.publish(EVENTS, &events.to_string()).await;
            events += 1;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    publisher.send("SEND\ndestination:/topic/nobody\nreceipt:last\n\n\0").await;
    assert_eq!(publisher.frame().await.unwrap().get("receipt-id"), Some("last"));
    (values, events)
}

/// What one client got.
#[derive(Debug, Default)]
struct Got {
    values: Vec<u64>,
    events: u64,
}

impl Got {
    /// Takes frames until it has the newest value, and all events.
    async fn take(&mut self, client: &mut Client, (values, events): (u64, u64)) {
        while self.values.last() != Some(&(values - 1)) || self.events < events {
            let frame = client.frame().await.expect("a message, not the end");
            let number = number_of(&frame);
            if frame.get("subscription") == Some("event") {
                assert_eq!(number, self.events, "in order, none missing, none twice");
                self.events += 1;
            } else {
                assert!(self.values.last().is_none_or(|last| *last < number), "{number} of {self:?}");
                self.values.push(number);
            }
        }
    }
}

/// Has clients stop for `stall` and wake up; gives how many old values each got then.
async fn stall(server: &Server, carrier: Carrier, beats: &str, stall: Duration) -> usize {
    let mut client = joined(server, carrier, beats).await;
    let mut got = Got::default();
    let reads = publish(server, Carrier::Raw, (0, 0), Instant::now() + Duration::from_millis(500)).await;
    got.take(&mut client, reads).await;
    let before = got.values.len();
    let sleeps = publish(server, Carrier::Raw, reads, Instant::now() + stall).await;
    // Whatever is there is either with the kernel or waits.
    until("the newest has come to it", || is_told(server, sleeps)).await;
    let skipped = server.metric("stentor_conflated_total");
    got.take(&mut client, sleeps).await;
    let old = got.values.len() - before - 1;
    assert!(skipped > 0, "the stall was too short to tell");
    assert!(old <= OLD, "{old} old values");
    // And it goes on as if nothing had been.
    let more = publish(server, Carrier::Raw, sleeps, Instant::now() + Duration::from_millis(300)).await;
    got.take(&mut client, more).await;
    assert!(client.is_quiet().await);
    assert_eq!(server.metric("stentor_cut_offs_total{reason=\"slow_consumer\"}"), 0);
    old
}

/// Whether each value and event that was published was handed to the client, or skipped.
fn is_told(server: &Server, (values, events): (u64, u64)) -> bool {
    let handed = server.metric("stentor_messages_out_total") + server.metric("stentor_conflated_total");
    handed == values + events
}

#[test]
fn a_client_that_stops_reading_finds_the_newest_value_and_every_event() {
    let seconds = number("STALL_SECONDS", 3) as u64;
    run_within(Duration::from_secs(60 + seconds), async {
        let stalls = ALL_CARRIERS.map(|carrier| async move {
            // One for each, so that what it counts is of one client.
            let server = Server::start();
            let seconds = if carrier == Carrier::Polling { 3 } else { seconds };
            let old = stall(&server, carrier, "0,0", Duration::from_secs(seconds)).await;
            println!("{carrier:?}: {old} old values after {seconds} s");
            assert_eq!(server.metric("stentor_cut_offs_total"), 0);
        });
        let [raw, sockjs, tcp, streaming, polling] = stalls;
        tokio::join!(raw, sockjs, tcp, streaming, polling);
    });
}

#[test]
fn a_tab_that_sleeps_is_waited_for() {
    let seconds = number("STALL_SECONDS", 3) as u64;
    run_within(Duration::from_secs(60 + seconds), async {
        let mut config = config();
        // Of a sleep of 30 s, as of a shorter one in proportion: it is silent for less than three of these.
        config.stomp.heart_beat_want = Duration::from_millis(seconds * 1000 / 2);
        let server = Server::with(config);
        let beats = format!("{},1000", seconds * 1000 / 2);
        let old = stall(&server, Carrier::SockJs, &beats, Duration::from_secs(seconds)).await;
        println!("{old} old values after {seconds} s");
    });
}

/// Has a client stop for good, and waits until nothing is left of it.
async fn ends(config: Config, carrier: Carrier, beats: &str, reason: &str) {
    let server = Server::with(config);
    let client = joined(&server, carrier, beats).await;
    let mut publisher = Client::connect(server.address, Carrier::Raw).await;
    let sockets = server.sockets();
    let padding = "x".repeat(VALUE);
    let cut_offs = || server.metric(&format!("stentor_cut_offs_total{{reason=\"{reason}\"}}"));
    let begun = Instant::now();
    // Whatever is published meanwhile is no sign of life.
    let mut values = 0;
    while cut_offs() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{carrier:?} is there still");
        publisher.publish(STATUS, &format!("{values} {padding}")).await;
        values += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begun.elapsed() > Duration::from_millis(900), "{carrier:?} was given its time");
    until("its connection is gone", || server.connections() == 1).await;
    // A poller that does not ask has none.
    let own = usize::from(carrier != Carrier::Polling);
    until("its socket is gone", || server.sockets() == sockets - own).await;
    drop((client, publisher));
    until("all have gone", || server.connections() == 0 && server.sockets() == 0).await;
}

async fn each_ends(config: Config, beats: &str, reason: &str) {
    let [raw, sockjs, tcp, streaming, polling] =
        ALL_CARRIERS.map(|carrier| ends(config.clone(), carrier, beats, reason));
    tokio::join!(raw, sockjs, tcp, streaming, polling);
}

#[test]
fn who_takes_nothing_for_too_long_is_gone() {
    let mut config = config();
    config.outbox.write_timeout = Duration::from_secs(1);
    config.outbox.close_timeout = Duration::from_millis(300);
    config.sockjs.session_timeout = Duration::from_secs(30);
    run(each_ends(config, "0,0", "stalled"));
}

#[test]
fn who_says_nothing_for_three_intervals_is_gone() {
    let mut config = config();
    config.stomp.heart_beat_want = Duration::from_millis(350);
    config.outbox.close_timeout = Duration::from_millis(300);
    config.sockjs.session_timeout = Duration::from_secs(30);
    run(each_ends(config, "350,0", "silent"));
}
