//! Several nodes on one real RabbitMQ, seen by clients of different nodes.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};

use stentor::config::{Config, Overrides};
use support::{Carrier, Client, Rabbit, Server, config, run, until};

/// One RabbitMQ at a time is enough for a small machine.
static ONE: Mutex<()> = Mutex::new(());

struct Cluster {
    _rabbit: Rabbit,
    nodes: Vec<Server>,
    _one: MutexGuard<'static, ()>,
}

fn node_config(rabbit: &Rabbit, name: &str) -> Config {
    let overrides = Overrides::default().flag("--node", "node", name);
    let node = Config::load_with(&overrides, []).unwrap().node;
    Config { amqp: Some(rabbit.url().parse().unwrap()), node, ..config() }
}

impl Cluster {
    fn start(nodes: usize) -> Cluster {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let rabbit = Rabbit::start();
        let nodes = (1..=nodes).map(|n| Server::with(node_config(&rabbit, &format!("n{n}")))).collect();
        Cluster { _rabbit: rabbit, nodes, _one: one }
    }

    async fn ready(&self) {
        for node in &self.nodes {
            let others = self.nodes.len() as u64;
            until("the nodes hear each other", || node.metric("stentor_nodes") == others).await;
        }
    }

    async fn client(&self, node: usize) -> Client {
        Client::connect(self.nodes[node].address, Carrier::Raw).await
    }
}

#[test]
fn a_message_reaches_subscribers_of_all_nodes() {
    run(async {
        let cluster = Cluster::start(3);
        cluster.ready().await;
        let mut here = cluster.client(0).await;
        let mut there = cluster.client(1).await;
        let mut pattern = cluster.client(2).await;
        here.subscribe("1", "/topic/a.b").await;
        there.subscribe("1", "/topic/a.b").await;
        pattern.subscribe("1", "/topic/a.#").await;
        let mut publisher = cluster.client(0).await;
        publisher.publish("/topic/a.b", "one").await;
        publisher.publish("/topic/a:b", "another").await;
        publisher.publish("/topic/a.b", "two").await;
        for client in [&mut here, &mut there] {
            assert_eq!(client.body().await, "one");
            assert_eq!(client.body().await, "two");
        }
        for body in ["one", "another", "two"] {
            assert_eq!(pattern.body().await, body);
        }
    });
}

#[test]
fn events_are_resumed_on_another_node() {
    run(async {
        let cluster = Cluster::start(2);
        cluster.ready().await;
        let mut here = cluster.client(0).await;
        here.subscribe("1", "/topic/task-events").await;
        let mut publisher = cluster.client(1).await;
        publisher.publish("/topic/task-events", "one").await;
        let first = here.frame().await.unwrap();
        assert_eq!(&first.body[..], b"one");
        let cursor = first.get("cursor").unwrap().to_owned();
        drop(here);
        for body in ["two", "three"] {
            publisher.publish("/topic/task-events", body).await;
        }
        let mut back = cluster.client(1).await;
        back.send(&format!(
            "SUBSCRIBE\nid:1\ndestination:/topic/task-events\ncursor:{cursor}\nreceipt:r\n\n\0"
        ))
        .await;
        let receipt = back.frame().await.unwrap();
        assert_eq!((receipt.get("receipt-id"), receipt.get("resumed")), (Some("r"), Some("true")));
        assert_eq!(back.body().await, "two");
        assert_eq!(back.body().await, "three");
    });
}

#[test]
fn a_last_value_is_known_on_all_nodes() {
    run(async {
        let cluster = Cluster::start(2);
        cluster.ready().await;
        let mut publisher = cluster.client(0).await;
        publisher.publish("/topic/status", "green").await;
        let mut there = cluster.client(1).await;
        there.send("SUBSCRIBE\nid:1\ndestination:/topic/status\nreceipt:r\n\n\0").await;
        assert_eq!(there.frame().await.unwrap().get("receipt-id"), Some("r"));
        let value = there.frame().await.unwrap();
        assert_eq!((value.get("retained"), &value.body[..]), (Some("true"), &b"green"[..]));
        publisher.publish("/topic/status", "red").await;
        assert_eq!(there.body().await, "red");
    });
}
