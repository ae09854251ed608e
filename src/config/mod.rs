//! The configuration: every setting with its default and range, read from defaults, a file, the environment and flags,
//! each over the one before. What is refused is told with its name, its source and the fix ([`ConfigError`]).
//!
//! A setting `outbox.messages` is `messages` below `[outbox]` in the file and `STENTOR_OUTBOX__MESSAGES` in the
//! environment. What the settings do belongs to those who read them.

mod address;
mod channels;
mod error;
mod layers;
mod setting;
#[cfg(test)]
mod tests;
mod value;
mod web;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use address::{AmqpUrl, Listen, ListenSocket, NodeName, Origin};
pub use channels::ChannelPattern;
pub use error::{ConfigError, Problem, ProblemKind, Source};
pub use value::{ByteSize, LogFilter, LogFormat, OverflowPolicy};
pub use web::{AcrossNodes, CookieName, NodeUrl, WebUrl};

use ipnet::IpNet;
use layers::{Given, Layer, Names};
use setting::{Anything, Raw, Section, Setting, ZeroOr, settings};

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn bytes(n: usize) -> ByteSize {
    ByteSize::new(n)
}

const fn kib(n: usize) -> ByteSize {
    ByteSize::new(n << 10)
}

const fn mib(n: usize) -> ByteSize {
    ByteSize::new(n << 20)
}

/// One worker for each core, up to the most that there may be.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(64))
}

settings! {
    /// Everything that can be set, typed and checked. `Config::default()` is what runs with nothing set.
    pub struct Config {
        /// Where HTTP, WebSocket and SockJS are served: `ADDRESS:PORT`, or `localhost:PORT` for both loopbacks (the
        /// IPv6 one where the machine has it). Port 0 takes a free port. Beyond loopback it takes `allowed_origins` or
        /// `any_origin` too.
        listen: Vec<Listen> = vec![Listen::Localhost(8080)], Anything;
        /// Where STOMP over plain TCP is served, such as `localhost:61613`, in the form of `listen`. Empty: nowhere. Beyond
        /// loopback it takes `tcp_beyond_loopback` too.
        tcp: Vec<Listen> = Vec::new(), Anything;
        /// Lets `tcp` listen beyond loopback: whoever reaches it may do everything, since there are no users yet, and
        /// origins, which only browsers tell, keep nobody out there.
        tcp_beyond_loopback: bool = false, Anything;
        /// The RabbitMQ that joins several nodes: `amqp://user:password@host:port/vhost`, or `amqps://`. Empty: one node, which
        /// needs none.
        amqp: Option<AmqpUrl> = None, Anything;
        /// This node's name, as other nodes, logs and metrics give it. By default the host's name.
        node: NodeName = NodeName::of_this_host(), Anything;
        /// What all nodes that share their channels are called together: a cursor of another installation is unknown here, and
        /// with RabbitMQ their queues begin with it. By default this node's name, and with RabbitMQ `stentor`.
        installation: Option<NodeName> = None, Anything;
        /// Where other nodes reach this one by HTTP, such as `http://10.0.0.5:8080`. By default the first address of `listen`,
        /// which must then be one that they can reach.
        advertise: Option<NodeUrl> = None, Anything;
        /// Threads that serve connections. By default one for each core.
        workers: usize = cores(), 1..=64;
        /// Origins whose pages may connect, such as `https://example.org`. Empty: any, which is allowed on loopback
        /// only; there it means that every page open in a browser on this machine can connect.
        allowed_origins: Vec<Origin> = Vec::new(), Anything;
        /// Lets pages of every origin connect when listening beyond loopback.
        any_origin: bool = false, Anything;
        /// Proxies in front of this server, as addresses or networks such as `10.0.0.0/8`: their word is taken for where a
        /// request comes from (`Forwarded`, `X-Forwarded-For`). Nobody else's is.
        trusted_proxies: Vec<IpNet> = Vec::new(), Anything;
        /// How long a stop may take. Sessions are told to go one after the other, all of them in the first half of it; who
        /// does not go by its end is not waited for.
        shutdown_timeout: Duration = secs(10), secs(0)..=secs(600);
        sections {
            /// STOMP sessions and the size of their frames.
            stomp: Stomp;
            /// What waits in queues.
            queues: Queues;
            /// Which topics keep what.
            channels: Channels;
            /// What may wait for one client.
            outbox: Outbox;
            /// Bounds of the whole process.
            limits: Limits;
            /// SockJS sessions and transports.
            sockjs: SockJs;
            /// The producer of `/topic/metrics`.
            metrics: Metrics;
            /// The producer of `/topic/host-metrics:<host>`.
            host: Host;
            /// What all nodes have together, where `amqp` joins several.
            rabbitmq: RabbitMq;
            /// What is logged, and how.
            log: Log;
        }
    }
}

