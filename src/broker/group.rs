//! Groups: subscriptions that get the same octets.
//!
//! Owns the frames that are pending for a whole group: encoded once, laid one behind the other, and written
//! from there to every member that keeps up. A member that lags takes its share as slices of the same memory.

use bytes::{Bytes, BytesMut};

use super::destination::Filter;
use super::encoder::{Encoder, Subscription};
use super::key::SessionKey;
use super::message::Message;
use super::selector::Selector;

/// What makes two subscriptions the same to the encoder, and so members of one group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct GroupKey {
    pub(super) filter: Filter,
    pub(super) encoder: u16,
    pub(super) subscription: Subscription,
    pub(super) selector: Option<Selector>,
}

/// The subscriptions that get the same octets.
pub(super) struct Group {
    pub(super) key: GroupKey,
    encoder: &'static dyn Encoder,
    /// The number of its selector, by which the hub knows what that says of a message.
    pub(super) selector: Option<u32>,
    pub(super) members: Vec<SessionKey>,
    pending: Pending,
}

/// Frames encoded but not written, until the end of the worker's turn.
#[derive(Default)]
enum Pending {
    #[default]
    Nothing,
    /// Frames are being added.
    Open(BytesMut, Vec<Mark>),
    /// Frames are being written.
    Closed(Bytes, Vec<Mark>),
}

/// Where a frame ends, and its place in the worker's sequence.
#[derive(Debug, Clone, Copy)]
struct Mark {
    sequence: u64,
    end: usize,
}

/// The memory of groups that are done with it, for those that need some: a group at rest has none.
#[derive(Default)]
pub(super) struct Spare(Vec<(BytesMut, Vec<Mark>)>);

impl Spare {
    /// Buffers that a worker keeps.
    const MOST: usize = 8;
    /// A buffer that grew beyond this is given back to the allocator.
    const LARGEST: usize = 256 * 1024;

    fn take(&mut self) -> (BytesMut, Vec<Mark>) {
        self.0.pop().unwrap_or_default()
    }

    fn give(&mut self, octets: Bytes, marks: Vec<Mark>) {
        // A laggard may hold slices of it; then it is gone with the last of them.
        if let Ok(octets) = octets.try_into_mut() {
            self.put(octets, marks);
        }
    }

    fn put(&mut self, mut octets: BytesMut, mut marks: Vec<Mark>) {
        if octets.capacity() <= Self::LARGEST && self.0.len() < Self::MOST {
            octets.clear();
            marks.clear();
            self.0.push((octets, marks));
        }
    }
}

impl Group {
    pub(super) fn new(key: GroupKey, encoder: &'static dyn Encoder, selector: Option<u32>) -> Group {
        Group { key, encoder, selector, members: Vec::new(), pending: Pending::Nothing }
    }

    /// Encodes `message` for all members; says whether it is the first that is pending.
    pub(super) fn encode(&mut self, message: &Message, sequence: u64, spare: &mut Spare) -> Encoded {
        let first = !matches!(self.pending, Pending::Open(..));
        if first {
            let (octets, marks) = spare.take();
            self.pending = Pending::Open(octets, marks);
        }
        let Pending::Open(octets, marks) = &mut self.pending else {
            return Encoded { first, octets: 0 };
        };
        let before = octets.len();
        self.encoder.message(message, &self.key.subscription, octets);
        marks.push(Mark { sequence, end: octets.len() });
        Encoded { first, octets: octets.len() - before }
    }

    /// Whether frames wait to be written.
    pub(super) fn is_pending(&self) -> bool {
        !matches!(self.pending, Pending::Nothing)
    }

    /// No more frames are added until [`Group::clear`].
    pub(super) fn close(&mut self, spare: &mut Spare) {
        if let Pending::Open(octets, marks) = std::mem::take(&mut self.pending) {
            // A laggard's slice keeps the whole buffer: a large one must not be kept for a few octets.
            let octets = if octets.len() < octets.capacity() / 4 {
                let copy = Bytes::copy_from_slice(&octets);
                spare.put(octets, Vec::new());
                copy
            } else {
                octets.freeze()
            };
            self.pending = Pending::Closed(octets, marks);
        }
    }

    /// Everything pending was written or taken.
    pub(super) fn clear(&mut self, spare: &mut Spare) {
        if let Pending::Closed(octets, marks) = std::mem::take(&mut self.pending) {
            spare.give(octets, marks);
        }
    }

    /// The pending frames from `seen` on, if the group was closed and has such.
    pub(super) fn since(&self, seen: u64) -> Option<Share<'_>> {
        let Pending::Closed(octets, marks) = &self.pending else {
            return None;
        };
        let first = marks.partition_point(|mark| mark.sequence < seen);
        let start = first.checked_sub(1).map_or(0, |before| marks[before].end);
        (first < marks.len()).then_some(Share { octets, start, marks: &marks[first..] })
    }

    /// Copies of the pending frames from `seen` on, while frames are still being added.
    pub(super) fn copies_since(&self, seen: u64) -> Vec<(u64, Bytes)> {
        let Pending::Open(octets, marks) = &self.pending else {
            return Vec::new();
        };
        let first = marks.partition_point(|mark| mark.sequence < seen);
        let mut start = first.checked_sub(1).map_or(0, |before| marks[before].end);
        let copy = |mark: &Mark| {
            let frame = Bytes::copy_from_slice(&octets[start..mark.end]);
            start = mark.end;
            (mark.sequence, frame)
        };
        marks[first..].iter().map(copy).collect()
    }
}

/// What became of a message in a group.
pub(super) struct Encoded {
    /// Nothing was pending before.
    pub(super) first: bool,
    /// The octets of the frame.
    pub(super) octets: usize,
}

/// One member's share of what is pending in its group.
#[derive(Clone, Copy)]
pub(super) struct Share<'g> {
    octets: &'g Bytes,
    start: usize,
    marks: &'g [Mark],
}

impl Share<'_> {
    /// All of it, in one piece.
    pub(super) fn octets(&self) -> &[u8] {
        &self.octets[self.start..]
    }

    /// How many frames it has.
    pub(super) fn len(&self) -> usize {
        self.marks.len()
    }

    /// Its frames with their sequence numbers, sharing the group's memory.
    pub(super) fn frames(&self) -> impl Iterator<Item = (u64, Bytes)> {
        let mut start = self.start;
        self.marks.iter().map(move |mark| {
            let frame = self.octets.slice(start..mark.end);
            start = mark.end;
            (mark.sequence, frame)
        })
    }
}
