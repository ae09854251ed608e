//! How this node is joined with others: what the configuration says of it, for the backend.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::StartError;
use crate::backends::rabbitmq::{Here, QueueSettings, RabbitMq, Settings, Shared, StreamSettings};
use crate::broker::{Catalogue, ChannelKind, Filter, Kind, Tenant};
use crate::config::{ChannelPattern, Config, OverflowPolicy};
use crate::producers::figures::Figures;
use crate::producers::nodes::{NodeView, Nodes};
use crate::telemetry::{Health, Metrics};

/// The backend between nodes, if there are others.
pub(super) fn rabbitmq(
    config: &Config,
    incarnation: u32,
    health: &Arc<Health>,
    metrics: &Arc<Metrics>,
    shared: Shared,
) -> Result<Option<Arc<RabbitMq>>, StartError> {
    let Some(url) = &config.amqp else { return Ok(None) };
    let catalogue = config.channels.catalogue();
    let settings = Settings {
        url: url.expose().to_owned(),
        shown_url: url.to_string(),
        node: config.node.as_str().to_owned(),
        incarnation,
        exchange: config.rabbitmq.exchange.as_str().to_owned(),
        installation: config.installation().to_owned(),
        unconfirmed: (
            config.rabbitmq.max_unconfirmed,
            config.rabbitmq.max_unconfirmed_bytes.get(),
            config.rabbitmq.confirm_timeout,
        ),
        kinds: fingerprint(&catalogue),
        shared,
        queues: QueueSettings {
            queues: config.queues.max_queues,
            messages: config.queues.max_messages,
            octets: config.queues.max_bytes.get(),
            deliveries: u32::try_from(config.queues.max_deliveries).unwrap_or(u32::MAX),
            drops_oldest: config.queues.overflow == OverflowPolicy::DropOldest,
            by_priority: filters(config.rabbitmq.priority_queues.iter().map(ChannelPattern::pattern)),
        },
        stream: StreamSettings {
            filters: events(&catalogue),
            installation: config.installation().to_owned(),
            max_age: config.rabbitmq.stream_age,
            max_bytes: config.rabbitmq.stream_bytes.get() as u64,
            segment_bytes: config.rabbitmq.stream_segment_bytes.get() as u64,
            history_age: history_age(&catalogue),
            history_messages: config.rabbitmq.start_messages as u64,
        },
    };
    let joined = RabbitMq::new(settings, health.clone(), metrics.clone());
    joined.map(Some).map_err(|why| StartError::Join(why.to_string()))
}

/// The figures, of which each node makes its part.
pub(super) fn shared(figures: &Arc<Figures>) -> Shared {
    let (own, all, take) = (figures.clone(), figures.clone(), figures.clone());
    Shared {
        own: Arc::new(move |always| own.own_part(always)),
        all: Arc::new(move || all.all_parts()),
        take: Arc::new(move |part| {
            if let Err(error) = take.take_part(part) {
                warn!(%error, "another node's part of the figures is not understood");
            }
        }),
    }
}

/// What events channels there can be.
fn events(catalogue: &Catalogue) -> Vec<Filter> {
    let events = catalogue.rules().iter().filter(|rule| rule.kind == ChannelKind::Events);
    filters(events.map(|rule| rule.pattern.as_str()))
}

/// The longest that any events channel keeps a message.
fn history_age(catalogue: &Catalogue) -> Duration {
    let events = catalogue.rules().iter().filter(|rule| rule.kind == ChannelKind::Events);
    events.map(|rule| rule.history.age).max().unwrap_or_default()
}

/// All nodes that are heard of.
pub(super) fn nodes(
    rabbitmq: Option<Arc<RabbitMq>>,
    alone: impl Fn() -> NodeView + Send + Sync + 'static,
) -> Nodes {
    let view = |here: Here| NodeView {
        node: here.node,
        incarnation: format!("{:08x}", here.incarnation),
        version: here.version,
        connections: here.connections,
        since: here.since,
        status: here.status,
    };
    Nodes::new(move || match &rabbitmq {
        Some(rabbitmq) => rabbitmq.all_nodes().into_iter().map(view).collect(),
        None => vec![alone()],
    })
}

fn filters<'p>(patterns: impl Iterator<Item = &'p str>) -> Vec<Filter> {
    let text = |pattern: &str| format!("{}{pattern}", Kind::Topic.prefix());
    patterns.filter_map(|pattern| Filter::parse(Tenant::DEFAULT, text(pattern).into()).ok()).collect()
}

/// A number that nodes have in common whose channels are of the same kinds.
fn fingerprint(catalogue: &Catalogue) -> u64 {
    let mut kinds: Vec<String> = catalogue
        .rules()
        .iter()
        .map(|rule| format!("{} {} {}", rule.pattern, rule.kind.name(), rule.is_configured))
        .collect();
    kinds.sort_unstable();
    wyhash::wyhash(kinds.join("\n").as_bytes(), 0)
}
