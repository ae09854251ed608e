//! Groups: subscriptions that get the same octets.
//!
//! Owns the frames that are pending for a whole group: encoded once, laid one behind the other, and written
//! from there to every member that keeps up. A member that lags takes its share as slices of the same memory.
//!
//! A subscription that reads history is a group of its own until it has come up with the log (`hub/replaying.rs`).

use std::cell::RefCell;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustc_hash::{FxHashMap, FxHashSet};

use super::destination::Filter;
use super::encoder::{Copy as Shape, Delta, Encoder, Says, Subscription};
use super::key::SessionKey;
use super::log::{Cursor, Gap, LogIdentity, Reading};
use super::message::{ChannelKey, Message, MessageId, Standing};
use super::selector::Selector;
use super::view::View;

/// What makes two subscriptions the same to the encoder, and so members of one group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct GroupKey {
    pub(super) filter: Filter,
    pub(super) encoder: u16,
    pub(super) subscription: Subscription,
    pub(super) selector: Option<Selector>,
    pub(super) view: Option<Arc<View>>,
    /// Tells a subscription that is a group of its own from all others; 0 for groups of many.
    pub(super) alone: u32,
}

/// The subscriptions that get the same octets.
pub(super) struct Group {
    pub(super) key: GroupKey,
    encoder: &'static dyn Encoder,
    /// The number of its selector, by which the hub knows what that says of a message.
    pub(super) selector: Option<u32>,
    /// The number of its view, by which the hub knows what that shows of a message.
    pub(super) view: Option<u32>,
    /// Its channel, if it is of one only.
    pub(super) channel: Option<ChannelKey>,
    pub(super) members: Vec<SessionKey>,
    /// The number in the log of the last event that its members got, or where they began; `None` if no events can come.
    pub(super) last_event: Option<u64>,
    /// What the next message has to tell.
    pub(super) gap: Option<Gap>,
    /// How far its only member has read history; `None` where events come as they happen.
    pub(super) replay: Option<Box<Replay>>,
    /// Members that do not have the value of a channel that the next patch is for: they get the next one whole.
    behind: RefCell<FxHashMap<SessionKey, FxHashSet<ChannelKey>>>,
    /// The last whole value that was made for those who lag.
    whole: RefCell<Option<(MessageId, bool, Bytes)>>,
    log: LogIdentity,
    pending: Pending,
}

/// A subscription on its way through history.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) reading: Reading,
    /// It has come to the end, and what is in its worker's mailbox follows.
    pub(super) caught_up: bool,
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
#[derive(Debug, Clone)]
struct Mark {
    sequence: u64,
    end: usize,
    note: Note,
}

/// What a frame is to a member that lags.
#[derive(Debug, Clone)]
pub(super) enum Note {
    /// One of many.
    Usual,
    /// A value that tells of a gap: no newer one takes its place.
    Telling,
    /// An event, and the number of the one that the group had before.
    Event { previous: u64 },
    /// A value of a channel, and whether its frame is of no use to whoever skipped one.
    Value { message: Arc<Message>, is_delta: bool },
}

/// A frame of a group, with all that is known of it.
pub(super) struct Framed {
    pub(super) sequence: u64,
    pub(super) frame: Bytes,
    /// It is a small part of the memory that it keeps.
    pub(super) is_part: bool,
    pub(super) note: Note,
}

/// What is shown of a message.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    pub(super) body: Bytes,
    pub(super) delta: Option<Delta>,
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
        marks.clear();
        if octets.capacity() <= Self::LARGEST && self.0.len() < Self::MOST {
            octets.clear();
            self.0.push((octets, marks));
        }
    }
}

impl Group {
    pub(super) fn new(
        key: GroupKey,
        encoder: &'static dyn Encoder,
        selector: Option<u32>,
        view: Option<u32>,
        channel: Option<ChannelKey>,
        log: LogIdentity,
    ) -> Group {
        Group {
            key,
            encoder,
            selector,
            view,
            channel,
            members: Vec::new(),
            last_event: None,
            gap: None,
            replay: None,
            behind: RefCell::default(),
            whole: RefCell::default(),
            log,
            pending: Pending::Nothing,
        }
    }

