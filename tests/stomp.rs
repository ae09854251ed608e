//! STOMP over every carrier, byte for byte: connecting, frames, subscriptions, receipts, errors, heart-beats.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::{CARRIERS, Carrier, Client, Heard, Server, config, run, until};

#[test]
fn connects_by_the_highest_common_version() {
    let server = Server::start();
    run(async {
        for carrier in CARRIERS {
            for (offered, version) in [("1.0", "1.0"), ("1.2,1.0,1.1", "1.2"), ("1.1,9.9", "1.1")] {
                let mut client = Client::open(server.at(carrier), carrier).await;
                let connected = client.greet(offered, "0,0").await;
                assert_eq!(connected.get("version"), Some(version));
                assert_eq!(connected.get("heart-beat"), Some("1000,30000"));
                assert!(connected.get("server").unwrap().starts_with("stentor/"));
                assert!(connected.get("session").is_some());
            }
        }
        let mut client = Client::open(server.address, Carrier::Raw).await;
        client.send("STOMP\nlogin:a\npasscode:b\\x\n\n\0").await;
        assert_eq!(client.frame().await.unwrap().get("version"), Some("1.0"), "no accept-version means 1.0");
    });
}

#[test]
fn no_common_version_is_an_error_that_lists_ours() {
    let server = Server::start();
    run(async {
        let mut client = Client::open(server.address, Carrier::SockJs).await;
        client.send("CONNECT\naccept-version:2.0\n\n\0").await;
        let error = client.frame().await.unwrap();
        assert_eq!(error.command.as_str(), "ERROR");
        assert_eq!(error.get("version"), Some("1.0,1.1,1.2"));
        assert!(client.frame().await.is_none(), "then it is closed");
    });
}

#[test]
fn a_message_reaches_all_subscribers_and_its_headers_with_it() {
    let server = Server::start();
    run(async {
        let mut raw = Client::connect(server.address, Carrier::Raw).await;
        let mut sockjs = Client::connect(server.address, Carrier::SockJs).await;
        raw.subscribe("a", "/topic/t").await;
        sockjs.subscribe("b", "/topic/t").await;
        let mut tcp = Client::connect(server.tcp, Carrier::Tcp).await;
        tcp.subscribe("c", "/topic/t").await;
        raw.send("SEND\ndestination:/topic/t\nreceipt:r\ncontent-type:text/x\nk:a\\cb\\nc\\\\d\\re\ncursor:forged\n\nbody\0").await;
        for (client, id) in [(&mut raw, "a"), (&mut sockjs, "b"), (&mut tcp, "c")] {
            let mut message = client.frame().await.unwrap();
            if message.command.as_str() == "RECEIPT" {
                message = client.frame().await.unwrap();
            }
            assert_eq!(message.command.as_str(), "MESSAGE");
            assert_eq!(message.get("subscription"), Some(id));
            assert_eq!(message.get("destination"), Some("/topic/t"));
            assert_eq!(message.get("content-type"), Some("text/x"));
            assert_eq!(message.get("k"), Some("a:b\nc\\d\re"));
            assert_eq!(message.get("content-length"), Some("4"));
            assert!(message.get("message-id").is_some());
            assert!(message.get("receipt").is_none() && message.get("cursor").is_none());
            assert_eq!(&message.body[..], b"body");
        }
    });
}

#[test]
fn two_subscriptions_to_one_destination_get_a_copy_each() {
    let server = Server::start();
    run(async {
        let mut client = Client::connect(server.address, Carrier::Raw).await;
        client.subscribe("a", "/topic/x.y").await;
        client.subscribe("b", "/topic/x.*").await;
        client.subscribe("c", "/topic/x.#").await;
        client.publish("/topic/x.y", "1").await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(client.frame().await.unwrap().get("subscription").unwrap().to_owned());
        }
        ids.sort();
        assert_eq!(ids, ["a", "b", "c"]);
        client.send("UNSUBSCRIBE\nid:b\nreceipt:u\n\n\0").await;
        assert_eq!(client.frame().await.unwrap().get("receipt-id"), Some("u"));
        client.publish("/topic/x.y", "2").await;
        for _ in 0..2 {
            assert_ne!(client.frame().await.unwrap().get("subscription"), Some("b"));
        }
        assert!(client.is_quiet().await);
    });
}

