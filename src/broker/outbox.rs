//! The outbox: a session's own queue of ready frames.
//!
//! Owns its bounds and the frame under way. Empty (and without memory of its own) while the client keeps up;
//! what is pending for such clients stands in the groups.
//!
//! The newest value of a snapshot channel waits here under its channel: a newer one takes its place. Neither such values
//! nor what is replayed from history counts toward the bounds.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use rustc_hash::FxHashMap;

use super::message::{ChannelKey, Message};

/// How much an outbox holds. Whichever comes first fills it.
#[derive(Debug, Clone, Copy)]
pub struct OutboxLimits {
    /// Frames.
    pub messages: usize,
    /// Octets of all frames.
    pub bytes: usize,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        OutboxLimits { messages: 256, bytes: 1024 * 1024 }
    }
}

/// What a waiting value takes in memory: its octets are shared by all who wait for them.
const VALUE: usize = 128;

/// The outbox is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// What a frame that waits is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// One of many.
    Usual,
    /// One of an events channel: the group, and the number of the one that this group had before.
    Event { group: u32, previous: u64 },
    /// The same, read from history: it does not count.
    Replayed { group: u32, previous: u64 },
    /// What is handed out by a SUBSCRIBE, or its end is on the way: it does not count.
    Free,
    /// The newest value of a channel for a group.
    Value { group: u32, channel: ChannelKey },
}

impl Class {
    fn counts(self) -> bool {
        matches!(self, Class::Usual | Class::Event { .. })
    }
}

/// What waits: a frame, or a value whose frame is made when its turn comes.
#[derive(Debug, Clone)]
pub(super) enum Waiting {
    /// Octets.
    Ready(Bytes),
    /// The whole value, `retained` if it is handed out by a SUBSCRIBE.
    Whole { message: Arc<Message>, retained: bool },
}

#[derive(Debug)]
struct Entry {
    waiting: Waiting,
    class: Class,
}

impl Entry {
    fn octets(&self) -> usize {
        match &self.waiting {
            Waiting::Ready(frame) => frame.len(),
            Waiting::Whole { .. } => 0,
        }
    }
}

/// Frames that wait for their socket, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    entries: VecDeque<Entry>,
    /// How many entries ever left at the front, so that the place of each has a lasting number.
    left: u64,
    /// The places of waiting values.
    values: FxHashMap<(u32, ChannelKey), u64>,
    /// Entries that count, and their octets.
    counted: usize,
    bytes: usize,
    /// Octets of all that is held for this session alone.
    held: usize,
    /// Part of the first frame is on the wire already.
    begun: bool,
}

impl Outbox {
    /// Puts a frame behind the others. An empty outbox takes any one frame.
    ///
    /// # Errors
    /// [`Full`] if a limit would be passed; the frame is dropped.
    pub(super) fn push(&mut self, frame: Bytes, class: Class, limits: OutboxLimits) -> Result<(), Full> {
        let full = self.counted >= limits.messages || self.bytes + frame.len() > limits.bytes;
        if class.counts() && full && self.counted > 0 {
            return Err(Full);
        }
        self.force(frame, class);
        Ok(())
    }

    /// Puts a frame behind the others without regard to limits.
    pub(super) fn force(&mut self, frame: Bytes, class: Class) {
        if class.counts() {
            self.counted += 1;
            self.bytes += frame.len();
        }
        if !matches!(class, Class::Value { .. }) {
            self.held += frame.len();
        }
        self.entries.push_back(Entry { waiting: Waiting::Ready(frame), class });
    }

    /// Puts what is left of a frame whose first part is on the wire into an empty outbox.
    pub(super) fn force_rest(&mut self, rest: Bytes, class: Class) {
        debug_assert!(self.is_empty());
        self.begun = true;
        let class = if matches!(class, Class::Value { .. }) { Class::Free } else { class };
        self.force(rest, class);
    }

