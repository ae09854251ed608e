//! The scheduler: what is published by the clock.
//!
//! Owns when periodic producers run and where their figures go. A producer is a client of the core like any other,
//! and computes nothing while nobody subscribes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::broker::{Broker, Feed};

/// Has `feed` publish each `period`, without drift, while anybody would get it.
///
/// A tick that is late is not made up for: the next one comes when it was due anyway.
pub async fn every(broker: Arc<Broker>, feed: Arc<Feed>, period: Duration) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        if feed.is_wanted(&broker) {
            feed.publish(&broker).await;
        }
    }
}
