//! What is special to STOMP over plain TCP: no framing, no close frames, and a port that anything may be sent to.
//!
//! What all carriers have in common is in `stomp.rs`, `ends.rs` and `fanout.rs`.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use stentor::config::ByteSize;
use stomp_parser::Version;
use support::{CARRIERS, Carrier, Client, Server, config, run, until};
use tokio::time::timeout;

const ERRORS: &str = "stentor_errors_total";

async fn connect(server: &Server) -> Client {
    Client::connect(server.tcp, Carrier::Tcp).await
}

fn patient() -> Server {
    let mut config = config();
    config.outbox.close_timeout = Duration::from_secs(30);
    Server::with(config)
}

/// The end came in order, behind all that was written.
async fn ends(mut client: Client) {
    let end = timeout(Duration::from_secs(10), client.frame()).await;
    assert_eq!(end.expect("it ends by itself, and no deadline does it"), None);
    assert!(!client.reset, "the end is no reset");
}

#[test]
fn octets_may_come_one_by_one() {
    let server = patient();
    run(async {
        let mut client = Client::open(server.tcp, Carrier::Tcp).await;
        let wire = "\nCONNECT\r\naccept-version:1.2\r\n\r\n\0\r\n\nSUBSCRIBE\r\nid:a\r\ndestination:/topic/t\r\nreceipt:s\r\n\r\n\0\n\
                    SEND\ndestination:/topic/t\nk:\\r\r\ncontent-length:5\r\n\na\0\r\nb\0";
        for octet in wire.as_bytes() {
            client.raw(&[*octet]).await;
        }
        // What follows CONNECTED may come with it.
        client.speak(Version::V1_2);
        let connected = client.frame().await.unwrap();
        assert_eq!((connected.command.as_str(), connected.get("version")), ("CONNECTED", Some("1.2")));
        assert_eq!(client.frame().await.unwrap().get("receipt-id"), Some("s"));
        let message = client.frame().await.unwrap();
        assert_eq!((message.get("k"), &message.body[..]), (Some("\r"), &b"a\0\r\nb"[..]));
        for octet in b"DISCONNECT\nreceipt:d\n\n\0\r\n" {
            client.raw(&[*octet]).await;
        }
        assert_eq!(client.frame().await.unwrap().get("receipt-id"), Some("d"));
        ends(client).await;
    });
}

#[test]
fn a_stream_may_be_cut_anywhere() {
    let server = Server::start();
    run(async {
        let mut client = connect(&server).await;
        client.subscribe("a", "/topic/t").await;
        let frame = b"\r\nSEND\r\ndestination:/topic/t\r\ncontent-length:4\r\n\r\n\xff\0\xfe\n\0\n";
        for cut in 0..frame.len() {
            let octets = [&frame[..cut], &frame[cut..]];
            client.raw(octets[0]).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            client.raw(octets[1]).await;
            let message = client.frame().await.unwrap();
            assert_eq!((message.command.as_str(), &message.body[..]), ("MESSAGE", &b"\xff\0\xfe\n"[..]));
        }
    });
}

#[test]
fn ten_thousand_frames_in_one_write_are_all_done() {
    let server = Server::start();
    run(async {
        let mut client = connect(&server).await;
        let frames: String =
            (0..10_000).map(|n| format!("SEND\ndestination:/topic/many\nreceipt:{n}\n\nx\0")).collect();
        let wire = format!("{frames}DISCONNECT\nreceipt:last\n\n\0");
        let (mut read, mut write) = (0, 0);
        // A client that does not read is not read from: so this one does both.
        while read < 10_000 {
            if write < wire.len() {
                write += client.try_raw(&wire.as_bytes()[write..]);
            }
            let Ok(frame) = timeout(Duration::from_millis(5), client.frame()).await else {
                continue;
            };
            assert_eq!(frame.unwrap().get("receipt-id"), Some(read.to_string().as_str()));
            read += 1;
        }
        assert_eq!(client.frame().await.unwrap().get("receipt-id"), Some("last"));
        ends(client).await;
        assert_eq!(server.metric("stentor_messages_in_total{door=\"stomp\"}"), 10_000);
    });
}