    /// Puts the newest value of a channel in the place of an older one, or behind all else if none waits. `newer` stands in
    /// for it where it is not the first. Says whether an older one was skipped.
    pub(super) fn put_value(
        &mut self,
        group: u32,
        channel: ChannelKey,
        first: Waiting,
        newer: impl FnOnce(Waiting) -> Waiting,
    ) -> bool {
        if let Some(place) = self.values.get(&(group, channel)) {
            if let Some(entry) = self.entries.get_mut((place - self.left) as usize) {
                entry.waiting = newer(first);
            }
            return true;
        }
        self.values.insert((group, channel), self.left + self.entries.len() as u64);
        self.entries.push_back(Entry { waiting: first, class: Class::Value { group, channel } });
        false
    }

    /// Something goes behind the value of a channel that waits: a newer one must not overtake it.
    pub(super) fn seal(
        &mut self,
        group: u32,
        channel: ChannelKey,
        make: impl FnOnce(&Arc<Message>, bool) -> Bytes,
    ) {
        let Some(place) = self.values.remove(&(group, channel)) else { return };
        let Some(entry) = self.entries.get_mut((place - self.left) as usize) else { return };
        if let Waiting::Whole { message, retained } = &entry.waiting {
            entry.waiting = Waiting::Ready(make(message, *retained));
        }
        entry.class = Class::Free;
        self.held += entry.octets();
    }

    /// Whether a value of this channel waits for a group.
    pub(super) fn has_value(&self, group: u32, channel: ChannelKey) -> bool {
        !self.values.is_empty() && self.values.contains_key(&(group, channel))
    }

    /// A session leaves a group: values that wait for it are dropped, and nothing that waits is the group's any more.
    pub(super) fn leave(&mut self, group: u32) {
        // One that is under way is no value any more.
        self.entries.retain(|entry| !matches!(entry.class, Class::Value { group: of, .. } if of == group));
        self.reclass(|class| match class {
            Class::Event { group: of, .. } if of == group => Class::Usual,
            Class::Replayed { group: of, .. } if of == group => Class::Free,
            other => other,
        });
    }

    /// A session's subscription goes over from one group to another.
    pub(super) fn go_over(&mut self, from: u32, to: u32) {
        let new = |group| if group == from { to } else { group };
        self.reclass(|class| match class {
            Class::Event { group, previous } => Class::Event { group: new(group), previous },
            Class::Replayed { group, previous } => Class::Replayed { group: new(group), previous },
            Class::Value { group, channel } => Class::Value { group: new(group), channel },
            other => other,
        });
    }

    fn reclass(&mut self, change: impl Fn(Class) -> Class) {
        self.values.clear();
        for (at, entry) in self.entries.iter_mut().enumerate() {
            entry.class = change(entry.class);
            if let Class::Value { group, channel } = entry.class {
                self.values.insert((group, channel), self.left + at as u64);
            }
        }
    }

    /// Takes `written` octets off the front.
    pub(super) fn advance(&mut self, mut written: usize) {
        while let Some(first) = self.entries.front_mut() {
            let Waiting::Ready(frame) = &mut first.waiting else { break };
            let taken = written.min(frame.len());
            let is_whole = taken == frame.len();
            frame.advance(taken);
            match first.class {
                Class::Value { group, channel } if taken > 0 => {
                    // It is under way, or gone: what comes now is another.
                    self.values.remove(&(group, channel));
                    first.class = Class::Free;
                    self.held += frame.len();
                }
                Class::Value { .. } => {}
                class => {
                    self.held -= taken;
                    if class.counts() {
                        self.bytes -= taken;
                    }
                }
            }
            if !is_whole {
                self.begun |= taken > 0;
                break;
            }
            written -= taken;
            self.counted -= usize::from(first.class.counts());
            self.entries.pop_front();
            self.left += 1;
            self.begun = false;
            if written == 0 {
                break;
            }
        }
        if self.entries.is_empty() {
            self.entries = VecDeque::new();
            self.values = FxHashMap::default();
        }
    }

