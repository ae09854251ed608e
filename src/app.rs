//! The application: every part is named and wired here, and nowhere else.
//!
//! Owns the life of a server: bind, start, say where to look, drain, stop.

mod join;
mod listen;
mod requests;
mod worker;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix_server::{Server, ServerHandle};
use bytes::Bytes;
use sockjs::SockJs;
use sockjs::server::Connections;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use self::requests::Requests;
use self::worker::Workers;
use crate::backends::local::Local;
use crate::broker::{
    Access, Backend, Broker, ChannelLimits, CloseReason, Destination, Feed, Limits, LogIdentity, Message,
    OutboxLimits, Overflow, Parts, QueueLimits, Tenant,
};
use crate::config::{self, AcrossNodes, Config, NodeUrl, OverflowPolicy};
use crate::frontends::app::{Handlers, Refused};
use crate::frontends::dashboard;
use crate::frontends::forwarding::{Directory, Forwarding};
use crate::producers::figures::Figures;
use crate::producers::host::Sampler;
use crate::producers::nodes::NodeView;
use crate::producers::scheduler::every;
use crate::telemetry::{Health, Metrics};

/// Why a server can't start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address can't be listened on.
    #[error("can't listen on {address}: {error}\n  fix: {} with {flag}", fix_of(.error))]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
        /// The flag that gives another.
        flag: &'static str,
    },
    /// Other nodes have channels of other kinds.
    #[error(
        "the nodes that run have channels of other kinds than this one\n  fix: give all nodes the same [channels], and stop \
         those that have others first"
    )]
    Misfit,
    /// Nodes can't be joined as is configured.
    #[error("{0}")]
    Join(String),
    /// The node's name is no part of a destination.
    #[error(
        "the node's name can't be part of a destination: {0}\n  fix: give another with --node or STENTOR_NODE"
    )]
    Node(#[from] crate::broker::InvalidDestination),
    /// Other nodes can't know where this one is.
    #[error(
        "nothing says where other nodes reach this one, since it listens on every address\n  fix: set advertise = \
         \"http://HOST:PORT\" (STENTOR_ADVERTISE), or across_nodes = \"off\" in [sockjs]"
    )]
    Advertise,
    /// The process may open too few files.
    #[error(
        "the system allows this process {limit} open files, and it takes {need} to serve anybody\n  fix: raise the limit \
         (ulimit -n, LimitNOFILE= of systemd, --ulimit of docker); each connection is an open file"
    )]
    OpenFiles {
        /// What the system allows, raised as far as it can be.
        limit: u64,
        /// What the server itself takes, and a few clients.
        need: u64,
    },
    /// The system refuses what every process is given.
    #[error(
        "the system refuses to start a server: {0}\n  fix: see whether it is out of memory, threads or open files"
    )]
    System(#[from] io::Error),
}

fn fix_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "end whoever listens there, or choose another port",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address; choose another",
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege; choose another",
        _ => "choose another address",
    }
}

/// Serves until SIGTERM or ctrl-c.
///
/// # Errors
/// [`StartError`] if it can't start.
pub fn serve(config: &Config) -> Result<(), StartError> {
    raise_open_files(config)?;
    actix_web::rt::System::new().block_on(async {
        let running = Running::start(config)?;
        let mut signals = StopSignals::new()?;
        running.say_where(config);
        let mut running = running;
        let fits = tokio::select! {
            () = signals.next() => true,
            () = running.misfit() => false,
        };
        info!("stopping; a second signal stops at once");
        tokio::select! {
            () = running.stop() => {}
            () = signals.next() => warn!("stopped before all clients had closed"),
        }
        if fits { Ok(()) } else { Err(StartError::Misfit) }
    })
}

/// A server that runs. Must be started and stopped inside an actix system.
pub struct Running {
    addresses: Vec<SocketAddr>,
    tcp_addresses: Vec<SocketAddr>,
    broker: Arc<Broker>,
    connections: Connections,
    requests: Requests,
    health: Arc<Health>,
    sockjs: SockJs,
    handle: ServerHandle,
    server: JoinHandle<io::Result<()>>,
    producers: JoinSet<()>,
    /// What joins this node with others.
    joined: JoinSet<()>,
    /// Hears it if this node can't be one with the others.
    misfit: oneshot::Receiver<()>,
    last_acts: Vec<Pin<Box<dyn Future<Output = ()>>>>,
    shutdown_timeout: Duration,
}

impl Running {
    /// Binds the configured addresses and starts workers and producers.
    ///
    /// # Errors
    /// [`StartError`] if an address can't be bound or the system refuses.
    pub fn start(config: &Config) -> Result<Running, StartError> {
        Running::start_with(config, Handlers::new())
    }