settings! {
    /// `[stomp]`: STOMP sessions and the size of their frames.
    pub struct Stomp {
        /// The interval at which the server can send heart-beats; 0s for none.
        heart_beat_send: Duration = secs(1), ZeroOr(millis(100)..=secs(3600));
        /// The interval at which it wants them from clients; 0s for none. Browsers let the timers of a tab in the
        /// background run once a minute at worst, and a client is given up after three intervals of silence.
        heart_beat_want: Duration = secs(30), ZeroOr(millis(100)..=secs(3600));
        /// How long a new connection may take until its CONNECT is complete.
        connect_timeout: Duration = secs(30), millis(100)..=secs(600);
        /// Headers of one frame, repeated ones included.
        max_headers: usize = 128, 8..=10_000;
        /// One line of a frame's head, its end not counted.
        max_line: ByteSize = kib(16), bytes(256)..=mib(1);
        /// All header lines of one frame together.
        max_header_bytes: ByteSize = kib(64), bytes(1024)..=mib(16);
        /// The body of one frame.
        max_body: ByteSize = mib(8), kib(1)..=mib(1024);
        /// Subscriptions of one connection.
        max_subscriptions: usize = 1024, 1..=1_000_000;
        /// Transactions that one connection may have open.
        max_transactions: usize = 64, 1..=10_000;
        /// Frames in all of them.
        max_transaction_frames: usize = 10_000, 1..=1_000_000;
        /// Octets in all of them.
        max_transaction_bytes: ByteSize = mib(64), kib(1)..=mib(1024);
    }
}

settings! {
    /// `[queues]`: what waits in `/queue/` destinations. It waits in memory.
    pub struct Queues {
        /// Queues that may exist; one without messages and consumers does not.
        max_queues: usize = 10_000, 1..=1_000_000;
        /// Messages of one queue, those included that consumers did not acknowledge.
        max_messages: usize = 100_000, 1..=100_000_000;
        /// Their size.
        max_bytes: ByteSize = mib(256), kib(1)..=mib(1 << 20);
        /// The size of the messages of all queues.
        max_total_bytes: ByteSize = mib(1024), kib(1)..=mib(1 << 20);
        /// What a full queue does: `refuse` tells the sender by an ERROR, `drop-oldest` makes its oldest message a dead
        /// letter.
        overflow: OverflowPolicy = OverflowPolicy::Refuse, Anything;
        /// How often a message is delivered before it is a dead letter, in `/queue/dlq.<name>`; 0 for as often as it takes.
        max_deliveries: usize = 20, 0..=1_000_000;
    }
}

settings! {
    /// `[channels]`: which topics keep what, beside those that everybody finds (`stentor check` lists them all). Patterns are
    /// those of SUBSCRIBE, without `/topic/`; of several that match, the more specific one counts.
    pub struct Channels {
        /// Topics whose newest value matters: it is kept, and a slow subscriber skips to it. Such as `prices:#`.
        snapshot: Vec<ChannelPattern> = Vec::new(), Anything;
        /// Topics of which every message matters, each with a history. A pattern may be followed by bounds of its own, such as
        /// `orders:# messages=1000 bytes=1MiB age=10m`, and by `tail=100` for what is handed out unasked.
        events: Vec<ChannelPattern> = Vec::new(), Anything;
        /// Topics that would be one of these, and are to be neither.
        plain: Vec<ChannelPattern> = Vec::new(), Anything;
        /// Messages in the history of one channel.
        history_messages: usize = 10_000, 1..=100_000_000;
        /// What they take in memory.
        history_bytes: ByteSize = mib(16), kib(1)..=mib(1 << 20);
        /// The age of the oldest.
        history_age: Duration = secs(3600), secs(1)..=secs(366 * 24 * 3600);
        /// What the histories of all channels take in memory; beyond it the oldest messages of all go.
        max_history_bytes: ByteSize = mib(256), kib(1)..=mib(1 << 20);
        /// What the kept values of all topics take in memory; beyond nine tenths of it the oldest go.
        max_value_bytes: ByteSize = mib(64), kib(1)..=mib(1 << 20);
    }
}

