//! Several nodes on one RabbitMQ, all in the test's own process but for RabbitMQ.

use stentor::config::{Config, Overrides};

use super::{Carrier, Client, Rabbit, Server, config, until};

/// Nodes that are ready and hear each other.
pub struct Cluster {
    pub rabbit: Rabbit,
    pub nodes: Vec<Server>,
}

/// A node of this name, of what is joined by this RabbitMQ.
pub fn node_config(rabbit: &Rabbit, name: &str) -> Config {
    let overrides = Overrides::default().flag("--node", "node", name);
    let node = Config::load_with(&overrides, []).unwrap().node;
    Config { amqp: Some(rabbit.url().parse().unwrap()), node, ..config() }
}

impl Cluster {
    pub async fn start(nodes: usize) -> Cluster {
        Cluster::with(nodes, |_| {}).await
    }

    /// All nodes with a configuration that is `changed`.
    pub async fn with(nodes: usize, changed: impl Fn(&mut Config)) -> Cluster {
        let rabbit = Rabbit::start();
        let node = |n: usize| {
            let mut config = node_config(&rabbit, &format!("n{n}"));
            changed(&mut config);
            Server::with(config)
        };
        let nodes = (1..=nodes).map(node).collect();
        let cluster = Cluster { rabbit, nodes };
        cluster.ready().await;
        cluster
    }

    /// Waits until all nodes serve and hear each other.
    pub async fn ready(&self) {
        let all = self.nodes.len() as u64;
        for node in &self.nodes {
            until("the nodes hear each other", || node.metric("stentor_nodes") == all).await;
            until("a node is ready", || node.metric("stentor_health{status=\"ok\"}") == 1).await;
        }
    }

    pub async fn client(&self, node: usize) -> Client {
        Client::connect(self.nodes[node].address, Carrier::Raw).await
    }

    /// A client that gives its name.
    pub async fn user(&self, node: usize, login: &str) -> Client {
        let mut client = Client::open(self.nodes[node].address, Carrier::Raw).await;
        client.send(&format!("CONNECT\naccept-version:1.2\nlogin:{login}\n\n\0")).await;
        assert_eq!(client.frame().await.unwrap().command.as_str(), "CONNECTED");
        client
    }
}
