//! The broker's own metrics, for Prometheus.
//!
//! Owns names, units and labels. Whoever counts holds a [`Metrics`] and adds; nothing here is read back by the
//! broker. Labels come from closed sets, so that no client can grow the registry.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Counters and gauges of one broker.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// How the node is: 1 at the status that it has, 0 at the others.
    pub health: Family<StatusLabel, Gauge>,
    /// Open connections by transport.
    pub connections: Family<Transport, Gauge>,
    /// All of them; to be read, not shown.
    pub open: Gauge,
    /// SockJS sessions over HTTP, those included that have ended and say so to late receivers. Set when it is read.
    pub http_sessions: Gauge,
    /// Requests of SockJS sessions that were brought to the nodes that have them.
    pub sockjs_forwarded: Counter,
    /// Those of them that are under way.
    pub sockjs_forwarding: Gauge,
    /// Those that came to nothing, by reason.
    pub sockjs_not_forwarded: Family<Reason, Counter>,
    /// Queues that exist.
    pub queues: Gauge,
    /// Messages in all queues, those included that consumers have.
    pub queue_messages: Gauge,
    /// How often a message was judged by a selector of a subscription to a topic.
    pub selector_evaluations: Counter,
    /// Messages that became dead letters, by reason.
    pub dead_letters: Family<Reason, Counter>,
    /// Octets of memory that frames take which have begun and not ended, and transactions; small ones are left out.
    pub incomplete_frames: Gauge,
    /// Connections ever opened by transport.
    pub connections_opened: Family<Transport, Counter>,
    /// Connections ended by reason.
    pub connections_closed: Family<Reason, Counter>,
    /// Clients cut off by the broker, by reason.
    pub cut_offs: Family<Reason, Counter>,
    /// Live subscriptions.
    pub subscriptions: Gauge,
    /// Groups of subscriptions that get the same octets.
    pub groups: Gauge,
    /// Messages that came in, by door.
    pub messages_in: MessagesIn,
    /// Messages published to a destination that nobody subscribed to.
    pub messages_unheard: Counter,
    /// Messages written to a connection, or put into its outbox.
    pub messages_out: Counter,
    /// Octets written to connections, of messages and all else.
    pub bytes_out: Counter,
    /// Messages encoded: once for each group.
    pub encodes: Counter,
    /// Frames dropped, by reason.
    pub drops: Family<Reason, Counter>,
    /// Errors told to clients, by the rule they broke.
    pub errors: Family<Rule, Counter>,
    /// Times that a publisher waited for a worker's mailbox.
    pub mailbox_waits: Counter,
    /// Last values that topics keep.
    pub kept_values: Gauge,
    /// Messages in the histories of events channels.
    pub history_messages: Gauge,
    /// What they take in memory, about.
    pub history_bytes: Gauge,
    /// Messages that histories let go.
    pub history_trimmed: Counter,
    /// Values that a slow reader was not sent, since a newer one took their place.
    pub conflated: Counter,
    /// Subscriptions that were given something of history.
    pub replays: Counter,
    /// Messages that they were given.
    pub replayed: Counter,
    /// Gaps told to subscriptions, by reason.
    pub gaps: Family<Reason, Counter>,
    /// Values that a `max-rate` held back for good.
    pub rate_skips: Counter,
    /// Merge patches computed.
    pub patches: Counter,
    /// Octets of bodies that views spared subscribers.
    pub view_saved: Counter,
    /// Whether RabbitMQ is in reach: 1 or 0.
    pub rabbitmq_connected: Gauge,
    /// How often it was connected to.
    pub rabbitmq_connects: Counter,
    /// Messages that it confirmed, by kind of traffic.
    pub rabbitmq_confirmed: Family<Traffic, Counter>,
    /// Messages that came from it, by kind of traffic.
    pub rabbitmq_received: Family<Traffic, Counter>,
    /// Octets of their bodies.
    pub rabbitmq_received_bytes: Counter,
    /// Keys that this node's queue is bound with.
    pub rabbitmq_bindings: Gauge,
    /// Second copies of events that were left out.
    pub log_repeats: Counter,
    /// The number of the last event that was read of the log of all nodes.
    pub log_position: Gauge,
    /// Nodes that are heard of, this one included.
    pub nodes: Gauge,
}

/// What is carried between nodes: `topics`, `events` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Traffic {
    /// Its name.
    pub traffic: &'static str,
}

/// How a connection is carried: `websocket`, `websocket-raw`, `tcp` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Transport {
    /// The transport's name.
    pub transport: &'static str,
}

/// Why something ended or was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// A label of [`CloseReason`](crate::broker::CloseReason).
    pub reason: &'static str,
}

/// Where a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// A STOMP client.
    Stomp,
    /// A request.
    Rest,
    /// The broker itself.
    Producer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DoorLabel {
    door: &'static str,
}

/// A counter for each door, found without a look-up.
#[derive(Debug)]
pub struct MessagesIn([Counter; 3]);

impl MessagesIn {
    fn new(family: &Family<DoorLabel, Counter>) -> MessagesIn {
        MessagesIn(
            ["stomp", "rest", "producer"].map(|door| family.get_or_create(&DoorLabel { door }).clone()),
        )
    }

    /// The counter of one door.
    pub fn by(&self, door: Door) -> &Counter {
        &self.0[door as usize]
    }
}

/// How the node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StatusLabel {
    /// A label of [`Status`](super::health::Status).
    pub status: &'static str,
}

/// The rule that a client broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Rule {
    /// A short label.
    pub rule: &'static str,
}

