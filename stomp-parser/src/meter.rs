//! Counts the octets that decoding looks at or copies, so that tests can tell linear work without a
//! clock.
//!
//! Outside of this crate's unit tests it is nothing at all.

#[cfg(test)]
thread_local! {
    static OCTETS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Notes that this many octets were looked at or copied.
#[inline]
pub(crate) fn count(octets: usize) {
    #[cfg(test)]
    OCTETS.with(|count| count.set(count.get() + octets));
    #[cfg(not(test))]
    let _ = octets;
}

/// Octets noted on this thread while `work` ran.
#[cfg(test)]
pub(crate) fn during(work: impl FnOnce()) -> usize {
    let before = OCTETS.with(std::cell::Cell::get);
    work();
    OCTETS.with(std::cell::Cell::get) - before
}
