//! Which worker has which session. Shared by all workers; holds no sessions itself.

use std::{
    collections::{HashMap, hash_map},
    hash::{BuildHasher as _, RandomState},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use super::{credentials::Credentials, home::Errand};
use crate::elsewhere::Remote;

/// Sections of the table, each with a lock of its own.
const SECTIONS: usize = 16;

/// Finds sessions by their id.
pub(crate) struct Table {
    hashers: [RandomState; 2],
    sections: [Mutex<HashMap<Key, Entry>>; SECTIONS],
    len: AtomicUsize,
    max: usize,
    claims: AtomicU64,
    /// No session is entered any more.
    is_draining: AtomicBool,
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

enum Entry {
    Open {
        place: Place,
        credentials: Credentials,
    },
    /// A request is finding out whether the session is elsewhere, and will open it if not.
    Claimed {
        claim: Claim,
        /// Other requests for it. They hear where it is, or nothing: then they look again.
        waiting: Vec<oneshot::Sender<Remote>>,
    },
}

/// Tells claims apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim(u64);

/// Which sessions a request may open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum May {
    /// Any: all sessions are in this process.
    Open,
    /// The one that it claimed, if it did.
    OpenClaimed(Option<Claim>),
}

/// What the table knows of a session before a request for it is served.
pub(super) enum Known {
    /// It is here.
    Here,
    /// Nothing.
    Unknown,
    /// Nothing, and now it is claimed.
    Claimed(Claim),
    /// Another request has claimed it.
    Wait(oneshot::Receiver<Remote>),
}

/// Why a request is refused before its session hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The session was opened with other credentials.
    Stranger,
    /// There are as many sessions as there may be.
    Full,
    /// There is no such session, and the request may not open it.
    Unclaimed,
    /// There are to be no new ones.
    Draining,
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
            claims: AtomicU64::new(0),
            is_draining: AtomicBool::new(false),
            workers: Mutex::default(),
        }
    }

    /// Sessions, on all workers.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Lets no new sessions in.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
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

    /// Sends whoever has the session of this id on the errand to close it, if somebody has.
    pub(crate) fn close(&self, id: &str, close: Bytes) {
        if let Some(place) = self.place(self.key(id)) {
            self.send(place.worker, Errand::Close { place, close });
        }
    }

    pub(super) fn key(&self, id: &str) -> Key {
        let [first, second] = &self.hashers;
        Key(first.hash_one(id), second.hash_one(id))
    }

    /// The place of a session; none if there is no such session.
    pub(super) fn find(&self, key: Key, asks: &Credentials) -> Result<Option<Place>, Refusal> {
        match self.section(key).get(&key) {
            Some(Entry::Open { place, credentials }) => credentials.place(*place, asks).map(Some),
            Some(Entry::Claimed { .. }) | None => Ok(None),
        }
    }

    /// The place of a session, whoever asks.
    fn place(&self, key: Key) -> Option<Place> {
        match self.section(key).get(&key) {
            Some(Entry::Open { place, .. }) => Some(*place),
            Some(Entry::Claimed { .. }) | None => None,
        }
    }

    /// Enters a session that `place` makes, unless there is one.
    pub(super) fn enter(
        &self,
        key: Key,
        opens: Credentials,
        may: May,
        place: impl FnOnce() -> Place,
    ) -> Result<Entered, Refusal> {
        match self.section(key).entry(key) {
            hash_map::Entry::Occupied(mut entry) => match entry.get() {
                Entry::Open { place, credentials } => credentials.place(*place, &opens).map(Entered::Found),
                Entry::Claimed { .. } if self.is_draining() => Err(Refusal::Draining),
                Entry::Claimed { claim, .. } if may == May::OpenClaimed(Some(*claim)) => {
                    // Who waits hears nothing, and finds it.
                    entry.insert(Entry::Open { place: place(), credentials: opens });
                    Ok(Entered::New)
                }
                Entry::Claimed { .. } => Err(Refusal::Unclaimed),
            },
            hash_map::Entry::Vacant(_) if may != May::Open => Err(Refusal::Unclaimed),
            hash_map::Entry::Vacant(_) if self.is_draining() => Err(Refusal::Draining),
            hash_map::Entry::Vacant(entry) => {
                self.grow()?;
                entry.insert(Entry::Open { place: place(), credentials: opens });
                Ok(Entered::New)
            }
        }
    }

    /// What is known of a session; if that is nothing and `claims`, it is claimed.
    pub(super) fn look(&self, key: Key, claims: bool) -> Result<Known, Refusal> {
        match self.section(key).entry(key) {
            hash_map::Entry::Occupied(mut entry) => match entry.get_mut() {
                Entry::Open { .. } => Ok(Known::Here),
                Entry::Claimed { waiting, .. } => {
                    let (told, hears) = oneshot::channel();
                    waiting.retain(|waiting| !waiting.is_closed());
                    waiting.push(told);
                    Ok(Known::Wait(hears))
                }
            },
            hash_map::Entry::Vacant(_) if !claims => Ok(Known::Unknown),
            hash_map::Entry::Vacant(entry) => {
                self.grow()?;
                let claim = Claim(self.claims.fetch_add(1, Ordering::Relaxed));
                entry.insert(Entry::Claimed { claim, waiting: Vec::new() });
                Ok(Known::Claimed(claim))
            }
        }
    }

    /// Whether a claim still stands, and nothing came of it.
    pub(super) fn is_claimed(&self, key: Key, by: Claim) -> bool {
        self.section(key).get(&key).is_some_and(|entry| entry.is_claimed(by))
    }

    /// Gives a claim up, and says where the session is, if it is known, to who waits for that.
    pub(super) fn give_up(&self, key: Key, by: Claim, remote: Option<&Remote>) {
        let mut section = self.section(key);
        let hash_map::Entry::Occupied(entry) = section.entry(key) else { return };
        if !entry.get().is_claimed(by) {
            return;
        }
        let entry = entry.remove();
        self.shrink(&mut section);
        drop(section);
        if let (Entry::Claimed { waiting, .. }, Some(remote)) = (entry, remote) {
            for waiting in waiting {
                // It may have gone.
                let _ = waiting.send(remote.clone());
            }
        }
    }

    /// Forgets a session.
    pub(super) fn leave(&self, key: Key, place: Place) {
        let mut section = self.section(key);
        if section
            .get(&key)
            .is_some_and(|entry| matches!(entry, Entry::Open { place: at, .. } if *at == place))
        {
            section.remove(&key);
            self.shrink(&mut section);
        }
    }

    /// One more.
    fn grow(&self) -> Result<(), Refusal> {
        let grown = |len: usize| (len < self.max).then_some(len + 1);
        match self.len.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown) {
            Ok(_) => Ok(()),
            Err(_) => Err(Refusal::Full),
        }
    }

    /// One less.
    fn shrink(&self, section: &mut HashMap<Key, Entry>) {
        self.len.fetch_sub(1, Ordering::Relaxed);
        // A rush that is over gives its memory back.
        if section.capacity() > 4 * section.len() + 64 {
            section.shrink_to_fit();
        }
    }

    fn section(&self, key: Key) -> MutexGuard<'_, HashMap<Key, Entry>> {
        lock(&self.sections[key.0 as usize % SECTIONS])
    }
}

