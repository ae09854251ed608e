//! Which worker has which session. Shared by all workers; holds no sessions itself.

use std::{
    collections::{HashMap, hash_map},
    hash::{BuildHasher as _, RandomState},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::mpsc::UnboundedSender;

use super::{credentials::Credentials, home::Errand};

/// Sections of the table, each with a lock of its own.
const SECTIONS: usize = 16;

/// Finds sessions by their id.
pub(crate) struct Table {
    hashers: [RandomState; 2],
    sections: [Mutex<HashMap<Key, Entry>>; SECTIONS],
    len: AtomicUsize,
    max: usize,
    /// Where each worker is reached. Bounded by what is sent: each errand is a request that waits for its answer.
    workers: Mutex<Vec<UnboundedSender<Errand>>>,
}

/// A session's id, hashed under keys that are secret and new in each process, which makes ids of any length cost the
/// same. 128 bits: two ids never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(u64, u64);

/// Where a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) worker: usize,
    pub(super) slot: usize,
    /// The count of sessions that this worker had before: no two have the same.
    pub(super) serial: u64,
}

struct Entry {
    place: Place,
    credentials: Credentials,
}

/// Why a request is refused before its session hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The session was opened with other credentials.
    Stranger,
    /// There are as many sessions as there may be.
    Full,
}

/// What came of entering a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entered {
    /// It is new.
    New,
    /// There is one of this id already.
    Found(Place),
}

impl Table {
    pub(crate) fn new(max: usize) -> Table {
        Table {
            hashers: [RandomState::new(), RandomState::new()],
            sections: std::array::from_fn(|_| Mutex::default()),
            len: AtomicUsize::new(0),
            max,
            workers: Mutex::default(),
        }
    }

    /// Sessions, on all workers.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Adds a worker, and gives its number.
    pub(super) fn add_worker(&self, worker: UnboundedSender<Errand>) -> usize {
        let mut workers = lock(&self.workers);
        // A server that was stopped leaves its workers' places to those of the next.
        let free = workers.iter().position(UnboundedSender::is_closed);
        match free {
            Some(free) => {
                workers[free] = worker;
                free
            }
            None => {
                workers.push(worker);
                workers.len() - 1
            }
        }
    }

    /// Sends a worker on an errand. If it is no more, the errand is dropped, which whoever waits for it hears.
    pub(super) fn send(&self, worker: usize, errand: Errand) {
        if let Some(to) = lock(&self.workers).get(worker) {
            let _ = to.send(errand);
        }
    }

    pub(super) fn key(&self, id: &str) -> Key {
        let [first, second] = &self.hashers;
        Key(first.hash_one(id), second.hash_one(id))
    }

    /// The place of a session; none if there is no such session.
    pub(super) fn find(&self, key: Key, asks: &Credentials) -> Result<Option<Place>, Refusal> {
        self.section(key).get(&key).map(|entry| entry.admit(asks)).transpose()
    }

    /// Enters a session that `place` makes, unless there is one.
    pub(super) fn enter(
        &self,
        key: Key,
        opens: Credentials,
        place: impl FnOnce() -> Place,
    ) -> Result<Entered, Refusal> {
        let mut section = self.section(key);
        match section.entry(key) {
            hash_map::Entry::Occupied(entry) => entry.get().admit(&opens).map(Entered::Found),
            hash_map::Entry::Vacant(entry) => {
                let grown = |len: usize| (len < self.max).then_some(len + 1);
                if self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_err() {
                    return Err(Refusal::Full);
                }
                entry.insert(Entry { place: place(), credentials: opens });
                Ok(Entered::New)
            }
        }
    }

    /// Forgets a session.
    pub(super) fn leave(&self, key: Key, place: Place) {
        let mut section = self.section(key);
        if section.get(&key).is_some_and(|entry| entry.place == place) {
            section.remove(&key);
            self.len.fetch_sub(1, Ordering::Relaxed);
            // A rush that is over gives its memory back.
            if section.capacity() > 4 * section.len() + 64 {
                section.shrink_to_fit();
            }
        }
    }

    fn section(&self, key: Key) -> MutexGuard<'_, HashMap<Key, Entry>> {
        lock(&self.sections[key.0 as usize % SECTIONS])
    }
}

impl Entry {
    fn admit(&self, asks: &Credentials) -> Result<Place, Refusal> {
        if self.credentials.admit(asks) { Ok(self.place) } else { Err(Refusal::Stranger) }
    }
}

/// Nothing panics while it holds one of these locks; if it did, what they guard would still be whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(serial: u64) -> Place {
        Place { worker: 0, slot: 0, serial }
    }

    #[test]
    fn sessions_come_and_go() {
        let table = Table::new(2);
        let (a, b, c) = (table.key("a"), table.key("b"), table.key("c"));
        let none = &Credentials::default();
        assert_eq!(table.find(a, none), Ok(None));
        assert_eq!(table.enter(a, none.clone(), || place(1)), Ok(Entered::New));
        assert_eq!(table.enter(a, none.clone(), || place(2)), Ok(Entered::Found(place(1))));
        assert_eq!(table.enter(b, none.clone(), || place(3)), Ok(Entered::New));
        assert_eq!(table.enter(c, none.clone(), || place(4)), Err(Refusal::Full));
        table.leave(a, place(9));
        assert_eq!((table.find(a, none), table.len()), (Ok(Some(place(1))), 2), "another of that id went");
        table.leave(a, place(1));
        assert_eq!((table.find(a, none), table.len()), (Ok(None), 1));
        assert_eq!(table.enter(c, none.clone(), || place(4)), Ok(Entered::New));
    }
}
