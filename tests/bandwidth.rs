//! What `/topic/metrics` costs a client each second, whole and by each view, under a load of 200 sources, 40 types and 100
//! events a second.
//!
//! `BANDWIDTH_SECONDS` sets how long is counted.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Carrier, Client, Server, run_within};
use tokio::time::{Instant, interval, timeout};

const SOURCES: u64 = 200;
const TYPES: u64 = 40;
const EVENTS: u64 = 100;

/// A sequence of numbers that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn event(dice: &mut Dice) -> String {
    let latency = 5 + dice.roll(40) * dice.roll(40) / 4;
    let severity = if dice.roll(50) == 0 { "ERROR" } else { "INFO" };
    json!({
        "eventType": format!("type.{}", dice.roll(TYPES)),
        "source": format!("service-{}", dice.roll(SOURCES)),
        "userId": format!("user-{}", dice.roll(500)),
        "severity": severity,
        "metadata": { "latency": latency },
    })
    .to_string()
}

/// RFC 7396.
fn apply(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else { return *target = patch.clone() };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        match value {
            Value::Null => drop(target.as_object_mut().unwrap().remove(name)),
            value => apply(target.as_object_mut().unwrap().entry(name.clone()).or_insert(Value::Null), value),
        }
    }
}

/// One client's way of subscribing, and what it got.
struct Way {
    name: &'static str,
    headers: &'static str,
    client: Option<Client>,
    value: Value,
    octets: usize,
    messages: usize,
}

async fn listen(way: &mut Way, address: std::net::SocketAddr) {
    let mut client = Client::connect(address, Carrier::Raw).await;
    client.send(&format!("SUBSCRIBE\nid:0\ndestination:/topic/metrics\n{}\n\0", way.headers)).await;
    way.client = Some(client);
}

/// Takes what comes until a moment.
async fn take(way: &mut Way, until: Instant) {
    let Some(client) = &mut way.client else { return };
    while let Ok(frame) = timeout(until.saturating_duration_since(Instant::now()), client.frame()).await {
        let frame = frame.unwrap();
        let body: Value = serde_json::from_slice(&frame.body).unwrap();
        way.messages += 1;
        way.octets += frame.body.len();
        way.octets +=
            frame.headers.iter().map(|(name, value)| name.len() + value.len() + 2).sum::<usize>() + 12;
        match frame.get("delta") {
            Some("patch") => apply(&mut way.value, &body),
            _ => way.value = body,
        }
    }
}

#[test]
fn views_of_the_metrics_take_less_bandwidth() {
    let seconds = std::env::var("BANDWIDTH_SECONDS").map_or(3, |text| text.parse().expect("a number"));
    let server = Server::start();
    run_within(Duration::from_secs(seconds + 60), async {
        let mut dice = Dice(42);
        let mut publisher = Client::connect(server.tcp, Carrier::Tcp).await;
        // So that every source and type is known before anything is counted.
        for _ in 0..20 * SOURCES {
            publisher.publish("/app/events", &event(&mut dice)).await;
        }
        let way =
            |name, headers| Way { name, headers, client: None, value: Value::Null, octets: 0, messages: 0 };
        let mut ways = [
            way("whole", ""),
            way("delta:merge-patch", "delta:merge-patch\n"),
            way(
                "fields:summary,throughput,errorMetrics.errorRate",
                "fields:summary,throughput,errorMetrics.errorRate\n",
            ),
            way(
                "the same fields as merge-patch",
                "fields:summary,throughput,errorMetrics.errorRate\ndelta:merge-patch\n",
            ),
            way("delta:merge-patch max-rate:1/5s", "delta:merge-patch\nmax-rate:1/5s\n"),
        ];
        for way in &mut ways {
            listen(way, server.address).await;
            // The first value, which is whole.
            take(way, Instant::now() + Duration::from_millis(300)).await;
            (way.octets, way.messages) = (0, 0);
        }
        let until = Instant::now() + Duration::from_secs(seconds);
        let publish = async {
            let mut ticks = interval(Duration::from_millis(1000 / EVENTS));
            while Instant::now() < until {
                ticks.tick().await;
                publisher.publish("/app/events", &event(&mut dice)).await;
            }
        };
        let [whole, delta, fields, both, rate] = &mut ways;
        let ((), ..) = tokio::join!(
            publish,
            take(whole, until),
            take(delta, until),
            take(fields, until),
            take(both, until),
            take(rate, until)
        );
        println!(
            "{SOURCES} sources, {TYPES} types, {EVENTS} events a second, {seconds} s; octets of MESSAGE frames each second"
        );
        for way in &ways {
            let rate = way.octets as f64 / seconds as f64;
            let share = way.octets as f64 / ways[0].octets as f64;
            println!("  {:<52} {rate:>9.0}  {:>6.1} %  {} messages", way.name, share * 100.0, way.messages);
        }
        assert_eq!(ways[0].value, ways[1].value, "patches make the same of it");
        assert!(ways[1].octets < ways[0].octets && ways[2].octets < ways[0].octets / 10);
    });
}
