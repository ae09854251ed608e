//! Samples of this machine over time.
//!
//! Owns the thread that they are read on, and what becomes of a collector that rested.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::{Collector, SETTLE};

/// This machine's figures, collected off the threads that serve connections: reading them takes milliseconds.
#[derive(Debug)]
pub struct Sampler {
    id: String,
    collector: Option<Collector>,
    /// A collector that rested longer than this is made anew: its rates would be means over the whole rest.
    rest: Duration,
    sampled: Instant,
}

impl Sampler {
    /// Collects under the name `id`, about once each `period`.
    pub fn new(id: &str, period: Duration) -> Sampler {
        Sampler { id: id.to_owned(), collector: None, rest: period * 3, sampled: Instant::now() }
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
