//! The scheduler: what is published by the clock.
//!
//! Owns when periodic producers run and where their figures go. A producer is a client of the core like any other,
//! and computes nothing while nobody subscribes.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::warn;

use super::clock::Clock;
use super::host::{Collector, SETTLE};
use super::ingest::Event;
use super::metrics::Analytics;
use crate::broker::{Broker, Destination, Door, Identity, Message};

/// Publishes what `make` gives to `destination` each `period`, without drift, while anybody would get it.
///
/// A tick that is late is not made up for: the next one comes when it was due anyway.
pub async fn every<F, R>(broker: Arc<Broker>, destination: Destination, period: Duration, mut make: F)
where
    F: FnMut() -> R,
    R: Future<Output = Option<Bytes>>,
{
    let identity = Identity::anonymous();
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        if !broker.wanted(&destination) {
            continue;
        }
        let Some(body) = make().await else { continue };
        let message = Message::json(destination.clone(), body);
        if let Err(denied) = broker.publish(&identity, Door::Producer, message).await {
            warn!(%denied, "a producer may not publish");
        }
    }
}

/// The figures made of all events: taken in by several doors, shown by several.
#[derive(Debug)]
pub struct Figures {
    clock: Clock,
    analytics: Mutex<Analytics>,
}

impl Figures {
    /// Figures of no events, from now on.
    #[allow(clippy::new_without_default)] // it reads the clock
    pub fn new() -> Figures {
        let clock = Clock::start();
        Figures { clock, analytics: Mutex::new(Analytics::new(clock.now())) }
    }

    /// The clocks that events are stamped with.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Counts an event.
    pub fn record(&self, event: &Event) {
        let mut analytics = self.analytics.lock().unwrap_or_else(PoisonError::into_inner);
        // Read inside the lock, so that what is recorded never runs backwards.
        analytics.record(event, self.clock.now());
    }

    /// The metrics object as JSON: what `/topic/metrics` and `GET /api/v1/metrics` show.
    pub fn json(&self) -> Bytes {
        let snapshot = {
            let analytics = self.analytics.lock().unwrap_or_else(PoisonError::into_inner);
            analytics.snapshot(self.clock.now())
        };
        // Numbers, strings and maps with string keys can't fail to serialise.
        serde_json::to_vec(&snapshot).unwrap_or_default().into()
    }
}

/// This machine's figures, collected off the threads that serve connections: reading them takes milliseconds.
#[derive(Debug)]
pub struct Host {
    id: String,
    collector: Option<Collector>,
    /// A collector that rested longer than this is made anew: its rates would be means over the whole rest.
    rest: Duration,
    sampled: Instant,
}

impl Host {
    /// Collects under the name `id`, about once each `period`.
    pub fn new(id: &str, period: Duration) -> Host {
        Host { id: id.to_owned(), collector: None, rest: period * 3, sampled: Instant::now() }
    }

    /// The figures of this moment as JSON.
    pub async fn json(&mut self) -> Option<Bytes> {
        let rested = self.sampled.elapsed() > self.rest;
        let mut collector = match self.collector.take() {
            Some(collector) if !rested => collector,
            _ => {
                let collector = Collector::new(self.id.clone());
                sleep(SETTLE).await;
                collector
            }
        };
        let (collector, json) = tokio::task::spawn_blocking(move || {
            let json = serde_json::to_vec(&collector.sample()).unwrap_or_default();
            (collector, json)
        })
        .await
        .inspect_err(|error| warn!(%error, "this machine's figures can't be read"))
        .ok()?;
        self.collector = Some(collector);
        self.sampled = Instant::now();
        Some(json.into())
    }
}
