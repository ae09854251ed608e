//! Sessions over HTTP on several nodes: their requests come to any of them, and are brought to the one that has the session.

#![allow(clippy::unwrap_used)]

#[path = "forwarding/client.rs"]
mod client;
#[path = "resume/dice.rs"]
#[allow(dead_code)]
mod dice;
#[path = "forwarding/nodes.rs"]
mod nodes;
mod support;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use client::{Answer, KINDS, Kind, Roamer};
use nodes::{Node, nodes, nodes_with};
use stentor::config::ByteSize;
use support::{Carrier, Client, run, until};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Semaphore};
use tokio::time::timeout;

const CONNECT: &str = "CONNECT\naccept-version:1.2\nheart-beat:0,0\n\n\0";
const SUBSCRIBE: &str = "SUBSCRIBE\nid:s\ndestination:/topic/all\nreceipt:sub\n\n\0";
const INTERRUPTED: &str = "c[1002,\"Connection interrupted\"]";

fn addresses(nodes: &[Node]) -> Vec<SocketAddr> {
    nodes.iter().map(Node::address).collect()
}

async fn poll(node: &Node, session: &str) -> String {
    Answer::to(node.address(), &Kind::Polling.receiver(session)).await.text().await
}

async fn send(node: &Node, session: &str, texts: &[&str]) -> u16 {
    Answer::to(node.address(), &Kind::Polling.sender(session, texts)).await.status
}

/// A request with one more header.
fn with_header(request: &str, header: &str) -> String {
    request.replacen("Host: a\r\n", &format!("Host: a\r\n{header}\r\n"), 1)
}

#[test]
fn each_transport_roams_and_nothing_is_lost() {
    const MESSAGES: usize = 120;
    let (nodes, shared) = nodes(3);
    run(async {
        for kind in KINDS {
            let mut roamer = Roamer::new(addresses(&nodes), kind, &format!("roams-{kind:?}"));
            assert_eq!(roamer.sockjs().await, "o");
            roamer.send(&[CONNECT]).await;
            assert_eq!(roamer.frame().await.command.as_str(), "CONNECTED");
            roamer.send(&[SUBSCRIBE]).await;
            assert_eq!(roamer.frame().await.get("receipt-id"), Some("sub"));
            for round in 0..MESSAGES / 4 {
                let publish = |at: usize| {
                    format!("SEND\ndestination:/topic/all\n\n{} {}\0", 4 * round + at, "%<\"é".repeat(30))
                };
                let frames: Vec<String> = (0..4).map(publish).collect();
                let frames: Vec<&str> = frames.iter().map(String::as_str).collect();
                let status = roamer.send(&frames).await;
                assert_eq!(status, if kind == Kind::Jsonp { 200 } else { 204 });
                for at in 0..4 {
                    let frame = roamer.frame().await;
                    assert_eq!(support::number_of(&frame), (4 * round + at) as u64, "{kind:?}");
                    assert!(frame.body.ends_with("%<\"é".as_bytes()));
                }
            }
            let open: u64 = nodes.iter().map(|node| node.server.connections()).sum();
            assert_eq!(open, 1, "one session, wherever its requests went");
            roamer.send(&["DISCONNECT\nreceipt:bye\n\n\0"]).await;
            assert_eq!(roamer.frame().await.get("receipt-id"), Some("bye"));
            assert!(roamer.sockjs().await.starts_with("c["));
            drop(roamer);
            until("the session has ended", || nodes.iter().all(|node| node.server.connections() == 0)).await;
        }
        assert!(nodes.iter().all(|node| node.forwarded() > 20), "every node had others' requests");
        until("nothing is under way", || nodes.iter().all(|node| node.forwarding() == 0)).await;
        until("the directory is empty", || shared.sessions.lock().unwrap().is_empty()).await;
    });
}