#[test]
fn the_connection_is_counted_by_its_transport_and_idle_ones_beat_by_a_line_end() {
    let mut config = config();
    config.stomp.heart_beat_send = Duration::from_millis(100);
    let server = Server::with(config);
    run(async {
        let mut client = Client::open(server.tcp, Carrier::Tcp).await;
        client.greet("1.1", "0,100").await;
        assert_eq!(server.metric("stentor_connections{transport=\"tcp\"}"), 1);
        assert_eq!(server.sockets(), 1);
        for _ in 0..3 {
            assert_eq!(client.heard().await, support::Heard::Message("\n".into()));
        }
        drop(client);
        until("it is gone", || server.connections() == 0 && server.sockets() == 0).await;
        assert_eq!(server.metric("stentor_connections_opened_total{transport=\"tcp\"}"), 1);
    });
}

#[test]
fn a_client_that_says_all_at_once_and_ends_gets_its_answers() {
    let server = patient();
    run(async {
        let mut watcher = connect(&server).await;
        watcher.subscribe("w", "/topic/t").await;
        for (goodbye, answer) in [("DISCONNECT\nreceipt:d\n\n\0", Some("d")), ("", None)] {
            let mut client = Client::open(server.tcp, Carrier::Tcp).await;
            let send = "SEND\ndestination:/topic/t\nreceipt:r\n\nbody\0";
            client.send(&format!("CONNECT\naccept-version:1.2\n\n\0{send}{goodbye}")).await;
            client.close().await;
            assert_eq!(client.frame().await.unwrap().command.as_str(), "CONNECTED");
            assert_eq!(client.frame().await.unwrap().get("receipt-id"), Some("r"));
            if answer.is_some() {
                assert_eq!(client.frame().await.unwrap().get("receipt-id"), answer);
            }
            ends(client).await;
            assert_eq!(watcher.body().await, "body");
        }
        until("they are gone", || server.connections() == 1 && server.sockets() == 1).await;
        assert_eq!(server.metric("stentor_connections_closed_total{reason=\"disconnected\"}"), 1);
        assert_eq!(server.metric("stentor_connections_closed_total{reason=\"gone\"}"), 1);
    });
}

#[test]
fn one_that_never_closes_after_its_goodbye_is_broken_off() {
    let mut config = config();
    config.outbox.close_timeout = Duration::from_millis(200);
    let server = Server::with(config);
    run(async {
        let mut client = connect(&server).await;
        client.send("DISCONNECT\nreceipt:d\n\n\0").await;
        assert_eq!(client.frame().await.unwrap().get("receipt-id"), Some("d"));
        until("its socket is gone", || server.sockets() == 0).await;
    });
}

#[test]
fn clients_that_vanish_leave_nothing() {
    let server = Server::start();
    run(async {
        for half in ["", "SEND\ndestination:/topic/t\ncontent-length:5000\n\nxxx", "SUBS"] {
            let mut client = connect(&server).await;
            client.subscribe("a", "/topic/t").await;
            client.send(half).await;
            client.vanish();
        }
        until("they are gone", || server.connections() == 0 && server.sockets() == 0).await;
        assert_eq!(server.subscriptions(), 0);
    });
}

/// A page can have a browser send such requests to any port of its user's machine, with a body of its choice.
#[test]
fn http_is_refused_at_once_and_nothing_of_it_is_done() {
    let server = patient();
    run(async {
        let mut watcher = connect(&server).await;
        watcher.subscribe("w", "/topic/t").await;
        let frames = "CONNECT\naccept-version:1.2\n\n\0SEND\ndestination:/topic/t\n\nforged\0".repeat(10_000);
        for request in
            ["POST / HTTP/1.1\r\nHost: localhost:61613\r\nContent-Type: text/plain\r\n\r\n", "GET /"]
        {
            let mut client = Client::open(server.tcp, Carrier::Tcp).await;
            client.send(request).await;
            // More than is read at once, so that a server that just closed would reset the connection.
            client.send(&frames).await;
            let error = client.frame().await.unwrap();
            assert_eq!(error.command.as_str(), "ERROR");
            assert_eq!(error.get("message"), Some("unknown command"), "{error:?}");
            client.close().await;
            ends(client).await;
        }
        until("they are gone", || server.connections() == 1).await;
        assert_eq!(server.metric(&format!("{ERRORS}{{rule=\"unknown_command\"}}")), 2);
        assert!(watcher.is_quiet().await);
    });
}

