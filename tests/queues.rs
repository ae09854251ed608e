//! Queues, acknowledgement, transactions, users and replies, frame by frame.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use stomp_parser::Frame;
use support::{CARRIERS, Carrier, Client, Server, config, run, until};

/// Sends a frame with a receipt, and takes that.
async fn ask(client: &mut Client, frame: &str) -> Frame {
    let (head, body) = frame.split_once("\n\n").unwrap();
    client.send(&format!("{head}\nreceipt:now\n\n{body}\0")).await;
    let answer = client.frame().await.expect("an answer");
    assert_eq!(answer.command.as_str(), "RECEIPT", "{answer:?}");
    assert_eq!(answer.get("receipt-id"), Some("now"));
    answer
}

/// Sends a frame that is refused by this rule, and sees the connection end.
async fn refused(mut client: Client, frame: &str, says: &str) {
    client.send(&format!("{frame}\0")).await;
    let mut error = client.frame().await.expect("an ERROR");
    while error.command.as_str() != "ERROR" {
        error = client.frame().await.expect("an ERROR");
    }
    let text = format!("{:?} {}", error.get("message"), String::from_utf8_lossy(&error.body));
    assert!(text.contains(says), "{frame}: {text}");
    assert!(client.frame().await.is_none(), "and the end");
}

async fn consume(client: &mut Client, id: &str, destination: &str, more: &str) {
    ask(client, &format!("SUBSCRIBE\nid:{id}\ndestination:{destination}{more}\n\n")).await;
}

async fn send(client: &mut Client, destination: &str, body: &str) {
    ask(client, &format!("SEND\ndestination:{destination}\n\n{body}")).await;
}

/// The next MESSAGE: its body and its ack id.
async fn take(client: &mut Client) -> (String, String) {
    let frame = client.frame().await.expect("a message");
    assert_eq!(frame.command.as_str(), "MESSAGE", "{frame:?}");
    let ack = frame.get("ack").or(frame.get("message-id")).unwrap().to_owned();
    (String::from_utf8(frame.body.to_vec()).unwrap(), ack)
}

#[test]
fn a_message_waits_for_a_consumer_and_goes_to_one() {
    for carrier in CARRIERS {
        let server = Server::start();
        run(async {
            let mut sender = Client::connect(server.at(carrier), carrier).await;
            for n in 0..4 {
                send(&mut sender, "/queue/work", &n.to_string()).await;
            }
            let mut one = Client::connect(server.at(carrier), carrier).await;
            consume(&mut one, "a", "/queue/work", "\nack:client-individual\nprefetch-count:1").await;
            let mut two = Client::connect(server.at(carrier), carrier).await;
            consume(&mut two, "b", "/queue/work", "\nack:client-individual\nprefetch-count:1").await;
            let (first, ack) = take(&mut one).await;
            let (second, _) = take(&mut two).await;
            assert_eq!((&*first, &*second), ("0", "1"));
            ask(&mut one, &format!("ACK\nid:{ack}\n\n")).await;
            assert_eq!(take(&mut one).await.0, "2");
            // Whoever goes gives back what it has not acknowledged, in its place.
            drop(one);
            drop(two);
            until("they have gone", || server.connections() == 1).await;
            let mut rest = Client::connect(server.at(carrier), carrier).await;
            consume(&mut rest, "c", "/queue/work", "").await;
            for expected in ["1", "2", "3"] {
                let frame = rest.frame().await.unwrap();
                assert_eq!(frame.body, expected);
                assert_eq!(frame.get("redelivered"), (expected != "3").then_some("true"));
                assert_eq!(frame.get("destination"), Some("/queue/work"));
                assert_eq!(frame.get("subscription"), Some("c"));
            }
            until("all is acknowledged", || server.metric("stentor_queue_messages") == 0).await;
        });
    }
}

