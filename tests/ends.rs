//! How connections end when something is still under way: what was promised is written, and what must not happen does not.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::{CARRIERS, Carrier, Client, Server, WEBSOCKETS, config, run, until};

/// Larger than what kernel and client take together.
const LARGE: usize = 2_000_000;

/// A server that gives a client on a busy machine time to read the rest.
fn patient() -> Server {
    let mut config = config();
    config.outbox.close_timeout = Duration::from_secs(30);
    Server::with(config)
}

/// A client that has a small window and a large message under way to it.
async fn blocked(server: &Server, carrier: Carrier) -> Client {
    let mut client = Client::with_window(server.at(carrier), carrier, Some(16_384)).await;
    client.greet("1.2", "0,0").await;
    client.subscribe("s", "/topic/large").await;
    let mut publisher = Client::connect(server.address, Carrier::Raw).await;
    let out = || server.metric("stentor_messages_out_total");
    let before = out();
    publisher.send(&format!("SEND\ndestination:/topic/large\nreceipt:r\n\n{}\0", "x".repeat(LARGE))).await;
    assert_eq!(publisher.frame().await.unwrap().get("receipt-id"), Some("r"));
    until("it is under way", || out() > before).await;
    client
}

#[test]
fn a_client_that_closes_gets_what_is_under_way_and_its_receipt() {
    let server = patient();
    for carrier in CARRIERS {
        run(async {
            let mut client = blocked(&server, carrier).await;
            client.send("SEND\ndestination:/topic/other\nreceipt:last\n\nx\0").await;
            client.close().await;
            assert_eq!(client.frame().await.unwrap().body.len(), LARGE);
            assert_eq!(client.frame().await.unwrap().get("receipt-id"), Some("last"));
            assert!(client.frame().await.is_none());
            let closed = (carrier != Carrier::Tcp).then_some(1000);
            assert_eq!(client.closes.last().map(|(code, _)| *code), closed);
            assert!(!client.reset);
            until("its socket is gone", || server.sockets() == 0).await;
        });
    }
}

#[test]
fn a_client_that_breaks_the_wire_protocol_is_told_behind_what_is_under_way() {
    let server = patient();
    for carrier in WEBSOCKETS {
        run(async {
            let mut client = blocked(&server, carrier).await;
            // Opcode 3 is reserved.
            client.send_payload(0x3, b"x").await;
            assert_eq!(client.frame().await.unwrap().body.len(), LARGE);
            assert!(client.frame().await.is_none());
            assert_eq!(client.closes.last().map(|(code, _)| *code), Some(1002));
        });
    }
}

#[test]
fn one_that_closes_and_never_reads_does_not_keep_its_socket() {
    let mut config = config();
    config.outbox.close_timeout = Duration::from_millis(300);
    let server = Server::with(config);
    for carrier in CARRIERS {
        run(async {
            let mut client = blocked(&server, carrier).await;
            client.close().await;
            until("its socket is gone", || server.sockets() == 0).await;
            drop(client);
        });
    }
}

#[test]
fn what_stands_behind_a_cut_off_is_not_done() {
    let server = Server::start();
    run(async {
        let mut watcher = Client::connect(server.address, Carrier::Raw).await;
        watcher.subscribe("w", "/topic/after").await;
        let mut client = Client::with_window(server.address, Carrier::Raw, Some(4096)).await;
        client.greet("1.2", "0,0").await;
        client.subscribe("s", "/topic/self").await;
        let flood = format!("SEND\ndestination:/topic/self\n\n{}\0", "x".repeat(5_000)).repeat(1_000);
        client.send(&format!("{flood}SEND\ndestination:/topic/after\n\nx\0")).await;
        let cut = "stentor_cut_offs_total{reason=\"slow_consumer\"}";
        // It may as well be slowed down until it reads, which it does not: then it is not cut off, and nothing is done.
        assert!(watcher.is_quiet().await);
        drop(client);
        until("it has gone", || server.connections() == 1 || server.metric(cut) == 1).await;
        assert!(watcher.is_quiet().await);
    });
}

#[test]
fn a_message_of_very_many_frames_lets_others_have_their_turn() {
    let mut config = config();
    config.workers = 1;
    let server = Server::with(config);
    run(async {
        let mut greedy = Client::connect(server.address, Carrier::Raw).await;
        let mut other = Client::connect(server.address, Carrier::Raw).await;
        other.subscribe("o", "/topic/other").await;
        greedy.send(&"SEND\ndestination:/app/subscribe\n\n\0".repeat(100_000)).await;
        // Each of these needs the worker once; all of them together must not wait for the end of the hundred thousand.
        for _ in 0..5 {
            other.publish("/topic/other", "x").await;
            other.frame().await.unwrap();
        }
        let done = server.metric("stentor_messages_in_total{door=\"stomp\"}");
        assert!(done < 100_000, "the others waited until the last of {done}");
    });
}
