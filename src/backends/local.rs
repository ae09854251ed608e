//! The backend of a node that is alone: a message is given back at once, and the log is in its memory.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::broker::{Backend, Forwarded, Log, LogIdentity, Message};

/// One node, embedded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Local;

impl Backend for Local {
    fn forward(&self, message: Message) -> Forwarded {
        Forwarded { message: Some(message), confirmed: None }
    }
}

/// A log that is begun anew whenever its node starts.
#[derive(Debug)]
pub struct MemoryLog {
    identity: LogIdentity,
    last: AtomicU64,
}

impl MemoryLog {
    /// A log of the installation of this name. `epoch` must differ from that of any other start.
    pub fn new(installation: &str, epoch: u32) -> MemoryLog {
        let installation = wyhash::wyhash(installation.as_bytes(), 0) as u32;
        MemoryLog { identity: LogIdentity { installation, epoch }, last: AtomicU64::new(0) }
    }
}

impl Log for MemoryLog {
    fn identity(&self) -> LogIdentity {
        self.identity
    }

    fn append(&self, _: &Message) -> Option<u64> {
        Some(self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