#[test]
fn each_version_acknowledges_in_its_own_way() {
    let server = Server::start();
    run(async {
        for (version, named) in
            [("1.2", "id:%"), ("1.1", "message-id:%\nsubscription:s"), ("1.0", "message-id:%")]
        {
            for (mode, left) in [("client", 2), ("client-individual", 3)] {
                let mut client = Client::open(server.address, Carrier::Raw).await;
                client.greet(version, "0,0").await;
                consume(&mut client, "s", "/queue/v", &format!("\nack:{mode}")).await;
                let mut sender = Client::connect(server.address, Carrier::Raw).await;
                for n in 0..4 {
                    send(&mut sender, "/queue/v", &n.to_string()).await;
                }
                let mut acks = Vec::new();
                for _ in 0..4 {
                    acks.push(take(&mut client).await.1);
                }
                ask(&mut client, &format!("ACK\n{}\n\n", named.replace('%', &acks[1]))).await;
                assert_eq!(server.metric("stentor_queue_messages"), left, "{version} {mode}");
                refused(client, &format!("ACK\n{}\n\n", named.replace('%', &acks[1])), "unknown delivery")
                    .await;
                let mut rest = Client::connect(server.address, Carrier::Raw).await;
                consume(&mut rest, "r", "/queue/v", "").await;
                for _ in 0..left {
                    take(&mut rest).await;
                }
                until("all is acknowledged", || server.metric("stentor_queue_messages") == 0).await;
            }
        }
    });
}

#[test]
fn nack_asks_for_another_try_or_for_none() {
    let server = Server::start();
    run(async {
        let mut client = Client::connect(server.address, Carrier::Raw).await;
        consume(&mut client, "a", "/queue/n", "\nack:client-individual").await;
        send(&mut client, "/queue/n", "x").await;
        let (_, ack) = take(&mut client).await;
        client.send(&format!("NACK\nid:{ack}\n\n\0")).await;
        let again = client.frame().await.unwrap();
        assert_eq!(again.get("redelivered"), Some("true"));
        assert_ne!(again.get("ack"), Some(&*ack), "another delivery, another id");
        let ack = again.get("ack").unwrap().to_owned();
        ask(&mut client, &format!("NACK\nid:{ack}\nrequeue:false\n\n")).await;
        consume(&mut client, "d", "/queue/dlq.n", "").await;
        let dead = client.frame().await.unwrap();
        assert_eq!(dead.body, "x");
        assert_eq!(dead.get("x-first-death-reason"), Some("rejected"));
        assert_eq!(dead.get("x-first-death-queue"), Some("/queue/n"));
    });
}

#[test]
fn a_message_that_is_never_acknowledged_is_a_dead_letter_in_the_end() {
    let mut config = config();
    config.queues.max_deliveries = 3;
    let server = Server::with(config);
    run(async {
        let mut sender = Client::connect(server.address, Carrier::Raw).await;
        send(&mut sender, "/queue/poison", "x").await;
        for _ in 0..3 {
            let mut client = Client::connect(server.address, Carrier::Raw).await;
            consume(&mut client, "a", "/queue/poison", "\nack:client").await;
            take(&mut client).await;
        }
        consume(&mut sender, "d", "/queue/dlq.poison", "").await;
        assert_eq!(sender.frame().await.unwrap().get("x-first-death-reason"), Some("delivery_limit"));
    });
}

#[test]
fn what_was_unsubscribed_can_still_be_acknowledged() {
    let server = Server::start();
    run(async {
        let mut client = Client::connect(server.address, Carrier::Raw).await;
        consume(&mut client, "a", "/queue/u", "\nack:client-individual").await;
        send(&mut client, "/queue/u", "0").await;
        let (_, ack) = take(&mut client).await;
        ask(&mut client, "UNSUBSCRIBE\nid:a\n\n").await;
        send(&mut client, "/queue/u", "1").await;
        assert!(client.is_quiet().await);
        ask(&mut client, &format!("ACK\nid:{ack}\n\n")).await;
        consume(&mut client, "a", "/queue/u", "").await;
        assert_eq!(take(&mut client).await.0, "1");
    });
}