settings! {
    /// `[outbox]`: what may wait for one client. An empty outbox takes any one message; beyond either bound the client is
    /// cut off.
    pub struct Outbox {
        /// Messages that wait.
        messages: usize = 256, 1..=1_000_000;
        /// Their size on the wire, together.
        bytes: ByteSize = mib(1), kib(1)..=mib(1024);
        /// A client to which nothing could be written for this long is gone.
        write_timeout: Duration = secs(60), secs(1)..=secs(3600);
        /// How long a client that is cut off has to take its last frame.
        close_timeout: Duration = secs(5), millis(100)..=secs(300);
    }
}

settings! {
    /// `[limits]`: bounds of the whole process.
    pub struct Limits {
        /// Connections of all workers; never more than the open files that the system allows this process.
        max_connections: usize = 100_000, 1..=10_000_000;
        /// Messages that wait for one worker; a publisher waits while it is full.
        mailbox: usize = 1024, 16..=1_048_576;
        /// Memory of STOMP frames that have begun and not ended, and of open transactions, of all connections together; who would
        /// take more is refused. Less than 1 KiB is not counted.
        incomplete_frames: ByteSize = mib(256), mib(1)..=mib(2048);
        /// The body of one REST request.
        max_request_body: ByteSize = mib(1), kib(1)..=mib(1024);
    }
}

settings! {
    /// `[sockjs]`: SockJS sessions and transports.
    pub struct SockJs {
        /// The interval of `h` frames.
        heartbeat: Duration = secs(25), secs(1)..=secs(3600);
        /// A session without a receiver for this long is gone; a minute later where its client reads slowly what it was sent.
        session_timeout: Duration = secs(5), secs(1)..=secs(600);
        /// A streaming response ends after this much, and the client asks for the next.
        response_limit: ByteSize = kib(128), kib(4)..=mib(64);
        /// Whether the WebSocket transports are offered.
        websocket: bool = true, Anything;
        /// Sessions over HTTP that may live at the same time; a new one beyond them is refused.
        max_sessions: usize = 100_000, 1..=10_000_000;
        /// Offers the iframe page and JSONP also where `allowed_origins` are listed. Browsers do not say which page such
        /// requests come from, so that every page can connect by them.
        iframe_and_jsonp: bool = false, Anything;
        /// Where the iframe page loads sockjs-client from. By default this server has the script.
        script_url: Option<WebUrl> = None, Anything;
        /// Where clients shall connect, if not where they asked for `/ws/info`: the URL of this node, say, behind a load
        /// balancer that can't keep sessions in place.
        base_url: Option<WebUrl> = None, Anything;
        /// What becomes of a request for a session over HTTP that lives on another node: `forward` brings it there, so that
        /// a load balancer need not keep sessions in place; with `off` nodes do not know of each other's sessions. A single
        /// node has no use for it.
        across_nodes: AcrossNodes = AcrossNodes::Forward, Anything;
        /// Requests that this node may have under way to other nodes at the same time; one beyond them is answered 503. Each
        /// is an open file here and one there.
        max_forwarded: usize = 10_000, 1..=1_000_000;
        /// Whether clients shall send cookies, for load balancers that keep sessions in place by `JSESSIONID`.
        cookie_needed: bool = false, Anything;
        /// The cookies that tell users apart: a session over HTTP takes only requests with those that it was opened with.
        /// Empty: with one of those that it was opened with.
        credential_cookies: Vec<CookieName> = Vec::new(), Anything;
    }
}

settings! {
    /// `[metrics]`: the producer of `/topic/metrics`.
    pub struct Metrics {
        /// The interval of its messages.
        period: Duration = secs(1), millis(100)..=secs(3600);
    }
}

settings! {
    /// `[host]`: the producer of `/topic/host-metrics:<host>`.
    pub struct Host {
        /// The interval of its messages.
        period: Duration = secs(1), millis(100)..=secs(3600);
    }
}

