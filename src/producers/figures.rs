//! The figures made of all events: taken in by several doors, on several nodes, and shown by several.
//!
//! Owns the locks around what this node and the others counted, what nodes tell each other of it, and what all of it
//! looks like as JSON. When and by what way nodes tell each other is wired elsewhere.
//!
//! Each node sends its own part, whole, whenever it changed, and to who starts all that it knows. A part counts if it
//! began no earlier than the last reset; that is a moment, the *epoch*, which every part names: who hears of a later
//! one than it knows forgets what began before, its own part included. What a node counts between a reset elsewhere and
//! hearing of it is forgotten with the rest. A node that starts counts from its start, so that it need not forget
//! anything when it hears of a reset before that.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::clock::{Clock, Now};
use super::ingest::{Event, Rejection};
use super::metrics::{Analytics, BadPart, Head, MAX_MOMENT, MetricsSnapshot, Others, Part, Peak};

#[cfg(test)]
mod tests;

/// How old may be what `/app/subscribe` shows.
const MOMENT: Duration = Duration::from_millis(100);

/// The figures made of all events: taken in by several doors, shown by several.
#[derive(Debug)]
pub struct Figures {
    clock: Clock,
    incarnation: u32,
    /// What this node counted. Locked after `shared` where both are.
    own: Mutex<Analytics>,
    shared: Mutex<Shared>,
    /// What was last shown to whoever may ask as often as it likes, and when it was made.
    shown: Mutex<Option<(Instant, Bytes)>>,
}

/// What nodes tell each other.
#[derive(Debug)]
struct Shared {
    /// The last reset, in ms since 1970; 0 if none is known.
    epoch: u64,
    /// From when on the own part counts.
    since: u64,
    /// The highest peak found here since `epoch`, of this node or of all.
    found: Peak,
    /// The own part as it was last made, and how many events were in it.
    made: Option<(Head, u64, Bytes)>,
    /// The version that was last sent.
    sent: u64,
    others: Others,
}

impl Figures {
    /// Figures of no events, from now on, as a node counts them in this `incarnation`.
    pub fn new(incarnation: u32) -> Figures {
        let clock = Clock::start();
        Figures::starting(incarnation, clock, clock.now())
    }

    fn starting(incarnation: u32, clock: Clock, now: Now) -> Figures {
        let since = now.wall_millis();
        let (found, others) = (Peak::default(), Others::default());
        let shared = Shared { epoch: 0, since, found, made: None, sent: 0, others };
        Figures {
            clock,
            incarnation,
            own: Mutex::new(Analytics::new(now)),
            shared: Mutex::new(shared),
            shown: Mutex::default(),
        }
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
        let mut own = lock(&self.own);
        // Read inside the lock, so that what is recorded never runs backwards.
        own.record(event, self.clock.now());
    }

    /// The metrics object of all nodes as JSON: what `/topic/metrics` and `GET /api/v1/metrics` show.
    pub fn json(&self) -> Bytes {
        // Numbers, strings and maps with string keys can't fail to serialise.
        serde_json::to_vec(&self.snapshot(|| self.clock.now())).unwrap_or_default().into()
    }

    /// The metrics object as it is or was a moment ago: making it costs some hundred times what asking for it does.
    pub fn recent_json(&self) -> Bytes {
        let mut shown = lock(&self.shown);
        match &*shown {
            Some((made, json)) if made.elapsed() < MOMENT => json.clone(),
            _ => {
                let json = self.json();
                *shown = Some((Instant::now(), json.clone()));
                json
            }
        }
    }

    /// What this node counted, for all others; to be sent to them about once a second. None if nothing changed since
    /// it was last asked for, unless `always`: who sends it now and then all the same makes good what was lost.
    pub fn own_part(&self, always: bool) -> Option<Bytes> {
        self.own_part_at(always, self.clock.now())
    }

    /// Takes what another node counted, sent by that node or handed on by any, in any order, as often as it comes. What
    /// is known already costs next to nothing.
    ///
    /// # Errors
    /// [`BadPart`] if it is no part; nothing has changed then.
    pub fn take_part(&self, octets: &Bytes) -> Result<(), BadPart> {
        self.take_part_at(octets, self.clock.now())
    }

