//! A STOMP client that takes whatever happens to its connection.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use stomp_parser::{Decoder, Frame, Limits, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A node that does not greet by then is tried no longer: it may be stopped.
const GREETING: Duration = Duration::from_secs(8);

pub struct Client {
    socket: TcpStream,
    read: BytesMut,
    decoder: Decoder,
}

impl Client {
    /// Connects by STOMP over plain TCP, if there is somebody.
    pub async fn connect(address: SocketAddr) -> Option<Client> {
        let greeted = async {
            let socket = TcpStream::connect(address).await.ok()?;
            socket.set_nodelay(true).ok()?;
            let decoder = Decoder::new(Limits::default());
            let mut client = Client { socket, read: BytesMut::new(), decoder };
            client.send("CONNECT\naccept-version:1.2\nheart-beat:0,0\n\n\0").await?;
            let connected = client.frame().await?;
            client.decoder.set_version(Version::V1_2);
            (connected.command.as_str() == "CONNECTED").then_some(client)
        };
        timeout(GREETING, greeted).await.ok().flatten()
    }

    /// Sends text; `None` if the connection has ended.
    pub async fn send(&mut self, text: &str) -> Option<()> {
        self.socket.write_all(text.as_bytes()).await.ok()
    }

    /// The next frame; `None` if the connection has ended. What was read stays when this is dropped.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next().expect("the server's frames are right") {
                return Some(frame);
            }
            self.read.reserve(4096);
            if !matches!(self.socket.read_buf(&mut self.read).await, Ok(1..)) {
                return None;
            }
            self.decoder.feed(self.read.split().freeze());
        }
    }

    /// Is gone without a word: a reset.
    pub fn vanish(self) {
        socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).unwrap();
    }
}