settings! {
    /// `[rabbitmq]`: what all nodes have together, where `amqp` joins several.
    pub struct RabbitMq {
        /// Queues that order by `priority`, by patterns of their names such as `orders.#`. RabbitMQ has that for classic queues
        /// only, which are on one of its machines and not on several; all others are quorum queues.
        priority_queues: Vec<ChannelPattern> = Vec::new(), Anything;
        /// The exchange of topics. Publishers and subscribers of RabbitMQ's own find the channels there.
        exchange: NodeName = NodeName::literal("amq.topic"), Anything;
        /// Messages of one kind of traffic that may wait for RabbitMQ's confirm.
        max_unconfirmed: usize = 10_000, 1..=10_000_000;
        /// Their size.
        max_unconfirmed_bytes: ByteSize = mib(64), kib(1)..=mib(1 << 20);
        /// How long a message may wait for its confirm; then it is refused by an ERROR.
        confirm_timeout: Duration = secs(10), millis(100)..=secs(600);
        /// What the log of events channels keeps, a RabbitMQ stream; counts when it is made. Its age.
        stream_age: Duration = secs(24 * 3600), secs(1)..=secs(3660 * 24 * 3600);
        /// Its size.
        stream_bytes: ByteSize = mib(10 * 1024), kib(1)..=mib(1 << 30);
        /// The size of the segments by which it lets go.
        stream_segment_bytes: ByteSize = mib(100), kib(1)..=mib(3000);
        /// Events that a node which starts reads of the log at the most. By default some ten seconds' worth.
        start_messages: usize = 250_000, 1..=100_000_000;
    }
}

settings! {
    /// `[log]`: what is logged, and how.
    pub struct Log {
        /// `error`, `warn`, `info`, `debug`, `trace` or `off`, or directives such as `info,stentor::broker=debug`.
        level: LogFilter = LogFilter::default(), Anything;
        /// `text` for people, `json` for machines.
        format: LogFormat = LogFormat::Text, Anything;
    }
}

/// What the command line says: the file to read, and the settings given as flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The file of `--config`; without one, that of `STENTOR_CONFIG`; else none is read.
    pub file: Option<PathBuf>,
    flags: Vec<(&'static str, &'static str, String)>,
}

impl Overrides {
    /// No flags, and the file of `--config` if it was given.
    pub fn new(file: Option<PathBuf>) -> Overrides {
        Overrides { file, flags: Vec::new() }
    }

    /// Adds a flag: its name with the dashes, the full name of its setting, the text given. A list takes commas.
    pub fn flag(mut self, flag: &'static str, setting: &'static str, value: impl Into<String>) -> Overrides {
        self.flags.push((flag, setting, value.into()));
        self
    }
}

/// Which origins may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AllowedOrigins<'a> {
    /// All of them.
    Any,
    /// These.
    Only(&'a [Origin]),
}

impl Config {
    /// Reads the configuration: defaults, then the file, then this process's environment, then flags.
    ///
    /// # Errors
    /// Everything that is wrong in any of them, found in one go.
    pub fn load(overrides: &Overrides) -> Result<Config, ConfigError> {
        Config::load_with(overrides, std::env::vars_os())
    }

    /// [`Config::load`] with the environment passed in.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with(
        overrides: &Overrides,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Config, ConfigError> {
        let environment: Vec<_> = environment.into_iter().collect();
        let variable =
            environment.iter().find(|(name, value)| name == layers::FILE_VARIABLE && !value.is_empty());
        let file = overrides.file.clone().or_else(|| variable.map(|(_, path)| PathBuf::from(path)));
        let Some(path) = file else {
            return Config::resolve(None, &environment, overrides);
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => Config::resolve(Some((&path, &text)), &environment, overrides),
            Err(error) => {
                let source = match (&overrides.file, variable) {
                    (None, Some((name, _))) => Source::Variable(name.to_string_lossy().into_owned()),
                    _ => Source::Flag("--config"),
                };
                Err(unreadable(&path, source, &error))
            }
        }
    }