#[test]
fn the_receipt_of_a_subscribe_comes_before_its_first_message() {
    let server = Server::start();
    run(async {
        let mut publisher = Client::connect(server.address, Carrier::Raw).await;
        let mut subscriber = Client::connect(server.address, Carrier::SockJs).await;
        for round in 0..50 {
            for number in 0..20 {
                publisher.publish("/topic/busy", &number.to_string()).await;
            }
            subscriber
                .send(&format!("SUBSCRIBE\nid:{round}\ndestination:/topic/busy\nreceipt:s\n\n\0"))
                .await;
            publisher.publish("/topic/busy", "last").await;
            assert_eq!(subscriber.frame().await.unwrap().command.as_str(), "RECEIPT");
            subscriber.send(&format!("UNSUBSCRIBE\nid:{round}\nreceipt:u\n\n\0")).await;
            while subscriber.frame().await.unwrap().get("receipt-id") != Some("u") {}
        }
    });
}

#[test]
fn a_1_0_client_may_leave_out_the_id() {
    let server = Server::start();
    run(async {
        let mut client = Client::open(server.address, Carrier::Raw).await;
        client.greet("1.0", "0,0").await;
        client.send("SUBSCRIBE\ndestination:/topic/t\nreceipt:s\n\n\0").await;
        client.frame().await.unwrap();
        client.publish("/topic/t", "hello").await;
        assert_eq!(client.body().await, "hello");
        client.send("UNSUBSCRIBE\ndestination:/topic/t\nreceipt:u\n\n\0").await;
        assert_eq!(client.frame().await.unwrap().get("receipt-id"), Some("u"));
    });
}

#[test]
fn every_broken_rule_is_an_error_that_names_it_and_ends_the_connection() {
    let server = Server::start();
    let connected: [(&str, &str, &str); 16] = [
        ("SEDN\n\n\0", "unknown_command", "SEDN"),
        ("SEND\n\nx\0", "missing_header", "destination"),
        ("SEND\ndestination:/tpoic/a\n\nx\0", "unknown_destination", "/topic/"),
        ("SEND\ndestination:/topic/a.*\n\nx\0", "wildcard_in_send", "wildcard"),
        ("SEND\ndestination:/topic/a..b\n\nx\0", "empty_segment", "empty"),
        ("SEND\ndestination:/app/nothing\n\nx\0", "app_refused", "/app/subscribe"),
        ("SUBSCRIBE\nid:0\n\n\0", "missing_header", "destination"),
        ("SUBSCRIBE\ndestination:/topic/a\n\n\0", "missing_header", "id"),
        ("SUBSCRIBE\nid:0\ndestination:/topic/#.a\n\n\0", "hash_not_last", "last"),
        ("SUBSCRIBE\nid:0\ndestination:/topic/a\nack:maybe\n\n\0", "bad_ack_mode", "maybe"),
        ("UNSUBSCRIBE\nid:7\n\n\0", "unknown_subscription", "7"),
        ("CONNECT\naccept-version:1.2\n\n\0", "connected_twice", "second CONNECT"),
        ("MESSAGE\n\n\0", "server_frame", "servers"),
        ("SEND\ndestination:/topic/a\nk:\\t\n\nx\0", "invalid_escape", "\\t"),
        ("SEND\ndestination:/topic/a\ncontent-length:-1\n\nx\0", "invalid_content_length", "content-length"),
        ("SUBSCRIBE\nid:0\ndestination:/topic/a\n\nbody\0", "body_not_allowed", "body"),
    ];
    run(async {
        for carrier in CARRIERS {
            for (frame, rule, detail) in connected {
                let metric = format!("stentor_errors_total{{rule=\"{rule}\"}}");
                let before = server.metric(&metric);
                let mut client = Client::connect(server.at(carrier), carrier).await;
                // What stands behind the bad frame must have no effect.
                client
                    .send(&format!("{frame}SUBSCRIBE\nid:1\ndestination:/topic/a\nreceipt:late\n\n\0"))
                    .await;
                let error = client.frame().await.unwrap();
                assert_eq!(error.command.as_str(), "ERROR", "{frame:?}");
                assert!(error.get("message").is_some());
                let body = String::from_utf8(error.body.to_vec()).unwrap();
                assert!(body.contains(detail), "{frame:?}: {body}");
                assert!(client.frame().await.is_none(), "{frame:?}: the connection ends");
                assert_eq!(
                    client.closes.is_empty(),
                    carrier == Carrier::Tcp,
                    "{frame:?}: with a close frame"
                );
                assert!(!client.reset, "{frame:?}");
                assert_eq!(server.metric(&metric), before + 1, "{frame:?}: {body}");
            }
        }
        let mut client = Client::open(server.address, Carrier::Raw).await;
        client.send("SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0").await;
        let body = client.frame().await.unwrap().body;
        assert!(body.starts_with(b"SUBSCRIBE came before CONNECT"));
    });
}