#[test]
fn a_transaction_is_seen_whole_or_not_at_all() {
    for carrier in CARRIERS {
        let server = Server::start();
        run(async {
            let mut watcher = Client::connect(server.at(carrier), carrier).await;
            watcher.subscribe("w", "/topic/t").await;
            // The connection ends at each point before COMMIT.
            let steps = [
                "BEGIN\ntransaction:t\n\n",
                "SEND\ntransaction:t\ndestination:/topic/t\n\nno",
                "SEND\ntransaction:t\ndestination:/queue/t\n\nno",
            ];
            for count in 0..=steps.len() {
                let mut client = Client::connect(server.at(carrier), carrier).await;
                for step in &steps[..count] {
                    ask(&mut client, step).await;
                }
            }
            let mut client = Client::connect(server.at(carrier), carrier).await;
            for step in steps {
                ask(&mut client, step).await;
            }
            ask(&mut client, "ABORT\ntransaction:t\n\n").await;
            for step in steps {
                ask(&mut client, &step.replace("\n\nno", "\n\nyes")).await;
            }
            assert_eq!(server.metric("stentor_queue_messages"), 0);
            ask(&mut client, "COMMIT\ntransaction:t\n\n").await;
            assert_eq!(watcher.body().await, "yes");
            assert!(watcher.is_quiet().await);
            // Acknowledgements belong to it, too.
            consume(&mut client, "c", "/queue/t", "\nack:client").await;
            let (body, ack) = take(&mut client).await;
            assert_eq!(body, "yes");
            ask(&mut client, "BEGIN\ntransaction:u\n\n").await;
            ask(&mut client, &format!("ACK\nid:{ack}\ntransaction:u\n\n")).await;
            assert_eq!(server.metric("stentor_queue_messages"), 1);
            ask(&mut client, "COMMIT\ntransaction:u\n\n").await;
            assert_eq!(server.metric("stentor_queue_messages"), 0);
        });
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let mut config = config();
    config.stomp.max_transaction_frames = 2;
    config.stomp.max_transactions = 1;
    config.queues.max_messages = 1;
    let server = Server::with(config);
    run(async {
        for (before, frame, says) in [
            (&[][..], "ACK\nid:nonsense\n\n", "unknown delivery"),
            (&[], "ACK\nid:00000000-1\n\n", "unknown delivery"),
            (&[], "ACK\n\n", "needs the header 'id'"),
            (&[], "NACK\n\n", "needs the header 'id'"),
            (&[], "BEGIN\n\n", "needs the header 'transaction'"),
            (&[], "COMMIT\ntransaction:t\n\n", "unknown transaction"),
            (&[], "ABORT\ntransaction:t\n\n", "unknown transaction"),
            (&[], "SEND\ndestination:/queue/a\ntransaction:t\n\n", "unknown transaction"),
            (&["BEGIN\ntransaction:t\n\n"], "BEGIN\ntransaction:t\n\n", "transaction in use"),
            (&["BEGIN\ntransaction:t\n\n"], "BEGIN\ntransaction:u\n\n", "transaction too large"),
            (
                &[
                    "BEGIN\ntransaction:t\n\n",
                    "SEND\ntransaction:t\ndestination:/topic/a\n\n",
                    "SEND\ntransaction:t\ndestination:/topic/a\n\n",
                ],
                "SEND\ntransaction:t\ndestination:/topic/a\n\n",
                "transaction too large",
            ),
            (
                &["BEGIN\ntransaction:t\n\n", "SEND\ndestination:/queue/never\ntransaction:t\n\nhalf"],
                "ACK\nid:nothing\ntransaction:t\n\n",
                "unknown delivery",
            ),
            (
                &[
                    "BEGIN\ntransaction:t\n\n",
                    "SEND\ndestination:/queue/never\ntransaction:t\n\nhalf",
                    "SEND\ndestination:/queue/never\ntransaction:t\n\nhalf",
                ],
                "COMMIT\ntransaction:t\n\n",
                "queue full",
            ),
            (&["SEND\ndestination:/queue/full\n\n"], "SEND\ndestination:/queue/full\n\n", "queue full"),
            (&[], "SUBSCRIBE\nid:a\ndestination:/queue/a\nack:sometimes\n\n", "bad ack mode"),
            (&[], "SUBSCRIBE\nid:a\ndestination:/queue/a\nprefetch-count:-1\n\n", "bad prefetch-count"),
            (&[], "SUBSCRIBE\nid:a\ndestination:/queue/a.*\n\n", "wildcard"),
            (&[], "SUBSCRIBE\nid:a\ndestination:/temp-queue/a\n\n", "reply-to"),
            (&[], "SUBSCRIBE\nid:a\ndestination:/reply-queue/a\n\n", "can't be subscribed"),
            (
                &[],
                "SEND\ndestination:/queue/a\nreply-to:/temp-queue/\n\n",
                "'/temp-queue/' names no temporary",
            ),
            (&[], "SEND\ndestination:/user/queue/a\n\n", "names no user"),
            (&[], "SEND\ndestination:/nowhere\n\n", "/topic/, /queue/, /user/ or /app/"),
        ] {
            let mut client = Client::connect(server.address, Carrier::Raw).await;
            for frame in before {
                ask(&mut client, frame).await;
            }
            refused(client, frame, says).await;
        }
        let mut client = Client::connect(server.address, Carrier::Raw).await;
        consume(&mut client, "n", "/queue/never", "").await;
        assert!(client.is_quiet().await, "nothing of what was refused is there");
    });
}

#[test]
fn topics_take_acknowledgements_too() {
    let server = Server::start();
    run(async {
        let mut client = Client::connect(server.address, Carrier::Raw).await;
        for id in ["a", "b"] {
            consume(&mut client, id, "/topic/t", "\nack:client-individual").await;
        }
        client.publish("/topic/t", "x").await;
        let (one, two) = (take(&mut client).await.1, take(&mut client).await.1);
        assert_ne!(one, two, "an id for each copy");
        ask(&mut client, &format!("ACK\nid:{one}\n\n")).await;
        ask(&mut client, &format!("NACK\nid:{two}\n\n")).await;
        ask(&mut client, "UNSUBSCRIBE\nid:b\n\n").await;
        refused(client, &format!("ACK\nid:{two}\n\n"), "unknown delivery").await;
    });
}

#[test]
fn a_user_is_reached_on_all_connections_and_a_reply_on_one() {
    for carrier in CARRIERS {
        let server = Server::start();
        run(async {
            let mut bobs = Vec::new();
            for _ in 0..2 {
                let mut bob = Client::open(server.at(carrier), carrier).await;
                bob.send("CONNECT\naccept-version:1.2\nlogin:bob\npasscode:x\n\n\0").await;
                assert_eq!(bob.frame().await.unwrap().get("user-name"), Some("bob"));
                consume(&mut bob, "u", "/user/queue/news", "").await;
                bobs.push(bob);
            }
            let mut other = Client::connect(server.at(carrier), carrier).await;
            consume(&mut other, "u", "/user/queue/news", "").await;
            let told = ask(&mut other, "SEND\ndestination:/user/bob/queue/news\n\nhi").await;
            assert_eq!(told.get("undeliverable"), None);
            for bob in &mut bobs {
                let frame = bob.frame().await.unwrap();
                assert_eq!(
                    (frame.get("destination"), &frame.body[..]),
                    (Some("/user/queue/news"), &b"hi"[..])
                );
            }
            assert!(other.is_quiet().await, "nobody in particular is not bob");
            let told = ask(&mut other, "SEND\ndestination:/user/eve/queue/news\n\nhi").await;
            assert_eq!(told.get("undeliverable"), Some("true"));

            // A request, and its reply.
            let bob = &mut bobs[0];
            consume(bob, "q", "/queue/requests", "").await;
            ask(&mut other, "SEND\ndestination:/queue/requests\nreply-to:/temp-queue/mine\n\nwhat?").await;
            let request = bob.frame().await.unwrap();
            let address = request.get("reply-to").unwrap().to_owned();
            assert!(address.starts_with("/reply-queue/"), "{address}");
            send(bob, &address, "that").await;
            let reply = other.frame().await.unwrap();
            assert_eq!(
                (reply.get("subscription"), &reply.body[..]),
                (Some("/temp-queue/mine"), &b"that"[..])
            );
            drop(other);
            until("it has gone", || server.connections() == 2).await;
            let told = ask(bob, &format!("SEND\ndestination:{address}\n\nlate")).await;
            assert_eq!(told.get("undeliverable"), Some("true"));
            drop(bobs);
            until("all have gone", || server.connections() == 0).await;
        });
    }
}

#[test]
fn a_consumer_that_does_not_read_holds_up_nobody() {
    let server = Server::start();
    run(async {
        let mut lazy = Client::with_window(server.address, Carrier::Raw, Some(4096)).await;
        lazy.greet("1.2", "0,0").await;
        consume(&mut lazy, "l", "/queue/busy", "").await;
        let mut sender = Client::connect(server.address, Carrier::Raw).await;
        let large = "x".repeat(10_000);
        for _ in 0..500 {
            sender.publish("/queue/busy", &large).await;
        }
        send(&mut sender, "/queue/busy", "last").await;
        let mut quick = Client::connect(server.address, Carrier::Raw).await;
        consume(&mut quick, "q", "/queue/busy", "").await;
        let mut got = 0;
        while take(&mut quick).await.0 != "last" {
            got += 1;
        }
        assert!(got > 400, "{got}: it has no more than it has room for");
        assert_eq!(server.metric("stentor_cut_offs_total{reason=\"slow_consumer\"}"), 0);
        // What it was given and did not read comes to the other; what its kernel took had acknowledged itself.
        drop(lazy);
        while server.metric("stentor_queue_messages") > 0 {
            if let Ok((body, _)) = tokio::time::timeout(Duration::from_millis(100), take(&mut quick)).await {
                assert_eq!(body.len(), 10_000);
                got += 1;
            }
        }
        assert!((400..=500).contains(&got), "{got}");
        until("all is acknowledged", || server.metric("stentor_queue_messages") == 0).await;
    });
}

/// A backlog is given out as fast as it is read, whatever its size: what waits for room is not a slow consumer's.
#[test]
fn a_backlog_of_large_messages_cuts_off_nobody() {
    for carrier in CARRIERS {
        let server = Server::start();
        run(async {
            let mut sender = Client::connect(server.at(carrier), carrier).await;
            let large = "x".repeat(256 * 1024);
            for n in 0..30 {
                send(&mut sender, "/queue/big", &format!("{n:02}{large}")).await;
            }
            let mut client = Client::connect(server.at(carrier), carrier).await;
            for id in ["a", "b"] {
                let frame =
                    format!("SUBSCRIBE\nid:{id}\ndestination:/queue/big\nack:client-individual\n\n\0");
                client.send(&frame).await;
            }
            let mut got = Vec::new();
            for _ in 0..30 {
                let (body, ack) = take(&mut client).await;
                got.push(body[..2].to_owned());
                client.send(&format!("ACK\nid:{ack}\n\n\0")).await;
            }
            got.sort();
            got.dedup();
            assert_eq!(got.len(), 30, "{carrier:?}");
        });
    }
}

#[test]
fn many_consumers_of_one_connection_share_its_outbox() {
    let server = Server::start();
    run(async {
        let mut lazy = Client::with_window(server.address, Carrier::Raw, Some(4096)).await;
        lazy.greet("1.2", "0,0").await;
        for n in 0..8 {
            consume(&mut lazy, &format!("c{n}"), "/queue/many", "\nack:client-individual").await;
        }
        let mut sender = Client::connect(server.address, Carrier::Raw).await;
        let body = "x".repeat(3000);
        for _ in 0..1000 {
            sender.publish("/queue/many", &body).await;
        }
        send(&mut sender, "/queue/many", "last").await;
        // It reads only now. Each consumer gets what it has room for, and more when that is written.
        let mut got = 0;
        while got < 1001 {
            take(&mut lazy).await;
            got += 1;
        }
        assert_eq!(server.metric("stentor_cut_offs_total{reason=\"slow_consumer\"}"), 0);
        // What was never given to it was never tried: it comes to the next as new, unless it was written.
        drop(lazy);
        until("all is there for others", || server.metric("stentor_subscriptions") == 0).await;
        assert_eq!(server.metric("stentor_queue_messages"), 1001);
    });
}

#[test]
fn what_was_never_given_is_not_tried() {
    let mut config = config();
    config.queues.max_deliveries = 2;
    let server = Server::with(config);
    run(async {
        let mut sender = Client::connect(server.address, Carrier::Raw).await;
        let large = "x".repeat(400 * 1024);
        for _ in 0..20 {
            send(&mut sender, "/queue/t", &large).await;
        }
        for _ in 0..4 {
            let mut lazy = Client::with_window(server.address, Carrier::Raw, Some(4096)).await;
            lazy.greet("1.2", "0,0").await;
            lazy.send("SUBSCRIBE\nid:l\ndestination:/queue/t\nack:client\n\n\0").await;
            until("it consumes", || server.metric("stentor_subscriptions") == 1).await;
            drop(lazy);
            until("it has gone", || server.metric("stentor_subscriptions") == 0).await;
        }
        let mut rest = Client::connect(server.address, Carrier::Raw).await;
        consume(&mut rest, "r", "/queue/t", "").await;
        let mut got = 0;
        while server.metric("stentor_queue_messages")
            > server.metric("stentor_dead_letters_total{reason=\"delivery_limit\"}")
        {
            if tokio::time::timeout(Duration::from_millis(100), take(&mut rest)).await.is_ok() {
                got += 1;
            }
        }
        assert!(got >= 10, "{got}: those that were not at the front were not tried");
    });
}

#[test]
fn a_commit_that_fails_acknowledges_nothing() {
    let server = Server::start();
    run(async {
        let mut client = Client::connect(server.address, Carrier::Raw).await;
        consume(&mut client, "j", "/queue/jobs", "\nack:client-individual").await;
        send(&mut client, "/queue/jobs", "job").await;
        let (_, ack) = take(&mut client).await;
        ask(&mut client, "BEGIN\ntransaction:t\n\n").await;
        ask(&mut client, &format!("ACK\nid:{ack}\ntransaction:t\n\n")).await;
        refused(client, "SEND\ndestination:/app/nothing\ntransaction:t\n\n", "not in a transaction").await;
        assert_eq!(server.metric("stentor_queue_messages"), 1);
    });
}

#[test]
fn a_copy_of_a_topics_message_is_never_taken_for_a_delivery() {
    let server = Server::start();
    run(async {
        let mut client = Client::open(server.address, Carrier::Raw).await;
        client.greet("1.0", "0,0").await;
        consume(&mut client, "t", "/topic/t", "\nack:client").await;
        consume(&mut client, "q", "/queue/q", "\nack:client").await;
        let mut sender = Client::connect(server.address, Carrier::Raw).await;
        let mut ids = std::collections::HashSet::new();
        let mut of_topic = Vec::new();
        for n in 0..10 {
            send(&mut sender, "/topic/t", &n.to_string()).await;
            let id = take(&mut client).await.1;
            of_topic.push(id.clone());
            assert!(ids.insert(id));
            send(&mut sender, "/queue/q", &n.to_string()).await;
            assert!(ids.insert(take(&mut client).await.1), "an id of its own");
        }
        for id in of_topic {
            ask(&mut client, &format!("ACK\nmessage-id:{id}\n\n")).await;
        }
        assert_eq!(server.metric("stentor_queue_messages"), 10, "and no delivery was acknowledged");
    });
}

#[test]
fn an_expiration_may_be_for_ever() {
    let server = Server::start();
    run(async {
        let mut client = Client::connect(server.address, Carrier::Raw).await;
        let forever = u64::MAX;
        ask(&mut client, &format!("SEND\ndestination:/queue/e\nexpiration:{forever}\n\nx")).await;
        consume(&mut client, "e", "/queue/e", "").await;
        assert_eq!(take(&mut client).await.0, "x");
    });
}

#[test]
fn what_was_unsubscribed_is_forgotten_when_it_is_written() {
    let server = Server::start();
    run(async {
        let mut slow = Client::with_window(server.address, Carrier::Raw, Some(4096)).await;
        slow.greet("1.2", "0,0").await;
        consume(&mut slow, "s", "/queue/u", "").await;
        let mut sender = Client::connect(server.address, Carrier::Raw).await;
        let large = "x".repeat(100_000);
        for _ in 0..60 {
            send(&mut sender, "/queue/u", &large).await;
        }
        slow.send("UNSUBSCRIBE\nid:s\n\n\0").await;
        // The rest is given back; what was given is read to its end.
        while tokio::time::timeout(Duration::from_millis(300), take(&mut slow)).await.is_ok() {}
        until("it is forgotten", || server.metric("stentor_subscriptions") == 0).await;
    });
}
