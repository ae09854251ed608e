//! Three nodes as processes of their own, a real RabbitMQ, a proxy on the way to it for each node, and what may befall them.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::faults::{Fault, NODES};
use crate::ledger::{Ledger, Outage};
use crate::support::{Line, Program, Proxy, Rabbit, try_http};

type Job = Box<dyn FnOnce(&mut Rabbit) + Send>;

/// RabbitMQ on a thread of its own: it ends with the thread that started it.
struct RabbitThread(mpsc::Sender<Job>);

impl RabbitThread {
    fn start() -> RabbitThread {
        let (give, jobs) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            let mut rabbit = Rabbit::start();
            jobs.into_iter().for_each(|job| job(&mut rabbit));
        });
        RabbitThread(give)
    }

    async fn with<T: Send + 'static>(&self, job: impl FnOnce(&mut Rabbit) -> T + Send + 'static) -> T {
        let (tell, hear) = oneshot::channel();
        self.0.send(Box::new(move |rabbit| drop(tell.send(job(rabbit))))).expect("RabbitMQ's thread");
        hear.await.expect("RabbitMQ does as it is told")
    }
}

struct Node {
    name: String,
    addresses: [SocketAddr; 2],
    proxy: Proxy,
    /// `None` while it is dead.
    program: Mutex<Option<Program>>,
    /// Held while it is cut off.
    cut_off: Mutex<()>,
}

pub struct Cluster {
    rabbit: RabbitThread,
    /// Held while it is away.
    away: Mutex<()>,
    nodes: Vec<Rc<Node>>,
}

impl Cluster {
    /// All up, ready, and aware of each other.
    pub async fn start() -> Cluster {
        let rabbit = RabbitThread::start();
        let port = rabbit.with(|rabbit| rabbit.port()).await;
        let mut nodes = Vec::new();
        let free = free_addresses(2 * NODES);
        for (node, addresses) in free.chunks(2).enumerate() {
            nodes.push(Rc::new(Node {
                name: format!("n{}", node + 1),
                addresses: [addresses[0], addresses[1]],
                proxy: Proxy::wide(([127, 0, 0, 1], port).into()).await,
                program: Mutex::default(),
                cut_off: Mutex::default(),
            }));
        }
        for node in &nodes {
            *node.program.lock().await = Some(node.begin().await);
        }
        let cluster = Cluster { rabbit, away: Mutex::default(), nodes };
        cluster.recovered(Duration::from_secs(60)).await.expect("the nodes start");
        cluster
    }

    /// Where plain TCP is.
    pub fn tcp(&self, node: usize) -> SocketAddr {
        self.nodes[node].addresses[1]
    }

    pub fn http(&self, node: usize) -> SocketAddr {
        self.nodes[node].addresses[0]
    }

    /// Lets one thing happen, to its end.
    pub async fn befall(&self, fault: Fault, ledger: &Ledger) {
        ledger.note(format!("{fault:?}"));
        match fault {
            Fault::KillNode(node, down) => {
                let mut program = self.nodes[node].program.lock().await;
                drop(program.take());
                sleep(down).await;
                *program = Some(self.nodes[node].begin().await);
                drop(program);
            }
            Fault::Pause(node, time) => {
                let program = self.nodes[node].program.lock().await;
                let program = program.as_ref().expect("who holds it starts it again");
                program.signal("STOP");
                sleep(time).await;
                program.signal("CONT");
            }
            Fault::Reset(node) => self.nodes[node].proxy.cut(),
            Fault::CutOff(node, time) => {
                let node_of = &self.nodes[node];
                let _held = node_of.cut_off.lock().await;
                let both = |stalled| {
                    node_of.proxy.to_server(Line { stalled, ..Line::default() });
                    node_of.proxy.to_client(Line { stalled, ..Line::default() });
                };
                both(true);
                let outage = ledger.begin_outage(Outage { node: Some(node), from: Instant::now(), to: None });
                sleep(time).await;
                ledger.end_outage(outage);
                both(false);
            }
            Fault::KillRabbit(away) => {
                let _held = self.away.lock().await;
                self.rabbit.with(Rabbit::kill).await;
                let outage = ledger.begin_outage(Outage { node: None, from: Instant::now(), to: None });
                sleep(away).await;
                ledger.end_outage(outage);
                self.rabbit.with(Rabbit::restart).await;
            }
        }
        ledger.note(format!("over: {fault:?}"));
    }

    /// What RabbitMQ has, for people.
    pub async fn shown(&self) -> String {
        self.rabbit
            .with(|rabbit| {
                let queues = ["name", "messages_ready", "messages_unacknowledged", "consumers"];
                let queues = rabbit.control(&[&["list_queues"], &queues[..]].concat());
                queues + &rabbit.control(&["list_bindings", "source_name", "destination_name", "routing_key"])
            })
            .await
    }

    /// Waits until all nodes say that they are well, and gives how long that took.
    pub async fn recovered(&self, patience: Duration) -> Result<Duration, String> {
        let begun = Instant::now();
        let mut last = String::new();
        'again: while begun.elapsed() < patience {
            sleep(Duration::from_millis(100)).await;
            for node in &self.nodes {
                let get = async |path: &str| {
                    let got = try_http(node.addresses[0], &format!("GET {path} HTTP/1.0\r\n\r\n")).await;
                    got.map(|(_, _, body)| body).unwrap_or_default()
                };
                let (health, metrics) = (get("/health").await, get("/metrics").await);
                let hears_all = metrics.lines().any(|line| line == format!("stentor_nodes {NODES}"));
                if !health.contains(r#""ok""#) || !hears_all {
                    last = format!("{}: {health}, hears all: {hears_all}", node.name);
                    continue 'again;
                }
            }
            return Ok(begun.elapsed());
        }
        Err(last)
    }
}

impl Node {
    async fn begin(self: &Rc<Self>) -> Program {
        let (name, addresses) = (self.name.clone(), self.addresses);
        let url = format!("amqp://guest:guest@{}", self.proxy.address);
        let variables = move || {
            let variables =
                [("STENTOR_AMQP", url.as_str()), ("STENTOR_NODE", &name), ("STENTOR_WORKERS", "2")];
            Program::start_at(addresses, &variables)
        };
        spawn_blocking(variables).await.expect("a node starts")
    }
}

/// Where nothing listens, on ports that no connection of somebody's is given meanwhile.
fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let first = 10_000 + (std::process::id() % 1000) as u16 * 20;
    let addresses = (first..32_000).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    addresses.filter(|address| TcpListener::bind(address).is_ok()).take(count).collect()
}
