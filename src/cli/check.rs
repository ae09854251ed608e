//! `stentor check`: says what a configuration means, and why a destination is treated as it is. Starts nothing.

use std::fmt::Write as _;
use std::path::PathBuf;

use bytestring::ByteString;

use super::{Failure, print};
use crate::broker::{Catalogue, ChannelKind, Destination, Filter, HistoryLimits, Kind, Reach, Tenant};
use crate::config::{AllowedOrigins, Config, Overrides};

const EXAMPLES: &str = "\
Examples:
  stentor check --config stentor.toml
      What the file, with the environment over it, means
  stentor check /topic/host-metrics:web1 '/topic/host-metrics:#' /app/subscribe
      What each of these is, and why

Exit codes: 0 all is in order, 2 a setting or a destination is not.";

/// Say what a configuration means, and why a destination is treated as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Read settings from a TOML file [env: STENTOR_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Destinations and patterns to explain
    #[arg(value_name = "DESTINATION")]
    destinations: Vec<String>,
}

/// Prints what was asked for.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    let config = Config::load(&Overrides::new(args.config)).map_err(Failure::Config)?;
    if args.destinations.is_empty() {
        return print(&meaning(&config));
    }
    let catalogue = config.channels.catalogue();
    let mut wrong = 0;
    let mut text = String::new();
    for destination in &args.destinations {
        let explained = explain(destination, &catalogue);
        wrong += usize::from(explained.is_err());
        let (Ok(why) | Err(why)) = explained;
        let _ = writeln!(text, "{destination}\n  {}", why.replace('\n', "\n  "));
    }
    print(&text)?;
    if wrong == 0 { Ok(()) } else { Err(Failure::Destinations(wrong)) }
}

/// What a configuration means, a line for each thing that an operator asks.
fn meaning(config: &Config) -> String {
    let sockets = config.sockets();
    let addresses: Vec<String> = sockets.iter().map(|socket| socket.address.to_string()).collect();
    let beyond = sockets.iter().any(|socket| !socket.address.ip().is_loopback());
    let pages = match (config.origins(), beyond) {
        (AllowedOrigins::Any, false) => {
            "of any origin may connect, if they are open in a browser of this machine".into()
        }
        (AllowedOrigins::Any, true) => "of any origin may connect, from anywhere (any_origin)".into(),
        (AllowedOrigins::Only(origins), _) => {
            let origins: Vec<&str> = origins.iter().map(|origin| origin.as_str()).collect();
            format!("of these origins alone may connect: {}", origins.join(", "))
        }
    };
    let rows = [
        (
            "listens on",
            format!(
                "{}, {}",
                addresses.join(", "),
                if beyond { "beyond this machine" } else { "reached from this machine alone" }
            ),
        ),
        ("STOMP on TCP", tcp(config)),
        ("pages", pages),
        ("users", "there are none: whoever connects is anonymous and may do everything".into()),
        ("node", format!("{}, alone, {} workers", config.node, config.workers)),
        (
            "connections",
            format!(
                "{} at most, {} subscriptions each",
                config.limits.max_connections, config.stomp.max_subscriptions
            ),
        ),
        (
            "frames",
            format!(
                "bodies of {} at most, {} headers of {} together; {} for all that are incomplete",
                config.stomp.max_body,
                config.stomp.max_headers,
                config.stomp.max_header_bytes,
                config.limits.incomplete_frames
            ),
        ),
        (
            "slow clients",
            format!(
                "cut off beyond {} messages or {} that wait for them, or when nothing could be written for {:?}",
                config.outbox.messages, config.outbox.bytes, config.outbox.write_timeout
            ),
        ),
        (
            "heart-beats",
            format!(
                "one each {:?} if wanted, and wanted each {:?}",
                config.stomp.heart_beat_send, config.stomp.heart_beat_want
            ),
        ),
        (
            "histories",
            format!(
                "of each events channel {} messages, {}, {:?}, whichever comes first; {} of all, in memory",
                config.channels.history_messages,
                config.channels.history_bytes,
                config.channels.history_age,
                config.channels.max_history_bytes
            ),
        ),
        (
            "last values",
            format!("of snapshot channels, {} of all, in memory", config.channels.max_value_bytes),
        ),
        (
            "receipts",
            match &config.amqp {
                None => {
                    "a RECEIPT means that the message is in the mailbox of every worker with a subscriber"
                        .into()
                }
                Some(_) => format!(
                    "a RECEIPT means that RabbitMQ has confirmed the message, within {:?}, or it is refused",
                    config.rabbitmq.confirm_timeout
                ),
            },
        ),
        (
            "other nodes",
            match &config.amqp {
                None => "none: everything is in this node's memory".into(),
                Some(url) => format!("by {url}; this one is {}", config.node.as_str()),
            },
        ),
        (
            "producers",
            format!(
                "/topic/metrics each {:?}, /topic/host-metrics:{} each {:?}, while anybody subscribes",
                config.metrics.period, config.node, config.host.period
            ),
        ),
    ];
    let mut text = String::from("The configuration is in order.\n");
    for (what, means) in rows {
        let _ = writeln!(text, "  {what:<13} {means}");
    }
    text.push_str("channels\n");
    for rule in config.channels.catalogue().rules() {
        let source = if rule.is_configured { "configured" } else { "built in" };
        let _ = writeln!(text, "  {:<9} {:<32} {source}", rule.kind.name(), rule.pattern);
    }
    text.push_str("  plain     all other topics\n");
    text.push_str("`stentor serve --print-config` prints every setting.\n");
    text
}

