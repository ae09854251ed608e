//! The key of a session: what a door, a mailbox and a timer know it by.

use std::fmt;

/// One session of one hub. The generation tells it from others that had, or will have, its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.index, self.generation)
    }
}
