//! Last values and interest of several nodes on one RabbitMQ: all nodes have the same values at rest, and each gets what its
//! clients want, and nothing else.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::{Client, Cluster, Foreign, Server, node_config, run_within, until};

const STATUS: &str = "/topic/status";

#[test]
fn values_are_the_same_on_all_nodes() {
    run_within(Duration::from_secs(240), async {
        let mut cluster = Cluster::start(2).await;
        who_publishes_at_the_same_time_leaves_one_value(&mut cluster).await;
        a_clear_is_one_of_them(&cluster).await;
        a_foreign_publishers_last_value_counts(&cluster).await;
        a_value_is_there_though_nobody_subscribed(&cluster).await;
        many_values_are_told_to_a_node_that_starts(&mut cluster).await;
    });
}

/// What a new subscriber is handed: the body of the last value, if there is one.
async fn value(cluster: &Cluster, node: usize, topic: &str) -> Option<String> {
    let mut client = cluster.client(node).await;
    static FENCES: AtomicUsize = AtomicUsize::new(0);
    let fence = format!("/topic/nothing.{}", FENCES.fetch_add(1, Ordering::Relaxed));
    client.subscribe("2", &fence).await;
    client.subscribe("1", topic).await;
    // What is published now comes behind the value.
    client.publish(&fence, "").await;
    let frame = client.frame().await.unwrap();
    if frame.get("subscription") == Some("2") {
        return None;
    }
    assert_eq!((frame.get("subscription"), frame.get("retained")), (Some("1"), Some("true")), "{frame:?}");
    // What nodes tell each other by properties is theirs.
    assert_eq!((frame.get("type"), frame.get("amqp-message-id")), (None, None), "{frame:?}");
    Some(String::from_utf8(frame.body.to_vec()).unwrap())
}

/// Publishes so many values of a name, of which some clear it, and waits until they are confirmed.
async fn publish_many(mut client: Client, name: &str, count: usize, clears: bool) {
    for n in 0..count {
        let receipt = if n + 1 == count { "receipt:done\n" } else { "" };
        let (clear, body) = match clears && n % 3 == 2 {
            true => ("retain:clear\n", String::new()),
            false => ("", format!("{name} {n}")),
        };
        client.send(&format!("SEND\ndestination:{STATUS}\n{clear}{receipt}\n{body}\0")).await;
    }
    assert_eq!(client.frame().await.unwrap().get("receipt-id"), Some("done"));
}

/// Waits until all that was confirmed has come to all nodes. Gives the last value that each of some clients was sent, that
/// subscribe to the fence too.
async fn at_rest(cluster: &Cluster, live: &mut [Client]) -> Vec<Option<String>> {
    for node in 0..cluster.nodes.len() {
        cluster.client(node).await.publish("/topic/fence", "").await;
    }
    let mut last = Vec::new();
    for client in live {
        let (mut value, mut fences) = (None, 0);
        while fences < cluster.nodes.len() {
            let frame = client.frame().await.unwrap();
            match frame.get("destination") {
                Some(STATUS) => value = Some(String::from_utf8(frame.body.to_vec()).unwrap()),
                _ => fences += 1,
            }
        }
        last.push(value);
    }
    last
}

async fn live(cluster: &Cluster) -> [Client; 2] {
    let mut live = [cluster.client(0).await, cluster.client(1).await];
    for client in &mut live {
        client.subscribe("2", "/topic/fence").await;
        client.subscribe("1", STATUS).await;
    }
    live
}

async fn who_publishes_at_the_same_time_leaves_one_value(cluster: &mut Cluster) {
    let mut live = live(cluster).await;
    for round in 0..3 {
        let mut publishes = Vec::new();
        for (node, name) in [(0, "a"), (1, "a"), (0, "b"), (1, "b")] {
            let client = cluster.client(node).await;
            let name = format!("{round} {node} {name}");
            publishes.push(async move { publish_many(client, &name, 1000, false).await });
        }
        futures_util::future::join_all(publishes).await;
        let last = at_rest(cluster, &mut live).await;
        assert!(last[0].is_some());
        assert_eq!(last[0], last[1], "round {round}: to who was there");
        for node in 0..2 {
            assert_eq!(
                value(cluster, node, STATUS).await,
                last[0],
                "round {round}: to who came, node {node}"
            );
        }
    }
    let last = value(cluster, 0, STATUS).await;
    drop(live);
    for node in [0, 1] {
        cluster.nodes[node].stop();
        cluster.nodes[node] = Server::with(node_config(&cluster.rabbit, &format!("n{}", node + 1)));
        let [one, other] = [&cluster.nodes[node], &cluster.nodes[1 - node]];
        until("it is ready", || one.metric("stentor_health{status=\"ok\"}") == 1).await;
        until("it hears the other", || one.metric("stentor_nodes") >= 2).await;
        until("the other forgets it", || other.metric("stentor_nodes") == 2).await;
        assert_eq!(value(cluster, node, STATUS).await, last, "after a restart");
    }
}