#[test]
fn a_receiver_that_vanishes_ends_its_session_on_the_other_node() {
    // It does not end by itself.
    let (nodes, _shared) = nodes_with(2, |config| config.sockjs.session_timeout = Duration::from_secs(60));
    run(async {
        for kind in KINDS {
            let session = format!("vanishes-{kind:?}");
            assert_eq!(poll(&nodes[0], &session).await, "o\n");
            assert_eq!(send(&nodes[0], &session, &[CONNECT]).await, 204);
            assert!(poll(&nodes[0], &session).await.starts_with("a[\"CONNECTED"));
            assert_eq!(nodes[0].server.connections(), 1);
            let receiver = kind.receiver(&session);
            let answer = Answer::to(nodes[1].address(), &receiver);
            if matches!(kind, Kind::Polling | Kind::Jsonp) {
                // It waits, and goes while it does. Nothing tells when it is there.
                assert!(timeout(Duration::from_millis(300), answer).await.is_err(), "{kind:?} was answered");
            } else {
                let answer = answer.await;
                assert_eq!((answer.status, nodes[1].forwarding()), (200, 1));
            }
            until("the other node knows", || nodes[0].server.connections() == 0).await;
            until("nothing is under way", || nodes[1].forwarding() == 0).await;
        }
    });
}

#[test]
fn only_a_node_is_believed_to_be_one() {
    let (nodes, shared) = nodes(2);
    run(async {
        assert_eq!(poll(&nodes[0], "proof").await, "o\n");
        // Another node's, and a guess: the request is a client's, and is forwarded.
        for wrong in [nodes[0].own().token.clone(), "0".repeat(32), String::new()] {
            let proof = format!("X-Stentor-Forwarded: {wrong}");
            let request = with_header(&Kind::Polling.sender("proof", &[]), &proof);
            let before = nodes[1].forwarded();
            assert_eq!(Answer::to(nodes[1].address(), &request).await.status, 204);
            assert_eq!(nodes[1].forwarded(), before + 1, "{wrong}");
        }
        // Who knows it is not forwarded, and opens nothing.
        let (claims, finds) = (shared.claims.load(Ordering::Relaxed), shared.finds.load(Ordering::Relaxed));
        let proof = format!("x-stentor-forwarded: {}", nodes[1].own().token);
        for kind in KINDS {
            let mut stranger = Roamer::new(vec![nodes[1].address()], kind, "unknown");
            let receiver = with_header(&kind.receiver("unknown"), &proof);
            stranger.take(Answer::to(nodes[1].address(), &receiver).await);
            assert_eq!(stranger.sockjs().await, INTERRUPTED, "{kind:?}");
            let sender = with_header(&kind.sender("unknown", &["x"]), &proof);
            assert_eq!(Answer::to(nodes[1].address(), &sender).await.status, 404);
        }
        assert_eq!(shared.claims.load(Ordering::Relaxed), claims);
        assert_eq!(shared.finds.load(Ordering::Relaxed), finds);
    });
}

#[test]
fn nodes_that_point_at_each_other_make_no_loop() {
    let (nodes, shared) = nodes(2);
    run(async {
        shared.say("loop", nodes[1].own());
        // The other one has it not, and thinks that it is here.
        assert_eq!(poll(&nodes[0], "loop").await, format!("{INTERRUPTED}\n"));
        assert_eq!(send(&nodes[0], "loop", &["x"]).await, 404);
        assert_eq!((nodes[0].forwarded(), nodes[1].forwarded()), (2, 0));
    });
}

#[test]
fn a_node_that_is_gone_ends_its_sessions_elsewhere() {
    let (mut nodes, shared) = nodes(2);
    run(async {
        assert_eq!(poll(&nodes[0], "orphan").await, "o\n");
        assert_eq!(send(&nodes[1], "orphan", &[CONNECT]).await, 204);
        let own = nodes[0].own().clone();
        nodes[0].server.stop();
        until("it takes its leave", || shared.holder("orphan").is_none()).await;
        // As if it had not, and nobody had noticed.
        shared.say("orphan", &own);
        assert_eq!(send(&nodes[1], "orphan", &["x"]).await, 404);
        for kind in KINDS {
            let mut roamer = Roamer::new(vec![nodes[1].address()], kind, "orphan");
            assert_eq!(roamer.sockjs().await, INTERRUPTED, "{kind:?}");
        }
        let lost = nodes[1].server.metric("stentor_sockjs_not_forwarded_total{reason=\"unreachable\"}");
        assert!(lost >= 5, "{lost}");
        assert_eq!(poll(&nodes[1], "anew").await, "o\n");
        shared.sessions.lock().unwrap().remove("orphan");
        assert_eq!(poll(&nodes[1], "orphan").await, "o\n");
    });
}

