//! Views of a hub's subscriptions: what is shown of a message, when, and as a change of what.
//!
//! Owns each view while somebody has it: the pace of each channel and the value that the next patch is for. What is made of
//! a message is made once for all workers (`broker/view/`), and looked at once here for all groups of a view.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

use slab::Slab;
use smallvec::SmallVec;

use crate::broker::destination::Filter;
use crate::broker::encoder::Delta;
use crate::broker::group::Sight;
use crate::broker::message::{ChannelKey, Message, MessageId, Retain, Standing};
use crate::broker::selector::Selector;
use crate::broker::timers::Millis;
use crate::broker::view::View;
use crate::telemetry::Metrics;

/// Patches between two whole values: who lost count finds back within these.
const ROW: u32 = 60;

/// Channels whose state a view remembers; beyond these it starts over, with whole values.
const CHANNELS: usize = 16_384;

/// It tries again to start over when it had no room for a channel so often.
const REFUSED: u32 = 1024;

/// What groups of one view have in common.
type Asked = (Arc<View>, Option<Selector>, bool);

/// What is shown of a message: by the channel that it is of, since one that came by key is of several.
type Answers = SmallVec<[(ChannelKey, Option<Sight>); 1]>;

/// A view and a channel of which it held a value back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    pub(super) view: u32,
    pub(super) channel: ChannelKey,
}

/// The views of one worker's subscriptions.
#[derive(Debug, Default)]
pub(super) struct Viewing {
    /// With how many groups have each. A selector decides what a view gets to see, and so does whether one channel was asked
    /// for or a pattern: what comes by key is of that one, or of a channel of its own.
    numbers: HashMap<Asked, (u32, u32)>,
    states: Slab<State>,
    message: u64,
    /// When a value that was held back is due.
    due: BinaryHeap<Reverse<(Millis, u32, u64)>>,
}

#[derive(Debug)]
struct State {
    view: Arc<View>,
    channels: HashMap<ChannelKey, Channel>,
    /// How often there was no room for a channel since it was last made.
    refused: u32,
    /// The message that was last asked for, and what is shown of it.
    asked: u64,
    answers: Answers,
}

#[derive(Debug, Default)]
struct Channel {
    /// The value shown last, for which the next patch is.
    base: Option<Arc<Message>>,
    patches: u32,
    /// Nothing is shown before.
    next: Millis,
    /// The newest that was held back.
    waiting: Option<Arc<Message>>,
}

impl Viewing {
    /// One more group has this view. Gives its number, and whether nobody had it before.
    pub(super) fn add(
        &mut self,
        view: &Arc<View>,
        selector: Option<&Selector>,
        is_exact: bool,
    ) -> (u32, bool) {
        let key = (view.clone(), selector.cloned(), is_exact);
        if let Some((number, users)) = self.numbers.get_mut(&key) {
            *users += 1;
            return (*number, false);
        }
        let state = State {
            view: view.clone(),
            channels: HashMap::new(),
            refused: 0,
            asked: 0,
            answers: Answers::new(),
        };
        let number = self.states.insert(state) as u32;
        self.numbers.insert(key, (number, 1));
        (number, true)
    }

    /// One group less has it.
    pub(super) fn remove(&mut self, view: &Arc<View>, selector: Option<&Selector>, is_exact: bool) {
        let key = (view.clone(), selector.cloned(), is_exact);
        if let Some((number, users)) = self.numbers.get_mut(&key) {
            *users -= 1;
            if *users == 0 {
                self.states.remove(*number as usize);
                self.numbers.remove(&key);
            }
        }
    }

    /// A group had this view: what was held back `for_it` alone goes with it. Nobody takes in what would have had its place.
    pub(super) fn let_go(&mut self, number: u32, for_it: impl Fn(ChannelKey, &Message) -> bool) {
        let state = self.states.get_mut(number as usize).filter(|state| state.view.interval.is_some());
        for (key, channel) in state.into_iter().flat_map(|state| &mut state.channels) {
            channel.waiting.take_if(|message| for_it(*key, message));
        }
    }

    /// Another message is delivered.
    pub(super) fn next_message(&mut self) {
        self.message += 1;
    }

    /// Whether a view has a pace, so that it matters what time it is.
    pub(super) fn is_timed(&self, number: u32) -> bool {
        self.states.get(number as usize).is_some_and(|state| state.view.interval.is_some())
    }