    /// Encodes `message`, or what is `shown` of it, for all members; says whether it is the first that is pending.
    pub(super) fn encode(
        &mut self,
        message: &Arc<Message>,
        shown: Option<&Sight>,
        sequence: u64,
        spare: &mut Spare,
    ) -> Encoded {
        let first = !matches!(self.pending, Pending::Open(..));
        if first {
            let (octets, marks) = spare.take();
            self.pending = Pending::Open(octets, marks);
        }
        let delta = shown.and_then(|shown| shown.delta);
        let note = match message.standing {
            Standing::Plain => Note::Usual,
            Standing::Event(_) => Note::Event { previous: self.last_event.unwrap_or(0) },
            Standing::Value if self.gap.is_some() => Note::Telling,
            Standing::Value => {
                self.whole.take();
                Note::Value { message: message.clone(), is_delta: delta.is_some() }
            }
        };
        let says = self.says(message, delta);
        let Pending::Open(octets, marks) = &mut self.pending else {
            return Encoded { first, octets: 0 };
        };
        let before = octets.len();
        let body = shown.map_or(&message.body, |shown| &shown.body);
        let copy = Shape {
            message,
            subscription: &self.key.subscription,
            asked: asked(&self.key, message),
            body,
            says,
        };
        self.encoder.message(&copy, octets);
        marks.push(Mark { sequence, end: octets.len(), note });
        Encoded { first, octets: octets.len() - before }
    }

    /// The log is this one from here on; if events can come here, the next message tells of the gap. Says
    /// whether it does.
    pub(super) fn log_changed(&mut self, log: LogIdentity, gap: Option<Gap>) -> bool {
        self.log = log;
        let is_told = gap.is_some() && self.last_event.is_some();
        if is_told {
            self.gap = gap;
        }
        is_told
    }

    /// What the broker says of the next message, which it is told to.
    fn says(&mut self, message: &Message, delta: Option<Delta>) -> Says {
        let cursor = match message.standing {
            Standing::Event(number) => {
                self.last_event = Some(number);
                Some(Cursor::new(self.log, number, &self.key.filter))
            }
            _ => None,
        };
        Says { retained: false, gap: self.gap.take(), cursor, delta }
    }

    /// A frame of its own with an event out of history.
    pub(super) fn replayed(&mut self, message: &Message, body: &Bytes) -> Bytes {
        let says = self.says(message, None);
        self.frame(message, body, says)
    }

    /// A frame of its own with the whole value of a channel, `retained` or made for one who lags. Made once for all.
    pub(super) fn whole(&self, message: &Message, retained: bool) -> Bytes {
        let mut last = self.whole.borrow_mut();
        if let Some((id, was_retained, frame)) = &*last
            && (*id, *was_retained) == (message.id, retained)
        {
            return frame.clone();
        }
        let frame = self.value(message, Says { retained, ..Says::default() });
        // It stays until the next value comes, which may be long: not for one alone.
        *last = (self.members.len() > 1).then(|| (message.id, retained, frame.clone()));
        frame
    }

    /// A frame of its own with an answer to one member.
    pub(super) fn answer(&mut self, message: &Message) -> Bytes {
        let says = Says { gap: self.gap.take(), ..Says::default() };
        self.value(message, says)
    }

    /// A retained value with what the next message has to tell.
    pub(super) fn whole_with_gap(&mut self, message: &Message) -> Bytes {
        let says = Says { retained: true, gap: self.gap.take(), ..Says::default() };
        self.value(message, says)
    }