#[test]
fn of_two_that_open_at_once_one_is_left() {
    let (nodes, shared) = nodes(2);
    run(async {
        assert!(shared.race.set(Barrier::new(2)).is_ok());
        let (one, other) = tokio::join!(poll(&nodes[0], "race"), poll(&nodes[1], "race"));
        assert_eq!((one.as_str(), other.as_str()), ("o\n", "o\n"));
        for node in &nodes {
            assert_eq!(send(node, "race", &[CONNECT]).await, 204);
            until("both are open", || node.server.connections() == 1).await;
        }
        // Found out: the first one has it.
        shared.say("race", nodes[0].own());
        nodes[1].sessions().interrupt("race");
        until("one is left", || nodes[1].server.connections() == 0).await;
        assert_eq!(nodes[0].server.connections(), 1);
        assert_eq!(poll(&nodes[1], "race").await, format!("{INTERRUPTED}\n"));
        assert!(poll(&nodes[0], "race").await.starts_with("a[\"CONNECTED"));
    });
}

#[test]
fn a_receiver_that_waits_is_told_that_its_session_is_anothers() {
    let (nodes, shared) = nodes(1);
    run(async {
        for kind in [Kind::Streaming, Kind::EventSource] {
            let mut roamer = Roamer::new(addresses(&nodes), kind, "told");
            assert_eq!(roamer.sockjs().await, "o");
            nodes[0].sessions().interrupt("nobody");
            nodes[0].sessions().interrupt("told");
            assert_eq!(roamer.sockjs().await, INTERRUPTED);
            until("it is forgotten", || shared.holder("told").is_none()).await;
        }
    });
}