    /// Has the frames made of the first values that have none, up to `octets` or so.
    pub(super) fn make_ready(
        &mut self,
        most: usize,
        octets: usize,
        mut make: impl FnMut(u32, &Arc<Message>, bool) -> Bytes,
    ) {
        let mut made = 0;
        for entry in self.entries.iter_mut().take(most) {
            if let (Waiting::Whole { message, retained }, Class::Value { group, .. }) =
                (&entry.waiting, entry.class)
            {
                if made > octets {
                    break;
                }
                let frame = make(group, message, *retained);
                made += frame.len();
                entry.waiting = Waiting::Ready(frame);
            }
        }
    }

    /// Fills `pieces` from the front; returns how many.
    pub(super) fn gather<'o>(&'o self, pieces: &mut [IoSlice<'o>]) -> usize {
        let mut filled = 0;
        for (piece, entry) in pieces.iter_mut().zip(&self.entries) {
            let Waiting::Ready(frame) = &entry.waiting else { break };
            *piece = IoSlice::new(frame);
            filled += 1;
        }
        filled
    }

    /// Drops every frame but one whose first part is on the wire; returns how many were dropped.
    pub(super) fn drop_unsent(&mut self) -> usize {
        let keep = usize::from(self.begun);
        let dropped = self.entries.len() - keep;
        self.entries.truncate(keep);
        self.values.clear();
        self.held = self.entries.front().map_or(0, Entry::octets);
        let counts = self.entries.front().is_some_and(|entry| entry.class.counts());
        self.counted = usize::from(counts);
        self.bytes = if counts { self.held } else { 0 };
        dropped
    }

