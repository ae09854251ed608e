//! Where SockJS sessions are: which node has the session of an id.
//!
//! Owns the sessions that this node has, and the questions about others. A node asks under the session's key on the direct
//! exchange, where the node that has it is bound: if nobody is, the question comes back at once. Two that open an id at the
//! same time both find nobody; so each says that it has it once it is bound, and the one that came later gives way.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use lapin::options::QueueBindOptions;
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use super::RabbitMq;
use super::incoming::SESSION;
use super::publisher::Letter;
use super::trouble::Trouble;
use crate::broker::{Backend as _, MAX_KEY, Stamp};
use crate::frontends::forwarding::{Directory, NodeAddress, Sessions};

/// How long a node that has a session may take to say so.
const ANSWER: Duration = Duration::from_secs(1);

/// How long it is remembered where a session is, and of how many.
const REMEMBERED: Duration = Duration::from_secs(10);
const REMEMBERED_MOST: usize = 10_000;

/// What nodes say of sessions.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
enum Saying {
    /// Who has it? The answer goes to this queue.
    Who { id: String, queue: String },
    /// This node has it.
    Has { id: String, url: String, token: String },
    /// It was opened here, at this moment.
    Opened { id: String, stamp: String, queue: String },
    /// Another node opened it earlier.
    Lost { id: String },
}

/// The sessions that this node knows of.
#[derive(Default)]
pub(super) struct Held {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    own: Option<(NodeAddress, Sessions)>,
    /// This node's, each with the moment when it was opened.
    sessions: HashMap<String, Stamp>,
    /// Those that are being opened.
    claims: HashMap<String, Stamp>,
    /// Those whose key is to be bound, or not any more.
    to_bind: Vec<(String, bool)>,
    /// Who waits until a session is found by others.
    binding: HashMap<String, oneshot::Sender<()>>,
    /// Who waits for an answer.
    asked: HashMap<String, Vec<oneshot::Sender<NodeAddress>>>,
    remembered: HashMap<String, (NodeAddress, Instant)>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("sessions", &self.lock().sessions.len()).finish_non_exhaustive()
    }
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A claim was answered. If the session is this node's, it is when the answer comes that others find it.
    fn opened(&self, id: &str, stamp: Stamp, is_elsewhere: bool) -> Option<oneshot::Receiver<()>> {
        let mut state = self.lock();
        let is_void = state.claims.get(id) != Some(&stamp);
        if is_void {
            return None;
        }
        state.claims.remove(id);
        if is_elsewhere {
            return None;
        }
        let (tell, bound) = oneshot::channel();
        state.sessions.insert(id.to_owned(), stamp);
        state.binding.insert(id.to_owned(), tell);
        state.to_bind.push((id.to_owned(), true));
        drop(state);
        self.changed.notify_one();
        Some(bound)
    }

    /// A new connection's queue is bound with nothing.
    pub(super) fn begin_anew(&self) {
        let mut state = self.lock();
        state.to_bind = state.sessions.keys().map(|id| (id.clone(), true)).collect();
        drop(state);
        self.changed.notify_one();
    }
}

impl State {
    fn remember(&mut self, id: &str, address: &NodeAddress) {
        if self.remembered.len() >= REMEMBERED_MOST {
            self.remembered.retain(|_, (_, at)| at.elapsed() < REMEMBERED);
        }
        if self.remembered.len() < REMEMBERED_MOST {
            self.remembered.insert(id.to_owned(), (address.clone(), Instant::now()));
        }
    }

    fn recall(&self, id: &str) -> Option<NodeAddress> {
        let (address, at) = self.remembered.get(id)?;
        (at.elapsed() < REMEMBERED).then(|| address.clone())
    }
}

impl Directory for RabbitMq {
    fn join(&self, own: NodeAddress, sessions: Sessions) {
        self.held.lock().own = Some((own, sessions));
    }

    fn claim(&self, id: &str) -> BoxFuture<'static, Option<NodeAddress>> {
        let stamp = self.clock.now();
        self.held.lock().claims.insert(id.to_owned(), stamp);
        let (Some(node), id) = (self.this.upgrade(), id.to_owned()) else { return async { None }.boxed() };
        async move {
            let elsewhere = node.where_is(&id).await;
            let bound = node.held.opened(&id, stamp, elsewhere.is_some());
            // Its next request may come to any node.
            if let Some(bound) = bound.filter(|_| !node.is_away()) {
                let _ = bound.await;
            }
            elsewhere
        }
        .boxed()
    }

    fn find(&self, id: &str) -> BoxFuture<'static, Option<NodeAddress>> {
        let (Some(node), id) = (self.this.upgrade(), id.to_owned()) else { return async { None }.boxed() };
        async move { node.where_is(&id).await }.boxed()
    }

    fn release(&self, id: &str) {
        let mut state = self.held.lock();
        state.claims.remove(id);
        state.binding.remove(id);
        if state.sessions.remove(id).is_some() {
            state.to_bind.push((id.to_owned(), false));
            drop(state);
            self.held.changed.notify_one();
        }
    }
}