    /// What all nodes counted, those that died included, as far as is known here: a part for each, to be handed to a
    /// node that starts.
    pub fn all_parts(&self) -> Vec<Bytes> {
        self.all_parts_at(self.clock.now())
    }

    /// Forgets all events on this node, and on all others when they get its part.
    pub fn reset(&self) {
        self.reset_at(self.clock.now());
    }

    /// How many parts had to be forgotten because there were too many. What they counted is missing in the figures.
    pub fn forgotten_parts(&self) -> u64 {
        lock(&self.shared).others.forgotten()
    }

    fn snapshot(&self, now: impl Fn() -> Now) -> MetricsSnapshot {
        let mut shared = lock(&self.shared);
        let Shared { epoch, found, others, .. } = &mut *shared;
        let own = lock(&self.own);
        let now = now();
        if others.is_empty() {
            return own.snapshot(now);
        }
        *found = found.best(own.peak_with(others, now));
        let peak = found.best(others.peak(*epoch));
        own.snapshot_with(others, peak, now)
    }

    fn own_part_at(&self, always: bool, now: Now) -> Option<Bytes> {
        let mut shared = lock(&self.shared);
        let (version, part) = self.make_part(&mut shared, now);
        let unsent = std::mem::replace(&mut shared.sent, version) != version;
        (unsent || always).then_some(part)
    }

    fn all_parts_at(&self, now: Now) -> Vec<Bytes> {
        let mut shared = lock(&self.shared);
        let (_, own) = self.make_part(&mut shared, now);
        shared.others.octets().chain([own]).collect()
    }

    /// The own part and its version, the last one if nothing changed since.
    fn make_part(&self, shared: &mut Shared, now: Now) -> (u64, Bytes) {
        let own = lock(&self.own);
        shared.found = shared.found.best(own.peak_with(&shared.others, now));
        let (last, counted, octets) = shared.made.clone().unwrap_or_default();
        let events = own.totals().events();
        let mut head = Head {
            incarnation: self.incarnation,
            epoch: shared.epoch,
            since: shared.since,
            peak: shared.found,
            ..last
        };
        if head == last && events == counted {
            return (last.version, octets);
        }
        (head.version, head.made) = (last.version + 1, now.wall_millis());
        let part = own.part(head, now);
        drop(own);
        let octets = part.encode();
        shared.made = Some((head, events, octets.clone()));
        (head.version, octets)
    }

    fn take_part_at(&self, octets: &Bytes, now: Now) -> Result<(), BadPart> {
        let head = Head::decode(octets)?;
        if head.incarnation == self.incarnation {
            return Ok(());
        }
        let mut shared = lock(&self.shared);
        let counts = head.since >= shared.epoch && shared.others.wants(&head);
        if !counts && head.epoch <= shared.epoch {
            return Ok(());
        }
        let part = Part::decode(octets)?;
        if head.epoch > shared.epoch {
            self.begin(&mut shared, head.epoch, now);
        }
        if head.since >= shared.epoch {
            shared.others.take(part, octets.clone(), now);
        }
        Ok(())
    }

    fn reset_at(&self, now: Now) {
        let mut shared = lock(&self.shared);
        // Later than all that began, whatever the clocks say.
        let known = [now.wall_millis(), shared.epoch, shared.since, shared.others.latest_since()];
        let epoch = known.into_iter().fold(0, u64::max) + 1;
        self.begin(&mut shared, epoch.min(MAX_MOMENT), now);
    }

    /// Forgets what began before `epoch`.
    fn begin(&self, shared: &mut Shared, epoch: u64, now: Now) {
        shared.epoch = epoch;
        shared.found = Peak::default();
        shared.others.forget_before(epoch);
        if shared.since < epoch {
            shared.since = epoch;
            lock(&self.own).reset(now);
        }
    }
}

/// What a lock guards is whole after a panic too: nothing in it is changed half.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
