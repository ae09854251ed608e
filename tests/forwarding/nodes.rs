//! Several nodes in this process, which find each other's sessions by a table in memory.

#![allow(missing_docs, unreachable_pub)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use stentor::config::{ByteSize, Config};
use stentor::frontends::forwarding::{Directory, NodeAddress, Sessions};
use tokio::sync::{Barrier, Semaphore};

use super::support::{Server, config};

/// What all nodes know.
#[derive(Default)]
pub struct Shared {
    pub sessions: Mutex<HashMap<String, NodeAddress>>,
    /// How often somebody asked, and gave something back.
    pub claims: AtomicUsize,
    pub finds: AtomicUsize,
    pub releases: AtomicUsize,
    /// Claims are answered one for each permit, where there is one.
    pub gate: OnceLock<Semaphore>,
    /// So many claims are answered at the same time, each as if it were the only one.
    pub race: OnceLock<Barrier>,
}

impl Shared {
    pub fn holder(&self, session: &str) -> Option<NodeAddress> {
        self.sessions.lock().unwrap().get(session).cloned()
    }

    pub fn say(&self, session: &str, holder: &NodeAddress) {
        self.sessions.lock().unwrap().insert(session.to_owned(), holder.clone());
    }
}

/// One node's view of it.
pub struct View {
    shared: Arc<Shared>,
    pub joined: Arc<OnceLock<(NodeAddress, Sessions)>>,
}

impl Directory for View {
    fn join(&self, own: NodeAddress, sessions: Sessions) {
        assert!(self.joined.set((own, sessions)).is_ok(), "joined twice");
    }

    fn claim(&self, id: &str) -> BoxFuture<'static, Option<NodeAddress>> {
        self.shared.claims.fetch_add(1, Ordering::Relaxed);
        let (shared, own, id) = (self.shared.clone(), self.joined.get().unwrap().0.clone(), id.to_owned());
        Box::pin(async move {
            if let Some(gate) = shared.gate.get() {
                gate.acquire().await.unwrap().forget();
            }
            if let Some(race) = shared.race.get() {
                race.wait().await;
                return None;
            }
            let mut sessions = shared.sessions.lock().unwrap();
            let holder = sessions.entry(id).or_insert_with(|| own.clone()).clone();
            (holder != own).then_some(holder)
        })
    }

    fn find(&self, id: &str) -> BoxFuture<'static, Option<NodeAddress>> {
        self.shared.finds.fetch_add(1, Ordering::Relaxed);
        let holder = self.shared.holder(id).filter(|holder| *holder != self.joined.get().unwrap().0);
        Box::pin(async move { holder })
    }

    fn release(&self, id: &str) {
        self.shared.releases.fetch_add(1, Ordering::Relaxed);
        let own = &self.joined.get().unwrap().0;
        let mut sessions = self.shared.sessions.lock().unwrap();
        if sessions.get(id).is_some_and(|holder| holder == own) {
            sessions.remove(id);
        }
    }
}

/// A node.
pub struct Node {
    pub server: Server,
    joined: Arc<OnceLock<(NodeAddress, Sessions)>>,
}

impl Node {
    pub fn own(&self) -> &NodeAddress {
        &self.joined.get().unwrap().0
    }

    pub fn sessions(&self) -> &Sessions {
        &self.joined.get().unwrap().1
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Requests under way to other nodes.
    pub fn forwarding(&self) -> u64 {
        self.server.metric("stentor_sockjs_forwarding")
    }

    /// Those that were ever.
    pub fn forwarded(&self) -> u64 {
        self.server.metric("stentor_sockjs_forwarded_total")
    }
}

/// So many nodes.
pub fn nodes(count: usize) -> (Vec<Node>, Arc<Shared>) {
    nodes_with(count, |_| {})
}

/// With settings of their own.
pub fn nodes_with(count: usize, settings: impl Fn(&mut Config)) -> (Vec<Node>, Arc<Shared>) {
    let shared = Arc::<Shared>::default();
    let node = |_| {
        let mut config = config();
        // Streams end often, so that the next one begins elsewhere.
        config.sockjs.response_limit = ByteSize::new(4096);
        config.outbox.close_timeout = Duration::from_millis(100);
        settings(&mut config);
        let joined = Arc::<OnceLock<_>>::default();
        let view = View { shared: shared.clone(), joined: joined.clone() };
        Node { server: Server::joined(config, Some(Arc::new(view))), joined }
    };
    ((0..count).map(node).collect(), shared)
}
