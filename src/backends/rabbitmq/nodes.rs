//! What nodes tell each other, once a second and when they are asked: who is there, and what its clients want.
//!
//! Owns the view of the other nodes, and the questions that are open: a node asks all others for the last values of what its
//! clients want, and goes on when each of them that is heard of has answered.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

/// How often a node says that it is there.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// A node that was silent for so long is gone.
const GONE: Duration = Duration::from_secs(4);

/// How long an answer may take.
const ANSWER: Duration = Duration::from_millis(400);

/// How long all of them may take.
const ANSWERS: Duration = Duration::from_secs(20);

/// What a node says to all others.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
pub(super) enum Note {
    /// It is there.
    Here(Here),
    /// It goes.
    Gone { incarnation: u32 },
    /// What are the last values of this?
    Ask { incarnation: u32, question: u64, queue: String, filters: Vec<String> },
}

/// A node, as it says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Here {
    /// Its name.
    pub(crate) node: String,
    /// Another at every start.
    pub(crate) incarnation: u32,
    /// Its program's version.
    pub(crate) version: String,
    /// Open connections of clients.
    pub(crate) connections: i64,
    /// When it started, in milliseconds since 1970.
    pub(crate) since: u64,
    /// How it is, as its `/health` says.
    pub(crate) status: String,
    /// Where it is answered.
    pub(crate) queue: String,
    /// The topics that it fills itself, on demand.
    pub(crate) feeds: Vec<String>,
    /// Those of other nodes that its clients want.
    pub(crate) wants: Vec<String>,
    /// What its channels' kinds are, as a number.
    pub(crate) kinds: u64,
}

/// The other nodes.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    others: HashMap<u32, (Here, Instant)>,
    questions: HashMap<u64, Question>,
    last: u64,
    /// When the last answer came.
    answers: Option<Instant>,
}

#[derive(Debug)]
struct Question {
    of: HashSet<u32>,
    tell: oneshot::Sender<()>,
}

impl Nodes {
    /// A node said that it is there. Says whether it is news, or has connected anew: then it is answered elsewhere.
    pub(super) fn heard(&self, here: Here) -> bool {
        let mut state = self.lock();
        let queue = here.queue.clone();
        let before = state.others.insert(here.incarnation, (here, Instant::now()));
        before.is_none_or(|(before, _)| before.queue != queue)
    }

    /// A node said that it goes.
    pub(super) fn left(&self, incarnation: u32) {
        let mut state = self.lock();
        state.others.remove(&incarnation);
        for question in state.questions.values_mut() {
            question.of.remove(&incarnation);
        }
        state.tell_answered();
    }

    /// Forgets nodes that were silent. While nothing can be heard, time stands still for them.
    pub(super) fn expire(&self, can_hear: bool) {
        let mut state = self.lock();
        let now = Instant::now();
        if can_hear {
            state.others.retain(|_, (_, heard)| now.duration_since(*heard) < GONE);
        } else {
            for (_, heard) in state.others.values_mut() {
                *heard = now;
            }
        }
    }

    /// The other nodes that are heard of.
    pub(super) fn others(&self) -> Vec<Here> {
        self.lock().others.values().map(|(here, _)| here.clone()).collect()
    }

    /// Whether another node's clients want this topic.
    pub(super) fn wants(&self, topic: &str) -> bool {
        self.lock().others.values().any(|(here, _)| here.wants.iter().any(|want| want == topic))
    }

    /// The topics that others fill on demand.
    pub(super) fn feeds(&self) -> Vec<String> {
        self.lock().others.values().flat_map(|(here, _)| here.feeds.iter().cloned()).collect()
    }

    /// Opens a question to all others: its number, and what is ready when they have answered, or had time to. `None` if there
    /// are none.
    pub(super) fn ask(&self) -> Option<(u64, impl Future<Output = ()>)> {
        let mut state = self.lock();
        if state.others.is_empty() {
            return None;
        }
        state.last += 1;
        let number = state.last;
        let (tell, hear) = oneshot::channel();
        let of = state.others.keys().copied().collect();
        state.questions.insert(number, Question { of, tell });
        Some((number, async move {
            let asked = Instant::now();
            let mut hear = hear;
            // As long as answers keep coming.
            while timeout(ANSWER, &mut hear).await.is_err() {
                let last = self.lock().answers;
                let goes_on = last.is_some_and(|last| last.elapsed() < ANSWER);
                if !goes_on || asked.elapsed() > ANSWERS {
                    break;
                }
            }
            self.lock().questions.remove(&number);
        }))
    }

    /// Part of an answer came.
    pub(super) fn goes_on(&self) {
        self.lock().answers = Some(Instant::now());
    }

    /// A node has answered all there is to a question.
    pub(super) fn answered(&self, question: u64, incarnation: u32) {
        let mut state = self.lock();
        if let Some(question) = state.questions.get_mut(&question) {
            question.of.remove(&incarnation);
        }
        state.tell_answered();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn tell_answered(&mut self) {
        let done: Vec<u64> =
            self.questions.iter().filter(|(_, one)| one.of.is_empty()).map(|(number, _)| *number).collect();
        for question in done.into_iter().filter_map(|number| self.questions.remove(&number)) {
            let _ = question.tell.send(());
        }
    }
}
