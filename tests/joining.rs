//! Joining and leaving channels while values wait: what a late joiner gets and when, and what an UNSUBSCRIBE, a SUBSCRIBE and
//! a cleared value do to what waits for a slow reader.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{ALL_CARRIERS, Carrier, Client, Server, config, http, number_of, run, until};

const STATUS: &str = "/topic/status";

/// A server whose own producers are silent, so that nothing comes but what a test publishes.
fn silent() -> Server {
    let mut config = config();
    config.metrics.period = Duration::from_secs(3600);
    config.host.period = Duration::from_secs(3600);
    Server::with(config)
}

/// Publishes, and waits until the server has it.
async fn publish(publisher: &mut Client, destination: &str, headers: &str, body: &str) {
    publisher.send(&format!("SEND\ndestination:{destination}\n{headers}receipt:p\n\n{body}\0")).await;
    assert_eq!(publisher.frame().await.unwrap().get("receipt-id"), Some("p"));
}

/// An event for the figures, counted when this returns.
async fn count_one(server: &Server) {
    let body = json!({"eventType": "a", "source": "b"}).to_string();
    let request = format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(http(server.address, &request).await.0, 202);
}

#[test]
fn a_late_joiner_gets_the_value_right_behind_its_receipt() {
    for carrier in ALL_CARRIERS {
        let server = silent();
        run(async {
            let mut publisher = Client::connect(server.address, Carrier::Raw).await;
            for body in ["1", "2"] {
                publish(&mut publisher, STATUS, "", body).await;
            }
            for _ in 0..2 {
                let mut late = Client::connect(server.at(carrier), carrier).await;
                let heard = server.metric("stentor_messages_in_total{door=\"stomp\"}");
                // One frame from it, and nothing from anybody after that.
                late.send(&format!("SUBSCRIBE\nid:s\ndestination:{STATUS}\nreceipt:r\n\n\0")).await;
                assert_eq!(late.frame().await.unwrap().get("receipt-id"), Some("r"));
                let value = late.frame().await.unwrap();
                assert_eq!((number_of(&value), value.get("retained")), (2, Some("true")));
                assert_eq!(server.metric("stentor_messages_in_total{door=\"stomp\"}"), heard);
                assert!(late.is_quiet().await, "once");
            }
            assert_eq!(server.metric("stentor_messages_in_total{door=\"producer\"}"), 0);
        });
    }
}

#[test]
fn the_first_who_asks_for_figures_gets_fresh_ones_and_the_second_the_same() {
    for carrier in ALL_CARRIERS {
        let server = silent();
        run(async {
            let figures = async |client: &mut Client| {
                client.subscribe("m", "/topic/metrics").await;
                let value = client.frame().await.unwrap();
                assert_eq!(value.get("retained"), Some("true"));
                let body: Value = serde_json::from_slice(&value.body).unwrap();
                (body["summary"]["totalEvents"].as_u64(), value.get("message-id").map(str::to_owned))
            };
            let produced = || server.metric("stentor_messages_in_total{door=\"producer\"}");
            for _ in 0..3 {
                count_one(&server).await;
            }
            assert_eq!(produced(), 0, "nobody asked");
            let mut first = Client::connect(server.at(carrier), carrier).await;
            let (total, id) = figures(&mut first).await;
            assert_eq!((total, produced()), (Some(3), 1));
            count_one(&server).await;
            let mut second = Client::connect(server.at(carrier), carrier).await;
            assert_eq!(figures(&mut second).await, (Some(3), id.clone()));
            assert_eq!(produced(), 1);
            // When all have gone the channel rests, and who comes then is the first again.
            drop((first, second));
            until("they have gone", || server.subscriptions() == 0).await;
            // Figures that are younger than a tenth of a second are taken for fresh.
            tokio::time::sleep(Duration::from_millis(110)).await;
            let mut third = Client::connect(server.at(carrier), carrier).await;
            let (total, another) = figures(&mut third).await;
            assert_eq!((total, produced()), (Some(4), 2));
            assert_ne!(another, id);
        });
    }
}

/// Values and events that clients were given, those included that newer ones took the place of.
fn given(server: &Server) -> u64 {
    server.metric("stentor_messages_out_total") + server.metric("stentor_conflated_total")
}

/// A client with a small window that read nothing since it subscribed, and a publisher of what waits for it: the values
/// up to `number` are out, and the newest of them has taken the place of others.
struct Lagging {
    client: Client,
    publisher: Client,
    number: u64,
}

impl Lagging {
    async fn start(server: &Server, carrier: Carrier) -> Lagging {
        let mut client = Client::with_window(server.at(carrier), carrier, Some(4096)).await;
        client.greet("1.2", "0,0").await;
        client.subscribe("s", STATUS).await;
        let publisher = Client::connect(server.address, Carrier::Raw).await;
        let mut lagging = Lagging { client, publisher, number: 0 };
        // Behind so many the kernel takes no more.
        while server.metric("stentor_conflated_total") < 10 {
            lagging.value(server).await;
        }
        lagging
    }

