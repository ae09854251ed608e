//! The way to RabbitMQ: two connections, made anew whenever one of them fails.
//!
//! Owns when it is tried, and what is known of how it stands. Two, since RabbitMQ stops reading from a connection that
//! publishes when it is short of memory or disk, and what is consumed must be acknowledged all the same.

use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use lapin::types::{LongString, ShortString};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::trouble::Trouble;
use crate::telemetry::Health;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// A connection that was silent for twice as long is gone, as both sides see it.
const HEARTBEAT: u16 = 4;

/// The longest rest between two tries.
const LONGEST_REST: Duration = Duration::from_secs(5);
const SHORTEST_REST: Duration = Duration::from_millis(100);

/// How often it is looked whether RabbitMQ takes something.
const LOOK: Duration = Duration::from_millis(200);

/// What `/health` says under that RabbitMQ takes nothing.
const BLOCKED: &str = "rabbitmq blocked";

/// How the way to RabbitMQ stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Reach {
    /// There is none.
    #[default]
    Away,
    /// It is there, and takes nothing: RabbitMQ is short of memory or disk.
    Blocked,
    /// It is there.
    Here,
}

/// Both connections.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) consuming: Connection,
    pub(super) publishing: Connection,
}

impl Lines {
    /// Connects twice.
    pub(super) async fn open(url: &str, name: &str) -> Result<Lines, Trouble> {
        let connect = async {
            let consuming = connect(url, format!("{name} consumes")).await?;
            let publishing = connect(url, format!("{name} publishes")).await?;
            Ok(Lines { consuming, publishing })
        };
        timeout(CONNECT, connect).await.map_err(|_| Trouble::Silent)?
    }

    /// A channel on which what is published is confirmed.
    pub(super) async fn publisher(&self) -> Result<Channel, lapin::Error> {
        let channel = self.publishing.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    /// Tells `reach` whether RabbitMQ takes what is published, until the connection ends.
    pub(super) async fn watch(&self, reach: &watch::Sender<Reach>, health: &Health) -> Trouble {
        let mut was_blocked = false;
        loop {
            let is_connected = |connection: &Connection| connection.status().connected();
            if !is_connected(&self.publishing) || !is_connected(&self.consuming) {
                return Trouble::Ended("the connection");
            }
            let is_blocked = self.publishing.status().blocked();
            if is_blocked != was_blocked {
                was_blocked = is_blocked;
                let reason = "RabbitMQ is short of memory or disk and takes nothing for now".to_owned();
                health.set(BLOCKED, is_blocked.then_some(reason));
                reach.send_replace(if is_blocked { Reach::Blocked } else { Reach::Here });
                tracing::warn!(is_blocked, "RabbitMQ takes messages or does not");
            }
            sleep(LOOK).await;
        }
    }

    /// Says goodbye, if RabbitMQ listens.
    pub(super) async fn close(&self) {
        let goodbye = async |connection: &Connection| {
            let _ = connection.close(200, ShortString::from("bye")).await;
        };
        let both = async { tokio::join!(goodbye(&self.consuming), goodbye(&self.publishing)) };
        let _ = timeout(Duration::from_millis(500), both).await;
    }
}

async fn connect(url: &str, name: String) -> Result<Connection, Trouble> {
    let mut uri: AMQPUri = url.parse().map_err(|_| Trouble::Ended("the URL"))?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    let properties = ConnectionProperties::default().with_connection_name(LongString::from(name));
    Ok(Connection::connect_uri(uri, properties).await?)
}

/// How long to rest before the next try.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    pub(super) fn reset(&mut self) {
        self.tries = 0;
    }

    /// Rests: twice as long as before, and a random part of that, so that not all nodes come at once.
    pub(super) async fn rest(&mut self) {
        let longest = SHORTEST_REST.saturating_mul(1 << self.tries.min(6)).min(LONGEST_REST);
        self.tries += 1;
        let random = getrandom::u32().unwrap_or(u32::MAX);
        let part = f64::from(random) / f64::from(u32::MAX);
        sleep(longest.mul_f64(0.5 + part / 2.0)).await;
    }
}
