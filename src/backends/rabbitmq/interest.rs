//! What this node's clients want of others: the keys that its queues are bound with.
//!
//! Owns the count of subscriptions for each filter, and when what it selects comes here: when its keys are bound, and the other
//! nodes were asked for the last values. Keys that nobody wants any more are unbound a little later, since who goes often
//! comes back.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use lapin::Channel;
use lapin::options::{
    BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{FieldTable, ShortString};
use smallvec::SmallVec;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::RabbitMq;
use super::names::{Names, REPLY};
use super::trouble::Trouble;
use crate::broker::{Filter, Kind, MAX_KEY, Promise};
use crate::telemetry::Metrics;

/// How long a key of a topic stays bound that nobody wants.
const GRACE: Duration = Duration::from_secs(5);

/// Answers of AMQP clients to one connection that are taken without being acknowledged.
const REPLIES: u16 = 64;

/// Filters that are bound in one go.
const BATCH: usize = 256;

/// How often it is looked what nobody wants any more.
const LOOK: Duration = Duration::from_secs(1);

/// By which exchange something comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Way {
    Topics,
    Direct,
}

type Key = (Way, String);

/// What is wanted here.
#[derive(Debug)]
pub(super) struct Interest {
    names: Arc<Names>,
    state: Mutex<State>,
    changed: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct State {
    filters: HashMap<Filter, Wanted>,
    /// How many filters have a key that is bound.
    bound: HashMap<Key, usize>,
    /// Filters that are to be bound.
    new: Vec<Filter>,
    /// Filters that nobody wants, and since when.
    released: HashMap<Filter, Instant>,
    /// Keys that an earlier connection bound the topics' queue with, which outlives that.
    stale: Vec<Key>,
}

#[derive(Debug, Default)]
struct Wanted {
    count: usize,
    stage: Stage,
    keys: SmallVec<[Key; 2]>,
    waiters: Vec<oneshot::Sender<()>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is in the list of what is to be bound.
    #[default]
    New,
    /// It is being bound.
    Binding,
    /// What it selects comes here.
    Ready,
}

fn is_reply((way, key): &Key) -> bool {
    *way == Way::Direct && key.starts_with(REPLY)
}

/// What is to be done with RabbitMQ.
#[derive(Debug, Default)]
struct Work {
    filters: Vec<Filter>,
    bind: Vec<Key>,
    unbind: Vec<Key>,
}

/// The queues of this node.
pub(super) struct Queues {
    pub(super) topics: ShortString,
    pub(super) direct: ShortString,
}

impl Interest {
    pub(super) fn new(names: Arc<Names>, metrics: Arc<Metrics>) -> Interest {
        Interest { names, state: Mutex::default(), changed: Notify::new(), metrics }
    }

    pub(super) fn want(&self, filter: &Filter) {
        let mut state = self.lock();
        if let Some(wanted) = state.filters.get_mut(filter) {
            wanted.count += 1;
            if wanted.count == 1 {
                state.released.remove(filter);
            }
            return;
        }
        state.filters.insert(filter.clone(), Wanted { count: 1, ..Wanted::default() });
        state.new.push(filter.clone());
        drop(state);
        self.changed.notify_one();
    }

    pub(super) fn release(&self, filter: &Filter) {
        let mut state = self.lock();
        let Some(wanted) = state.filters.get_mut(filter) else { return };
        wanted.count = wanted.count.saturating_sub(1);
        if wanted.count == 0 && wanted.stage == Stage::New {
            state.filters.remove(filter);
        } else if wanted.count == 0 {
            let is_direct = filter.kind() != Kind::Topic;
            // One address is told at once that it is nowhere.
            let since = Instant::now();
            let since = if is_direct { since.checked_sub(GRACE).unwrap_or(since) } else { since };
            state.released.insert(filter.clone(), since);
            drop(state);
            if is_direct {
                self.changed.notify_one();
            }
        }
    }

    /// Ready when what a filter selects comes here; `None` if it does, or if nobody wants it.
    pub(super) fn ready(&self, filter: &Filter) -> Option<Promise<()>> {
        let mut state = self.lock();
        let wanted = state.filters.get_mut(filter).filter(|wanted| wanted.stage != Stage::Ready)?;
        let (tell, hear) = oneshot::channel();
        wanted.waiters.push(tell);
        Some(Box::pin(async move {
            let _ = hear.await;
        }))
    }

    /// The filters that somebody wants, of topics.
    pub(super) fn topics(&self) -> Vec<Filter> {
        let state = self.lock();
        let wanted = state.filters.iter().filter(|(_, wanted)| wanted.count > 0);
        wanted.map(|(filter, _)| filter.clone()).filter(|filter| filter.kind() == Kind::Topic).collect()
    }

    /// A connection was made, of whose queues that of the topics may have outlived the one before.
    pub(super) fn begin_anew(&self) {
        let mut state = self.lock();
        let State { filters, bound, new, released, stale } = &mut *state;
        stale.extend(bound.drain().map(|(key, _)| key).filter(|(way, _)| *way == Way::Topics));
        filters.retain(|filter, _| !released.contains_key(filter));
        released.clear();
        new.clear();
        for (filter, wanted) in filters {
            wanted.stage = Stage::New;
            wanted.keys.clear();
            new.push(filter.clone());
        }
        self.metrics.rabbitmq_bindings.set(0);
    }