    /// Publishes one more, and waits until that was written or waits for the client.
    async fn value(&mut self, server: &Server) {
        let before = given(server);
        self.publish().await;
        until("it was given", || given(server) == before + 1).await;
    }

    async fn publish(&mut self) {
        self.number += 1;
        publish(&mut self.publisher, STATUS, "", &format!("{} {}", self.number, "x".repeat(4096))).await;
    }

    /// What comes up to and with a receipt; all before are values whose numbers rise, and all are older than the newest.
    async fn up_to(&mut self, receipt: &str) {
        let mut last = 0;
        loop {
            let frame = self.client.frame().await.unwrap();
            if frame.get("receipt-id") == Some(receipt) {
                return;
            }
            let number = number_of(&frame);
            assert!(
                last < number && number < self.number,
                "{number} behind {last}, of {}: {frame:?}",
                self.number
            );
            last = number;
        }
    }
}

#[test]
fn behind_the_receipt_of_an_unsubscribe_nothing_comes_of_what_waited() {
    for carrier in ALL_CARRIERS {
        let server = silent();
        run(async {
            let mut lagging = Lagging::start(&server, carrier).await;
            lagging.client.send("UNSUBSCRIBE\nid:s\nreceipt:u\n\n\0").await;
            until("it is done", || server.subscriptions() == 0).await;
            lagging.publish().await;
            lagging.up_to("u").await;
            assert!(lagging.client.is_quiet().await);
        });
    }
}

#[test]
fn a_subscription_of_the_same_id_begins_with_its_receipt() {
    for carrier in ALL_CARRIERS {
        let server = silent();
        run(async {
            let mut lagging = Lagging::start(&server, carrier).await;
            lagging.client.send("UNSUBSCRIBE\nid:s\nreceipt:u\n\n\0").await;
            let subscribe = format!("SUBSCRIBE\nid:s\ndestination:{STATUS}\nreceipt:again\n\n\0");
            let before = given(&server);
            lagging.client.send(&subscribe).await;
            until("it was given the kept value", || given(&server) == before + 1).await;
            // Which makes way for these.
            lagging.value(&server).await;
            lagging.value(&server).await;
            lagging.up_to("u").await;
            let receipt = lagging.client.frame().await.unwrap();
            assert_eq!(receipt.get("receipt-id"), Some("again"), "{receipt:?}");
            let value = lagging.client.frame().await.unwrap();
            assert_eq!((number_of(&value), value.get("retained")), (lagging.number, None));
            assert!(lagging.client.is_quiet().await);
        });
    }
}

#[test]
fn a_cleared_value_takes_the_place_of_one_that_waits() {
    for carrier in ALL_CARRIERS {
        let server = silent();
        run(async {
            let mut lagging = Lagging::start(&server, carrier).await;
            let before = given(&server);
            publish(&mut lagging.publisher, STATUS, "retain:clear\n", "").await;
            until("it waits itself", || given(&server) == before + 1).await;
            lagging.number += 1;
            let mut last = 0;
            let clear = loop {
                let frame = lagging.client.frame().await.unwrap();
                if frame.body.is_empty() {
                    break frame;
                }
                let number = number_of(&frame);
                // The one before the clear had waited.
                assert!(
                    last < number && number < lagging.number - 1,
                    "{carrier:?}: {number} of {}",
                    lagging.number
                );
                last = number;
            };
            assert_eq!((clear.get("retain"), clear.get("retained")), (Some("clear"), None));
            assert!(lagging.client.is_quiet().await);
            // Whoever comes now finds none.
            let mut late = Client::connect(server.at(carrier), carrier).await;
            late.subscribe("s", STATUS).await;
            assert!(late.is_quiet().await);
        });
    }
}