#[test]
fn an_error_answers_the_receipt_that_was_asked_for() {
    let server = Server::start();
    run(async {
        let mut client = Client::connect(server.address, Carrier::Raw).await;
        client.send("SEND\ndestination:/nowhere\nreceipt:r1\n\nx\0").await;
        let error = client.frame().await.unwrap();
        assert_eq!((error.command.as_str(), error.get("receipt-id")), ("ERROR", Some("r1")));
    });
}

#[test]
fn receipts_before_an_error_are_flushed() {
    let server = Server::start();
    run(async {
        let mut client = Client::connect(server.address, Carrier::SockJs).await;
        let sends: String =
            (0..10).map(|n| format!("SEND\ndestination:/topic/a\nreceipt:{n}\n\nx\0")).collect();
        client.send(&format!("{sends}NONSENSE\n\n\0")).await;
        for number in 0..10 {
            let receipt = client.frame().await.unwrap();
            assert_eq!(receipt.get("receipt-id"), Some(number.to_string().as_str()));
        }
        assert_eq!(client.frame().await.unwrap().command.as_str(), "ERROR");
    });
}

#[test]
fn disconnect_is_answered_and_the_client_closes() {
    let server = Server::start();
    run(async {
        for carrier in CARRIERS {
            let mut client = Client::connect(server.at(carrier), carrier).await;
            client.send("DISCONNECT\nreceipt:bye\n\n\0").await;
            assert_eq!(client.frame().await.unwrap().get("receipt-id"), Some("bye"));
            if carrier == Carrier::Tcp {
                assert!(client.frame().await.is_none() && !client.reset, "the end asks the client to close");
                continue;
            }
            client.close().await;
            assert!(client.frame().await.is_none());
            assert_eq!(client.closes.last(), Some(&(1000, String::new())));
        }
        let mut client = Client::connect(server.address, Carrier::Raw).await;
        client.send("DISCONNECT\n\n\0").await;
        assert!(client.frame().await.is_none(), "without a receipt it is closed at once");
        until("sessions end", || server.connections() == 0).await;
    });
}

#[test]
fn frames_may_be_split_and_joined_at_will() {
    let server = Server::start();
    run(async {
        for carrier in CARRIERS {
            let mut client = Client::connect(server.at(carrier), carrier).await;
            client.subscribe("a", "/topic/split").await;
            let frame = "SEND\ndestination:/topic/split\ncontent-length:5\n\nh\néo\0";
            for character in frame.chars() {
                client.send(&character.to_string()).await;
            }
            assert_eq!(client.body().await, "h\néo");
            client.send(&format!("\n\n{frame}\n{frame}\n")).await;
            assert_eq!(client.body().await, "h\néo");
            assert_eq!(client.body().await, "h\néo");
        }
    });
}

#[test]
fn large_and_binary_bodies_pass() {
    let server = Server::start();
    run(async {
        let mut raw = Client::connect(server.address, Carrier::Raw).await;
        let mut sockjs = Client::connect(server.address, Carrier::SockJs).await;
        raw.subscribe("a", "/topic/large").await;
        sockjs.subscribe("a", "/topic/large").await;
        let mut tcp = Client::connect(server.tcp, Carrier::Tcp).await;
        tcp.subscribe("a", "/topic/large").await;
        let large = "x\"é\n".repeat(1_600_000);
        assert_eq!(large.len(), 8_000_000);
        sockjs.publish("/topic/large", &large).await;
        assert_eq!(raw.body().await, large);
        assert_eq!(sockjs.body().await, large);
        assert_eq!(tcp.body().await, large);
        raw.send_payload(0x2, b"SEND\ndestination:/topic/large\ncontent-length:4\n\n\xff\0\xfe\x01\0").await;
        assert_eq!(&raw.frame().await.unwrap().body[..], b"\xff\0\xfe\x01");
        let octets = tcp.frame().await.unwrap();
        assert_eq!((octets.get("transfer-encoding"), &octets.body[..]), (None, &b"\xff\0\xfe\x01"[..]));
        let text = sockjs.frame().await.unwrap();
        assert_eq!(text.get("transfer-encoding"), Some("base64"));
        assert_eq!(&text.body[..], b"/wD+AQ==");
    });
}

