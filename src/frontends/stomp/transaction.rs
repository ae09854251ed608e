//! Transactions: what a client sends and acknowledges between BEGIN and COMMIT, kept until then.
//!
//! Owns what is kept, and its bounds. Nothing of it is visible to anybody before the session works it off.

use std::collections::HashMap;

use bytestring::ByteString;

use super::acknowledge::Acknowledgement;
use super::incomplete::Share;
use super::refusal::Refusal;
use crate::broker::{Message, excerpt};

/// One frame of a transaction.
#[derive(Debug)]
pub(super) enum Step {
    /// A SEND; a copy, so that it does not keep read buffers in memory.
    Send(Message),
    /// An ACK or a NACK.
    Settle(Acknowledgement),
}

/// Bounds of one session's transactions.
#[derive(Debug, Clone, Copy)]
pub struct TransactionLimits {
    /// Transactions that are open at one time.
    pub open: usize,
    /// Frames in all of them.
    pub frames: usize,
    /// Octets in all of them.
    pub bytes: usize,
}

/// The transactions of one session.
#[derive(Debug)]
pub(super) struct Transactions {
    open: HashMap<ByteString, Vec<Step>>,
    frames: usize,
    octets: usize,
    /// What they take of the node's memory for what is not complete.
    held: Share,
}

impl Transactions {
    pub(super) fn new(held: Share) -> Transactions {
        Transactions { open: HashMap::new(), frames: 0, octets: 0, held }
    }

    pub(super) fn begin(&mut self, name: &ByteString, limits: TransactionLimits) -> Result<(), Refusal> {
        if self.open.contains_key(name) {
            return Err(Refusal::new(
                "transaction_in_use",
                "transaction in use",
                format!("The transaction {} was begun already.", excerpt(name)),
            ));
        }
        if self.open.len() >= limits.open {
            return Err(too_large(format!("A connection may have {} transactions at a time.", limits.open)));
        }
        self.open.insert(ByteString::from(&**name), Vec::new());
        Ok(())
    }

    pub(super) fn add(&mut self, name: &str, step: Step, limits: TransactionLimits) -> Result<(), Refusal> {
        let steps = self.open.get_mut(name).ok_or_else(|| unknown(name))?;
        self.frames += 1;
        self.octets += step.octets();
        if self.frames > limits.frames || self.octets > limits.bytes {
            return Err(too_large(format!(
                "The transactions of a connection may have {} frames and {} octets.",
                limits.frames, limits.bytes
            )));
        }
        self.held.set(self.octets)?;
        steps.push(step);
        Ok(())
    }

    /// Ends a transaction, and gives what is in it.
    pub(super) fn end(&mut self, name: &str) -> Result<Vec<Step>, Refusal> {
        let steps = self.open.remove(name).ok_or_else(|| unknown(name))?;
        self.frames -= steps.len();
        self.octets -= steps.iter().map(Step::octets).sum::<usize>();
        self.held.set(self.octets)?;
        Ok(steps)
    }
}

impl Step {
    fn octets(&self) -> usize {
        match self {
            Step::Send(message) => message.octets(),
            Step::Settle(acknowledgement) => acknowledgement.octets(),
        }
    }
}

fn unknown(name: &str) -> Refusal {
    Refusal::new(
        "unknown_transaction",
        "unknown transaction",
        format!("There is no transaction {}: it was not begun, or it has ended.", excerpt(name)),
    )
}

fn too_large(detail: String) -> Refusal {
    Refusal::new("transaction_too_large", "transaction too large", detail)
}