impl RabbitMq {
    /// The other node that has a session.
    async fn where_is(&self, id: &str) -> Option<NodeAddress> {
        if let Some(address) = self.held.lock().recall(id) {
            return Some(address);
        }
        let queue = self.direct_queue()?;
        if self.is_away() {
            return None;
        }
        let (tell, hear) = oneshot::channel();
        self.held.lock().asked.entry(id.to_owned()).or_default().push(tell);
        let who = Saying::Who { id: id.to_owned(), queue };
        let asked = self.say_of_session(id, &who);
        let found = async {
            let confirmed = asked?.await.ok()?.ok()?;
            if confirmed.nobody_elsewhere {
                return None;
            }
            timeout(ANSWER, hear).await.ok()?.ok()
        }
        .await;
        let mut state = self.held.lock();
        if let Some(waiting) = state.asked.get_mut(id) {
            waiting.retain(|waiting| !waiting.is_closed());
            if waiting.is_empty() {
                state.asked.remove(id);
            }
        }
        if let Some(address) = &found {
            state.remember(id, address);
        }
        found
    }

    /// Says something to whoever has a session.
    fn say_of_session(&self, id: &str, saying: &Saying) -> Option<super::publisher::Answer> {
        let key = self.names.session_key(id).ok()?;
        let exchange = ShortString::from(self.names.direct());
        let letter = Letter { exchange, key: key.into(), mandatory: true, ..letter(saying) };
        self.direct.put(letter).ok()
    }

    /// Another node said something of a session.
    pub(super) fn take_session(&self, octets: &[u8]) {
        match serde_json::from_slice(octets) {
            Ok(Saying::Who { id, queue }) => self.answer_who(id, &queue),
            Ok(Saying::Has { id, url, token }) => {
                let waiting = self.held.lock().asked.remove(&id).unwrap_or_default();
                for waiting in waiting {
                    let _ = waiting.send(NodeAddress { url: url.clone(), token: token.clone() });
                }
            }
            Ok(Saying::Opened { id, stamp, queue }) => self.compare(id, &stamp, &queue),
            Ok(Saying::Lost { id }) => self.lose(&id),
            Err(error) => tracing::debug!(%error, "what another node says of a session is not understood"),
        }
    }

    fn answer_who(&self, id: String, queue: &str) {
        let state = self.held.lock();
        let Some((own, _)) = state.own.as_ref().filter(|_| state.sessions.contains_key(&id)) else { return };
        let has = Saying::Has { id, url: own.url.clone(), token: own.token.clone() };
        drop(state);
        self.tell(queue, &has);
    }

    /// Another node opened a session that is here too: the one that came later gives way.
    fn compare(&self, id: String, stamp: &str, queue: &str) {
        let (Ok(theirs), own_queue) = (stamp.parse::<Stamp>(), self.direct_queue()) else { return };
        if own_queue.as_deref() == Some(queue) {
            return;
        }
        let ours = self.held.lock().sessions.get(&id).copied();
        match ours {
            Some(ours) if ours < theirs => self.tell(queue, &Saying::Lost { id }),
            Some(_) => self.lose(&id),
            None => {}
        }
    }

    fn lose(&self, id: &str) {
        let sessions = self.held.lock().own.as_ref().map(|(_, sessions)| sessions.clone());
        if let Some(sessions) = sessions {
            sessions.interrupt(id);
        }
        Directory::release(self, id);
    }

    fn tell(&self, queue: &str, saying: &Saying) {
        // What others say may be anything.
        if queue.len() <= MAX_KEY {
            let _ = self.notes.put(Letter { key: queue.into(), ..letter(saying) });
        }
    }

    /// Binds the keys of this node's sessions, until the channel fails.
    pub(super) async fn bind_sessions(&self, channel: &Channel, queue: &ShortString) -> Result<(), Trouble> {
        loop {
            let changed = self.held.changed.notified();
            let to_bind = std::mem::take(&mut self.held.lock().to_bind);
            if to_bind.is_empty() {
                changed.await;
                continue;
            }
            for (id, on) in &to_bind {
                let Ok(key) = self.names.session_key(id) else { continue };
                let (exchange, key) = (ShortString::from(self.names.direct()), ShortString::from(key));
                // RabbitMQ answers in order, and is not waited for: who binds last says so last.
                let options = QueueBindOptions { nowait: true };
                match on {
                    true => {
                        channel
                            .queue_bind(queue.clone(), exchange, key, options, FieldTable::default())
                            .await?;
                    }
                    false => {
                        channel.queue_unbind(queue.clone(), exchange, key, FieldTable::default()).await?;
                    }
                }
            }
            // Behind this everything is bound.
            channel.basic_qos(1, lapin::options::BasicQosOptions::default()).await?;
            for (id, _) in to_bind.iter().filter(|(_, on)| *on) {
                if let Some(waits) = self.held.lock().binding.remove(id) {
                    let _ = waits.send(());
                }
                self.say_opened(id, queue.as_str());
            }
        }
    }

    fn say_opened(&self, id: &str, queue: &str) {
        let stamp = self.held.lock().sessions.get(id).copied();
        if let Some(stamp) = stamp {
            let (id, stamp, queue) = (id.to_owned(), stamp.to_string(), queue.to_owned());
            let opened = Saying::Opened { id: id.clone(), stamp, queue };
            let _ = self.say_of_session(&id, &opened);
        }
    }
}

/// To nowhere yet.
fn letter(saying: &Saying) -> Letter {
    Letter {
        exchange: ShortString::from(""),
        key: ShortString::from(""),
        properties: BasicProperties::default().with_type(SESSION.into()),
        body: serde_json::to_vec(saying).unwrap_or_default().into(),
        mandatory: false,
    }
}
