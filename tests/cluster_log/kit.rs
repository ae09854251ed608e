//! Installations on one RabbitMQ, and events that are numbered.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use stentor::config::{ByteSize, Config};
use stomp_parser::Frame;

use crate::support::{Carrier, Client, Foreign, Rabbit, Server, config, until};

/// Nodes of one name, with an exchange and a stream of their own.
pub(crate) struct Installation<'r> {
    rabbit: &'r Rabbit,
    name: String,
    /// Lines of `[rabbitmq]`.
    settings: &'static str,
    pub(crate) exchange: String,
    /// The size of the mailboxes of nodes that start from here on.
    pub(crate) mailbox: Option<usize>,
    pub(crate) servers: Vec<Server>,
}

impl<'r> Installation<'r> {
    pub(crate) async fn new(rabbit: &'r Rabbit, name: &str, settings: &'static str) -> Installation<'r> {
        let exchange = format!("{name}.topics");
        Foreign::connect(rabbit).await.exchange(&exchange).await;
        Installation { rabbit, name: name.to_owned(), settings, exchange, mailbox: None, servers: Vec::new() }
    }

    fn config(&self, node: usize, rabbit: SocketAddr) -> Config {
        let (name, settings, exchange) = (&self.name, self.settings, &self.exchange);
        let text = format!(
            "node = \"n{node}\"\ninstallation = \"{name}\"\namqp = \"amqp://guest:guest@{rabbit}\"\n\
             [rabbitmq]\nexchange = \"{exchange}\"\n{settings}"
        );
        let Config { listen, tcp, workers, .. } = config();
        let own = Config::parse("test.toml".as_ref(), &text).unwrap();
        let mut own = Config { listen, tcp, workers, ..own };
        // Clients of tests read late.
        own.outbox.messages = 100_000;
        own.outbox.bytes = ByteSize::new(64 << 20);
        if let Some(mailbox) = self.mailbox {
            own.limits.mailbox = mailbox;
        }
        own
    }

    fn direct(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.rabbit.port()).into()
    }

    /// Starts so many nodes, and waits until they are ready.
    pub(crate) async fn start(mut self, nodes: usize) -> Installation<'r> {
        for _ in 0..nodes {
            self.start_one().await;
        }
        self
    }

    pub(crate) async fn start_one(&mut self) {
        self.start_by(self.direct()).await;
    }

    /// Starts a node that finds RabbitMQ at this address.
    pub(crate) async fn start_by(&mut self, rabbit: SocketAddr) {
        self.servers.push(Server::with(self.config(self.servers.len() + 1, rabbit)));
        self.ready().await;
    }

    /// Starts nodes at the same time.
    pub(crate) async fn start_at_once(mut self, nodes: usize) -> Installation<'r> {
        let configs: Vec<Config> = (1..=nodes).map(|node| self.config(node, self.direct())).collect();
        let starts = configs.into_iter().map(|config| std::thread::spawn(|| Server::with(config)));
        let starts: Vec<_> = starts.collect();
        self.servers.extend(starts.into_iter().map(|start| start.join().unwrap()));
        self.ready().await;
        self
    }

    async fn ready(&self) {
        let all = self.servers.len() as u64;
        for node in &self.servers {
            until("the nodes hear each other", || node.metric("stentor_nodes") == all).await;
            until("a node is ready", || node.metric("stentor_health{status=\"ok\"}") == 1).await;
        }
    }

    /// Stops all nodes.
    pub(crate) fn stop(&mut self) {
        self.servers.clear();
    }

    pub(crate) async fn client(&self, node: usize) -> Client {
        Client::connect(self.servers[node].address, Carrier::Raw).await
    }
}

/// The SEND of an event that begins with a number.
pub(crate) fn event(topic: &str, number: u64, receipt: Option<u64>) -> String {
    let receipt = receipt.map(|receipt| format!("receipt:{receipt}\n")).unwrap_or_default();
    format!("SEND\ndestination:{topic}\n{receipt}\n{number} {:=<300}\0", "")
}

/// Publishes events, and waits until they are in the log.
pub(crate) async fn events(client: &mut Client, topic: &str, which: std::ops::Range<u64>) {
    let last = which.end - 1;
    for number in which {
        client.send(&event(topic, number, (number == last).then_some(number))).await;
    }
    let receipt = client.frame().await.unwrap();
    assert_eq!(receipt.get("receipt-id"), Some(&*last.to_string()), "{receipt:?}");
}

/// Takes so many messages, of which none but the first tells of a gap.
pub(crate) async fn take(client: &mut Client, count: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    while frames.len() < count {
        let frame = client.frame().await.unwrap_or_else(|| panic!("the end after {}", frames.len()));
        assert_eq!((frame.command.as_str(), frame.get("gap")), ("MESSAGE", None), "{frame:?}");
        frames.push(frame);
    }
    frames
}

pub(crate) fn numbers(frames: &[Frame]) -> Vec<u64> {
    frames.iter().map(crate::support::number_of).collect()
}

pub(crate) fn cursor_of(frame: &Frame) -> String {
    frame.get("cursor").expect("a cursor").to_owned()
}

/// The number in a message's cursor.
pub(crate) fn place_of(frame: &Frame) -> u64 {
    let octets = URL_SAFE_NO_PAD.decode(cursor_of(frame)).unwrap();
    u64::from_be_bytes(octets[10..18].try_into().unwrap())
}

/// Subscribes with a cursor; its RECEIPT tells of this gap or none.
pub(crate) async fn resume(
    nodes: &Installation<'_>,
    node: usize,
    topic: &str,
    cursor: &str,
    gap: Option<&str>,
) -> Client {
    let mut client = nodes.client(node).await;
    client.send(&format!("SUBSCRIBE\nid:1\ndestination:{topic}\ncursor:{cursor}\nreceipt:r\n\n\0")).await;
    let receipt = client.frame().await.unwrap();
    assert_eq!(receipt.get("receipt-id"), Some("r"), "{receipt:?}");
    let resumed = if gap.is_none() { "true" } else { "false" };
    let told = (receipt.get("resumed"), receipt.get("gap-reason"));
    assert_eq!(told, (Some(resumed), gap), "node {node}: {receipt:?}");
    client
}
