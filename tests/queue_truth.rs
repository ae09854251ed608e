//! The truth of queues: many producers, many consumers in all ack modes, a third of which vanish without a goodbye.
//!
//! What was written to a consumer that acknowledges by itself (`ack:auto`) is acknowledged, read or not: when such ones
//! vanish too, which they do with every second seed, what their kernel held is gone. Else every message is accounted for.
//!
//! `QUEUE_MESSAGES` sets how many messages there are, `QUEUE_SEED` with what the dice begin.

#![allow(clippy::unwrap_used)]

mod support;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use stomp_parser::Frame;
use support::{CARRIERS, Carrier, Client, Server, run_within, until};
use tokio::task::{LocalSet, spawn_local};

const PRODUCERS: usize = 10;
const CONSUMERS: usize = 50;
const QUEUE: &str = "/queue/truth";

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// Dice that fall the same each time (xorshift64*).
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn of(seed: usize, who: usize) -> Dice {
        Dice((seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((who as u64 + 1) << 32))
    }

    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    }
}

/// What is known of one message.
#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    delivered: u32,
    /// Acknowledged, and the receipt of that came.
    settled: u32,
    /// Acknowledged by one who vanished before the receipt: nobody knows whether that arrived.
    perhaps: u32,
}

struct Ledger {
    fates: Vec<Fate>,
    vanished: [usize; 3],
}

type Shared = Rc<RefCell<Ledger>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Auto,
    Client,
    Individual,
}

const MODES: [(Mode, &str); 3] =
    [(Mode::Auto, "auto"), (Mode::Client, "client"), (Mode::Individual, "client-individual")];

/// Connects to the one of these that serves the carrier: HTTP, or plain TCP.
async fn connect(addresses: [SocketAddr; 2], carrier: Carrier) -> Client {
    Client::connect(addresses[usize::from(carrier == Carrier::Tcp)], carrier).await
}

async fn produce(addresses: [SocketAddr; 2], carrier: Carrier, numbers: std::ops::Range<usize>) {
    let mut client = connect(addresses, carrier).await;
    let last = numbers.end - 1;
    for number in numbers {
        let receipt = if number == last || number % 100 == 0 { "receipt:r\n" } else { "" };
        client.send(&format!("SEND\ndestination:{QUEUE}\n{receipt}\n{number}\0")).await;
        if !receipt.is_empty() {
            assert_eq!(client.frame().await.unwrap().command.as_str(), "RECEIPT");
        }
    }
}

/// Consumes until it is told that all is done; one that vanishes comes again as another.
async fn consume(addresses: [SocketAddr; 2], who: usize, mut dice: Dice, autos_vanish: bool, ledger: Shared) {
    let (mode, ack) = MODES[who % 3];
    let vanishes = who % 9 < 3 && (mode != Mode::Auto || autos_vanish);
    loop {
        let mut client = connect(addresses, CARRIERS[(who / 3 + who / 9) % CARRIERS.len()]).await;
        let prefetch = 1 + dice.below(40);
        client
            .send(&format!(
                "SUBSCRIBE\nid:s\ndestination:{QUEUE}\nack:{ack}\nprefetch-count:{prefetch}\n\n\0"
            ))
            .await;
        let lives = if vanishes { 10 + dice.below(60) } else { u64::MAX };
        // Deliveries that the next acknowledgement is for as well.
        let mut held: Vec<(usize, Frame)> = Vec::new();
        for _ in 0..lives {
            let next = tokio::time::timeout(Duration::from_millis(50), client.frame()).await;
            let frame = match next {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(_) if held.is_empty() => continue,
                Err(_) => {
                    if !settle(&mut client, &mut held, mode, &mut dice, &ledger).await {
                        break;
                    }
                    continue;
                }
            };
            let number: usize = String::from_utf8_lossy(&frame.body).parse().unwrap();
            {
                let fate = &mut ledger.borrow_mut().fates[number];
                assert_eq!(fate.settled, 0, "{number} came after it was acknowledged");
                fate.delivered += 1;
                if mode == Mode::Auto {
                    fate.settled += 1;
                }
            }
            if mode == Mode::Auto {
                continue;
            }
            held.push((number, frame));
            let more = mode == Mode::Client && (held.len() as u64) < prefetch && dice.below(2) == 0;
            if !more && !settle(&mut client, &mut held, mode, &mut dice, &ledger).await {
                break;
            }
        }
        ledger.borrow_mut().vanished[who % 3] += 1;
    }
}