#[test]
fn requests_at_once_claim_once_and_none_opens_before() {
    let (nodes, shared) = nodes(2);
    run(async {
        assert!(shared.gate.set(Semaphore::new(0)).is_ok());
        let release = async {
            until("it is claimed", || shared.claims.load(Ordering::Relaxed) == 1).await;
            shared.gate.get().unwrap().add_permits(1);
        };
        let streaming = Kind::Streaming.receiver("once");
        let sender = async {
            until("it is claimed", || shared.claims.load(Ordering::Relaxed) == 1).await;
            send(&nodes[0], "once", &[CONNECT]).await
        };
        let receivers = async {
            let mut first = Answer::to(nodes[0].address(), &streaming).await;
            let mut text = BytesMut::new();
            while !text.ends_with(b"\no\n") {
                assert!(first.more(&mut text).await);
            }
            first
        };
        let (_first, sent, ()) = tokio::join!(receivers, sender, release);
        assert_eq!(sent, 204);
        assert_eq!(poll(&nodes[0], "once").await, "c[2010,\"Another connection still open\"]\n");
        assert_eq!(shared.claims.load(Ordering::Relaxed), 1);
        assert_eq!(shared.finds.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_claim_that_is_late_opens_and_then_gives_way() {
    let (nodes, shared) = nodes(2);
    run(async {
        assert_eq!(poll(&nodes[0], "late").await, "o\n");
        assert!(shared.gate.set(Semaphore::new(0)).is_ok());
        let mut roamer = Roamer::new(vec![nodes[1].address()], Kind::Streaming, "late");
        assert_eq!(roamer.sockjs().await, "o", "nobody says that it is elsewhere");
        shared.gate.get().unwrap().add_permits(1);
        assert_eq!(roamer.sockjs().await, INTERRUPTED);
    });
}

#[test]
fn a_client_that_goes_while_its_session_is_claimed_leaves_nothing() {
    // No session ends by itself.
    let (nodes, shared) = nodes_with(1, |config| config.sockjs.session_timeout = Duration::from_secs(60));
    run(async {
        assert!(shared.gate.set(Semaphore::new(0)).is_ok());
        let mut socket = TcpStream::connect(nodes[0].address()).await.unwrap();
        socket.write_all(Kind::Polling.receiver("goes").as_bytes()).await.unwrap();
        until("it is claimed", || shared.claims.load(Ordering::Relaxed) == 1).await;
        socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
        drop(socket);
        until("it was released", || shared.releases.load(Ordering::Relaxed) == 1).await;
        shared.gate.get().unwrap().add_permits(1);
        assert_eq!(poll(&nodes[0], "goes").await, "o\n", "the id can be used");
    });
}

#[test]
fn what_opens_nothing_is_given_back() {
    let (nodes, shared) = nodes(1);
    run(async {
        let request = "GET /ws/0/nothing/htmlfile HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(Answer::to(nodes[0].address(), request).await.status, 500);
        assert_eq!(shared.releases.load(Ordering::Relaxed), 1);
        assert!(shared.holder("nothing").is_none());
        // Nor is anything asked where no session over HTTP can be.
        let claims = shared.claims.load(Ordering::Relaxed);
        for line in ["GET /ws/info", "GET /ws", "OPTIONS /ws/0/nothing/xhr", "GET /ws/iframe.html"] {
            Answer::to(nodes[0].address(), &format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        }
        let _socket = Client::open(nodes[0].address(), Carrier::SockJs).await;
        assert_eq!(shared.claims.load(Ordering::Relaxed), claims);
        assert_eq!(shared.finds.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn so_many_are_under_way_and_no_more() {
    let (nodes, _shared) = nodes_with(2, |config| config.sockjs.max_forwarded = 1);
    run(async {
        assert_eq!(poll(&nodes[0], "one").await, "o\n");
        assert_eq!(poll(&nodes[0], "two").await, "o\n");
        let stream = Answer::to(nodes[1].address(), &Kind::Streaming.receiver("one")).await;
        assert_eq!(stream.status, 200);
        assert_eq!(send(&nodes[1], "two", &["x"]).await, 503);
        assert_eq!(nodes[1].server.metric("stentor_sockjs_not_forwarded_total{reason=\"too_many\"}"), 1);
        drop(stream);
        until("it is over", || nodes[1].forwarding() == 0).await;
        assert_eq!(send(&nodes[1], "two", &[CONNECT]).await, 204);
    });
}

#[test]
fn who_the_session_is_not_of_is_refused_by_its_node() {
    let (nodes, _shared) = nodes(2);
    run(async {
        assert_eq!(poll(&nodes[0], "mine").await, "o\n");
        let request = Kind::Polling.sender("mine", &["x"]).replace("who=me", "who=other");
        assert_eq!(Answer::to(nodes[1].address(), &request).await.status, 403);
        assert_eq!(nodes[1].forwarded(), 1);
    });
}

#[test]
fn a_slow_client_holds_back_the_node_that_forwards() {
    /// More than all sockets on the way take.
    const MESSAGES: usize = 1500;
    let (nodes, _shared) = nodes_with(2, |config| {
        config.sockjs.response_limit = ByteSize::new(256 << 20);
    });
    run(async {
        assert_eq!(poll(&nodes[0], "slow").await, "o\n");
        assert_eq!(send(&nodes[0], "slow", &[CONNECT, SUBSCRIBE]).await, 204);
        let _unread = Answer::to(nodes[1].address(), &Kind::Streaming.receiver("slow")).await;
        until("subscribed", || nodes[0].server.subscriptions() == 1).await;
        let mut publisher = Client::connect(nodes[0].address(), Carrier::Raw).await;
        let body = "x".repeat(60_000);
        let is_cut_off = || nodes[0].server.broker.metrics().render().contains("stentor_cut_offs_total{");
        let mut sent = 0;
        while sent < MESSAGES && !is_cut_off() {
            publisher.publish("/topic/all", &body).await;
            sent += 1;
        }
        // What the node that forwards does not take waits at the session.
        until("it was cut off", is_cut_off).await;
    });
}
