//! Those who read: subscribers of events, who go on where they were on some other node; consumers of queues; and those who stay with
//! their node and look at values.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use stomp_parser::Frame;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::client::Client;
use crate::publishers::{EVENTS, VALUES};
use crate::support::try_http;
use crate::world::{PATIENCE, Phase, Shared};

/// Reads events until the end, on connections that end often. `began` is told when the first has begun.
pub async fn read(
    world: Shared,
    who: usize,
    destination: &'static str,
    began: tokio::sync::oneshot::Sender<()>,
) {
    let mut dice = world.dice(who);
    let reader = world.ledger.reader(destination);
    let mut began = Some(began);
    let mut cursor: Option<String> = None;
    while !world.is(Phase::End) {
        let (node, mut client) = world.connect(&mut dice).await;
        let from = cursor.as_ref().map(|cursor| format!("cursor:{cursor}\n")).unwrap_or_default();
        let subscribe = format!("SUBSCRIBE\nid:s\ndestination:{destination}\n{from}receipt:r\n\n\0");
        if client.send(&subscribe).await.is_none() {
            continue;
        }
        let receipt = match timeout(PATIENCE, client.frame()).await {
            Ok(Some(receipt)) => receipt,
            Ok(None) => continue,
            Err(_) => {
                world.ledger.wrong(format!("reader {reader} has no RECEIPT of SUBSCRIBE from node {node}"));
                continue;
            }
        };
        if receipt.command.as_str() != "RECEIPT" {
            world.ledger.wrong(format!("reader {reader} may not subscribe at node {node}: {receipt:?}"));
            continue;
        }
        if cursor.is_some() {
            world.ledger.resumed(reader);
        }
        if receipt.get("resumed") == Some("false") {
            world.ledger.note(format!("reader {reader} at node {node}, {from:?}: {receipt:?}"));
        }
        cursor = cursor.or_else(|| receipt.get("cursor").map(str::to_owned));
        began.take().map(|began| began.send(()));
        let lives = Duration::from_millis(500 + dice.below(12_000) as u64);
        let end = if world.is(Phase::Chaos) { Some(Instant::now() + lives) } else { None };
        let mut stays = Stays { world: &world, reader, node, cursor: &mut cursor };
        stays.read(&mut client, end).await;
        if dice.percent(50) {
            client.vanish();
        }
    }
}

/// One stay of a reader at a node.
struct Stays<'s> {
    world: &'s Shared,
    reader: usize,
    node: usize,
    cursor: &'s mut Option<String>,
}

impl Stays<'_> {
    async fn read(&mut self, client: &mut Client, end: Option<Instant>) {
        let mut count = 0;
        loop {
            let next = async {
                match end {
                    Some(end) => timeout_at(end, client.frame()).await.ok().flatten(),
                    None => client.frame().await,
                }
            };
            let frame = tokio::select! {
                frame = next => frame,
                () = self.world.until(Phase::End) => None,
            };
            let Some(frame) = frame else { return };
            count += 1;
            self.take(&frame, count);
        }
    }

    fn take(&mut self, frame: &Frame, count: usize) {
        let ledger = &self.world.ledger;
        if frame.command.as_str() != "MESSAGE" {
            return ledger.note(format!("reader {} at node {}: {frame:?}", self.reader, self.node));
        }
        let gap = frame.get("gap").map(|_| frame.get("gap-reason").unwrap_or("no reason"));
        if let Some(gap) = gap {
            ledger.note(format!("reader {} is told of a gap at node {}: {gap}", self.reader, self.node));
        }
        let before = self.cursor.clone();
        if let Some(cursor) = frame.get("cursor") {
            *self.cursor = Some(cursor.to_owned());
        }
        if EVENTS.iter().any(|event| frame.get("destination") == Some(event)) {
            let place = format!("at node {}, as number {count} there, cursor {before:?}", self.node);
            ledger.read(self.reader, number(frame), gap, &place);
        }
    }
}

fn number(frame: &Frame) -> usize {
    std::str::from_utf8(&frame.body).ok().and_then(|text| text.parse().ok()).expect("a body of ours")
}

