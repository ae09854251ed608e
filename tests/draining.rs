//! How a node goes: it says so, takes nobody new, and tells its clients one after the other.

#![allow(clippy::unwrap_used)]

mod support;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_web::rt::System;
use stentor::app::Running;
use support::{Carrier, Client, Program, config, run, try_http};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Longer than any test.
const LONG: &str = "300s";

/// What the node says of itself; `None` when it is no more.
async fn health(address: SocketAddr) -> Option<(u16, String)> {
    let (status, _, body) = try_http(address, "GET /health HTTP/1.0\r\n\r\n").await?;
    Some((status, body))
}

fn draining() -> Option<(u16, String)> {
    Some((503, r#"{"status":"draining"}"#.to_owned()))
}

async fn until_draining(address: SocketAddr) {
    while health(address).await != draining() {}
}

/// A client with something under way to it that it does not read.
async fn that_never_reads(address: SocketAddr) -> Client {
    let mut client = Client::with_window(address, Carrier::Raw, Some(16_384)).await;
    client.greet("1.2", "0,0").await;
    client.subscribe("s", "/topic/large").await;
    let mut publisher = Client::connect(address, Carrier::Raw).await;
    publisher
        .send(&format!("SEND\ndestination:/topic/large\nreceipt:r\n\n{}\0", "x".repeat(2_000_000)))
        .await;
    assert_eq!(publisher.frame().await.unwrap().get("receipt-id"), Some("r"));
    client
}

/// Reads to the end. Gives the close frames that came.
fn reading(mut client: Client, ended: &Rc<Cell<usize>>) -> JoinHandle<Vec<(u16, String)>> {
    let ended = ended.clone();
    spawn_local(async move {
        while client.frame().await.is_some() {}
        ended.set(ended.get() + 1);
        client.closes
    })
}

#[test]
fn a_node_is_healthy_as_soon_as_it_listens() {
    let program = Program::start(&[]);
    run(async {
        assert_eq!(health(program.address).await, Some((200, r#"{"status":"ok"}"#.to_owned())));
        let (status, head, body) =
            try_http(program.address, "HEAD /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                .await
                .unwrap();
        assert_eq!((status, &*body), (200, ""));
        assert!(head.to_ascii_lowercase().contains("\r\ncache-control: no-store"), "{head}");
        assert_eq!(program.metric("stentor_health").await, 1);
    });
}

#[test]
fn all_are_told_but_not_at_once_and_a_poller_goes_on_until_then() {
    const WEBSOCKETS: usize = 1000;
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let mut program = Program::start(&[]);
    let address = program.address;
    let clients = async {
        let ended = Rc::new(Cell::new(0));
        let mut sessions = Vec::new();
        for at in 0..WEBSOCKETS {
            let carrier = if at % 2 == 0 { Carrier::Raw } else { Carrier::SockJs };
            sessions.push(reading(Client::connect(address, carrier).await, &ended));
        }
        for carrier in [Carrier::Polling, Carrier::Streaming, Carrier::EventSource] {
            for _ in 0..10 {
                sessions.push(reading(Client::connect(address, carrier).await, &ended));
            }
        }
        // The last that came are the last to be told.
        let mut poller = Client::connect(address, Carrier::Polling).await;
        program.terminate();
        until_draining(address).await;
        poller.send("SEND\ndestination:/topic/t\nreceipt:late\n\nx\0").await;
        assert_eq!(poller.frame().await.unwrap().get("receipt-id"), Some("late"));
        sessions.push(reading(poller, &ended));

        let (mut seen, all) = (Vec::new(), sessions.len());
        while health(address).await == draining() {
            seen.push(ended.get());
        }
        seen.dedup();
        let some = seen.iter().filter(|seen| (1..all).contains(*seen)).count();
        assert!(some >= 2, "of {all} went: {seen:?}");
        for session in sessions {
            let closes = session.await.unwrap();
            assert_eq!(closes.first().map(|(code, _)| *code), Some(1001), "{closes:?}");
        }
    };
    run(LocalSet::new().run_until(clients));
    assert_eq!(program.exit_status().code(), Some(0));
}

#[test]
fn nobody_new_is_taken_meanwhile() {
    let mut program = Program::start(&[
        ("STENTOR_SHUTDOWN_TIMEOUT", LONG),
        ("STENTOR_OUTBOX__CLOSE_TIMEOUT", LONG),
        ("STENTOR_OUTBOX__WRITE_TIMEOUT", LONG),
    ]);
    let address = program.address;
    run(async {
        let _holds = that_never_reads(address).await;
        program.terminate();
        until_draining(address).await;
        for request in [
            "GET /ws/info HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "POST /ws/0/new/xhr HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "POST /ws/0/new/xhr_streaming HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "GET /ws/0/new/eventsource HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            format!("GET /ws/websocket HTTP/1.1\r\nHost: a\r\n{UPGRADE}"),
            format!("GET /ws/0/new/websocket HTTP/1.1\r\nHost: a\r\n{UPGRADE}"),
        ] {
            let (status, head, _) = try_http(address, &request).await.unwrap();
            assert_eq!(status, 503, "{request}");
            assert!(head.to_ascii_lowercase().contains("\r\nretry-after: 1"), "{head}");
        }
        let mut tcp = TcpStream::connect(program.tcp).await.unwrap();
        assert!(!matches!(tcp.read(&mut [0; 16]).await, Ok(1..)), "it is closed without a word");
        assert_eq!(program.metric("stentor_connections_opened_total{transport=\"tcp\"}").await, 0);
        // What is no session is served as before.
        let (status, ..) = try_http(address, "GET /api/v1/metrics HTTP/1.0\r\n\r\n").await.unwrap();
        assert_eq!(status, 200);
        assert_eq!(health(address).await, draining());

        let again = Instant::now();
        program.terminate();
        assert_eq!(program.exit_status().code(), Some(0));
        assert!(again.elapsed() < Duration::from_secs(10), "a second signal ends it at once");
    });
}

#[test]
fn a_request_under_way_is_answered() {
    let mut program = Program::start(&[("STENTOR_SHUTDOWN_TIMEOUT", LONG)]);
    run(async {
        let body = r#"{"destination":"/topic/t","body":"x"}"#;
        let mut socket = TcpStream::connect(program.address).await.unwrap();
        let head = format!(
            "POST /api/v1/messages HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
             Expect: 100-continue\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\n") {
            answer.push(char::from(socket.read_u8().await.unwrap()));
        }
        assert!(answer.starts_with("HTTP/1.1 100"), "it is being worked on: {answer}");
        program.terminate();
        until_draining(program.address).await;
        // Longer than it takes to look whether there is anything left.
        tokio::time::sleep(Duration::from_millis(200)).await;
        socket.write_all(body.as_bytes()).await.unwrap();
        answer.clear();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
        assert_eq!(program.exit_status().code(), Some(0));
    });
}

#[test]
fn one_that_never_reads_does_not_keep_it_beyond_its_time() {
    let mut program = Program::start(&[
        ("STENTOR_SHUTDOWN_TIMEOUT", "2s"),
        ("STENTOR_OUTBOX__CLOSE_TIMEOUT", LONG),
        ("STENTOR_OUTBOX__WRITE_TIMEOUT", LONG),
    ]);
    run(async {
        let _holds = that_never_reads(program.address).await;
        let begun = Instant::now();
        program.terminate();
        assert_eq!(program.exit_status().code(), Some(0));
        // It takes nine tenths of its time for sessions. The rest is a busy machine's.
        assert!(begun.elapsed() >= Duration::from_millis(1700), "it waited: {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    });
}

#[test]
fn with_few_sessions_or_none_it_ends_at_once() {
    for carrier in [None, Some(Carrier::Raw), Some(Carrier::Polling), Some(Carrier::Tcp)] {
        let mut program = Program::start(&[("STENTOR_SHUTDOWN_TIMEOUT", LONG)]);
        run(async {
            let client = match carrier {
                Some(carrier) => Some(Client::connect(program.at(carrier), carrier).await),
                None => None,
            };
            let begun = Instant::now();
            program.terminate();
            if let Some(mut client) = client {
                while client.frame().await.is_some() {}
            }
            assert_eq!(program.exit_status().code(), Some(0), "{carrier:?}");
            // A session over HTTP that does not come back would be waited for, for 5 s.
            assert!(begun.elapsed() < Duration::from_secs(4), "{carrier:?}: {:?}", begun.elapsed());
        });
    }
}

#[test]
fn what_is_to_be_done_at_last_is_done_when_the_sessions_have_gone() {
    System::new().block_on(async {
        let mut config = config();
        config.shutdown_timeout = Duration::from_secs(1);
        let mut running = Running::start(&config).unwrap();
        let mut client = Client::connect(running.addresses()[0], Carrier::Raw).await;
        let (broker, found) = (running.broker().clone(), Rc::new(Cell::new(None)));
        let finds = found.clone();
        running.at_last(async move { finds.set(Some(broker.sessions())) });
        running.at_last(std::future::pending());
        let client = spawn_local(async move {
            while client.frame().await.is_some() {}
            client.closes
        });
        running.stop().await;
        assert_eq!(found.get(), Some(0));
        assert_eq!(client.await.unwrap().first().map(|(code, _)| *code), Some(1001));
    });
}
