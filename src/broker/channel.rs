//! Channels: the one place that orders.
//!
//! Owns the sections in which a message gets its number and goes to the mailboxes, so that all subscribers see
//! the messages of one destination in one order. Nothing waits inside a section: room in the mailboxes is taken
//! before.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::destination::Destination;
use super::message::{Message, MessageId};
use super::router::Router;
use crate::telemetry::Metrics;

/// Destinations share this many sections; two that share one wait for each other for the moment it takes to
/// pass a message to the mailboxes.
const SECTIONS: usize = 64;

/// All channels.
#[derive(Debug)]
pub(super) struct Channels {
    incarnation: u32,
    /// Of the last message, or the last delivery of a queue: no two have the same.
    number: Arc<AtomicU64>,
    sections: Box<[Mutex<()>]>,
    hasher: RandomState,
    metrics: Arc<Metrics>,
}

impl Channels {
    pub(super) fn new(incarnation: u32, metrics: Arc<Metrics>) -> Channels {
        Channels {
            incarnation,
            number: Arc::default(),
            sections: (0..SECTIONS).map(|_| Mutex::new(())).collect(),
            hasher: RandomState::new(),
            metrics,
        }
    }

    /// The count behind [`Channels::next_id`].
    pub(super) fn numbers(&self) -> Arc<AtomicU64> {
        self.number.clone()
    }

    /// What tells this start of this node from all others.
    pub(super) fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// Numbers a message and hands it to the workers that want it.
    pub(super) async fn arrive(&self, router: &Router, message: Message) {
        let mut message = Arc::new(message);
        let mut wanted = router.interested(&message.destination);
        loop {
            let permits = router.reserve(wanted).await;
            let section = self.section(&message.destination).lock().unwrap_or_else(PoisonError::into_inner);
            wanted = router.interested(&message.destination);
            if !wanted.without(permits.workers).is_empty() {
                // Somebody subscribed meanwhile on a worker in whose mailbox no room was taken.
                drop(section);
                continue;
            }
            if let Some(message) = Arc::get_mut(&mut message) {
                message.id = self.next_id();
            }
            permits.send(wanted, &message);
            break;
        }
        if wanted.is_empty() {
            self.metrics.messages_unheard.inc();
        }
    }

    /// An id that no other message has.
    pub(super) fn next_id(&self) -> MessageId {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        MessageId { incarnation: self.incarnation, number }
    }

    fn section(&self, destination: &Destination) -> &Mutex<()> {
        let at = self.hasher.hash_one(destination) as usize % SECTIONS;
        &self.sections[at]
    }
}
