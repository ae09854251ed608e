//! What a node gets of RabbitMQ: what its clients want, and nothing else. A SUBSCRIBE's RECEIPT says that it comes.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use support::{Client, Cluster, run_within, until};

const TOPICS: usize = 10_000;
const WANTED: usize = 100;
const BODY: usize = 1000;
const BYTES: &str = "stentor_rabbitmq_received_bytes_total";
const MESSAGES: &str = "stentor_rabbitmq_received_total{traffic=\"topics\"}";
const BINDINGS: &str = "stentor_rabbitmq_bindings";

#[test]
fn a_node_gets_what_its_clients_want() {
    run_within(Duration::from_secs(240), async {
        let cluster = Cluster::start(3).await;
        of_many_topics_it_gets_its_share(&cluster).await;
        a_receipt_means_that_it_comes(&cluster).await;
    });
}

async fn of_many_topics_it_gets_its_share(cluster: &Cluster) {
    let read = |metric: &str| [0, 1].map(|node: usize| cluster.nodes[node].metric(metric));
    let before = read(BINDINGS);
    let wanted = |node: usize| (0..WANTED).map(move |n| n * (TOPICS / WANTED) + node);
    let mut clients = Vec::new();
    for node in 0..2 {
        let mut client = cluster.client(node).await;
        for n in wanted(node) {
            client.send(&format!("SUBSCRIBE\nid:{n}\ndestination:/topic/many.{n}\n\n\0")).await;
        }
        client.subscribe("last", &format!("/topic/last.{node}")).await;
        clients.push(client);
    }
    // Each of its topics, and the last: by the key alone, since it is spelled so.
    assert_eq!(read(BINDINGS), before.map(|before| before + WANTED as u64 + 1));
    let (bytes, messages) = (read(BYTES), read(MESSAGES));
    let begun = Instant::now();
    let mut publisher = cluster.client(2).await;
    for n in 0..TOPICS {
        publisher.send(&format!("SEND\ndestination:/topic/many.{n}\n\n{n} {:=<BODY$}\0", "")).await;
    }
    for (node, client) in clients.iter_mut().enumerate() {
        // Behind all others.
        publisher.publish(&format!("/topic/last.{node}"), "0").await;
        for n in wanted(node) {
            assert_eq!(support::number_of(&client.frame().await.unwrap()), n as u64);
        }
        assert_eq!(client.body().await, "0");
    }
    let share = (WANTED * BODY) as u64;
    // What nodes tell each other every second is in it too.
    let told = (begun.elapsed().as_secs() + 2) * 3 * 4096;
    for node in 0..2 {
        assert_eq!(read(MESSAGES)[node] - messages[node], WANTED as u64 + 1, "node {node}");
        let got = read(BYTES)[node] - bytes[node];
        assert!(got >= share && got < share * 11 / 10 + told, "node {node}: {got} octets for {share}");
    }
    for (node, client) in clients.iter_mut().enumerate() {
        for n in wanted(node) {
            client.send(&format!("UNSUBSCRIBE\nid:{n}\n\n\0")).await;
        }
        client.send("UNSUBSCRIBE\nid:last\nreceipt:done\n\n\0").await;
        while client.frame().await.unwrap().get("receipt-id") != Some("done") {}
    }
    let begun = Instant::now();
    until("it is unbound", || read(BINDINGS) == before).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let messages = read(MESSAGES);
    for n in 0..TOPICS {
        publisher.send(&format!("SEND\ndestination:/topic/many.{n}\n\n{n}\0")).await;
    }
    publisher.send("SEND\ndestination:/topic/many.0\nreceipt:done\n\n0\0").await;
    assert_eq!(publisher.frame().await.unwrap().get("receipt-id"), Some("done"));
    fence(cluster, &mut publisher).await;
    // The fence's own.
    assert_eq!(read(MESSAGES), messages.map(|messages| messages + 1), "nothing comes that nobody wants");
}

/// Has each node get one message behind all that was confirmed.
async fn fence(cluster: &Cluster, publisher: &mut Client) {
    let mut clients = [cluster.client(0).await, cluster.client(1).await];
    for client in &mut clients {
        client.subscribe("1", "/topic/fence").await;
    }
    publisher.publish("/topic/fence", "").await;
    for client in &mut clients {
        client.body().await;
    }
}

async fn a_receipt_means_that_it_comes(cluster: &Cluster) {
    let mut publisher = cluster.client(1).await;
    let mut client = cluster.client(0).await;
    for n in 0..500 {
        let topic = format!("/topic/fresh.{n}");
        client.subscribe(&n.to_string(), &topic).await;
        publisher.publish(&topic, &n.to_string()).await;
        let next = tokio::time::timeout(Duration::from_secs(5), client.body()).await;
        assert_eq!(next.ok(), Some(n.to_string()), "what is published behind the receipt");
    }
    // By patterns, and by others than the one that was there first.
    for n in 0..100 {
        let mut other = cluster.client(n % 3).await;
        let pattern = ["/topic/wild.*.x", "/topic/wild.#", "/topic/wild.a/x"][n / 3 % 3];
        other.subscribe("1", pattern).await;
        cluster.client((n + 1) % 3).await.publish("/topic/wild.a/x", &n.to_string()).await;
        let next = tokio::time::timeout(Duration::from_secs(5), other.body()).await;
        assert_eq!(next.ok(), Some(n.to_string()), "{pattern}");
        other.send("UNSUBSCRIBE\nid:1\nreceipt:gone\n\n\0").await;
        other.frame().await.unwrap();
    }
}