impl Entry {
    fn is_claimed(&self, by: Claim) -> bool {
        matches!(self, Entry::Claimed { claim, .. } if *claim == by)
    }
}

impl Credentials {
    /// The place of a session that was opened with these, for a request that comes with `asks`.
    fn place(&self, place: Place, asks: &Credentials) -> Result<Place, Refusal> {
        if self.admit(asks) { Ok(place) } else { Err(Refusal::Stranger) }
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
        assert_eq!(table.enter(a, none.clone(), May::Open, || place(1)), Ok(Entered::New));
        assert_eq!(table.enter(a, none.clone(), May::Open, || place(2)), Ok(Entered::Found(place(1))));
        assert_eq!(table.enter(b, none.clone(), May::Open, || place(3)), Ok(Entered::New));
        assert_eq!(table.enter(c, none.clone(), May::Open, || place(4)), Err(Refusal::Full));
        table.leave(a, place(9));
        assert_eq!((table.find(a, none), table.len()), (Ok(Some(place(1))), 2), "another of that id went");
        table.leave(a, place(1));
        assert_eq!((table.find(a, none), table.len()), (Ok(None), 1));
        assert_eq!(table.enter(c, none.clone(), May::Open, || place(4)), Ok(Entered::New));
        table.leave(b, place(3));
        table.drain();
        assert_eq!(table.enter(b, none.clone(), May::Open, || place(5)), Err(Refusal::Draining));
        let again = table.enter(c, none.clone(), May::Open, || place(5));
        assert_eq!(again, Ok(Entered::Found(place(4))), "it goes on");
    }

    #[test]
    fn only_who_claimed_a_session_opens_it() {
        let table = Table::new(1);
        let (a, b) = (table.key("a"), table.key("b"));
        let opens = Credentials::default();
        let enter = |may| table.enter(a, opens.clone(), may, || place(1));
        assert!(matches!(table.look(a, false), Ok(Known::Unknown)));
        assert_eq!(enter(May::OpenClaimed(None)), Err(Refusal::Unclaimed));
        let Ok(Known::Claimed(first)) = table.look(a, true) else { panic!("not claimed") };
        assert!(matches!(table.look(b, true), Err(Refusal::Full)), "claims count as sessions");
        let Ok(Known::Wait(mut waits)) = table.look(a, true) else { panic!("claimed twice") };
        assert_eq!(enter(May::OpenClaimed(None)), Err(Refusal::Unclaimed));
        assert_eq!((table.find(a, &opens), table.place(a)), (Ok(None), None));
        table.give_up(a, first, None);
        assert!(waits.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        assert_eq!((table.len(), table.is_claimed(a, first)), (0, false));

        let Ok(Known::Claimed(second)) = table.look(a, true) else { panic!("not claimed") };
        assert_eq!(enter(May::OpenClaimed(Some(first))), Err(Refusal::Unclaimed), "another's claim");
        table.give_up(a, first, None);
        assert!(table.is_claimed(a, second));
        assert_eq!(enter(May::OpenClaimed(Some(second))), Ok(Entered::New));
        table.give_up(a, second, None);
        assert!(matches!(table.look(a, true), Ok(Known::Here)), "what was opened stays");
        table.leave(a, place(1));
        assert_eq!(table.len(), 0);
    }
}
