//! Several nodes on one real RabbitMQ, seen by clients of different nodes.
//!
//! What needs an unharmed cluster shares one, since RabbitMQ takes seconds to start.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use stentor::config::Config;
use support::{Carrier, Client, Cluster, Line, Proxy, Server, http, run_within, until};

/// Sends a frame and waits for its receipt.
async fn with_receipt(client: &mut Client, frame: &str) -> stomp_parser::Frame {
    client.send(&frame.replacen('\n', "\nreceipt:done\n", 1)).await;
    let Some(receipt) = client.frame().await else { panic!("{frame:?}: the end {:?}", client.closes) };
    assert_eq!(
        (receipt.command.as_str(), receipt.get("receipt-id")),
        ("RECEIPT", Some("done")),
        "{receipt:?}"
    );
    receipt
}

#[test]
fn several_nodes_are_one_broker() {
    run_within(Duration::from_secs(240), async {
        let cluster = Cluster::start(3).await;
        a_pattern_shows_topics_beside_events(&cluster).await;
        messages_reach_subscribers_of_all_nodes_in_order(&cluster).await;
        events_are_resumed_on_another_node(&cluster).await;
        a_last_value_is_known_on_all_nodes(&cluster).await;
        what_is_for_a_user_reaches_it_on_any_node(&cluster).await;
        a_reply_finds_the_connection_that_asked(&cluster).await;
        a_queue_is_shared_by_consumers_of_all_nodes(&cluster).await;
        rejected_messages_of_a_queue_are_dead_letters(&cluster).await;
        what_a_client_did_not_acknowledge_goes_to_another_node(&cluster).await;
        a_transaction_is_published_as_a_whole(&cluster).await;
        an_amqp_client_answers_a_connection(&cluster).await;
        the_nodes_are_shown(&cluster).await;
        events_taken_in_by_one_node_count_on_all(&cluster).await;
        a_polling_session_may_come_by_any_node(&cluster).await;
        what_amqp_would_refuse_is_refused_at_the_door(&cluster).await;
    });
}

async fn messages_reach_subscribers_of_all_nodes_in_order(cluster: &Cluster) {
    let mut here = cluster.client(0).await;
    let mut there = cluster.client(1).await;
    let mut pattern = cluster.client(2).await;
    here.subscribe("1", "/topic/a.b").await;
    there.subscribe("1", "/topic/a.b").await;
    pattern.subscribe("1", "/topic/a.#").await;
    let mut publisher = cluster.client(0).await;
    publisher.publish("/topic/a.b", "first").await;
    publisher.publish("/topic/a:b", "another").await;
    for n in 0..1000 {
        publisher.publish("/topic/a.b", &n.to_string()).await;
    }
    for client in [&mut here, &mut there] {
        assert_eq!(client.body().await, "first");
        for n in 0..1000 {
            assert_eq!(client.body().await, n.to_string());
        }
    }
    assert_eq!(pattern.body().await, "first");
    assert_eq!(pattern.body().await, "another");
    for n in 0..1000 {
        assert_eq!(pattern.body().await, n.to_string());
    }
}

async fn a_pattern_shows_topics_beside_events(cluster: &Cluster) {
    let mut there = cluster.client(1).await;
    there.subscribe("1", "/topic/#").await;
    let mut publisher = cluster.client(0).await;
    // More events than there were messages of topics, which are numbered otherwise.
    for n in 0..100 {
        publisher.publish("/topic/task-events", &n.to_string()).await;
    }
    with_receipt(&mut publisher, "SEND\ndestination:/topic/task-events\n\nlast\0").await;
    while there.body().await != "last" {}
    with_receipt(&mut publisher, "SEND\ndestination:/topic/plain\n\nand a topic\0").await;
    while there.body().await != "and a topic" {}
}

async fn events_are_resumed_on_another_node(cluster: &Cluster) {
    let mut here = cluster.client(0).await;
    here.subscribe("1", "/topic/task-events").await;
    let mut publisher = cluster.client(1).await;
    publisher.publish("/topic/task-events", "one").await;
    let first = here.frame().await.unwrap();
    assert_eq!(&first.body[..], b"one");
    let cursor = first.get("cursor").unwrap().to_owned();
    drop(here);
    for body in ["two", "three"] {
        with_receipt(&mut publisher, &format!("SEND\ndestination:/topic/task-events\n\n{body}\0")).await;
    }
    let mut back = cluster.client(2).await;
    let subscribe = format!("SUBSCRIBE\nid:1\ndestination:/topic/task-events\ncursor:{cursor}\n\n\0");
    let receipt = with_receipt(&mut back, &subscribe).await;
    assert_eq!(receipt.get("resumed"), Some("true"));
    assert_eq!(back.body().await, "two");
    assert_eq!(back.body().await, "three");
}