    /// What a view shows of a message of a channel now; nothing if its time has not come. One that was held back and `is_due`
    /// is shown.
    pub(super) fn show(
        &mut self,
        number: u32,
        message: &Arc<Message>,
        channel: ChannelKey,
        now: Millis,
        is_due: bool,
        metrics: &Metrics,
    ) -> Option<Sight> {
        let state = self.states.get_mut(number as usize)?;
        if state.asked != self.message {
            state.asked = self.message;
            state.answers.clear();
        } else if let Some((_, sight)) = state.answers.iter().find(|(of, _)| *of == channel) {
            return sight.clone();
        }
        let due = |at| self.due.push(Reverse((at, number, channel.0)));
        let held_back = !is_due && state.hold_back(message, channel, now, metrics, due);
        let sight = (!held_back).then(|| state.look(message, channel, now, metrics));
        state.answers.push((channel, sight.clone()));
        sight
    }

    /// A value that was held back and whose time has come, and for whom.
    pub(super) fn next_due(&mut self, now: Millis) -> Option<(Due, Arc<Message>)> {
        while self.earliest()? <= now {
            let Reverse((_, view, channel)) = self.due.pop()?;
            let channel = ChannelKey(channel);
            let waiting = |state: &mut State| {
                state.channels.get_mut(&channel).filter(|one| one.next <= now)?.waiting.take()
            };
            if let Some(message) = self.states.get_mut(view as usize).and_then(waiting) {
                return Some((Due { view, channel }, message));
            }
        }
        None
    }

    /// When the next held back value is due.
    pub(super) fn earliest(&self) -> Option<Millis> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    /// Somebody is handed `kept` as it joins a view of changes, that `is_new` if nobody else has it. Gives the channels whose
    /// next value it needs whole, since the next patch will be for another than it has. `own` is its channel if it asked for
    /// one.
    pub(super) fn join(
        &mut self,
        number: u32,
        is_new: bool,
        filter: &Filter,
        own: Option<ChannelKey>,
        kept: &[Arc<Message>],
    ) -> Vec<ChannelKey> {
        let Some(state) = self.states.get_mut(number as usize).filter(|state| state.view.delta) else {
            return Vec::new();
        };
        if is_new {
            for message in kept.iter().take(CHANNELS) {
                state.channels.entry(message.channel_for(own)).or_default().base = Some(message.clone());
            }
            return Vec::new();
        }
        let kept: HashSet<MessageId> = kept.iter().map(|message| message.id).collect();
        let has = |base: &Message| kept.contains(&base.id);
        let lacks = |channel: &Channel| {
            channel.base.as_ref().is_some_and(|base| filter.matches(&base.destination) && !has(base))
        };
        if let Some(own) = own {
            return state
                .channels
                .get(&own)
                .filter(|channel| lacks(channel))
                .map(|_| own)
                .into_iter()
                .collect();
        }
        state.channels.iter().filter(|(_, channel)| lacks(channel)).map(|(key, _)| *key).collect()
    }
}

impl State {
    /// Keeps a value that comes before its time, in the place of an older one. If it is the first, says by `due` when that
    /// is; the time of those that take its place is the same.
    fn hold_back(
        &mut self,
        message: &Arc<Message>,
        key: ChannelKey,
        now: Millis,
        metrics: &Metrics,
        due: impl FnOnce(Millis),
    ) -> bool {
        if self.view.interval.is_none() || message.standing != Standing::Value {
            return false;
        }
        let is_clear = message.retain() == Some(Retain::Clear);
        let Some(channel) = self.channel(key).filter(|channel| now < channel.next) else {
            return false;
        };
        if is_clear {
            // Also if a newer value takes its place, that goes whole.
            channel.base = None;
        }
        match channel.waiting.replace(message.clone()) {
            Some(_) => {
                metrics.rate_skips.inc();
            }
            None => due(channel.next),
        }
        true
    }

    /// The state of a channel; `None` where there are too many, so that its values are shown at once and whole.
    fn channel(&mut self, key: ChannelKey) -> Option<&mut Channel> {
        if self.channels.len() >= CHANNELS && !self.channels.contains_key(&key) {
            if self.refused.is_multiple_of(REFUSED) {
                self.channels.retain(|_, channel| channel.waiting.is_some());
            }
            if self.channels.len() >= CHANNELS {
                self.refused = self.refused.wrapping_add(1);
                return None;
            }
            self.refused = 0;
        }
        Some(self.channels.entry(key).or_default())
    }

