//! What it costs that nodes are joined: to be run by hand, in release, on a machine that does nothing else.
//!
//! ```text
//! cargo test --release --test cluster_cost -- --ignored --nocapture
//! ```

#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use support::{Carrier, Client, Program, Rabbit, run_within};

const ROUNDS: usize = 2000;
const MANY: usize = 100_000;

async fn node(rabbit: &Rabbit, name: &str) -> Program {
    let node = Program::start(&[("STENTOR_AMQP", &rabbit.url()), ("STENTOR_NODE", name)]);
    while node.metric("stentor_health{status=\"ok\"}").await != 1 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    node
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: f64| times[(times.len() as f64 * part) as usize].as_micros();
    println!("{what}: p50 {} µs, p90 {} µs, p99 {} µs", at(0.5), at(0.9), at(0.99));
}

/// One message after the other, each when the one before has come.
async fn round_trips(publisher: &mut Client, subscriber: &mut Client, destination: &str) -> Vec<Duration> {
    subscriber.subscribe("1", destination).await;
    let mut times = Vec::new();
    for n in 0..ROUNDS {
        let begun = Instant::now();
        publisher.publish(destination, &n.to_string()).await;
        assert_eq!(subscriber.body().await, n.to_string());
        times.push(begun.elapsed());
    }
    times
}

#[test]
#[ignore = "a measurement"]
fn latency_and_throughput_between_nodes() {
    run_within(Duration::from_secs(600), async {
        let rabbit = Rabbit::start();
        bare(&rabbit).await;
        let (one, two) = (node(&rabbit, "n1").await, node(&rabbit, "n2").await);
        let client = async |node: &Program| Client::connect(node.address, Carrier::Raw).await;
        let times = round_trips(&mut client(&one).await, &mut client(&one).await, "/topic/here").await;
        show("topic, one node", times);
        let times = round_trips(&mut client(&one).await, &mut client(&two).await, "/topic/there").await;
        show("topic, from node to node", times);
        let times = round_trips(&mut client(&one).await, &mut client(&two).await, "/topic/task-events").await;
        show("events, from node to node by the stream", times);
        for destination in ["/topic/many", "/topic/logs:many"] {
            let mut subscriber = client(&two).await;
            subscriber.subscribe("1", destination).await;
            let mut publisher = client(&one).await;
            let before = (one.cpu(), two.cpu());
            let begun = Instant::now();
            let sends = async {
                let body = "x".repeat(200);
                for _ in 0..MANY / 50 {
                    let frames = format!("SEND\ndestination:{destination}\n\n{body}\0").repeat(50);
                    publisher.send(&frames).await;
                }
            };
            let hears = async {
                for _ in 0..MANY {
                    subscriber.frame().await.unwrap();
                }
            };
            tokio::join!(sends, hears);
            let took = begun.elapsed().as_secs_f64();
            let (sending, receiving) = (one.cpu() - before.0, two.cpu() - before.1);
            println!(
                "{destination}: {:.0} messages of 200 octets a second from node to node; CPU of the node that sends \
                 {:.1} µs each, of the one that receives {:.1} µs each",
                MANY as f64 / took,
                sending.as_secs_f64() * 1e6 / MANY as f64,
                receiving.as_secs_f64() * 1e6 / MANY as f64
            );
        }
    });
}

/// A bare publisher and consumer on the same RabbitMQ.
async fn bare(rabbit: &Rabbit) {
    let connect = async || Connection::connect(&rabbit.url(), ConnectionProperties::default()).await.unwrap();
    let (sending, receiving) = (connect().await, connect().await);
    let (send, receive) =
        (sending.create_channel().await.unwrap(), receiving.create_channel().await.unwrap());
    send.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
    receive.queue_declare("bare".into(), options, Default::default()).await.unwrap();
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    let mut consumer =
        receive.basic_consume("bare".into(), "".into(), options, Default::default()).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let options = BasicPublishOptions::default();
        let confirm =
            send.basic_publish("".into(), "bare".into(), options, b"x", BasicProperties::default()).await;
        consumer.next().await.unwrap().unwrap();
        times.push(begun.elapsed());
        confirm.unwrap().await.unwrap();
    }
    show("bare AMQP publisher and consumer", times);
}
