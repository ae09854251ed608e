//! The scheduler: what is published by the clock.
//!
//! Owns when periodic producers run and where their figures go. A producer is a client of the core like any other,
//! and computes nothing while nobody subscribes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

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
