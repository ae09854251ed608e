//! A server in the test's own process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use sockjs::server::Connections;
use stentor::app::Running;
use stentor::broker::Broker;
use stentor::config::{Config, Listen};
use stentor::frontends::app::Handlers;
use stentor::frontends::forwarding::Directory;
use tokio::sync::oneshot;

use super::Carrier;

/// The default configuration on free ports of the IPv4 loopback, with one worker more than a test could do with.
pub fn config() -> Config {
    let free = vec![Listen::Address(([127, 0, 0, 1], 0).into())];
    Config { listen: free.clone(), tcp: free, workers: 2, ..Config::default() }
}

/// A running server; stops when dropped.
pub struct Server {
    pub address: SocketAddr,
    /// Where plain TCP is.
    pub tcp: SocketAddr,
    pub broker: Arc<Broker>,
    sockets: Connections,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// With the default configuration.
    pub fn start() -> Server {
        Server::with(config())
    }

    pub fn with(config: Config) -> Server {
        Server::joined(config, None)
    }

    /// As one of several nodes.
    pub fn joined(config: Config, directory: Option<Arc<dyn Directory>>) -> Server {
        let (started, wait) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let running = Running::start_with_directory(&config, Handlers::new(), directory).unwrap();
                let addresses = (running.addresses()[0], running.tcp_addresses()[0]);
                started.send((addresses, running.broker().clone(), running.connections().clone())).unwrap();
                let _ = stopped.await;
                running.stop().await;
            });
        });
        let ((address, tcp), broker, sockets) = wait.recv().expect("the server starts");
        Server { address, tcp, broker, sockets, stop: Some(stop), thread: Some(thread) }
    }

    /// Where a carrier is served.
    pub fn at(&self, carrier: Carrier) -> SocketAddr {
        if carrier == Carrier::Tcp { self.tcp } else { self.address }
    }

    /// Stops the server and waits until it has stopped.
    pub fn stop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server stops");
        }
    }

    /// The value of a counter or gauge, its labels included in the name as `/metrics` writes them.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.broker.metrics().render();
        let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(have, _)| have == name));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// Sockets that sessions hold, whatever the broker believes.
    pub fn sockets(&self) -> usize {
        self.sockets.total()
    }

    /// Connections that are open, by all transports.
    pub fn connections(&self) -> u64 {
        let text = self.broker.metrics().render();
        let lines = text.lines().filter(|line| line.starts_with("stentor_connections{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// Subscriptions that are live.
    pub fn subscriptions(&self) -> u64 {
        self.metric("stentor_subscriptions")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