    /// Reads a configuration from a TOML text alone; `path` is what messages call it.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Config, ConfigError> {
        Config::resolve(Some((path, text)), &[], &Overrides::default())
    }

    fn resolve(
        file: Option<(&Path, &str)>,
        environment: &[(OsString, OsString)],
        overrides: &Overrides,
    ) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        let names = config.names();
        let (mut problems, mut sources) = (Vec::new(), BTreeMap::new());
        let layers = [
            file.map(|(path, text)| layers::from_file(path, text, &names, &mut problems)).unwrap_or_default(),
            layers::from_environment(environment, &names, &mut problems),
            overrides.layer(),
        ];
        for layer in layers {
            config.apply(layer, &mut sources, &mut problems);
        }
        // What contradicts what can be said only where each value stands.
        if problems.is_empty() {
            config.check_together(&sources, &mut problems);
        }
        ConfigError::unless_empty(problems).map(|()| config)
    }

    fn names(&mut self) -> Names {
        let mut names = Vec::new();
        self.each("", &mut |setting| names.push(setting.name));
        Names(names)
    }

    fn apply(
        &mut self,
        mut layer: Layer,
        sources: &mut BTreeMap<String, Source>,
        problems: &mut Vec<Problem>,
    ) {
        self.each("", &mut |Setting { name, slot, .. }| {
            let Some(Given { raw, source }) = layer.remove(&name) else {
                return;
            };
            if let Err(wrong) = slot.set(&raw) {
                problems.push(Problem {
                    kind: ProblemKind::Invalid,
                    setting: name.clone(),
                    source: source.clone(),
                    what: wrong.what,
                    fix: wrong.fix,
                });
            }
            sources.insert(name, source);
        });
    }

    /// What all nodes that share their channels are called together.
    pub fn installation(&self) -> &str {
        match (&self.installation, &self.amqp) {
            (Some(installation), _) => installation.as_str(),
            (None, Some(_)) => "stentor",
            (None, None) => self.node.as_str(),
        }
    }

    /// The sockets to bind, in order; see [`ListenSocket::optional`].
    pub fn sockets(&self) -> Vec<ListenSocket> {
        self.listen.iter().flat_map(|entry| entry.sockets()).collect()
    }

    /// The same for STOMP over plain TCP.
    pub fn tcp_sockets(&self) -> Vec<ListenSocket> {
        self.tcp.iter().flat_map(|entry| entry.sockets()).collect()
    }

    /// The origins whose pages may connect. Any, where nothing was said: that is possible on loopback only.
    pub fn origins(&self) -> AllowedOrigins<'_> {
        match self.allowed_origins.as_slice() {
            [] => AllowedOrigins::Any,
            origins => AllowedOrigins::Only(origins),
        }
    }

    /// The rules that bind several settings.
    fn check_together(&self, sources: &BTreeMap<String, Source>, problems: &mut Vec<Problem>) {
        let mut refuse = |kind, setting: &str, what: &str, fix: &str| {
            problems.push(Problem {
                kind,
                setting: setting.to_owned(),
                source: sources.get(setting).cloned().unwrap_or(Source::Default),
                what: what.to_owned(),
                fix: fix.to_owned(),
            });
        };
        let sockets = self.sockets();
        if sockets.is_empty() {
            refuse(
                ProblemKind::Invalid,
                "listen",
                "the list is empty",
                "give an address, such as localhost:8080",
            );
        }
        let tcp = self.tcp_sockets();
        let addresses: Vec<SocketAddr> = sockets.iter().chain(&tcp).map(|socket| socket.address).collect();
        let clash = addresses.iter().enumerate().find_map(|(at, one)| {
            let other = addresses[..at].iter().find(|other| clash(**other, *one))?;
            Some((other, one, if at < sockets.len() { "listen" } else { "tcp" }))
        });
        match clash {
            Some((one, other, setting)) if one == other => {
                let what = format!("{one} is there twice");
                refuse(ProblemKind::Contradiction, setting, &what, "give each address once");
            }
            Some((one, other, setting)) => {
                let what =
                    format!("{one} and {other} are at the same port, and one of them is every address");
                refuse(
                    ProblemKind::Contradiction,
                    setting,
                    &what,
                    "give the other another port, or leave it out",
                );
            }
            None => {}
        }
        let beyond = sockets.iter().find(|socket| !socket.address.ip().is_loopback());
        if let Some(socket) = beyond.filter(|_| self.allowed_origins.is_empty() && !self.any_origin) {
            let what =
                format!("{} is beyond loopback, and nothing says which origins may connect", socket.address);
            let fix = "set allowed_origins = [\"https://your.site\"] (flag --allowed-origin), or any_origin = true \
                       (flag --any-origin) to let in every page: there is no authentication yet";
            refuse(ProblemKind::Contradiction, "listen", &what, fix);
        }
        let beyond = tcp.iter().find(|socket| !socket.address.ip().is_loopback());
        if let Some(socket) = beyond.filter(|_| !self.tcp_beyond_loopback) {
            let what = format!("{} is beyond loopback, and there is no authentication yet", socket.address);
            let fix = "listen on localhost:61613, or set tcp_beyond_loopback = true (flag --tcp-beyond-loopback) to let in \
                       everybody who reaches that address";
            refuse(ProblemKind::Contradiction, "tcp", &what, fix);
        }
        if self.any_origin && !self.allowed_origins.is_empty() {
            let what = "any_origin lets in every page, and allowed_origins names some";
            refuse(ProblemKind::Contradiction, "any_origin", what, "keep one of them and remove the other");
        }
        if self.stomp.max_header_bytes < self.stomp.max_line {
            let what = format!(
                "{} for all lines is less than the {} of stomp.max_line for one",
                self.stomp.max_header_bytes, self.stomp.max_line
            );
            refuse(
                ProblemKind::Contradiction,
                "stomp.max_header_bytes",
                &what,
                "raise it, or lower stomp.max_line",
            );
        }
        let largest = self.stomp.max_body.get().saturating_add(self.stomp.max_header_bytes.get());
        if self.limits.incomplete_frames.get() < largest {
            let what = format!(
                "{} for all frames is less than the {} of stomp.max_body and the {} of stomp.max_header_bytes for one",
                self.limits.incomplete_frames, self.stomp.max_body, self.stomp.max_header_bytes
            );
            let fix = "raise it, or lower stomp.max_body";
            refuse(ProblemKind::Contradiction, "limits.incomplete_frames", &what, fix);
        }
        self.channels.check_together(&mut refuse);
    }

    /// The configuration in force as a TOML file with comments, which read again gives the same one. Passwords are
    /// masked.
    pub fn to_toml(&self) -> String {
        let mut defaults = BTreeMap::new();
        Config::default().each("", &mut |Setting { name, slot, .. }| {
            defaults.insert(name, slot.show());
        });
        let mut out = String::from("# Stentor's configuration in force.\n");
        let mut current = String::new();
        self.clone().each("", &mut |Setting { name, doc, slot }| {
            let (section, key) = name.rsplit_once('.').unwrap_or(("", &name));
            out.push('\n');
            if section != current {
                // Writing to a String cannot fail.
                let _ = writeln!(out, "[{section}]\n");
                section.clone_into(&mut current);
            }
            for line in doc {
                let _ = writeln!(out, "#{line}");
            }
            let (shown, default) = (slot.show(), defaults.get(&name));
            if let Some(default) = default.filter(|default| **default != shown) {
                let _ = writeln!(out, "# Default: {default}");
            }
            let _ = writeln!(out, "{key} = {shown}");
        });
        out
    }
}