/// Acknowledges, or asks for another try, or vanishes with the acknowledgement on its way (false).
async fn settle(
    client: &mut Client,
    held: &mut Vec<(usize, Frame)>,
    mode: Mode,
    dice: &mut Dice,
    ledger: &Shared,
) -> bool {
    let held = std::mem::take(held);
    assert!(mode == Mode::Client || held.len() == 1);
    let ack = held.last().unwrap().1.get("ack").unwrap();
    match dice.below(60) {
        0 => {
            client.send(&format!("NACK\nid:{ack}\n\n\0")).await;
            return true;
        }
        1 => {
            client.send(&format!("ACK\nid:{ack}\n\n\0")).await;
            for (number, _) in held {
                ledger.borrow_mut().fates[number].perhaps += 1;
            }
            return false;
        }
        _ => {}
    }
    client.send(&format!("ACK\nid:{ack}\nreceipt:r\n\n\0")).await;
    // What comes before the receipt waits, and is looked at afterwards.
    let mut waiting = Vec::new();
    loop {
        let Some(frame) = client.frame().await else { return false };
        if frame.command.as_str() == "RECEIPT" {
            break;
        }
        assert_eq!(frame.command.as_str(), "MESSAGE", "{frame:?}");
        waiting.push(frame);
    }
    client.put_back(waiting);
    for (number, _) in held {
        ledger.borrow_mut().fates[number].settled += 1;
    }
    true
}

fn truth(messages: usize, seed: usize) {
    let autos_vanish = seed.is_multiple_of(2);
    let mut config = support::config();
    config.queues.max_deliveries = 0;
    let server = Server::with(config);
    let addresses = [server.address, server.tcp];
    run_within(Duration::from_secs(60 + messages as u64 / 200), async {
        LocalSet::new()
            .run_until(async {
                let fates = vec![Fate::default(); messages];
                let ledger = Rc::new(RefCell::new(Ledger { fates, vanished: [0; 3] }));
                let each = messages / PRODUCERS;
                let mut consumers = Vec::new();
                for who in 0..CONSUMERS {
                    let dice = Dice::of(seed, who);
                    consumers.push(spawn_local(consume(addresses, who, dice, autos_vanish, ledger.clone())));
                }
                let producers: Vec<_> = (0..PRODUCERS)
                    .map(|who| spawn_local(produce(addresses, CARRIERS[who % CARRIERS.len()], who * each..(who + 1) * each)))
                    .collect();
                for producer in producers {
                    producer.await.unwrap();
                }
                let empty = async {
                    while server.metric("stentor_queue_messages") > 0 {
                        if let Some(failed) = consumers.iter().position(tokio::task::JoinHandle::is_finished) {
                            panic!("consumer {failed} has failed");
                        }
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                };
                tokio::time::timeout(Duration::from_secs(60), empty).await.expect("the queue is consumed");
                // What was written to those who acknowledge by themselves may still be on its way.
                let is_accounted = |fate: &Fate| fate.settled + fate.perhaps > 0;
                let all_seen = || autos_vanish || ledger.borrow().fates.iter().all(is_accounted);
                until("all is accounted for", all_seen).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
                for consumer in &consumers {
                    consumer.abort();
                }
                let ledger = ledger.borrow();
                let (mut unseen, mut again, mut perhaps) = (0, 0, 0);
                for (number, fate) in ledger.fates.iter().enumerate() {
                    assert!(fate.settled <= 1, "{number}: {fate:?}");
                    unseen += usize::from(!is_accounted(fate));
                    again += usize::from(fate.delivered > 1);
                    perhaps += usize::from(fate.settled == 0 && fate.perhaps > 0);
                }
                let vanished = ledger.vanished;
                println!(
                    "seed {seed}: {messages} messages; {again} came again, {perhaps} acknowledged without a receipt; \
                     vanished {vanished:?}; {unseen} were written to one who had vanished and acknowledges by itself"
                );
                assert!(vanished[1] > 0 && vanished[2] > 0, "somebody must vanish: {vanished:?}");
                assert_eq!(vanished[0] > 0, autos_vanish);
            })
            .await;
    });
}

#[test]
fn every_message_is_acknowledged_once_or_comes_again() {
    let messages = number("QUEUE_MESSAGES", 5_000);
    match std::env::var("QUEUE_SEED") {
        Ok(seed) => truth(messages, seed.parse().expect("a number")),
        Err(_) => (1..=2).for_each(|seed| truth(messages, seed)),
    }
}