async fn a_clear_is_one_of_them(cluster: &Cluster) {
    let mut live = live(cluster).await;
    for round in 0..6 {
        // The last of each is a clear, every other time.
        let count = 600 + round % 2;
        let ones = [cluster.client(0).await, cluster.client(1).await];
        let publishes = ones.map(|client| publish_many(client, "with clears", count, true));
        futures_util::future::join_all(publishes).await;
        let last = at_rest(cluster, &mut live).await;
        assert_eq!(last[0], last[1], "round {round}");
        let is_cleared = last[0].as_deref() == Some("");
        assert_eq!(is_cleared, count % 3 == 0, "round {round}: both end so");
        let expected = last[0].clone().filter(|_| !is_cleared);
        for node in 0..2 {
            assert_eq!(value(cluster, node, STATUS).await, expected, "round {round}, node {node}");
        }
    }
}

async fn a_foreign_publishers_last_value_counts(cluster: &Cluster) {
    let mut live = live(cluster).await;
    let foreign = Foreign::connect(&cluster.rabbit).await;
    for n in 0..500 {
        foreign.publish("amq.topic", "status", &format!("foreign {n}")).await;
    }
    let last = Some("foreign 499".to_owned());
    assert_eq!(at_rest(cluster, &mut live).await, [last.clone(), last.clone()]);
    for node in 0..2 {
        assert_eq!(value(cluster, node, STATUS).await, last);
    }
    // A node's own, behind it, is the newer one everywhere.
    let mut publisher = cluster.client(1).await;
    publisher.send(&format!("SEND\ndestination:{STATUS}\nreceipt:r\n\nown\0")).await;
    publisher.frame().await.unwrap();
    let last = Some("own".to_owned());
    assert_eq!(at_rest(cluster, &mut live).await, [last.clone(), last.clone()]);
    for node in 0..2 {
        assert_eq!(value(cluster, node, STATUS).await, last);
    }
}

async fn a_value_is_there_though_nobody_subscribed(cluster: &Cluster) {
    const AGENTS: &str = "/topic/agents";
    let bindings = || cluster.nodes[1].metric("stentor_rabbitmq_bindings");
    let mut publisher = cluster.client(0).await;
    for n in 0..3 {
        until("nothing is bound", || bindings() == 0).await;
        publisher.send(&format!("SEND\ndestination:{AGENTS}\nreceipt:r\n\n{n}\0")).await;
        publisher.frame().await.unwrap();
        // This one has the value of the time before, and was not bound since.
        assert_eq!(value(cluster, 1, AGENTS).await, Some(n.to_string()));
    }
}

async fn many_values_are_told_to_a_node_that_starts(cluster: &mut Cluster) {
    const VALUES: usize = 15_000;
    let mut publisher = cluster.client(0).await;
    for n in 0..VALUES {
        let receipt = if n + 1 == VALUES { "receipt:done\n" } else { "" };
        publisher.send(&format!("SEND\ndestination:/topic/vm-metrics:{n}\n{receipt}\n{n}\0")).await;
    }
    assert_eq!(publisher.frame().await.unwrap().get("receipt-id"), Some("done"));
    let mut client = cluster.client(1).await;
    client.subscribe("1", "/topic/vm-metrics:#").await;
    let mut found = std::collections::HashSet::new();
    while found.len() < VALUES {
        let Ok(frame) = tokio::time::timeout(Duration::from_secs(10), client.frame()).await else {
            panic!("only {} values are told", found.len());
        };
        let frame = frame.unwrap();
        assert_eq!(frame.command.as_str(), "MESSAGE", "{frame:?}");
        found.insert(frame.get("destination").unwrap().to_owned());
    }
}
