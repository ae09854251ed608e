//! How a node is: what load balancers ask before they send it clients.
//!
//! Owns how far the node's life has come, and the conditions that make it worse than well. Who notices a condition
//! sets it and clears it, under a name of its own. Reasons are shown to whoever asks: no secrets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Metrics;
use super::metrics::StatusLabel;

/// What a node says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It does not have all yet that it is to serve.
    Starting,
    /// It serves.
    Ok,
    /// It serves, but not all of it.
    Degraded,
    /// It takes no new sessions, and tells those that it has to go.
    Draining,
}

impl Status {
    const ALL: [Status; 4] = [Status::Starting, Status::Ok, Status::Degraded, Status::Draining];

    /// A short and stable label.
    pub fn label(self) -> &'static str {
        match self {
            Status::Starting => "starting",
            Status::Ok => "ok",
            Status::Degraded => "degraded",
            Status::Draining => "draining",
        }
    }

    /// Whether new clients are to be sent here.
    pub fn is_serving(self) -> bool {
        matches!(self, Status::Ok | Status::Degraded)
    }
}

/// How far a node's life has come. There is no way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Starting,
    Ready,
    Draining,
}

/// How one node is. Shared by all who know something of it.
#[derive(Debug)]
pub struct Health {
    state: Mutex<State>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Why it is degraded, by condition.
    reasons: BTreeMap<&'static str, String>,
}

impl Health {
    /// That of a node that starts.
    pub fn new(metrics: Arc<Metrics>) -> Health {
        let state = State { phase: Phase::Starting, reasons: BTreeMap::new() };
        let health = Health { state: Mutex::new(state), metrics };
        health.change(|_| {});
        health
    }

    /// The node has what it is to serve. One that drains goes on draining.
    pub fn ready(&self) {
        self.change(|state| state.phase = state.phase.max(Phase::Ready));
    }

    /// The node takes no new sessions any more.
    pub fn drain(&self) {
        self.change(|state| state.phase = Phase::Draining);
    }

    /// Sets the reason why the node is degraded by this condition, or clears it. Says whether there was none before.
    pub fn set(&self, condition: &'static str, reason: Option<String>) -> bool {
        let mut before = None;
        self.change(|state| {
            before = match reason {
                Some(reason) => state.reasons.insert(condition, reason),
                None => state.reasons.remove(condition),
            }
        });
        before.is_none()
    }

    /// How the node is now.
    pub fn status(&self) -> Status {
        self.state().status()
    }

    /// The same with the reasons why it is degraded; else there are none.
    pub fn report(&self) -> (Status, Vec<String>) {
        let state = self.state();
        match state.status() {
            Status::Degraded => (Status::Degraded, state.reasons.values().cloned().collect()),
            status => (status, Vec::new()),
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let now = state.status();
        for status in Status::ALL {
            let label = StatusLabel { status: status.label() };
            self.metrics.health.get_or_create(&label).set(i64::from(status == now));
        }
    }

    /// Nothing panics while it holds this lock; if it did, what it guards would still be whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn status(&self) -> Status {
        match self.phase {
            Phase::Starting => Status::Starting,
            Phase::Ready if self.reasons.is_empty() => Status::Ok,
            Phase::Ready => Status::Degraded,
            Phase::Draining => Status::Draining,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_serves_and_drains() {
        let health = Health::new(Arc::new(Metrics::new()));
        health.set("one", Some("one is away".to_owned()));
        assert_eq!(health.report(), (Status::Starting, vec![]));
        health.ready();
        assert_eq!(health.report(), (Status::Degraded, vec!["one is away".to_owned()]));
        health.set("two", Some("two is away".to_owned()));
        health.set("one", Some("one is away again".to_owned()));
        assert_eq!(health.report().1, ["one is away again", "two is away"]);
        health.set("one", None);
        health.set("two", None);
        assert_eq!(health.report(), (Status::Ok, vec![]));
        health.drain();
        health.ready();
        assert_eq!(health.status(), Status::Draining, "who was ready late does not undo it");
    }

    #[test]
    fn the_metric_shows_one_status() {
        let metrics = Arc::new(Metrics::new());
        let health = Health::new(metrics.clone());
        let shown = |metrics: &Metrics| {
            let text = metrics.render();
            let lines =
                text.lines().filter(|line| line.starts_with("stentor_health{") && line.ends_with(" 1"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(shown(&metrics), ["stentor_health{status=\"starting\"} 1"]);
        health.ready();
        assert_eq!(shown(&metrics), ["stentor_health{status=\"ok\"} 1"]);
    }
}