    /// As [`Running::start`], with handlers of the program's own for `/app/…`.
    ///
    /// # Errors
    /// See [`Running::start`].
    pub fn start_with(config: &Config, own: Handlers) -> Result<Running, StartError> {
        Running::start_with_directory(config, own, None)
    }

    /// As [`Running::start_with`], as one of several nodes that find each other's sessions by a directory.
    ///
    /// # Errors
    /// See [`Running::start`].
    pub fn start_with_directory(
        config: &Config,
        own: Handlers,
        directory: Option<Arc<dyn Directory>>,
    ) -> Result<Running, StartError> {
        let host_metrics =
            Destination::topic(Tenant::DEFAULT, &format!("host-metrics:{}", config.node.as_str()))?;
        let metrics_topic = Destination::topic(Tenant::DEFAULT, "metrics")?;
        let events = Destination::parse(Tenant::DEFAULT, "/app/events".into())?;
        let listeners = listen::bind(&config.sockets(), "--listen")?;
        let tcp_listeners = listen::bind(&config.tcp_sockets(), "--tcp")?;
        let addresses: Vec<SocketAddr> = listeners.iter().map(|(address, _)| *address).collect();
        let tcp_addresses = tcp_listeners.iter().map(|(address, _)| *address).collect();

        let incarnation = getrandom::u32().map_err(io::Error::other)?;
        let metrics = Arc::new(Metrics::new());
        let figures = Arc::new(Figures::new(incarnation));
        let health = Arc::new(Health::new(metrics.clone()));
        let rabbitmq = join::rabbitmq(config, incarnation, &health, &metrics, join::shared(&figures))?;
        let directory = directory.or(rabbitmq.clone().map(|rabbitmq| -> Arc<dyn Directory> { rabbitmq }));
        let nodes_topic = Destination::topic(Tenant::DEFAULT, "nodes")?;
        let nodes = join::nodes(rabbitmq.clone(), alone(config, incarnation, &health, &metrics));
        let backend: Arc<dyn Backend> = match &rabbitmq {
            Some(rabbitmq) => rabbitmq.clone(),
            None => Arc::new(Local),
        };
        let parts = Parts {
            backend,
            log: LogIdentity::new(config.installation(), incarnation),
            catalogue: config.channels.catalogue(),
            remote_queues: rabbitmq.as_ref().map(|rabbitmq| rabbitmq.remote_queues()),
        };
        let forwarding = forwarding(config, directory, &addresses, &metrics)?;
        let (broker, mailboxes) =
            Broker::new(config.workers, limits(config), incarnation, Access, parts, metrics);
        let requests = Requests::default();
        let handlers = Arc::new(handlers(figures.clone(), metrics_topic.clone()).and(own));
        let connections = Connections::at_most(config.limits.max_connections);
        let workers = Workers::new(
            worker::Parts {
                broker: broker.clone(),
                figures: figures.clone(),
                handlers,
                connections: connections.clone(),
                requests: requests.clone(),
                health: health.clone(),
                metrics: metrics_topic.clone(),
                nodes: nodes.clone(),
                nodes_topic: nodes_topic.clone(),
                events,
                forwarding,
            },
            config,
            mailboxes,
        );

        let mut builder = Server::build()
            .workers(config.workers)
            .disable_signals()
            .max_concurrent_connections(config.limits.max_connections)
            .shutdown_timeout(config.shutdown_timeout.as_secs());
        for (address, listener) in listeners {
            let workers = workers.clone();
            builder = builder.listen(address.to_string(), listener, move || workers.service())?;
        }
        for (address, listener) in tcp_listeners {
            let workers = workers.clone();
            builder = builder.listen(format!("tcp {address}"), listener, move || workers.tcp_service())?;
        }
        let server = builder.run();
        let handle = server.handle();

        let feed = Feed::new(metrics_topic, move || std::future::ready(Some(figures.json())));
        let feed = broker.feed(feed.for_this_node());
        let mut producers = JoinSet::new();
        producers.spawn_local(every(broker.clone(), feed, config.metrics.period));
        let feed = Feed::new(nodes_topic, move || std::future::ready(Some(nodes.json())));
        let feed = broker.feed(feed.for_this_node());
        producers.spawn_local(every(broker.clone(), feed, NODES));
        let host = Arc::new(tokio::sync::Mutex::new(Sampler::new(config.node.as_str(), config.host.period)));
        let feed = broker.feed(Feed::new(host_metrics, move || {
            let host = host.clone();
            async move { host.lock().await.json().await }
        }));
        producers.spawn_local(every(broker.clone(), feed, config.host.period));
        let mut joined = JoinSet::new();
        let mut last_acts: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
        let (misfits, misfit) = oneshot::channel();
        if let Some(rabbitmq) = rabbitmq {
            joined.spawn_local(rabbitmq.clone().run(broker.clone()));
            last_acts.push(Box::pin(rabbitmq.clone().leave()));
            let node = rabbitmq.clone();
            joined.spawn_local(async move {
                node.misfit().await;
                let _ = misfits.send(());
            });
            let health = health.clone();
            joined.spawn_local(async move {
                rabbitmq.filled().await;
                health.ready();
            });
        } else {
            // There is nothing to wait for: what a node that is alone serves it has in its memory.
            health.ready();
        }
        Ok(Running {
            addresses,
            tcp_addresses,
            broker,
            connections,
            requests,
            health,
            sockjs: workers.sockjs().clone(),
            handle,
            server: tokio::spawn(server),
            producers,
            joined,
            last_acts,
            misfit,
            shutdown_timeout: config.shutdown_timeout,
        })
    }

