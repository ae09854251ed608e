//! A TCP proxy that does to a connection what networks do: delays it, slows it down, stops it, cuts it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// How one direction of a connection behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Line {
    /// Every octet comes so much later.
    pub delay: Duration,
    /// Octets that pass in a second, if they are limited.
    pub rate: Option<u32>,
    /// The connection is cut, both ways, when so many octets have passed.
    pub cut_after: Option<u64>,
    /// Nothing passes, and nothing is read, until this is lifted.
    pub stalled: bool,
}

/// A proxy in front of one server. All its connections have the same lines, which may be changed at any time.
pub struct Proxy {
    pub address: SocketAddr,
    to_client: watch::Sender<Line>,
    to_server: watch::Sender<Line>,
    /// How often all connections were cut.
    cuts: watch::Sender<usize>,
}

/// The kernel's buffers on either side of the proxy, so that a stall is felt after some octets and not after megabytes.
const KERNEL: u32 = 4096;

impl Proxy {
    /// Starts a proxy in front of `target`, which lives as long as the test's runtime.
    pub async fn start(target: SocketAddr) -> Proxy {
        Proxy::with_buffers(target, Some(KERNEL)).await
    }

    /// The same with buffers as the kernel has them, for much at a time.
    pub async fn wide(target: SocketAddr) -> Proxy {
        Proxy::with_buffers(target, None).await
    }

    async fn with_buffers(target: SocketAddr, kernel: Option<u32>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (to_client, client_line) = watch::channel(Line::default());
        let (to_server, server_line) = watch::channel(Line::default());
        let (cuts, cut) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let socket = TcpSocket::new_v4().unwrap();
                if let Some(kernel) = kernel {
                    socket.set_recv_buffer_size(kernel).unwrap();
                }
                let Ok(mut server) = socket.connect(target).await else {
                    continue;
                };
                let (to_client, to_server, mut cut) = (client_line.clone(), server_line.clone(), cut.clone());
                cut.mark_unchanged();
                let octets = if kernel.is_some() { 1024 } else { 64 * 1024 };
                tokio::spawn(async move {
                    let (client_read, client_write) = client.split();
                    let (server_read, server_write) = server.split();
                    // When one direction is cut, so is the other.
                    tokio::select! {
                        () = carry(server_read, client_write, to_client, octets) => {}
                        () = carry(client_read, server_write, to_server, octets) => {}
                        Ok(()) = cut.changed() => {
                            for socket in [&client, &server] {
                                socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)).unwrap();
                            }
                        }
                    }
                });
            }
        });
        Proxy { address, to_client, to_server, cuts }
    }

    /// Resets all connections that there are.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Sets how octets travel from the server to clients.
    pub fn to_client(&self, line: Line) {
        self.to_client.send_replace(line);
    }

    /// Sets how octets travel from clients to the server.
    pub fn to_server(&self, line: Line) {
        self.to_server.send_replace(line);
    }
}

async fn carry(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut line: watch::Receiver<Line>,
    octets: usize,
) {
    let mut buffer = vec![0; octets];
    let mut passed = 0;
    loop {
        if line.wait_for(|line| !line.stalled).await.is_err() {
            return;
        }
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let due = Instant::now() + line.borrow().delay;
        if line.wait_for(|line| !line.stalled).await.is_err() {
            return;
        }
        let now = *line.borrow();
        sleep_until(due).await;
        if let Some(rate) = now.rate {
            sleep(Duration::from_secs_f64(read as f64 / f64::from(rate))).await;
        }
        let left = now.cut_after.map_or(u64::MAX, |cut| cut.saturating_sub(passed));
        let some = read.min(usize::try_from(left).unwrap_or(usize::MAX));
        passed += some as u64;
        if to.write_all(&buffer[..some]).await.is_err() || some < read {
            return;
        }
    }
}
