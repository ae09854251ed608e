//! Many subscribers of one topic, and clients among them that stop, crawl or vanish.
//!
//! `FANOUT_MESSAGES` sets how many messages each of a thousand subscribers gets.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::fanout::{Fanout, TOPIC, subscribers};
use support::{CARRIERS, Carrier, Client, Line, Proxy, Server, config, run, run_within, until};

fn messages() -> u64 {
    std::env::var("FANOUT_MESSAGES").map_or(200, |text| text.parse().expect("a number"))
}

#[test]
fn a_thousand_subscribers_get_everything_once_and_in_order() {
    const SUBSCRIBERS: usize = 1000;
    let server = Server::start();
    let count = messages();
    run_within(Duration::from_secs(600), async {
        let clients = subscribers(&server, SUBSCRIBERS, |at| CARRIERS[at % CARRIERS.len()]).await;
        let mut publisher = Client::connect(server.address, Carrier::Raw).await;
        // One group for each framing on each worker that has some of it.
        let groups = server.metric("stentor_groups");
        assert!((3..=6).contains(&groups), "{groups} groups");
        let fanout = Fanout::start(clients, count);
        fanout.publish(&mut publisher, 0..count, "").await;
        let mut clients = fanout.finish().await;
        assert!(clients[0].is_quiet().await, "nothing more comes");
        assert_eq!(server.metric("stentor_encodes_total"), count * groups);
        assert_eq!(server.metric("stentor_messages_out_total"), count * SUBSCRIBERS as u64);
    });
}

#[test]
fn one_that_stops_reading_is_cut_off_and_its_connection_is_gone() {
    const OTHERS: usize = 50;
    let mut config = config();
    config.outbox.close_timeout = Duration::from_millis(500);
    let server = Server::with(config);
    for carrier in CARRIERS {
        run(async {
            let clients = subscribers(&server, OTHERS, |at| CARRIERS[at % CARRIERS.len()]).await;
            let mut stopped = Client::with_window(server.at(carrier), carrier, Some(4096)).await;
            stopped.greet("1.2", "0,0").await;
            stopped.subscribe("stopped", TOPIC).await;
            let mut publisher = Client::connect(server.address, Carrier::Raw).await;
            let cut = "stentor_cut_offs_total{reason=\"slow_consumer\"}";
            let before = server.metric(cut);
            let fanout = Fanout::start(clients, 400);
            fanout.publish(&mut publisher, 0..400, &"x".repeat(10_000)).await;
            let _others = fanout.finish().await;
            assert_eq!(server.metric(cut), before + 1);
            // It never reads another octet, and is gone all the same.
            until("the connection is gone", || server.connections() == OTHERS as u64 + 1).await;
            until("its socket is gone", || server.sockets() == OTHERS + 1).await;
            while stopped.frame().await.is_some() {}
        });
    }
}

#[test]
fn a_client_that_reads_again_in_time_is_told_why_it_was_cut_off() {
    for carrier in CARRIERS {
        // One for each: what a publisher that left had sent still comes.
        let server = Server::start();
        run(async {
            let mut slow = Client::with_window(server.at(carrier), carrier, Some(4096)).await;
            slow.greet("1.2", "0,0").await;
            slow.subscribe("s", TOPIC).await;
            let mut publisher = Client::connect(server.address, Carrier::Raw).await;
            let cut = "stentor_cut_offs_total{reason=\"slow_consumer\"}";
            let before = server.metric(cut);
            let padding = "x".repeat(10_000);
            let mut number = 0;
            while server.metric(cut) == before {
                publisher.publish(TOPIC, &format!("{number} {padding}")).await;
                number += 1;
                tokio::task::yield_now().await;
            }
            let mut expected = 0;
            let error = loop {
                let frame = slow.frame().await.expect("an ERROR before the end");
                if frame.command.as_str() == "ERROR" {
                    break frame;
                }
                let got: u64 =
                    std::str::from_utf8(&frame.body).unwrap().split(' ').next().unwrap().parse().unwrap();
                assert_eq!(got, expected, "what came is in order and whole");
                expected += 1;
            };
            assert_eq!(error.get("message"), Some("slow consumer"));
            assert_eq!(error.get("subscription"), Some("s"));
            assert!(!error.body.is_empty());
            assert!(slow.frame().await.is_none());
            let closed = (carrier != Carrier::Tcp).then_some(1008);
            assert_eq!(slow.closes.last().map(|(code, _)| *code), closed);
            assert!(!slow.reset);
        });
    }
}

/// The proxies in front of HTTP and of plain TCP, which do the same.
struct Proxies([Proxy; 2]);

impl Proxies {
    async fn start(server: &Server) -> Proxies {
        Proxies([Proxy::start(server.address).await, Proxy::start(server.tcp).await])
    }

    fn to_client(&self, line: Line) {
        self.0.iter().for_each(|proxy| proxy.to_client(line));
    }
}

/// A subscriber behind a proxy.
async fn behind(proxies: &Proxies, carrier: Carrier) -> Client {
    let address = proxies.0[usize::from(carrier == Carrier::Tcp)].address;
    let mut client = Client::with_window(address, carrier, Some(4096)).await;
    client.greet("1.2", "0,0").await;
    client.subscribe("sub-0", TOPIC).await;
    client
}

#[test]
fn stalled_throttled_and_cut_connections_harm_nobody_else() {
    const OTHERS: usize = 500;
    let mut config = config();
    config.outbox.close_timeout = Duration::from_millis(500);
    let server = Server::with(config);
    run(async {
        let clients = subscribers(&server, OTHERS, |at| CARRIERS[at % CARRIERS.len()]).await;
        let mut publisher = Client::connect(server.address, Carrier::Raw).await;
        let stall = Proxies::start(&server).await;
        let throttle = Proxies::start(&server).await;
        let cut = Proxies::start(&server).await;
        let mut troubled = Vec::new();
        for proxy in [&stall, &throttle, &cut] {
            for carrier in CARRIERS {
                troubled.push(behind(proxy, carrier).await);
            }
        }
        let fanout = Fanout::start(clients, 300);
        let padding = "x".repeat(5_000);
        fanout.publish(&mut publisher, 0..20, &padding).await;
        stall.to_client(Line { stalled: true, ..Line::default() });
        throttle.to_client(Line { rate: Some(10_000), ..Line::default() });
        cut.to_client(Line { cut_after: Some(12_345), ..Line::default() });
        // They do not read either: what the proxies hold back, and cut, is what counts.
        fanout.publish(&mut publisher, 20..300, &padding).await;
        let _others = fanout.finish().await;
        until("all of them have gone", || server.connections() == OTHERS as u64 + 1).await;
        until("their sockets have gone", || server.sockets() == OTHERS + 1).await;
        let slow = server.metric("stentor_cut_offs_total{reason=\"slow_consumer\"}");
        assert_eq!(slow, 6, "the stalled and the throttled ones");
        let gone = server.metric("stentor_connections_closed_total{reason=\"gone\"}");
        assert_eq!(gone, 3, "the ones that were cut");
    });
}
