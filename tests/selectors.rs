//! Selectors on subscriptions to topics and queues.

#![allow(clippy::unwrap_used)]

mod support;

use support::{CARRIERS, Carrier, Client, Server, config, run, run_within, until};

#[test]
fn a_subscription_gets_what_it_selects() {
    for carrier in CARRIERS {
        let server = Server::start();
        run(async {
            let mut client = Client::connect(server.at(carrier), carrier).await;
            for (id, destination, selector) in [
                ("hot", "/topic/t", "level > 30 AND unit LIKE 'C%'"),
                ("cold", "/topic/t", "level <= 30"),
                ("q", "/queue/q", "kind IN ('a', 'b')"),
            ] {
                let selector = selector.replace(':', "\\c");
                client
                    .send(&format!(
                        "SUBSCRIBE\nid:{id}\ndestination:{destination}\nselector:{selector}\nreceipt:r\n\n\0"
                    ))
                    .await;
                assert_eq!(client.frame().await.unwrap().command.as_str(), "RECEIPT");
            }
            for (headers, gets) in [
                ("level:31\nunit:C", Some("hot")),
                ("level:30.0\nunit:C", Some("cold")),
                ("level:99\nunit:F", None),
                ("unit:C", None),
            ] {
                client.send(&format!("SEND\ndestination:/topic/t\n{headers}\n\nx\0")).await;
                if let Some(gets) = gets {
                    assert_eq!(client.frame().await.unwrap().get("subscription"), Some(gets), "{headers}");
                }
            }
            for kind in ["c", "a", "c", "b"] {
                client.send(&format!("SEND\ndestination:/queue/q\nkind:{kind}\n\n{kind}\0")).await;
            }
            assert_eq!(client.body().await, "a");
            assert_eq!(client.body().await, "b");
            assert!(client.is_quiet().await);
            // What nobody selected waits for who takes all.
            let mut rest = Client::connect(server.at(carrier), carrier).await;
            rest.subscribe("rest", "/queue/q").await;
            assert_eq!((rest.body().await, rest.body().await), ("c".into(), "c".into()));
            until("all is acknowledged", || server.metric("stentor_queue_messages") == 0).await;
        });
    }
}

#[test]
fn what_is_no_selector_is_refused() {
    let server = Server::start();
    run(async {
        for destination in ["/topic/t", "/queue/t"] {
            let mut client = Client::connect(server.address, Carrier::Raw).await;
            client.send(&format!("SUBSCRIBE\nid:a\ndestination:{destination}\nselector:level >\n\n\0")).await;
            let error = client.frame().await.unwrap();
            assert_eq!(error.get("message"), Some("bad selector"));
            assert!(client.frame().await.is_none());
        }
    });
}

/// Each distinct selector judges a message once for a worker, however many subscribers have it.
#[test]
fn ten_thousand_subscriptions_cost_a_hundred_judgements() {
    const CONNECTIONS: usize = 100;
    const SELECTORS: usize = 100;
    let mut config = config();
    config.workers = 1;
    let server = Server::with(config);
    run_within(std::time::Duration::from_secs(120), async {
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut client = Client::connect(server.address, Carrier::Raw).await;
            for n in 0..SELECTORS {
                client
                    .send(&format!("SUBSCRIBE\nid:{n}\ndestination:/topic/t\nselector:n = {n}\n\n\0"))
                    .await;
            }
            clients.push(client);
        }
        until("all are there", || server.subscriptions() == (CONNECTIONS * SELECTORS) as u64).await;
        clients[0].send("SEND\ndestination:/topic/t\nn:7\n\nx\0").await;
        for client in &mut clients {
            assert_eq!(client.frame().await.unwrap().get("subscription"), Some("7"));
        }
        assert_eq!(server.metric("stentor_selector_evaluations_total"), SELECTORS as u64);
    });
}