/// Where plain TCP is served, and who reaches it.
fn tcp(config: &Config) -> String {
    let sockets = config.tcp_sockets();
    if sockets.is_empty() {
        return "not served".into();
    }
    let addresses: Vec<String> = sockets.iter().map(|socket| socket.address.to_string()).collect();
    let who = if sockets.iter().all(|socket| socket.address.ip().is_loopback()) {
        "reached from this machine alone"
    } else {
        "whoever reaches it may connect (tcp_beyond_loopback)"
    };
    format!("{}, {who}", addresses.join(", "))
}

/// What a destination or pattern is, or why it is none.
fn explain(text: &str, catalogue: &Catalogue) -> Result<String, String> {
    let text = ByteString::from(text);
    match Destination::parse(Tenant::DEFAULT, text.clone()) {
        Ok(destination) => Ok(match destination.kind() {
            Kind::Topic => topic(&destination, catalogue),
            Kind::Queue => {
                "a queue, because it begins with /queue/: each message goes to one consumer, and stays until that one \
                 acknowledges it; kept in memory, persistent:true or not, so that a receipt means accepted in memory; with --amqp \
                 it is RabbitMQ's queue of that name"
                    .into()
            }
            Kind::User => {
                "a user's, because it begins with /user/<name>/: all connections that logged in by that name and subscribe \
                 to the same without the name get it; nobody there means undeliverable, which the receipt says"
                    .into()
            }
            Kind::Reply => {
                "an address for answers, because it begins with /reply-queue/: the broker made it of a /temp-queue/ in a \
                 reply-to, and only the connection that sent that gets what is sent there"
                    .into()
            }
            Kind::App => {
                "answered by a handler, because it begins with /app/: a SEND goes to the handler alone, and \
                          its answer to the asker's own subscriptions; it can't be subscribed"
                    .into()
            }
        }),
        Err(invalid) => match Filter::parse(Tenant::DEFAULT, text) {
            Ok(filter) => Ok(pattern(&filter, catalogue)),
            Err(_) => Err(format!("no destination: {invalid}")),
        },
    }
}

fn topic(destination: &Destination, catalogue: &Catalogue) -> String {
    let fed = match destination.name().split([':', '.', '/']).next() {
        Some("metrics") if destination.name() == "metrics" => {
            "\nthe scheduler publishes it while anybody subscribes"
        }
        Some("host-metrics") => {
            "\nthe local collector publishes the one of its own node while anybody subscribes"
        }
        _ => "",
    };
    let Some(rule) = catalogue.rule(destination.name()) else {
        return format!("{}, because no rule matches it{fed}", promise(ChannelKind::Plain));
    };
    let source = if rule.is_configured { "the configuration" } else { "the built-in catalogue" };
    let mut text = format!("{}, because {:?} of {source} matches it", promise(rule.kind), rule.pattern);
    if rule.kind == ChannelKind::Events {
        let HistoryLimits { messages, bytes, age } = rule.history;
        let _ = write!(
            text,
            "\nkept: {messages} messages, {bytes} octets, {} s, whichever comes first",
            age.as_secs()
        );
        if rule.tail > 0 {
            let _ = write!(text, "; a SUBSCRIBE that asks for nothing gets the last {}", rule.tail);
        }
    }
    text + fed
}

fn promise(kind: ChannelKind) -> &'static str {
    match kind {
        ChannelKind::Snapshot => {
            "a snapshot channel (the newest value is kept and handed to each new subscriber at once; a slow one skips to \
             the newest)"
        }
        ChannelKind::Events => {
            "an events channel (every message has a cursor, and a subscriber that comes back with its last one gets what \
             it missed, or is told that it can't)"
        }
        ChannelKind::Plain => {
            "a plain topic (each message goes to whoever subscribes, in order, and is not kept; a subscriber that does not \
             keep up is cut off)"
        }
    }
}

/// What a pattern can match.
fn pattern(filter: &Filter, catalogue: &Catalogue) -> String {
    let Reach { snapshots, events, plain, .. } = catalogue.reach(filter);
    let kinds = [(snapshots, "snapshot"), (events, "events"), (plain, "plain")];
    let kinds: Vec<&str> = kinds.iter().filter(|(is, _)| *is).map(|(_, kind)| *kind).collect();
    format!(
        "a pattern, because a segment of it is * or #: for SUBSCRIBE only; it matches topics by segments, which split at \
         ':', '.' and '/' alike\nwhat it can match is of these kinds: {}",
        kinds.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_who_may_connect() {
        let text = meaning(&Config::default());
        assert!(text.contains("reached from this machine alone"), "{text}");
        assert!(text.contains("256 messages or 1MiB"), "{text}");
        assert!(text.contains("STOMP on TCP  not served"), "{text}");
    }

    #[test]
    fn a_destination_is_explained_or_refused() {
        for (text, part) in [
            ("/topic/a", Ok("plain topic")),
            ("/topic/a.*", Ok("of these kinds: plain")),
            ("/topic/host-metrics:#", Ok("of these kinds: snapshot")),
            ("/topic/logs:web1", Ok("\"logs:#\" of the built-in catalogue")),
            ("/topic/logs:web1", Ok("10000 messages, 16777216 octets, 3600 s")),
            ("/topic/metrics", Ok("the scheduler")),
            ("/app/subscribe", Ok("handler")),
            ("/topic/a..b", Err("empty segment")),
            ("/queue/a", Ok("accepted in memory")),
            ("/user/bob/queue/a", Ok("a user's")),
            ("/user/queue/a", Err("names no user")),
            ("/exchange/a", Err("/topic/, /queue/")),
        ] {
            match (explain(text, &Catalogue::default()), part) {
                (Ok(why), Ok(part)) | (Err(why), Err(part)) => {
                    assert!(why.contains(part), "{text}: {why}");
                }
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }
}