async fn a_last_value_is_known_on_all_nodes(cluster: &Cluster) {
    let mut publisher = cluster.client(0).await;
    with_receipt(&mut publisher, "SEND\ndestination:/topic/status\n\ngreen\0").await;
    let mut there = cluster.client(1).await;
    with_receipt(&mut there, "SUBSCRIBE\nid:1\ndestination:/topic/status\n\n\0").await;
    let value = there.frame().await.unwrap();
    assert_eq!((value.get("retained"), &value.body[..]), (Some("true"), &b"green"[..]));
    publisher.publish("/topic/status", "red").await;
    assert_eq!(there.body().await, "red");
    with_receipt(&mut publisher, "SEND\ndestination:/topic/status\nretain:clear\n\n\0").await;
    assert_eq!(there.body().await, "");
    let mut late = cluster.client(2).await;
    with_receipt(&mut late, "SUBSCRIBE\nid:1\ndestination:/topic/status\n\n\0").await;
    assert!(late.is_quiet().await, "it was cleared");
}

async fn what_is_for_a_user_reaches_it_on_any_node(cluster: &Cluster) {
    let mut anna = cluster.user(1, "anna").await;
    anna.subscribe("1", "/user/queue/news").await;
    let mut sender = cluster.client(0).await;
    let send = "SEND\ndestination:/user/anna/queue/news\n\nhello\0";
    assert_eq!(with_receipt(&mut sender, send).await.get("undeliverable"), None);
    assert_eq!(anna.body().await, "hello");
    let nobody = "SEND\ndestination:/user/bert/queue/news\n\nhello\0";
    assert_eq!(with_receipt(&mut sender, nobody).await.get("undeliverable"), Some("true"));
    anna.close().await;
    drop(anna);
    // Its node says so as soon as it knows.
    let mut answer = with_receipt(&mut sender, send).await;
    while answer.get("undeliverable").is_none() {
        answer = with_receipt(&mut sender, send).await;
    }
}

async fn a_reply_finds_the_connection_that_asked(cluster: &Cluster) {
    let mut service = cluster.client(2).await;
    service.subscribe("1", "/queue/service").await;
    let mut asker = cluster.client(0).await;
    let ask = "SEND\ndestination:/queue/service\nreply-to:/temp-queue/answers\n\nquestion\0";
    with_receipt(&mut asker, ask).await;
    let question = service.frame().await.unwrap();
    assert_eq!(&question.body[..], b"question");
    service.publish(question.get("reply-to").unwrap(), "answer").await;
    let answer = asker.frame().await.unwrap();
    assert_eq!((answer.get("subscription"), &answer.body[..]), (Some("/temp-queue/answers"), &b"answer"[..]));
}