#[test]
fn who_is_cut_off_is_told_how_far_each_subscription_came() {
    for carrier in ALL_CARRIERS {
        let mut config = config();
        config.outbox.bytes = stentor::config::ByteSize::new(64 * 1024);
        config.outbox.close_timeout = Duration::from_secs(30);
        let server = Server::with(config);
        run(async {
            let mut client = Client::with_window(server.at(carrier), carrier, Some(4096)).await;
            client.greet("1.2", "0,0").await;
            client.subscribe("many", "/topic/task-events").await;
            client.subscribe("few", "/topic/chat").await;
            let mut publisher = Client::connect(server.address, Carrier::Raw).await;
            let cut_offs = || server.metric("stentor_cut_offs_total{reason=\"slow_consumer\"}");
            // Of both, some are written and some wait when it is cut off.
            let (mut many, mut few) = (0, 0);
            while cut_offs() == 0 {
                publish(&mut publisher, "/topic/task-events", "", &format!("{many} {}", "x".repeat(4096)))
                    .await;
                many += 1;
                if many <= 15 {
                    publish(&mut publisher, "/topic/chat", "", &few.to_string()).await;
                    few += 1;
                }
            }
            let mut numbers = [0, 0];
            let mut cursors = [String::new(), String::new()];
            let place = |frame: &stomp_parser::Frame| usize::from(frame.get("subscription") == Some("few"));
            let error = loop {
                let frame = client.frame().await.expect("an ERROR before the end");
                if frame.command.as_str() == "ERROR" {
                    break frame;
                }
                assert_eq!(number_of(&frame), numbers[place(&frame)]);
                numbers[place(&frame)] += 1;
                cursors[place(&frame)] = frame.get("cursor").unwrap().to_owned();
            };
            assert!(client.frame().await.is_none());
            if carrier == Carrier::Polling {
                // It had not asked, and nothing was written to it.
                assert_eq!(numbers, [0, 0]);
                let line = std::str::from_utf8(&error.body).unwrap().lines().last().unwrap();
                cursors =
                    [error.get("cursor").unwrap().to_owned(), line.split_once(' ').unwrap().1.to_owned()];
            } else {
                assert!(0 < numbers[1] && numbers[1] < few, "{numbers:?} of {few}");
            }
            assert_eq!(error.get("message"), Some("slow consumer"));
            assert_eq!(error.get("subscription"), Some("many"));
            assert_eq!(error.get("cursor"), Some(cursors[0].as_str()));
            let body = std::str::from_utf8(&error.body).unwrap();
            assert_eq!(body.lines().last(), Some(format!("few {}", cursors[1]).as_str()));

            let mut again = Client::connect(server.at(carrier), carrier).await;
            for (id, destination, cursor) in
                [("few", "/topic/chat", &cursors[1]), ("many", "/topic/task-events", &cursors[0])]
            {
                again
                    .send(&format!(
                        "SUBSCRIBE\nid:{id}\ndestination:{destination}\ncursor:{cursor}\nreceipt:r\n\n\0"
                    ))
                    .await;
            }
            let mut receipts = 0;
            while numbers != [many, few] || receipts < 2 {
                let frame = again.frame().await.unwrap();
                if frame.command.as_str() == "RECEIPT" {
                    assert_eq!(frame.get("resumed"), Some("true"));
                    receipts += 1;
                    continue;
                }
                assert_eq!((number_of(&frame), frame.get("gap")), (numbers[place(&frame)], None));
                numbers[place(&frame)] += 1;
            }
            assert!(again.is_quiet().await);
        });
    }
}

#[test]
fn an_event_that_finds_no_room_is_behind_the_cursor() {
    for carrier in [Carrier::Raw, Carrier::SockJs, Carrier::Tcp, Carrier::Streaming] {
        let mut config = config();
        config.outbox.bytes = stentor::config::ByteSize::new(32 * 1024);
        config.outbox.close_timeout = Duration::from_secs(30);
        let server = Server::with(config);
        run(async {
            let mut client = Client::with_window(server.at(carrier), carrier, Some(4096)).await;
            client.greet("1.2", "0,0").await;
            client.subscribe("chat", "/topic/chat").await;
            client.subscribe("other", "/topic/other").await;
            let mut publisher = Client::connect(server.address, Carrier::Raw).await;
            publish(&mut publisher, "/topic/chat", "", "0").await;
            until("the first is written", || given(&server) == 1).await;
            // An empty outbox takes any one; behind it there is no room for anything.
            publish(&mut publisher, "/topic/other", "", &format!("0 {}", "x".repeat(200_000))).await;
            until("that is under way", || given(&server) == 2).await;
            publish(&mut publisher, "/topic/chat", "", "1").await;
            let first = client.frame().await.unwrap();
            assert_eq!((number_of(&first), first.get("subscription")), (0, Some("chat")));
            assert_eq!(client.frame().await.unwrap().get("subscription"), Some("other"));
            let error = client.frame().await.unwrap();
            assert_eq!(error.get("message"), Some("slow consumer"));
            assert_eq!(error.get("subscription"), Some("chat"));
            assert_eq!(error.get("cursor"), first.get("cursor"));

            let mut again = Client::connect(server.at(carrier), carrier).await;
            let cursor = error.get("cursor").unwrap();
            again
                .send(&format!(
                    "SUBSCRIBE\nid:chat\ndestination:/topic/chat\ncursor:{cursor}\nreceipt:r\n\n\0"
                ))
                .await;
            assert_eq!(again.frame().await.unwrap().get("resumed"), Some("true"));
            assert_eq!(number_of(&again.frame().await.unwrap()), 1);
        });
    }
}