#[test]
fn a_body_beyond_the_limit_is_refused_before_it_comes() {
    let server = Server::start();
    run(async {
        let mut client = Client::connect(server.address, Carrier::Raw).await;
        client.send("SEND\ndestination:/topic/a\ncontent-length:99999999\n\n").await;
        let error = client.frame().await.unwrap();
        assert_eq!(error.command.as_str(), "ERROR");
        assert!(String::from_utf8_lossy(&error.body).contains("8388608"), "{error:?}");
    });
}

#[test]
fn beats_are_sent_as_agreed_and_silence_is_noticed() {
    let mut config = config();
    config.stomp.heart_beat_send = Duration::from_millis(100);
    config.stomp.heart_beat_want = Duration::from_millis(300);
    let server = Server::with(config);
    run(async {
        for carrier in CARRIERS {
            let mut client = Client::open(server.at(carrier), carrier).await;
            client.greet("1.2", "100,100").await;
            let begun = tokio::time::Instant::now();
            let error = client.frame().await.unwrap();
            assert_eq!(error.get("message"), Some("no heart-beat"));
            let silence = begun.elapsed();
            assert!(silence >= Duration::from_millis(800), "given up after {silence:?}");
            assert!(client.beats >= 2, "{} beats", client.beats);
        }
    });
}

#[test]
fn sockjs_beats_where_stomp_does_not() {
    let mut config = config();
    config.sockjs.heartbeat = Duration::from_secs(1);
    let server = Server::with(config);
    run(async {
        let mut client = Client::connect(server.address, Carrier::SockJs).await;
        assert_eq!(client.heard().await, Heard::Message("h".into()));
    });
}

#[test]
fn app_subscribe_answers_the_asker_alone() {
    let mut config = config();
    config.metrics.period = Duration::from_secs(3600);
    let server = Server::with(config);
    run(async {
        let mut asker = Client::connect(server.address, Carrier::SockJs).await;
        let mut other = Client::connect(server.address, Carrier::Raw).await;
        asker.subscribe("m", "/topic/metrics").await;
        other.subscribe("m", "/topic/metrics").await;
        for client in [&mut asker, &mut other] {
            assert_eq!(client.frame().await.unwrap().get("retained"), Some("true"));
        }
        asker.publish("/app/subscribe", "").await;
        let message = asker.frame().await.unwrap();
        assert_eq!(message.get("retained"), None);
        assert_eq!(message.get("destination"), Some("/topic/metrics"));
        assert_eq!(message.get("subscription"), Some("m"));
        assert_eq!(message.get("content-type"), Some("application/json"));
        let metrics: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(metrics["summary"]["totalEvents"], 0);
        assert!(other.is_quiet().await);
    });
}

#[test]
fn a_stop_closes_every_session_with_a_close_frame() {
    let mut server = Server::start();
    run(async {
        let mut raw = Client::connect(server.address, Carrier::Raw).await;
        let mut sockjs = Client::connect(server.address, Carrier::SockJs).await;
        sockjs.subscribe("a", "/topic/a").await;
        let mut tcp = Client::connect(server.tcp, Carrier::Tcp).await;
        let stop = tokio::task::spawn_blocking(move || server.stop());
        assert!(raw.frame().await.is_none());
        assert!(sockjs.frame().await.is_none());
        assert_eq!(raw.closes, [(1001, "server is going away".to_owned())]);
        assert_eq!(sockjs.closes.first(), Some(&(1001, "server is going away".to_owned())));
        assert!(tcp.frame().await.is_none() && !tcp.reset, "on plain TCP there is none, but an end");
        drop((raw, sockjs, tcp));
        stop.await.unwrap();
    });
}