/// Consumes a queue until the end, and acknowledges what it is given, or vanishes with it. Who is `last` stays, and counts what it
/// is given as dead letters.
pub async fn consume(world: Shared, who: usize, queue: String, is_last: bool) {
    let mut dice = world.dice(who);
    while !world.is(Phase::End) {
        let (_, mut client) = world.connect(&mut dice).await;
        let prefetch = 1 + dice.below(20);
        let subscribe = format!(
            "SUBSCRIBE\nid:s\ndestination:{queue}\nack:client-individual\nprefetch-count:{prefetch}\n\n\0"
        );
        let lives = Duration::from_millis(500 + dice.below(12_000) as u64);
        let end = Instant::now() + lives;
        let mut is_there = client.send(&subscribe).await.is_some();
        while is_there
            && (is_last || Instant::now() < end || !world.is(Phase::Chaos))
            && !world.is(Phase::End)
        {
            let frame = match timeout(Duration::from_millis(100), client.frame()).await {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => continue,
            };
            let Some(ack) = frame.get("ack") else {
                world.ledger.note(format!("consumer {who}: {frame:?}"));
                continue;
            };
            world.ledger.delivered();
            if dice.percent(2) && !is_last {
                is_there = client.send(&format!("NACK\nid:{ack}\n\n\0")).await.is_some();
                continue;
            }
            is_there = client.send(&format!("ACK\nid:{ack}\n\n\0")).await.is_some();
            match is_last {
                true => world.ledger.dead(number(&frame)),
                false => world.ledger.acknowledged(number(&frame)),
            }
        }
        if dice.percent(50) {
            client.vanish();
        }
    }
}

/// What those who stay with a node saw last, by node and destination.
pub type Views = Rc<RefCell<BTreeMap<(usize, String), String>>>;

/// Stays with a node, subscribed to all values.
pub async fn watch(world: Shared, node: usize, views: Views) {
    while !world.is(Phase::End) {
        let Some(mut client) = Client::connect(world.cluster.tcp(node)).await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        for value in VALUES {
            views.borrow_mut().remove(&(node, value.to_owned()));
            let _ = client.send(&format!("SUBSCRIBE\nid:{value}\ndestination:{value}\n\n\0")).await;
        }
        loop {
            let frame = tokio::select! {
                frame = client.frame() => frame,
                () = world.until(Phase::End) => None,
            };
            let Some(frame) = frame else { break };
            let key = (node, frame.get("destination").unwrap_or_default().to_owned());
            views.borrow_mut().insert(key, String::from_utf8_lossy(&frame.body).into_owned());
        }
    }
}

/// The values that a node hands out, one after the other; empty where there is none.
pub async fn values(world: &Shared, node: usize) -> Option<Vec<String>> {
    let mut client = Client::connect(world.cluster.tcp(node)).await?;
    let mut all = Vec::new();
    for value in VALUES {
        client.send(&format!("SUBSCRIBE\nid:{value}\ndestination:{value}\nreceipt:r\n\n\0")).await?;
        let mut body = String::new();
        let receipt = timeout(PATIENCE, client.frame()).await.ok()??;
        if receipt.get("receipt-id") != Some("r") {
            return None;
        }
        // It follows its receipt at once, if there is one.
        if let Ok(frame) = timeout(Duration::from_millis(500), client.frame()).await {
            body = String::from_utf8_lossy(&frame?.body).into_owned();
        }
        client.send(&format!("UNSUBSCRIBE\nid:{value}\nreceipt:u\n\n\0")).await?;
        while client.frame().await?.get("receipt-id") != Some("u") {}
        all.push(body);
    }
    Some(all)
}

/// How many events a node has counted.
pub async fn total(world: &Shared, node: usize) -> Option<u64> {
    let request = "GET /api/v1/metrics HTTP/1.0\r\n\r\n";
    let (_, _, body) = try_http(world.cluster.http(node), request).await?;
    let body: serde_json::Value = serde_json::from_str(&body).ok()?;
    body["summary"]["totalEvents"].as_u64()
}