    fn look(&mut self, message: &Arc<Message>, key: ChannelKey, now: Millis, metrics: &Metrics) -> Sight {
        let view = self.view.clone();
        let fields = view.fields.as_ref();
        if message.standing != Standing::Value || (view.interval.is_none() && !view.delta) {
            return Sight { body: message.projected(fields), delta: None };
        }
        let mut unknown = Channel::default();
        let channel = self.channel(key).unwrap_or(&mut unknown);
        if let Some(interval) = view.interval {
            // One more, since a moment is counted in whole milliseconds.
            channel.next = now + interval + 1;
            if channel.waiting.take().is_some() {
                metrics.rate_skips.inc();
            }
        }
        if !view.delta {
            return Sight { body: message.projected(fields), delta: None };
        }
        let sequence = message.id.number;
        if message.retain() == Some(Retain::Clear) {
            channel.base = None;
            return Sight { body: message.body.clone(), delta: Some(Delta { sequence, base: None }) };
        }
        let base = channel.base.replace(message.clone()).filter(|_| channel.patches < ROW);
        let patch = base.and_then(|base| {
            let (patch, is_first) = message.patch(&base, fields);
            metrics.patches.inc_by(u64::from(is_first && patch.is_some()));
            Some((patch?, base.id.number))
        });
        match patch {
            Some((body, base)) => {
                channel.patches += 1;
                Sight { body, delta: Some(Delta { sequence, base: Some(base) }) }
            }
            None => {
                channel.patches = 0;
                Sight { body: message.projected(fields), delta: Some(Delta { sequence, base: None }) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::broker::destination::{Destination, Tenant};
    use crate::broker::message::Headers;

    fn value(channel: u64, number: u64) -> Arc<Message> {
        let destination = Destination::topic(Tenant::DEFAULT, &format!("host-metrics:{channel}")).unwrap();
        let mut message = Message::new(destination, Headers::new(), "{}");
        message.id = MessageId { incarnation: 1, number };
        message.standing = Standing::Value;
        message.channel = ChannelKey(channel);
        Arc::new(message)
    }

    fn show(viewing: &mut Viewing, number: u32, message: &Arc<Message>) -> bool {
        viewing.next_message();
        viewing.show(number, message, message.channel, 0, false, &Metrics::new()).is_some()
    }

    #[test]
    fn values_that_are_held_back_in_a_row_are_due_once() {
        let mut viewing = Viewing::default();
        let view = View::parse(None, Some("1/3600s"), None).unwrap().unwrap();
        let (number, _) = viewing.add(&view, None, false);
        for at in 0..1000 {
            assert_eq!(show(&mut viewing, number, &value(1, at)), at == 0);
        }
        assert_eq!(viewing.due.len(), 1);
    }

    #[test]
    fn who_asks_for_one_spelling_lacks_nothing_of_another() {
        let mut viewing = Viewing::default();
        let view = View::parse(None, None, Some("merge-patch")).unwrap().unwrap();
        let (number, _) = viewing.add(&view, None, true);
        let destination = Destination::foreign(Tenant::DEFAULT, "host-metrics.1").unwrap();
        let by_key = |number| {
            let mut message = Message::new(destination.clone(), Headers::new(), "{}");
            message.id = MessageId { incarnation: 1, number };
            message.standing = Standing::Value;
            Arc::new(message)
        };
        let (colon, slash) = (ChannelKey(1), ChannelKey(2));
        for channel in [colon, slash] {
            viewing.next_message();
            viewing.show(number, &by_key(1), channel, 0, false, &Metrics::new());
        }
        let filter = Filter::parse(Tenant::DEFAULT, "/topic/host-metrics:1".into()).unwrap();
        assert_eq!(viewing.join(number, false, &filter, Some(colon), &[by_key(2)]), [colon]);
        assert!(viewing.join(number, false, &filter, Some(colon), &[by_key(1)]).is_empty());
    }

    #[test]
    fn joining_costs_no_more_than_there_is() {
        let mut viewing = Viewing::default();
        let view = View::parse(None, None, Some("merge-patch")).unwrap().unwrap();
        let filter = Filter::parse(Tenant::DEFAULT, "/topic/host-metrics:#".into()).unwrap();
        let (number, is_new) = viewing.add(&view, None, false);
        let kept: Vec<_> = (0..CHANNELS as u64).map(|channel| value(channel, channel)).collect();
        viewing.join(number, is_new, &filter, None, &kept);
        let begun = std::time::Instant::now();
        assert!(viewing.join(number, false, &filter, None, &kept).is_empty());
        assert!(begun.elapsed().as_millis() < 500, "{:?}", begun.elapsed());
    }

    #[test]
    fn what_is_remembered_of_channels_is_bounded() {
        let mut viewing = Viewing::default();
        let view = View::parse(None, Some("1/3600s"), None).unwrap().unwrap();
        let (number, _) = viewing.add(&view, None, false);
        for channel in 0..CHANNELS as u64 + 1000 {
            // The second is held back.
            show(&mut viewing, number, &value(channel, 2 * channel));
            show(&mut viewing, number, &value(channel, 2 * channel + 1));
        }
        assert_eq!(viewing.states[number as usize].channels.len(), CHANNELS);
        assert_eq!(viewing.due.len(), CHANNELS);
    }
}