/// Registers a metric of any type and gives it back.
macro_rules! metric {
    ($registry:expr, $name:literal, $help:literal) => {{
        let metric = Default::default();
        $registry.register($name, $help, Clone::clone(&metric));
        metric
    }};
    ($registry:expr, $name:literal, $help:literal, $unit:expr) => {{
        let metric = Default::default();
        $registry.register_with_unit($name, $help, $unit, Clone::clone(&metric));
        metric
    }};
}

impl Metrics {
    /// Metrics that stand at zero.
    #[allow(clippy::new_without_default)] // a registry is made once, on purpose
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("stentor");
        let r = &mut registry;
        Metrics {
            health: metric!(r, "health", "How the node is: 1 at the status that it has"),
            connections: metric!(r, "connections", "Open connections"),
            open: Gauge::default(),
            queues: metric!(r, "queues", "Queues that exist"),
            queue_messages: metric!(r, "queue_messages", "Messages in queues, those with consumers included"),
            selector_evaluations: metric!(r, "selector_evaluations", "Judgements of a message by a selector"),
            dead_letters: metric!(r, "dead_letters", "Messages that became dead letters"),
            http_sessions: metric!(
                r,
                "http_sessions",
                "SockJS sessions over HTTP, those included that ended just now"
            ),
            sockjs_forwarded: metric!(
                r,
                "sockjs_forwarded",
                "Requests of SockJS sessions sent to other nodes"
            ),
            sockjs_forwarding: metric!(r, "sockjs_forwarding", "Those under way"),
            sockjs_not_forwarded: metric!(
                r,
                "sockjs_not_forwarded",
                "Requests of other nodes' SockJS sessions that did not get there, or got no answer"
            ),
            incomplete_frames: metric!(
                r,
                "incomplete_frames",
                "Memory of frames that have begun and not ended, and of transactions, small ones left out",
                Unit::Bytes
            ),
            connections_opened: metric!(r, "connections_opened", "Connections opened"),
            connections_closed: metric!(r, "connections_closed", "Connections ended"),
            cut_offs: metric!(r, "cut_offs", "Clients cut off by the broker"),
            subscriptions: metric!(r, "subscriptions", "Live subscriptions"),
            groups: metric!(r, "groups", "Groups of subscriptions that get the same octets"),
            messages_in: MessagesIn::new(&metric!(r, "messages_in", "Messages that came in")),
            messages_unheard: metric!(r, "messages_unheard", "Messages that nobody subscribed to"),
            messages_out: metric!(r, "messages_out", "Messages handed to connections or their outboxes"),
            bytes_out: metric!(r, "out", "Octets written to connections", Unit::Bytes),
            encodes: metric!(r, "encodes", "Messages encoded, once for each group"),
            drops: metric!(r, "drops", "Frames dropped"),
            errors: metric!(r, "errors", "Errors told to clients"),
            mailbox_waits: metric!(
                r,
                "mailbox_waits",
                "Times that a publisher waited for a worker's mailbox"
            ),
            kept_values: metric!(r, "kept_values", "Last values that topics keep"),
            history_messages: metric!(r, "history_messages", "Messages in the histories of events channels"),
            history_bytes: metric!(r, "history", "What the histories take in memory", Unit::Bytes),
            history_trimmed: metric!(r, "history_trimmed", "Messages that histories let go"),
            conflated: metric!(r, "conflated", "Values that a slow reader skipped to a newer one"),
            replays: metric!(r, "replays", "Subscriptions that were given something of history"),
            replayed: metric!(r, "replayed", "Messages that were given out of history"),
            gaps: metric!(r, "gaps", "Gaps told to subscriptions"),
            rate_skips: metric!(r, "rate_skips", "Values that a max-rate held back for good"),
            patches: metric!(r, "patches", "Merge patches computed"),
            view_saved: metric!(
                r,
                "view_saved",
                "Octets of bodies that views spared subscribers",
                Unit::Bytes
            ),
            rabbitmq_connected: metric!(r, "rabbitmq_connected", "Whether RabbitMQ is in reach"),
            rabbitmq_connects: metric!(r, "rabbitmq_connects", "Times that RabbitMQ was connected to"),
            rabbitmq_confirmed: metric!(r, "rabbitmq_confirmed", "Messages that RabbitMQ confirmed"),
            rabbitmq_received: metric!(r, "rabbitmq_received", "Messages that came from RabbitMQ"),
            rabbitmq_received_bytes: metric!(
                r,
                "rabbitmq_received",
                "Octets of the bodies that came from RabbitMQ",
                Unit::Bytes
            ),
            rabbitmq_bindings: metric!(r, "rabbitmq_bindings", "Keys that this node's queue is bound with"),
            log_repeats: metric!(r, "log_repeats", "Second copies of events that were left out"),
            log_position: metric!(r, "log_position", "Number of the last event read of the log of all nodes"),
            nodes: metric!(r, "nodes", "Nodes that are heard of, this one included"),
            registry,
        }
    }

    /// Counts frames that were dropped.
    pub fn dropped(&self, reason: &'static str, frames: usize) {
        if frames > 0 {
            self.drops.get_or_create(&Reason { reason }).inc_by(frames as u64);
        }
    }

    /// The text that `/metrics` answers (OpenMetrics 1.0).
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_names_and_labels() {
        let metrics = Metrics::new();
        metrics.encodes.inc_by(3);
        metrics.errors.get_or_create(&Rule { rule: "unknown_command" }).inc();
        let text = metrics.render();
        assert!(text.contains("stentor_encodes_total 3"), "{text}");
        assert!(text.contains("stentor_errors_total{rule=\"unknown_command\"} 1"), "{text}");
    }
}
