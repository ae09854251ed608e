//! The count of connections taken out of HTTP servers, which these do not count any more.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

thread_local! {
    static ON_THIS_WORKER: Cell<usize> = const { Cell::new(0) };
}

/// Counts the connections taken out of the HTTP servers it is [given to](super::Http::connections),
/// over all workers, and keeps them below a bound. Clones count together.
///
/// ```
/// let connections = sockjs::server::Connections::at_most(20_000);
/// assert_eq!(connections.total(), 0);
/// ```
#[derive(Debug, Clone)]
pub struct Connections(Arc<Count>);

#[derive(Debug)]
struct Count {
    total: AtomicUsize,
    max: usize,
}

impl Connections {
    /// Counts without a bound.
    pub fn unbounded() -> Self {
        Connections::at_most(usize::MAX)
    }

    /// Counts up to `max`. A WebSocket beyond it is refused with 503 before its session begins.
    pub fn at_most(max: usize) -> Self {
        Connections(Arc::new(Count { total: AtomicUsize::new(0), max }))
    }

    /// Connections taken and not yet closed, on all workers.
    pub fn total(&self) -> usize {
        self.0.total.load(Ordering::Relaxed)
    }

    /// The bound; `usize::MAX` if there is none.
    pub fn max(&self) -> usize {
        self.0.max
    }

    /// Connections taken and not yet closed on the worker that asks, by all servers of the process.
    pub fn on_this_worker() -> usize {
        ON_THIS_WORKER.try_with(Cell::get).unwrap_or(0)
    }

    /// Counts one more, unless that would be one too many.
    pub(crate) fn enter(&self) -> Option<Counted> {
        self.0
            .total
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < self.0.max).then_some(n + 1))
            .ok()?;
        ON_THIS_WORKER.with(|n| n.set(n.get() + 1));
        Some(Counted(Arc::clone(&self.0)))
    }
}

impl Default for Connections {
    fn default() -> Self {
        Connections::unbounded()
    }
}

/// One connection's place in the counts; dropped on the worker that it was made on.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Count>);

impl Counted {
    /// The count that this place is in.
    pub(crate) fn connections(&self) -> Connections {
        Connections(Arc::clone(&self.0))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.total.fetch_sub(1, Ordering::Relaxed);
        // When a worker ends, the counter of its thread may be gone before its last connections.
        let _ = ON_THIS_WORKER.try_with(|n| n.set(n.get() - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_on_the_worker_and_over_all() {
        let connections = Connections::at_most(2);
        let first = connections.enter();
        let other = Connections::unbounded();
        let elsewhere = other.enter();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(Connections::on_this_worker(), 0);
                let second = connections.enter();
                assert_eq!((connections.total(), Connections::on_this_worker()), (2, 1));
                assert!(connections.enter().is_none(), "one too many");
                drop(second);
                assert_eq!((connections.total(), Connections::on_this_worker()), (1, 0));
            });
        });
        assert_eq!((connections.total(), other.total()), (1, 1));
        assert_eq!(Connections::on_this_worker(), 2);
        drop((first, elsewhere));
        assert_eq!((connections.total(), other.total()), (0, 0));
        assert_eq!(Connections::on_this_worker(), 0);
    }
}