impl Overrides {
    /// A flag that is repeated adds to its list.
    fn layer(&self) -> Layer {
        let mut layer = Layer::new();
        for (flag, setting, value) in &self.flags {
            let fresh = || Given { raw: Raw::Text(String::new()), source: Source::Flag(flag) };
            let given = layer.entry((*setting).to_owned()).or_insert_with(fresh);
            if let Raw::Text(text) = &mut given.raw {
                let comma = if text.is_empty() { "" } else { "," };
                *text = format!("{text}{comma}{value}");
            }
        }
        layer
    }
}

/// Whether only one of two sockets can be bound. The IPv6 ones are for IPv6 alone.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let all = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && one.is_ipv4() == other.is_ipv4() && (all || one == other)
}

fn unreadable(path: &Path, source: Source, error: &std::io::Error) -> ConfigError {
    let fix = match error.kind() {
        std::io::ErrorKind::NotFound => "give the path of a file that exists".to_owned(),
        std::io::ErrorKind::InvalidData => "save it in UTF-8".to_owned(),
        _ => "make it a file that this user may read".to_owned(),
    };
    ConfigError::one(Problem {
        kind: ProblemKind::File,
        setting: "configuration file".to_owned(),
        source,
        what: format!("cannot read {}: {error}", path.display()),
        fix,
    })
}
