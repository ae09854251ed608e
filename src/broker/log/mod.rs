//! The log of all events channels: one order, and how much of it is kept.
//!
//! Owns the numbers that cursors are made of and the history behind them. Appending, and handing to the mailboxes, are one
//! section of `channel.rs`; how a replay reaches its subscriber is the hub's (`hub/replaying.rs`).
//!
//! One log for all channels makes a cursor one number, and a replay of many channels a walk in the order in which things
//! happened. A node that is alone counts; where several are one broker, the numbers are those of the log that all of them
//! read, and come with the messages.

mod cursor;
mod history;
#[cfg(test)]
mod tests;

pub use self::cursor::{Cursor, LogIdentity};
pub(super) use self::history::{History, Read, Reading, Start};

/// Why a subscription may miss something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gap {
    /// History no longer reaches back as far as the cursor.
    Trimmed,
    /// The log that the cursor is of was begun anew.
    Lost,
    /// The cursor says nothing here.
    Unknown,
}

impl Gap {
    /// As `gap-reason` says it.
    pub fn label(self) -> &'static str {
        match self {
            Gap::Trimmed => "trimmed",
            Gap::Lost => "lost",
            Gap::Unknown => "unknown",
        }
    }
}