#[test]
fn what_a_client_sends_behind_its_error_is_read_until_it_closes() {
    let server = patient();
    run(async {
        let mut client = connect(&server).await;
        let more = "SEND\ndestination:/topic/t\n\nx\0".repeat(1_000);
        client.send(&format!("NONSENSE\n\n\0{more}")).await;
        assert_eq!(client.frame().await.unwrap().command.as_str(), "ERROR");
        assert_eq!(client.frame().await, None, "this direction ends first");
        // More than the kernel would keep for a server that does not read. One that had closed would answer with a reset,
        // which on some systems destroys an ERROR that was not read yet.
        for _ in 0..1_000 {
            client.send(&more).await;
        }
        assert_eq!(server.sockets(), 1);
        client.close().await;
        until("it is gone", || server.sockets() == 0).await;
        assert_eq!(server.metric("stentor_messages_in_total{door=\"stomp\"}"), 0);
    });
}

#[test]
fn one_connection_too_many_is_told_so() {
    let mut config = config();
    config.limits.max_connections = 2;
    let server = Server::with(config);
    run(async {
        let raw = Client::connect(server.address, Carrier::Raw).await;
        let _tcp = connect(&server).await;
        let mut third = Client::open(server.tcp, Carrier::Tcp).await;
        assert_eq!(third.frame().await.unwrap().get("message"), Some("too many connections"));
        ends(third).await;
        assert_eq!(server.metric(&format!("{ERRORS}{{rule=\"too_many_connections\"}}")), 1);
        drop(raw);
        until("there is room", || server.sockets() == 1).await;
        connect(&server).await;
    });
}

#[test]
fn frames_that_never_end_take_no_more_memory_together_than_they_may() {
    const LARGE: usize = 60_000;
    let mut config = config();
    config.limits.incomplete_frames = ByteSize::new(60_500);
    let server = Server::with(config);
    let held = || server.metric("stentor_incomplete_frames_bytes") as usize;
    let refused = || server.metric(&format!("{ERRORS}{{rule=\"incomplete_frames\"}}"));
    let begun = format!("SEND\ndestination:/topic/t\ncontent-length:{LARGE}\n\n{}", "x".repeat(LARGE - 1));
    run(async {
        let mut watcher = connect(&server).await;
        watcher.subscribe("w", "/topic/t").await;
        let mut first = connect(&server).await;
        first.send(&begun).await;
        until("it is held", || held() >= LARGE).await;
        let (before, mut refusals) = (held(), 0);
        for carrier in CARRIERS {
            let mut second = Client::connect(server.at(carrier), carrier).await;
            second.send(&begun).await;
            let error = second.frame().await.unwrap();
            assert_eq!(error.get("message"), Some("out of memory for frames"));
            assert!(String::from_utf8_lossy(&error.body).contains("60500 octets"), "{error:?}");
            refusals += 1;
            assert_eq!((held(), refused()), (before, refusals));
            second.close().await;
            ends(second).await;

            // Whole frames go on, whatever their size, and small ones in pieces too.
            let mut other = Client::connect(server.at(carrier), carrier).await;
            if carrier != Carrier::Tcp {
                other.publish("/topic/t", &"y".repeat(LARGE)).await;
                assert_eq!(watcher.body().await.len(), LARGE);
            }
            other.send(&format!("SEND\ndestination:/topic/t\n\n{}", "z".repeat(500))).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            other.send("\0").await;
            assert_eq!(watcher.body().await.len(), 500);
        }
        first.send("x\0").await;
        assert_eq!(watcher.body().await.len(), LARGE);
        until("nothing is held", || held() == 0).await;
        // Who vanishes gives back what it held.
        first.send(&begun).await;
        until("it is held", || held() >= LARGE).await;
        first.vanish();
        until("nothing is held", || held() == 0).await;
    });
}
