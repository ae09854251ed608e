//! What all clients share, and how each goes from node to node.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::client::Client;
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::faults::NODES;
use crate::ledger::Ledger;

/// Nothing may take longer that a client waits for: a node is stopped or cut off for some seconds, RabbitMQ takes some to start, and
/// what waits for it is refused after ten.
pub const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Clients publish, come and go.
    Chaos,
    /// Nothing more is published; all that was is to come.
    Rest,
    End,
}

pub struct World {
    pub cluster: Cluster,
    pub ledger: Ledger,
    pub phase: watch::Sender<Phase>,
    pub seed: u64,
}

impl World {
    /// Dice of one client.
    pub fn dice(&self, who: usize) -> Dice {
        Dice(self.seed.wrapping_mul(0x0123_4567_89ab_cdef) ^ (who as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn is(&self, phase: Phase) -> bool {
        *self.phase.borrow() == phase
    }

    /// Ready when it is a phase, or over.
    pub async fn until(&self, phase: Phase) {
        let mut now = self.phase.subscribe();
        let _ = now.wait_for(|now| *now >= phase).await;
    }

    /// Connects to some node that is there, and says to which.
    pub async fn connect(&self, dice: &mut Dice) -> (usize, Client) {
        loop {
            let node = dice.below(NODES);
            if let Some(client) = Client::connect(self.cluster.tcp(node)).await {
                return (node, client);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

pub type Shared = Rc<World>;