    /// What of a group's events waits and is not under way: the number that the group had before the first.
    pub(super) fn first_unsent(&self, of: u32) -> Option<u64> {
        self.entries.iter().skip(usize::from(self.begun)).find_map(|entry| match entry.class {
            Class::Event { group, previous } | Class::Replayed { group, previous } if group == of => {
                Some(previous)
            }
            _ => None,
        })
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether more than half of either limit is used, so that a client that does not read is not read from.
    pub(super) fn is_half_full(&self, limits: OutboxLimits) -> bool {
        self.counted * 2 > limits.messages || self.bytes * 2 > limits.bytes
    }

    /// The frames that wait.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The octets that count.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The octets of frames that are held for this session, waiting values apart.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// What all of it takes in memory, about, for the bound of a worker.
    pub(super) fn weight(&self) -> usize {
        self.held + self.values.len() * VALUE
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LIMITS: OutboxLimits = OutboxLimits { messages: 3, bytes: 10 };

    fn frame(length: usize) -> Bytes {
        Bytes::from(vec![b'x'; length])
    }

    #[test]
    fn is_full_by_messages_or_by_bytes() {
        let mut outbox = Outbox::default();
        for _ in 0..3 {
            outbox.push(frame(1), Class::Usual, LIMITS).unwrap();
        }
        assert_eq!(outbox.push(frame(1), Class::Usual, LIMITS), Err(Full));
        let mut outbox = Outbox::default();
        outbox.push(frame(6), Class::Usual, LIMITS).unwrap();
        outbox.push(frame(4), Class::Usual, LIMITS).unwrap();
        assert_eq!(outbox.push(frame(1), Class::Usual, LIMITS), Err(Full));
    }

    #[test]
    fn an_empty_one_takes_any_one_message() {
        let mut outbox = Outbox::default();
        outbox.push(frame(1000), Class::Usual, LIMITS).unwrap();
        assert_eq!(outbox.push(frame(1), Class::Usual, LIMITS), Err(Full));
        outbox.advance(1000);
        outbox.push(frame(1000), Class::Usual, LIMITS).unwrap();
    }

    #[test]
    fn the_frame_under_way_is_finished() {
        let mut outbox = Outbox::default();
        outbox.push(frame(4), Class::Usual, LIMITS).unwrap();
        outbox.push(frame(4), Class::Usual, LIMITS).unwrap();
        outbox.advance(1);
        assert_eq!(outbox.drop_unsent(), 1);
        assert_eq!((outbox.len(), outbox.bytes()), (1, 3));
        outbox.advance(3);
        outbox.push(frame(4), Class::Usual, LIMITS).unwrap();
        assert_eq!(outbox.drop_unsent(), 1, "nothing of it was on the wire");
        assert!(outbox.is_empty());
    }

    #[test]
    fn advances_over_several_frames() {
        let mut outbox = Outbox::default();
        for length in [2, 3, 4] {
            outbox.push(frame(length), Class::Usual, LIMITS).unwrap();
        }
        outbox.advance(6);
        assert_eq!((outbox.len(), outbox.bytes()), (1, 3));
        assert!(outbox.begun);
    }

    const CHANNEL: ChannelKey = ChannelKey(1);

    fn ready(length: usize) -> Waiting {
        Waiting::Ready(frame(length))
    }

    #[test]
    fn a_newer_value_takes_the_place_of_one_that_waits() {
        let mut outbox = Outbox::default();
        assert!(!outbox.put_value(0, CHANNEL, ready(4), |newer| newer));
        outbox.push(frame(3), Class::Usual, LIMITS).unwrap();
        assert!(outbox.put_value(0, CHANNEL, ready(5), |newer| newer));
        assert!(!outbox.put_value(1, CHANNEL, ready(1), |newer| newer), "of another group");
        assert_eq!((outbox.len(), outbox.bytes(), outbox.held()), (3, 3, 3));
        outbox.advance(2);
        assert!(!outbox.put_value(0, CHANNEL, ready(7), |newer| newer), "the other is under way");
        assert_eq!((outbox.len(), outbox.held()), (4, 6));
        outbox.advance(3 + 3);
        assert!(outbox.put_value(0, CHANNEL, ready(2), |newer| newer), "its place has not moved");
        assert_eq!(outbox.len(), 2);
        outbox.advance(3);
        assert!(outbox.is_empty() && outbox.held() == 0);
    }

    #[test]
    fn values_and_replays_count_toward_no_bound() {
        let mut outbox = Outbox::default();
        for channel in 0..10 {
            outbox.put_value(0, ChannelKey(channel), ready(100), |newer| newer);
            outbox.push(frame(100), Class::Replayed { group: 0, previous: channel }, LIMITS).unwrap();
        }
        outbox.push(frame(20), Class::Usual, LIMITS).unwrap();
        assert_eq!(outbox.push(frame(1), Class::Usual, LIMITS), Err(Full));
        assert_eq!((outbox.len(), outbox.bytes(), outbox.held()), (21, 20, 1020));
    }

    #[test]
    fn what_was_not_sent_of_a_group_is_known() {
        let mut outbox = Outbox::default();
        outbox.push(frame(2), Class::Event { group: 1, previous: 4 }, LIMITS).unwrap();
        outbox.push(frame(2), Class::Event { group: 1, previous: 5 }, LIMITS).unwrap();
        assert_eq!((outbox.first_unsent(1), outbox.first_unsent(2)), (Some(4), None));
        outbox.advance(1);
        assert_eq!(outbox.first_unsent(1), Some(5), "the one under way will be finished");
    }

    #[test]
    fn a_group_that_is_left_leaves_no_values() {
        let mut outbox = Outbox::default();
        outbox.put_value(0, CHANNEL, ready(4), |newer| newer);
        outbox.push(frame(3), Class::Usual, LIMITS).unwrap();
        outbox.put_value(1, CHANNEL, ready(4), |newer| newer);
        outbox.leave(0);
        assert!(!outbox.put_value(0, CHANNEL, ready(1), |newer| newer));
        assert!(outbox.put_value(1, CHANNEL, ready(1), |newer| newer), "found in its new place");
        assert_eq!(outbox.len(), 3);
    }
}