    /// The addresses that HTTP is served on, with the ports that were free where none was asked for.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The same of STOMP over plain TCP.
    pub fn tcp_addresses(&self) -> &[SocketAddr] {
        &self.tcp_addresses
    }

    /// Counts the sockets that sessions hold; see [`Connections::total`].
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// The broker inside, for a program that embeds it.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// How the node is, for what knows more of it.
    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// Waits until it turns out that this node can't be one with those that run, because their channels are of other kinds.
    pub async fn misfit(&mut self) {
        if (&mut self.misfit).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Has something done at the end of a stop, when the sessions have gone. What takes longer than a stop may is given up.
    pub fn at_last(&mut self, act: impl Future<Output = ()> + 'static) {
        self.last_acts.push(Box::pin(act));
    }

    /// Drains and stops. From now on there are no new sessions; those that there are get a close frame, one after the other
    /// over the first half of the time that a stop may take, or less where they are few. It ends when they have gone, and
    /// at the end of that time whatever they do.
    pub async fn stop(mut self) {
        let begun = Instant::now();
        let may_take = self.shutdown_timeout;
        self.health.drain();
        self.sockjs.drain();
        // The rest is for what comes behind the sessions.
        self.end_sessions(begun + may_take * 9 / 10).await;
        self.producers.shutdown().await;
        let acts = futures_util::future::join_all(self.last_acts);
        if timeout_at(begun + may_take * 19 / 20, acts).await.is_err() {
            warn!("stopped before everything was handed over");
        }
        self.joined.shutdown().await;
        self.handle.stop(false).await;
        if let Ok(Err(error)) = self.server.await {
            warn!(%error, "the server did not stop cleanly");
        }
    }

    /// Tells every session to go, and waits until they have gone and all requests are answered.
    async fn end_sessions(&self, deadline: Instant) {
        let told = self.broker.close(&CloseReason::Shutdown, self.shutdown_timeout / 2);
        // A worker that takes nothing from its mailbox does not hold up the end.
        let _ = timeout_at(deadline, told).await;
        until(deadline, || self.broker.sessions() == 0).await;
        self.connections.close_idle();
        until(deadline, || self.connections.total() == 0 && self.requests.under_way() == 0).await;
        let left = self.broker.sessions().max(self.connections.total());
        if left > 0 {
            warn!(connections = left, "stopped before all clients had closed");
        }
    }

    /// Says where to look, on standard output: a reader that went away does not matter.
    fn say_where(&self, config: &Config) {
        let Some(first) = self.addresses.first() else {
            return;
        };
        let mut out = io::stdout().lock();
        let lines = [
            format!("Stentor {} serves, node {}", env!("CARGO_PKG_VERSION"), config.node.as_str()),
            format!(
                "  dashboard  http://{first}/{}",
                if dashboard::is_built() { "" } else { "   (not built: see there)" }
            ),
            format!("  SockJS     http://{first}/ws     WebSocket  ws://{first}/ws/websocket"),
            format!(
                "  publish    curl -H 'content-type: application/json' -d '{{\"destination\":\"/topic/greetings\",\"body\":\"hello\"}}' http://{first}/api/v1/messages"
            ),
            format!("  by hand    wscat -c ws://{first}/ws/0/x/websocket"),
            r#"             > ["CONNECT\naccept-version:1.2\n\n\u0000"]"#.to_owned(),
            r#"             > ["SUBSCRIBE\nid:0\ndestination:/topic/greetings\n\n\u0000"]"#.to_owned(),
        ];
        for line in lines {
            let _ = writeln!(out, "{line}");
        }
        for address in &self.tcp_addresses {
            let _ = writeln!(out, "  STOMP      tcp://{address}");
        }
        let _ = out.flush();
        for address in &self.addresses {
            info!(%address, "listening");
        }
        for address in &self.tcp_addresses {
            info!(%address, "listening for STOMP over TCP");
        }
    }
}

/// How requests for other nodes' sessions get there, if there are other nodes.
fn forwarding(
    config: &Config,
    directory: Option<Arc<dyn Directory>>,
    addresses: &[SocketAddr],
    metrics: &Arc<Metrics>,
) -> Result<Option<Arc<Forwarding>>, StartError> {
    let Some(directory) = directory.filter(|_| config.sockjs.across_nodes == AcrossNodes::Forward) else {
        return Ok(None);
    };
    let first = || addresses.first().and_then(|address| NodeUrl::of(*address));
    let url = config.advertise.clone().or_else(first).ok_or(StartError::Advertise)?;
    let config::SockJs { max_forwarded, heartbeat, .. } = config.sockjs;
    Ok(Some(Forwarding::new(directory, &url, max_forwarded, heartbeat, metrics.clone())?))
}

fn limits(config: &Config) -> Limits {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Limits {
        outbox: OutboxLimits { messages: config.outbox.messages, bytes: config.outbox.bytes.get() },
        mailbox: config.limits.mailbox,
        connect_timeout: millis(config.stomp.connect_timeout),
        write_timeout: millis(config.outbox.write_timeout),
        close_timeout: millis(config.outbox.close_timeout),
        queues: QueueLimits {
            queues: config.queues.max_queues,
            messages: config.queues.max_messages,
            bytes: config.queues.max_bytes.get(),
            total_bytes: config.queues.max_total_bytes.get(),
            deliveries: u32::try_from(config.queues.max_deliveries).unwrap_or(u32::MAX),
            overflow: match config.queues.overflow {
                OverflowPolicy::Refuse => Overflow::Refuse,
                OverflowPolicy::DropOldest => Overflow::DropOldest,
            },
        },
        channels: ChannelLimits {
            history: config.channels.max_history_bytes.get(),
            values: config.channels.max_value_bytes.get(),
        },
        ..Limits::default()
    }
}

/// This node, where it is the only one.
fn alone(
    config: &Config,
    incarnation: u32,
    health: &Arc<Health>,
    metrics: &Arc<Metrics>,
) -> impl Fn() -> NodeView + Send + Sync + 'static {
    let (node, health, metrics) = (config.node.as_str().to_owned(), health.clone(), metrics.clone());
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    move || NodeView {
        node: node.clone(),
        incarnation: format!("{incarnation:08x}"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        connections: metrics.open.get(),
        since,
        status: health.status().label().to_owned(),
    }
}

/// How often `/topic/nodes` is published.
const NODES: Duration = Duration::from_secs(1);

/// What is answered under `/app/`.
fn handlers(figures: Arc<Figures>, metrics: Destination) -> Handlers {
    let current = figures.clone();
    Handlers::new().on("subscribe", move || Message::json(metrics.clone(), current.recent_json())).on(
        "events",
        move |body: Bytes| match figures.take(&body) {
            Ok(_) => Ok(()),
            Err(rejection) => Err(Refused(serde_json::to_string(&rejection.body()).unwrap_or_default())),
        },
    )
}

/// As many open files as the system allows: each connection is one. Without enough for themselves, the threads of actix
/// would panic.
fn raise_open_files(config: &Config) -> Result<(), StartError> {
    /// With less, what is meant is hardly a server.
    const FEW: u64 = 1024;
    let limit = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => limit,
        Err(error) => {
            warn!(%error, "the limit of open files can't be raised");
            return Ok(());
        }
    };
    // The process has 14, each worker 4 more (counted in /proc/PID/fd, two left over); and a few are for clients.
    let sockets = config.sockets().len() + config.tcp_sockets().len();
    let need = 16 + 4 * config.workers as u64 + sockets as u64 + 32;
    if limit < need {
        return Err(StartError::OpenFiles { limit, need });
    }
    if limit < FEW {
        warn!(limit, "few open files are allowed, and each connection is one: raise the limit (ulimit -n)");
    }
    Ok(())
}

/// Waits until something holds, or for as long as it may.
async fn until(deadline: Instant, holds: impl Fn() -> bool) {
    while !holds() && Instant::now() < deadline {
        sleep(Duration::from_millis(10)).await;
    }
}

/// SIGTERM and ctrl-c. None is missed between two.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> io::Result<StopSignals> {
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(StopSignals { terminate: signal(terminate)?, interrupt: signal(interrupt)? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
