//! The figures made of all events: taken in by several doors, shown by several.
//!
//! Owns the lock around the analytics, and what they look like as JSON.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::clock::Clock;
use super::ingest::{Event, Rejection};
use super::metrics::Analytics;

/// How old may be what `/app/subscribe` shows.
const MOMENT: Duration = Duration::from_millis(100);

/// The figures made of all events: taken in by several doors, shown by several.
#[derive(Debug)]
pub struct Figures {
    clock: Clock,
    analytics: Mutex<Analytics>,
    /// What was last shown to whoever may ask as often as it likes, and when it was made.
    shown: Mutex<Option<(Instant, Bytes)>>,
}

impl Figures {
    /// Figures of no events, from now on.
    #[allow(clippy::new_without_default)] // it reads the clock
    pub fn new() -> Figures {
        let clock = Clock::start();
        Figures { clock, analytics: Mutex::new(Analytics::new(clock.now())), shown: Mutex::new(None) }
    }

    /// The clocks that events are stamped with.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Takes an event in from a JSON body, and counts it.
    ///
    /// # Errors
    /// [`Rejection`] names everything that is wrong with it.
    pub fn take(&self, body: &[u8]) -> Result<Event, Rejection> {
        let event = Event::from_json(body, self.clock.now().wall)?;
        self.record(&event);
        Ok(event)
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

    /// The metrics object as it is or was a moment ago: making it costs some hundred times what asking for it does.
    pub fn recent_json(&self) -> Bytes {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        match &*shown {
            Some((made, json)) if made.elapsed() < MOMENT => json.clone(),
            _ => {
                let json = self.json();
                *shown = Some((Instant::now(), json.clone()));
                json
            }
        }
    }
}