    /// Binds what is wanted and unbinds what is not, until the channel fails; `node` asks others for last values.
    pub(super) async fn run(
        &self,
        channel: &Channel,
        queues: &Queues,
        node: &RabbitMq,
    ) -> Result<(), Trouble> {
        loop {
            let changed = self.changed.notified();
            let work = self.work();
            if work.filters.is_empty() && work.unbind.is_empty() {
                let _ = tokio::time::timeout(LOOK, changed).await;
                continue;
            }
            try_join_all(work.bind.iter().map(|key| self.bind(channel, queues, key, true))).await?;
            for (_, key) in work.bind.iter().filter(|key| is_reply(key)) {
                self.open_reply_queue(channel, key, node).await?;
            }
            for (_, key) in work.unbind.iter().filter(|key| is_reply(key)) {
                let queue = self.names.queue_of_key(key);
                if queue.len() <= MAX_KEY {
                    channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
                }
            }
            try_join_all(work.unbind.iter().map(|key| self.bind(channel, queues, key, false))).await?;
            self.metrics.rabbitmq_bindings.set(self.lock().bound.len() as i64);
            let is_topic = |filter: &&Filter| filter.kind() == Kind::Topic;
            let topics: Vec<Filter> = work.filters.iter().filter(is_topic).cloned().collect();
            if !topics.is_empty() {
                node.ask(queues, &topics).await;
            }
            self.made_ready(&work.filters);
        }
    }

    /// Makes a queue of a connection's own, to which any AMQP client may answer.
    async fn open_reply_queue(&self, channel: &Channel, key: &str, node: &RabbitMq) -> Result<(), Trouble> {
        let queue = self.names.queue_of_key(key);
        // One whose name is too long for a queue is answered by STOMP alone.
        if queue.len() > MAX_KEY {
            return Ok(());
        }
        let queue = ShortString::from(queue);
        let options =
            QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        channel.queue_declare(queue.clone(), options, FieldTable::default()).await?;
        channel.basic_qos(REPLIES, BasicQosOptions::default()).await?;
        let (tag, options) = (ShortString::from(""), BasicConsumeOptions::default());
        let consumer = channel.basic_consume(queue, tag, options, FieldTable::default()).await?;
        if let Some(node) = node.this.upgrade() {
            tokio::spawn(async move { node.take_replies(consumer).await });
        }
        Ok(())
    }

    async fn bind(
        &self,
        channel: &Channel,
        queues: &Queues,
        (way, key): &Key,
        on: bool,
    ) -> Result<(), lapin::Error> {
        let (queue, exchange) = match way {
            Way::Topics => (&queues.topics, self.names.topics()),
            Way::Direct => (&queues.direct, self.names.direct()),
        };
        let (queue, exchange) = (queue.clone(), ShortString::from(exchange));
        let (key, none) = (ShortString::from(key.as_str()), FieldTable::default());
        match on {
            true => channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), none).await,
            false => channel.queue_unbind(queue, exchange, key, none).await,
        }
    }

    /// Takes what is to be done.
    fn work(&self) -> Work {
        let mut state = self.lock();
        let State { filters, bound, new, released, stale } = &mut *state;
        let mut work = Work::default();
        for filter in new.drain(..new.len().min(BATCH)) {
            let Some(wanted) = filters.get_mut(&filter).filter(|wanted| wanted.stage == Stage::New) else {
                continue;
            };
            wanted.stage = Stage::Binding;
            wanted.keys = self.keys(&filter);
            for key in &wanted.keys {
                let count = bound.entry(key.clone()).or_insert(0);
                *count += 1;
                if *count == 1 {
                    work.bind.push(key.clone());
                }
            }
            work.filters.push(filter);
        }
        let is_over = |filter: &Filter, since: &Instant| {
            since.elapsed() >= GRACE && filters.get(filter).is_none_or(|wanted| wanted.stage == Stage::Ready)
        };
        let over: Vec<Filter> = released
            .iter()
            .filter(|(filter, since)| is_over(filter, since))
            .map(|(one, _)| one.clone())
            .collect();
        for filter in over {
            released.remove(&filter);
            for key in filters.remove(&filter).into_iter().flat_map(|wanted| wanted.keys) {
                let Some(count) = bound.get_mut(&key) else { continue };
                *count -= 1;
                if *count == 0 {
                    bound.remove(&key);
                    work.unbind.push(key);
                }
            }
        }
        if new.is_empty() {
            work.unbind.extend(stale.drain(..).filter(|key| !bound.contains_key(key)));
        }
        // One that is bound again in the same go stays bound.
        let again: HashSet<&Key> = work.bind.iter().collect();
        let kept: Vec<Key> = work.unbind.iter().filter(|key| again.contains(key)).cloned().collect();
        work.unbind.retain(|key| !kept.contains(key));
        work
    }

    fn keys(&self, filter: &Filter) -> SmallVec<[Key; 2]> {
        if filter.kind() == Kind::Topic {
            let keys = self.names.binding_keys(filter).unwrap_or_default();
            return keys.into_iter().map(|key| (Way::Topics, key)).collect();
        }
        let key = filter.exact().and_then(|exact| self.names.address_key(exact).ok());
        key.into_iter().map(|key| (Way::Direct, key)).collect()
    }

    fn made_ready(&self, filters: &[Filter]) {
        let mut state = self.lock();
        for filter in filters {
            let Some(wanted) = state.filters.get_mut(filter) else { continue };
            // Another connection may have begun meanwhile.
            if wanted.stage != Stage::Binding {
                continue;
            }
            wanted.stage = Stage::Ready;
            for waiter in wanted.waiters.drain(..) {
                let _ = waiter.send(());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
