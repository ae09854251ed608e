//! The topics of a run, and the messages that are sent to them.

use bytes::BytesMut;

use super::stamp::{Stamp, WIDTH};
use crate::client::{Carrier, encode_text};

/// The smallest body: nothing but the stamp.
pub(super) const SMALLEST: usize = WIDTH;

/// A topic of this run alone.
#[derive(Debug, Clone)]
pub(super) struct Topic {
    number: u32,
    pub(super) destination: String,
    /// A SEND up to where the stamp stands.
    head: String,
}

impl Topic {
    /// Topics with a name that no other run has; bodies are of `size` octets.
    pub(super) fn several(count: u32, size: usize) -> Vec<Topic> {
        let run = getrandom::u32().unwrap_or_default();
        (0..count).map(|number| Topic::new(run, number, size)).collect()
    }

    fn new(run: u32, number: u32, size: usize) -> Topic {
        let destination = format!("/topic/bench-{run:08x}-{number}");
        let padding = "x".repeat(size.saturating_sub(WIDTH));
        Topic { number, head: format!("SEND\ndestination:{destination}\n\n{padding}"), destination }
    }

    /// Appends the frame of a message, complete on the wire.
    pub(super) fn put(&self, number: u64, due: u64, carrier: Carrier, out: &mut BytesMut) {
        let stamp = Stamp { topic: self.number, number, due };
        let frame = [&self.head, &*stamp.text(), "\0"].concat();
        // Any key will do, but zeros would spare the server the unmasking.
        let key = 0x5bd1_e995u32.wrapping_mul(number as u32 | 1);
        encode_text(carrier, &frame, key, out);
    }
}
