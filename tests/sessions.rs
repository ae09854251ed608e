//! Thousands of sessions over HTTP at the same time, polling and streaming, against the built program: nothing is lost, and
//! nothing is left of them when they have gone.
//!
//! `SESSIONS` sets how many of each kind there are, `SESSION_SECONDS` how many messages each gets, one a second.

#![allow(clippy::unwrap_used)]

mod support;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use support::{Carrier, Client, Heard, Program, number, run_within, until};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

const CONNECT: &str = "CONNECT\naccept-version:1.2\nheart-beat:0,0\n\n\0";
const SUBSCRIBE: &str = "SUBSCRIBE\nid:s\ndestination:/topic/each-second\nreceipt:r\n\n\0";

/// What one session got: the numbers of messages in order, from none on.
#[derive(Default)]
struct Got {
    next: u64,
    subscribed: bool,
}

impl Got {
    /// Takes one SockJS frame.
    fn take(&mut self, frame: &[u8]) {
        match frame.first() {
            Some(b'a') => {
                let messages: Vec<String> = serde_json::from_slice(&frame[1..]).unwrap();
                messages.iter().for_each(|message| self.message(message));
            }
            Some(b'o' | b'h') => {}
            _ => panic!("{}", String::from_utf8_lossy(frame)),
        }
    }

    fn message(&mut self, frame: &str) {
        if frame.starts_with("RECEIPT") {
            self.subscribed = true;
        } else if frame.starts_with("MESSAGE") {
            let body = frame.split("\n\n").nth(1).unwrap().trim_end_matches('\0');
            assert_eq!(body, self.next.to_string(), "in order, and none twice");
            self.next += 1;
        } else {
            assert!(frame.starts_with("CONNECTED"), "{frame}");
        }
    }
}

/// What all sessions have come to.
#[derive(Default)]
struct Counts {
    ready: Cell<usize>,
    done: Cell<usize>,
}

/// One session until it has all messages; gives it with its receiver's connection, still open.
async fn session(address: SocketAddr, carrier: Carrier, wanted: u64, counts: Rc<Counts>) -> Client {
    let mut client = Client::open(address, carrier).await;
    client.asks_anew = false;
    client.try_send(&[CONNECT, SUBSCRIBE]).await.unwrap();
    client.close_sender();
    let mut got = Got::default();
    let mut told = false;
    while got.next < wanted {
        let Heard::Message(frame) = client.heard().await else { panic!("the connection ended") };
        got.take(&frame);
        if got.subscribed && !std::mem::replace(&mut told, true) {
            counts.ready.set(counts.ready.get() + 1);
        }
    }
    counts.done.set(counts.done.get() + 1);
    // As it would go on, waiting.
    client.ask().await;
    client
}

#[test]
fn each_gets_every_message_and_nothing_is_left_when_they_vanish() {
    let (each, seconds) = (number("SESSIONS", 100), number("SESSION_SECONDS", 3));
    let program = Program::start(&[]);
    let address = program.address;
    let all = 2 * each;
    run_within(Duration::from_secs(120 + 2 * seconds as u64), async {
        LocalSet::new()
            .run_until(async {
                let before = program.memory();
                let counts = Rc::new(Counts::default());
                let mut sessions: Vec<JoinHandle<Client>> = Vec::new();
                for at in 0..all {
                    let carrier = if at % 2 == 0 { Carrier::Streaming } else { Carrier::Polling };
                    sessions.push(spawn_local(session(address, carrier, seconds as u64, counts.clone())));
                    // Not all at once: what they wait for is not what is tried here.
                    until("earlier ones are there", || at < counts_ready(&sessions, &counts) + 200).await;
                }
                until("all are subscribed", || counts.ready.get() == all).await;
                let with = program.memory();

                let mut publisher = Client::connect(address, Carrier::Raw).await;
                let begun = Instant::now();
                for number in 0..seconds {
                    tokio::time::sleep_until((begun + Duration::from_secs(number as u64)).into()).await;
                    publisher.publish("/topic/each-second", &number.to_string()).await;
                }
                until("all have everything", || counts.done.get() == all).await;
                let after = program.memory();
                println!(
                    "{all} sessions, {} octets of memory for each, {} after {seconds} messages to each",
                    with.saturating_sub(before) / all,
                    after.saturating_sub(before) / all,
                );
                assert_eq!(program.metric("stentor_cut_offs_total").await, 0);

                // Gone without a goodbye.
                let mut open = Vec::new();
                for session in sessions {
                    open.push(session.await.unwrap());
                }
                drop(open);
                drop(publisher);
                let begun = Instant::now();
                while program.metric("stentor_connections").await
                    + program.metric("stentor_http_sessions").await
                    > 0
                {
                    assert!(begun.elapsed() < Duration::from_secs(15), "sessions are left");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                let (took, left) = (begun.elapsed(), program.memory().saturating_sub(before));
                println!(
                    "all gone {:.1} s after they vanished; {left} octets more than before them",
                    took.as_secs_f64()
                );
                assert!(took < Duration::from_secs(8), "{took:?}");
            })
            .await;
    });
}

fn counts_ready(sessions: &[JoinHandle<Client>], counts: &Counts) -> usize {
    if let Some(failed) = sessions.iter().position(JoinHandle::is_finished)
        && counts.done.get() == 0
    {
        panic!("session {failed} failed");
    }
    counts.ready.get()
}
