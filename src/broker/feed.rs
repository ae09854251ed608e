//! Feeds: topics that the broker's own program fills while anybody listens.
//!
//! Owns the rule that a topic that rested is fed before its first subscriber is answered, so that what it is handed is
//! fresh. When a feed publishes otherwise is its producer's business.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::warn;

use super::access::Identity;
use super::destination::{Destination, Filter};
use super::message::Message;
use super::{Broker, Door};

/// How old may be what a first subscriber is handed: who comes and goes quickly must not make the figures anew each time.
const FRESH: Duration = Duration::from_millis(100);

type Made = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// What fills one topic with JSON.
pub struct Feed {
    destination: Destination,
    /// Other nodes make their own.
    is_of_node: bool,
    make: Box<dyn Fn() -> Made + Send + Sync>,
    published: Mutex<Option<Instant>>,
}

impl Feed {
    /// A feed that publishes what `make` gives to `destination`.
    pub fn new<F, R>(destination: Destination, make: F) -> Feed
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Option<Bytes>> + Send + 'static,
    {
        Feed {
            destination,
            is_of_node: false,
            make: Box::new(move || Box::pin(make())),
            published: Mutex::new(None),
        }
    }

    /// The same for this node's subscribers alone: every other node makes it for its own.
    #[must_use]
    pub fn for_this_node(self) -> Feed {
        Feed { is_of_node: true, ..self }
    }

    /// Whether anybody would get what it publishes.
    pub fn is_wanted(&self, broker: &Broker) -> bool {
        match self.is_of_node {
            true => broker.wanted(&self.destination),
            false => broker.wanted_anywhere(&self.destination),
        }
    }

    /// Publishes once, if there is something to publish.
    pub async fn publish(&self, broker: &Broker) {
        let Some(body) = (self.make)().await else { return };
        let message = Message::json(self.destination.clone(), body);
        let identity = Identity::anonymous();
        let published = match self.is_of_node {
            true => broker.publish_here(&identity, message).await,
            false => broker.accept(&identity, Door::Producer, message).await.map(drop),
        };
        if let Err(error) = published {
            warn!(%error, destination = %self.destination.text(), "a producer could not publish");
            return;
        }
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn is_fresh(&self) -> bool {
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        published.is_some_and(|at| at.elapsed() < FRESH)
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Feed").field(&self.destination).finish()
    }
}

/// All feeds. There are few.
#[derive(Debug, Default)]
pub(super) struct Feeds(RwLock<Vec<Arc<Feed>>>);

impl Feeds {
    pub(super) fn add(&self, feed: Feed) -> Arc<Feed> {
        let feed = Arc::new(feed);
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(feed.clone());
        feed
    }

    /// The destinations of those that other nodes do not make themselves.
    pub(super) fn of_all_nodes(&self) -> Vec<Destination> {
        let feeds = self.0.read().unwrap_or_else(PoisonError::into_inner);
        feeds.iter().filter(|feed| !feed.is_of_node).map(|feed| feed.destination.clone()).collect()
    }

    /// Those that a filter matches, that nobody wanted until now, and that have nothing fresh.
    pub(super) fn resting(&self, filter: &Filter, wanted: impl Fn(&Destination) -> bool) -> Vec<Arc<Feed>> {
        let feeds = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let rests =
            |feed: &Feed| filter.matches(&feed.destination) && !feed.is_fresh() && !wanted(&feed.destination);
        feeds.iter().filter(|feed| rests(feed)).cloned().collect()
    }
}
