//! Those who publish, and want to know what became of it: events, messages of queues and values, alone and in transactions.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::{Instant, interval, sleep, timeout};

use crate::client::Client;
use crate::dice::Dice;
use crate::ledger::{Id, Kind};
use crate::support::try_http;
use crate::world::{PATIENCE, Phase, Shared};

pub const EVENTS: [&str; 4] =
    ["/topic/task-events", "/topic/vm-events:x", "/topic/vm-events:y.z", "/topic/logs:y"];
pub const QUEUES: [&str; 2] = ["/queue/c1", "/queue/c2"];
pub const VALUES: [&str; 3] = ["/topic/status", "/topic/workers", "/topic/chaos.kept"];

/// What may be without a receipt.
const WINDOW: usize = 24;

struct Publisher {
    world: Shared,
    dice: Dice,
    client: Client,
    node: usize,
    connection: usize,
    /// What waits for a receipt, by that, and since when.
    waiting: HashMap<String, (Vec<Id>, Instant)>,
    receipts: usize,
}

/// Publishes every so often, until the time of rest; then waits for what has no receipt yet.
pub async fn publish(world: Shared, who: usize, every: Duration) {
    let mut dice = world.dice(who);
    while world.is(Phase::Chaos) {
        let (node, client) = world.connect(&mut dice).await;
        let lives = Duration::from_millis(2000 + dice.below(20_000) as u64);
        let (connection, dice) = (world.ledger.connection(), Dice(dice.below(usize::MAX) as u64));
        let waiting = HashMap::new();
        let publisher =
            Publisher { world: world.clone(), dice, client, node, connection, waiting, receipts: 0 };
        // By an end all that waits may have arrived or not.
        let _ = publisher.live(every, lives).await;
    }
}

impl Publisher {
    async fn live(mut self, every: Duration, lives: Duration) -> Option<()> {
        let mut ticks = interval(every);
        let end = Instant::now() + lives;
        loop {
            let is_over = Instant::now() > end || !self.world.is(Phase::Chaos);
            if is_over && self.waiting.is_empty() {
                return Some(());
            }
            tokio::select! {
                frame = self.client.frame() => self.take(&frame?)?,
                _ = ticks.tick() => {
                    if !is_over && self.waiting.len() < WINDOW {
                        self.publish().await?;
                    }
                    self.look();
                }
            }
        }
    }

    /// Takes an answer; `None` if it is the end.
    fn take(&mut self, frame: &stomp_parser::Frame) -> Option<()> {
        if frame.command.as_str() != "RECEIPT" {
            self.world.ledger.refused(frame.get("message").unwrap_or("?"));
            return None;
        }
        let receipt = frame.get("receipt-id").unwrap_or_default();
        match self.waiting.remove(receipt) {
            Some((ids, _)) => self.world.ledger.receipted(&ids),
            None => self.world.ledger.wrong(format!("a RECEIPT that nobody waits for: {frame:?}")),
        }
        Some(())
    }

    fn look(&mut self) {
        let late = self.waiting.values().find(|(_, since)| since.elapsed() > PATIENCE);
        if let Some((ids, _)) = late {
            let (node, ids) = (self.node, ids.clone());
            self.world.ledger.wrong(format!("neither RECEIPT nor ERROR for {ids:?}, sent to node {node}"));
            self.waiting.clear();
        }
    }

    async fn publish(&mut self) -> Option<()> {
        self.receipts += 1;
        let receipt = self.receipts.to_string();
        let mut ids = Vec::new();
        let text = match self.dice.below(100) {
            0..6 => {
                let mut text = "BEGIN\ntransaction:t\n\n\0".to_owned();
                for _ in 0..=self.dice.below(4) {
                    text += &self.send(&mut ids, "transaction:t\n");
                }
                let _ = write!(text, "COMMIT\ntransaction:t\nreceipt:{receipt}\n\n\0");
                text
            }
            _ => self.send(&mut ids, &format!("receipt:{receipt}\n")),
        };
        self.waiting.insert(receipt, (ids, Instant::now()));
        self.client.send(&text).await
    }

    fn send(&mut self, ids: &mut Vec<Id>, headers: &str) -> String {
        let (kind, all) = match self.dice.below(100) {
            0..60 => (Kind::Event, &EVENTS[..]),
            60..85 => (Kind::Queue, &QUEUES[..]),
            _ => (Kind::Value, &VALUES[..]),
        };
        let destination = all[self.dice.below(all.len())];
        let id = self.world.ledger.send(kind, destination, self.connection, self.node);
        ids.push(id);
        let retain = if destination.ends_with("kept") { "retain:true\n" } else { "" };
        format!("SEND\ndestination:{destination}\n{retain}{headers}\n{id}\0")
    }
}

/// Has nodes count events, and gives how many there may be and how many were taken.
pub async fn post(world: Shared, who: usize, every: Duration) -> (u64, u64) {
    let mut dice = world.dice(who);
    let (mut tried, mut taken) = (0, 0);
    let event = r#"{"eventType":"click","source":"chaos"}"#;
    let request = format!(
        "POST /api/v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{event}",
        event.len()
    );
    while world.is(Phase::Chaos) {
        let address = world.cluster.http(dice.below(crate::faults::NODES));
        tried += 1;
        let answer = timeout(Duration::from_secs(15), try_http(address, &request)).await.ok().flatten();
        taken += u64::from(answer.is_some_and(|(status, ..)| status == 202));
        sleep(every).await;
    }
    (tried, taken)
}