    /// A whole value as the group's view shows it.
    fn value(&self, message: &Message, says: Says) -> Bytes {
        let view = self.key.view.as_deref();
        let is_delta = view.is_some_and(|view| view.delta);
        let delta = is_delta.then_some(Delta { sequence: message.id.number, base: None });
        let body = message.projected(view.and_then(|view| view.fields.as_ref()));
        self.frame(message, &body, Says { delta, ..says })
    }

    fn frame(&self, message: &Message, body: &Bytes, says: Says) -> Bytes {
        let mut frame = BytesMut::new();
        let subscription = &self.key.subscription;
        let copy = Shape { message, subscription, asked: asked(&self.key, message), body, says };
        self.encoder.message(&copy, &mut frame);
        frame.freeze()
    }

    /// Which channel a message is of for its members.
    pub(super) fn channel_of(&self, message: &Message) -> ChannelKey {
        message.channel_for(self.channel)
    }

    /// What its members' frames are made by.
    pub(super) fn encoder(&self) -> &'static dyn Encoder {
        self.encoder
    }

    /// The number of the last event that a member was given up to, as a cursor.
    pub(super) fn cursor(&self, number: u64) -> Cursor {
        Cursor::new(self.log, number, &self.key.filter)
    }

    /// A member does not have the value of this channel that the next patch is for.
    pub(super) fn set_behind(&self, member: SessionKey, channel: ChannelKey) {
        self.behind.borrow_mut().entry(member).or_default().insert(channel);
    }

    /// Whether a member lacks values that patches are for.
    pub(super) fn is_behind(&self, member: SessionKey) -> bool {
        let behind = self.behind.borrow();
        !behind.is_empty() && behind.contains_key(&member)
    }

    /// A member is given the whole value of a channel. Says whether it needs it.
    pub(super) fn take_behind(&self, member: SessionKey, channel: ChannelKey) -> bool {
        let mut behind = self.behind.borrow_mut();
        let Some(channels) = behind.get_mut(&member) else { return false };
        let was = channels.remove(&channel);
        if channels.is_empty() {
            behind.remove(&member);
        }
        was
    }

    /// A member goes.
    pub(super) fn forget_member(&self, member: SessionKey) {
        let mut behind = self.behind.borrow_mut();
        if !behind.is_empty() {
            behind.remove(&member);
        }
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
    pub(super) fn copies_since(&self, seen: u64) -> Vec<Framed> {
        let Pending::Open(octets, marks) = &self.pending else {
            return Vec::new();
        };
        let first = marks.partition_point(|mark| mark.sequence < seen);
        let mut start = first.checked_sub(1).map_or(0, |before| marks[before].end);
        let copy = |mark: &Mark| {
            let frame = Bytes::copy_from_slice(&octets[start..mark.end]);
            start = mark.end;
            Framed { sequence: mark.sequence, frame, is_part: false, note: mark.note.clone() }
        };
        marks[first..].iter().map(copy).collect()
    }

    /// The number of the event before the first that is pending from `seen` on, closed or not.
    pub(super) fn first_event_since(&self, seen: u64) -> Option<u64> {
        let (Pending::Open(_, marks) | Pending::Closed(_, marks)) = &self.pending else { return None };
        let first = marks.partition_point(|mark| mark.sequence < seen);
        marks[first..].iter().find_map(|mark| match mark.note {
            Note::Event { previous } => Some(previous),
            _ => None,
        })
    }
}

/// The destination of a message as those of a group asked for it, unless it has one of its own.
fn asked<'a>(key: &'a GroupKey, message: &Message) -> Option<&'a str> {
    if !message.destination.is_by_key() {
        return None;
    }
    key.filter.exact().map(|one| &**one.text())
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

    /// Its frames in order, sharing the group's memory.
    pub(super) fn frames(&self) -> impl Iterator<Item = Framed> {
        let mut start = self.start;
        self.marks.iter().map(move |mark| {
            let frame = self.octets.slice(start..mark.end);
            start = mark.end;
            let is_part = frame.len() < self.octets.len() / 4;
            Framed { sequence: mark.sequence, frame, is_part, note: mark.note.clone() }
        })
    }
}
