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

use bytes::{Buf as _, BytesMut};
use support::{Carrier, Client, Program, number, run_within, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

/// A connection that speaks HTTP/1.1, and asks again and again.
struct Http {
    socket: TcpStream,
    read: BytesMut,
}

impl Http {
    async fn connect(address: SocketAddr) -> Http {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Http { socket, read: BytesMut::new() }
    }

    async fn post(&mut self, path: &str, body: &str) {
        let length = body.len();
        let request = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}");
        self.socket.write_all(request.as_bytes()).await.unwrap();
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(at) = self.read.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8(self.read.split_to(at).to_vec()).unwrap();
                self.read.advance(2);
                return line;
            }
            self.more().await;
        }
    }

    async fn more(&mut self) {
        assert!(self.socket.read_buf(&mut self.read).await.unwrap() > 0, "the connection ended");
    }

    async fn octets(&mut self, count: usize) -> BytesMut {
        while self.read.len() < count {
            self.more().await;
        }
        self.read.split_to(count)
    }

    /// A response's status, and the length of its body if it has one.
    async fn head(&mut self) -> (u16, usize) {
        let status = self.line().await[9..12].parse().unwrap();
        let mut length = 0;
        loop {
            let line = self.line().await.to_ascii_lowercase();
            if line.is_empty() {
                return (status, length);
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
        }
    }

    /// A chunk of a response, empty at its end.
    async fn chunk(&mut self) -> BytesMut {
        let size = usize::from_str_radix(&self.line().await, 16).unwrap();
        let mut chunk = self.octets(size + 2).await;
        chunk.truncate(size);
        chunk
    }

    /// Sends SockJS messages.
    async fn send(&mut self, session: &str, messages: &[&str]) {
        self.post(&format!("/ws/0/{session}/xhr_send"), &serde_json::to_string(messages).unwrap()).await;
        assert_eq!(self.head().await, (204, 0));
    }

    /// One poll.
    async fn poll(&mut self, session: &str) -> BytesMut {
        self.post(&format!("/ws/0/{session}/xhr"), "").await;
        let (status, length) = self.head().await;
        assert_eq!(status, 200);
        self.octets(length).await
    }

    async fn stream(&mut self, session: &str) {
        self.post(&format!("/ws/0/{session}/xhr_streaming"), "").await;
        assert_eq!(self.head().await.0, 200);
    }
}

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

/// One session until it has all messages; gives its connection, still open.
async fn session(address: SocketAddr, id: String, streams: bool, wanted: u64, counts: Rc<Counts>) -> Http {
    let mut way = Http::connect(address).await;
    let mut got = Got::default();
    if streams {
        way.stream(&id).await;
    } else {
        got.take(&way.poll(&id).await);
    }
    let mut up = Http::connect(address).await;
    up.send(&id, &[CONNECT, SUBSCRIBE]).await;
    drop(up);
    let mut told = false;
    let mut text = BytesMut::new();
    while got.next < wanted {
        if streams {
            let chunk = way.chunk().await;
            if chunk.is_empty() {
                way.stream(&id).await;
                continue;
            }
            text.extend_from_slice(&chunk);
            while let Some(at) = text.iter().position(|octet| *octet == b'\n') {
                let line = text.split_to(at + 1);
                if !line.starts_with(b"hh") {
                    got.take(&line);
                }
            }
        } else {
            got.take(&way.poll(&id).await);
        }
        if got.subscribed && !std::mem::replace(&mut told, true) {
            counts.ready.set(counts.ready.get() + 1);
        }
    }
    counts.done.set(counts.done.get() + 1);
    if !streams {
        // As it would go on, waiting.
        way.post(&format!("/ws/0/{id}/xhr"), "").await;
    }
    way
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
                let mut sessions: Vec<JoinHandle<Http>> = Vec::new();
                for at in 0..all {
                    let id = format!("session-{at}");
                    sessions.push(spawn_local(session(
                        address,
                        id,
                        at % 2 == 0,
                        seconds as u64,
                        counts.clone(),
                    )));
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

fn counts_ready(sessions: &[JoinHandle<Http>], counts: &Counts) -> usize {
    if let Some(failed) = sessions.iter().position(JoinHandle::is_finished)
        && counts.done.get() == 0
    {
        panic!("session {failed} failed");
    }
    counts.ready.get()
}