async fn a_queue_is_shared_by_consumers_of_all_nodes(cluster: &Cluster) {
    let mut consumers = [cluster.client(0).await, cluster.client(1).await];
    for consumer in &mut consumers {
        let subscribe =
            "SUBSCRIBE\nid:1\ndestination:/queue/work\nack:client-individual\nprefetch-count:1\n\n\0";
        with_receipt(consumer, subscribe).await;
    }
    let mut publisher = cluster.client(2).await;
    for n in 0..20 {
        with_receipt(&mut publisher, &format!("SEND\ndestination:/queue/work\n\n{n}\0")).await;
    }
    let done = std::cell::RefCell::new(Vec::new());
    let all = tokio::sync::watch::Sender::new(false);
    let consume = async |consumer: &mut Client| {
        let mut ended = all.subscribe();
        loop {
            let message = tokio::select! {
                message = consumer.frame() => message.unwrap(),
                _ = ended.wait_for(|all| *all) => return,
            };
            with_receipt(consumer, &format!("ACK\nid:{}\n\n\0", message.get("ack").unwrap())).await;
            done.borrow_mut().push(String::from_utf8(message.body.to_vec()).unwrap());
            all.send_replace(done.borrow().len() == 20);
        }
    };
    let [one, other] = &mut consumers;
    tokio::join!(consume(one), consume(other));
    let mut done = done.into_inner();
    done.sort_by_key(|n| n.parse::<u32>().unwrap());
    assert_eq!(done, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
}

async fn rejected_messages_of_a_queue_are_dead_letters(cluster: &Cluster) {
    let mut consumer = cluster.client(1).await;
    with_receipt(&mut consumer, "SUBSCRIBE\nid:1\ndestination:/queue/picky\nack:client\n\n\0").await;
    let mut undertaker = cluster.client(2).await;
    undertaker.subscribe("1", "/queue/dlq.picky").await;
    cluster.client(0).await.publish("/queue/picky", "no").await;
    let message = consumer.frame().await.unwrap();
    consumer.send(&format!("NACK\nid:{}\nrequeue:false\n\n\0", message.get("ack").unwrap())).await;
    let dead = undertaker.frame().await.unwrap();
    assert_eq!(&dead.body[..], b"no");
    assert_eq!(dead.get("x-first-death-reason"), Some("rejected"));
}

async fn what_a_client_did_not_acknowledge_goes_to_another_node(cluster: &Cluster) {
    let subscribe = "SUBSCRIBE\nid:1\ndestination:/queue/careful\nack:client\n\n\0";
    let mut first = cluster.client(0).await;
    with_receipt(&mut first, subscribe).await;
    cluster.client(2).await.publish("/queue/careful", "precious").await;
    let message = first.frame().await.unwrap();
    assert_eq!(message.get("redelivered"), None);
    first.vanish();
    let mut second = cluster.client(1).await;
    with_receipt(&mut second, subscribe).await;
    let message = second.frame().await.unwrap();
    assert_eq!((message.get("redelivered"), &message.body[..]), (Some("true"), &b"precious"[..]));
    with_receipt(&mut second, &format!("ACK\nid:{}\n\n\0", message.get("ack").unwrap())).await;
}

async fn a_transaction_is_published_as_a_whole(cluster: &Cluster) {
    let mut there = cluster.client(1).await;
    there.subscribe("1", "/topic/t.#").await;
    there.subscribe("2", "/queue/t").await;
    let mut sender = cluster.client(0).await;
    sender.send("BEGIN\ntransaction:t\n\n\0").await;
    for destination in ["/topic/t.1", "/topic/t.2", "/queue/t"] {
        sender.send(&format!("SEND\ndestination:{destination}\ntransaction:t\n\nx\0")).await;
    }
    assert!(there.is_quiet().await);
    with_receipt(&mut sender, "COMMIT\ntransaction:t\n\n\0").await;
    for _ in 0..3 {
        assert_eq!(there.body().await, "x");
    }
}

async fn an_amqp_client_answers_a_connection(cluster: &Cluster) {
    use futures_util::StreamExt as _;
    use lapin::options::{BasicConsumeOptions, BasicPublishOptions};

    let amqp = lapin::Connection::connect(&cluster.rabbit.url(), Default::default()).await.unwrap();
    let channel = amqp.create_channel().await.unwrap();
    channel.queue_declare("calculator".into(), Default::default(), Default::default()).await.unwrap();
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    let mut asked =
        channel.basic_consume("calculator".into(), "".into(), options, Default::default()).await.unwrap();
    let mut asker = cluster.client(1).await;
    let ask = "SEND\ndestination:/queue/calculator\nreply-to:/temp-queue/sums\ncorrelation-id:7\n\n1+1\0";
    with_receipt(&mut asker, ask).await;
    let question = asked.next().await.unwrap().unwrap();
    assert_eq!(question.data, b"1+1");
    let reply_to = question.properties.reply_to().clone().unwrap();
    let properties = lapin::BasicProperties::default().with_correlation_id("7".into());
    let options = BasicPublishOptions::default();
    channel.basic_publish("".into(), reply_to, options, b"2", properties).await.unwrap().await.unwrap();
    let answer = asker.frame().await.unwrap();
    assert_eq!(
        (answer.get("subscription"), answer.get("correlation-id")),
        (Some("/temp-queue/sums"), Some("7"))
    );
    assert_eq!(&answer.body[..], b"2");
}

async fn the_nodes_are_shown(cluster: &Cluster) {
    let mut client = cluster.client(2).await;
    client.subscribe("1", "/topic/nodes").await;
    let shown = client.body().await;
    let (_, _, answered) = http(cluster.nodes[0].address, "GET /api/v1/nodes HTTP/1.0\r\n\r\n").await;
    for text in [shown, answered] {
        for node in ["n1", "n2", "n3"] {
            assert!(text.contains(&format!(r#""node":"{node}""#)), "{text}");
        }
    }
}

async fn events_taken_in_by_one_node_count_on_all(cluster: &Cluster) {
    let event = r#"{"eventType":"click","source":"test"}"#;
    let request = format!(
        "POST /api/v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{event}",
        event.len()
    );
    for _ in 0..3 {
        assert_eq!(http(cluster.nodes[0].address, &request).await.0, 202);
    }
    for node in &cluster.nodes {
        loop {
            let (_, _, body) = http(node.address, "GET /api/v1/metrics HTTP/1.0\r\n\r\n").await;
            if body.contains(r#""totalEvents":3,"#) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn a_polling_session_may_come_by_any_node(cluster: &Cluster) {
    let poll = |node: usize| {
        let request =
            "POST /ws/0/roaming/xhr HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        http(cluster.nodes[node].address, request)
    };
    assert_eq!(poll(0).await.2, "o\n");
    let frames = serde_json::to_string(&[
        "CONNECT\naccept-version:1.2\n\n\0",
        "SUBSCRIBE\nid:1\ndestination:/topic/roam\nreceipt:r\n\n\0",
    ]);
    let frames = frames.unwrap();
    let send = format!(
        "POST /ws/0/roaming/xhr_send HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{frames}",
        frames.len()
    );
    assert_eq!(http(cluster.nodes[1].address, &send).await.0, 204);
    let mut heard = String::new();
    for node in [2, 0, 1, 2] {
        heard += &poll(node).await.2;
        if heard.contains("receipt-id:r") {
            break;
        }
    }
    assert!(heard.contains("CONNECTED") && heard.contains("receipt-id:r"), "{heard}");
    cluster.client(1).await.publish("/topic/roam", "there you are").await;
    assert!(poll(2).await.2.contains("there you are"));
}

async fn what_amqp_would_refuse_is_refused_at_the_door(cluster: &Cluster) {
    for header in ["expiration:abc", "expiration:-5", "priority:nonsense"] {
        let mut client = cluster.client(0).await;
        client.send(&format!("SEND\ndestination:/topic/x\n{header}\nreceipt:r\n\nx\0")).await;
        let error = client.frame().await.unwrap();
        assert_eq!((error.command.as_str(), error.get("receipt-id")), ("ERROR", Some("r")), "{header}");
    }
    // Nobody else noticed.
    let mut there = cluster.client(1).await;
    there.subscribe("1", "/topic/x").await;
    let mut client = cluster.client(0).await;
    with_receipt(&mut client, "SEND\ndestination:/topic/x\nCC:a\n\nfine\0").await;
    let message = there.frame().await.unwrap();
    assert_eq!((message.get("CC"), &message.body[..]), (Some("a"), &b"fine"[..]));
}

#[test]
fn rabbitmq_may_be_away_for_a_while() {
    run_within(Duration::from_secs(240), async {
        // RabbitMQ takes its time to start.
        let patient = |config: &mut Config| config.rabbitmq.confirm_timeout = Duration::from_secs(120);
        let mut cluster = Cluster::with(2, patient).await;
        let mut there = cluster.client(1).await;
        there.subscribe("1", "/topic/a").await;
        there.subscribe("2", "/topic/task-events").await;
        let mut here = cluster.client(0).await;
        here.subscribe("1", "/topic/a").await;
        cluster.rabbit.kill();
        until("the node notices", || cluster.nodes[0].metric("stentor_rabbitmq_connected") == 0).await;
        // Plain topics go on here.
        let mut publisher = cluster.client(0).await;
        publisher.publish("/topic/a", "local").await;
        assert_eq!(here.body().await, "local");
        // What is behind a SUBSCRIBE that waits for its receipt does not wait.
        let mut waiting = cluster.client(0).await;
        waiting.send("SUBSCRIBE\nid:9\ndestination:/topic/b\nreceipt:bound\n\n\0").await;
        waiting.send("SEND\ndestination:/topic/task-events\nreceipt:event\n\nkept\0").await;
        waiting.send("SUBSCRIBE\nid:8\ndestination:/topic/c\nreceipt:never\n\n\0").await;
        waiting.send("UNSUBSCRIBE\nid:8\nreceipt:gone\n\n\0").await;
        assert_eq!(waiting.frame().await.unwrap().get("receipt-id"), Some("gone"));
        assert!(waiting.is_quiet().await, "no receipt while RabbitMQ is away");
        cluster.rabbit.restart();
        let mut receipts = Vec::new();
        for _ in 0..2 {
            receipts.push(waiting.frame().await.unwrap().get("receipt-id").unwrap().to_owned());
        }
        receipts.sort_unstable();
        assert_eq!(receipts, ["bound", "event"]);
        let mut heard = vec![there.body().await];
        if heard[0] == "local" {
            heard.push(there.body().await);
        }
        assert_eq!(heard.last().unwrap(), "kept");
    });
}

#[test]
fn a_cursor_ahead_of_a_node_waits_for_it() {
    run_within(Duration::from_secs(240), async {
        let cluster = Cluster::start(1).await;
        let proxy = Proxy::wide(([127, 0, 0, 1], cluster.rabbit.port()).into()).await;
        let mut config = support::node_config(&cluster.rabbit, "n2");
        config.amqp = Some(format!("amqp://guest:guest@{}", proxy.address).parse().unwrap());
        config.rabbitmq.confirm_timeout = Duration::from_millis(300);
        let cut_off = Server::with(config);
        until("it is ready", || cut_off.metric("stentor_health{status=\"ok\"}") == 1).await;
        let mut here = cluster.client(0).await;
        here.subscribe("1", "/topic/task-events").await;
        proxy.to_client(Line { stalled: true, ..Line::default() });
        let mut publisher = cluster.client(0).await;
        publisher.publish("/topic/task-events", "one").await;
        let cursor = here.frame().await.unwrap().get("cursor").unwrap().to_owned();
        let mut there = Client::connect(cut_off.address, Carrier::Raw).await;
        let subscribe =
            format!("SUBSCRIBE\nid:1\ndestination:/topic/task-events\nreceipt:r\ncursor:{cursor}\n\n\0");
        there.send(&subscribe).await;
        let dropped = || cut_off.metric("stentor_drops_total{reason=\"not_confirmed\"}");
        until("its mark was refused", || dropped() > 0).await;
        assert!(there.is_quiet().await);
        proxy.to_client(Line::default());
        let receipt = there.frame().await.unwrap();
        assert_eq!((receipt.get("resumed"), receipt.get("gap")), (Some("true"), None), "{receipt:?}");
        with_receipt(&mut publisher, "SEND\ndestination:/topic/task-events\n\ntwo\0").await;
        assert_eq!(there.body().await, "two");
    });
}

#[test]
fn what_is_not_confirmed_in_time_is_refused() {
    run_within(Duration::from_secs(240), async {
        let mut cluster = Cluster::with(1, |config| {
            config.rabbitmq.confirm_timeout = Duration::from_millis(300);
        })
        .await;
        cluster.rabbit.kill();
        until("the node notices", || cluster.nodes[0].metric("stentor_rabbitmq_connected") == 0).await;
        for destination in ["/topic/task-events", "/queue/q", "/topic/plain"] {
            let mut client = cluster.client(0).await;
            client.send(&format!("SEND\ndestination:{destination}\nreceipt:r\n\nx\0")).await;
            let error = client.frame().await.unwrap();
            assert_eq!(
                (error.command.as_str(), error.get("receipt-id")),
                ("ERROR", Some("r")),
                "{destination}"
            );
        }
        let mut client = cluster.client(0).await;
        client.publish("/topic/plain", "x").await;
        assert!(client.is_quiet().await, "without a receipt it is published here, and that is all");
    });
}

#[test]
fn a_node_that_starts_without_rabbitmq_waits_for_it() {
    run_within(Duration::from_secs(240), async {
        let mut rabbit = support::Rabbit::start();
        rabbit.kill();
        let node = Server::with(support::node_config(&rabbit, "n1"));
        let mut client = Client::connect(node.address, Carrier::Raw).await;
        client.send("SUBSCRIBE\nid:1\ndestination:/topic/task-events\nreceipt:r\n\n\0").await;
        assert!(client.is_quiet().await);
        let health = "GET /health HTTP/1.0\r\n\r\n";
        let (status, _, body) = http(node.address, health).await;
        assert_eq!((status, body.contains("starting")), (503, true), "{body}");
        rabbit.restart();
        assert_eq!(client.frame().await.unwrap().get("receipt-id"), Some("r"));
        while http(node.address, health).await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}
