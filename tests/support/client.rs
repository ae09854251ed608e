//! A STOMP client that speaks bytes: what it sends is what a test says, what it gets is what was on the wire.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use stomp_parser::{Decoder, Frame, Limits, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::http::{Head, Receiver, Sender, connect};

/// How frames travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// `/ws/websocket`.
    Raw,
    /// `/ws/0/x/websocket`.
    SockJs,
    /// A socket of its own, at another address: see `Server::at`.
    Tcp,
    /// XHR streaming.
    Streaming,
    /// XHR polling: it asks when it wants a frame, and not before.
    Polling,
    /// EventSource, and XHR to send.
    EventSource,
}

impl Carrier {
    /// Whether sessions are carried by requests.
    pub fn is_http(self) -> bool {
        matches!(self, Carrier::Streaming | Carrier::Polling | Carrier::EventSource)
    }
}

/// Each but EventSource, which is streaming with something else around frames.
pub const ALL_CARRIERS: [Carrier; 5] =
    [Carrier::Raw, Carrier::SockJs, Carrier::Tcp, Carrier::Streaming, Carrier::Polling];

pub const CARRIERS: [Carrier; 3] = [Carrier::Raw, Carrier::SockJs, Carrier::Tcp];
pub const WEBSOCKETS: [Carrier; 2] = [Carrier::Raw, Carrier::SockJs];

/// One message of a WebSocket, or what was read at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A text or binary message.
    Message(Bytes),
    /// A close frame's code and reason.
    Close(u16, String),
    /// The end of the connection.
    End,
}

/// How fast a client reads.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// At most so many octets at a time.
    pub octets: usize,
    /// And so long nothing.
    pub every: Duration,
}

/// A client on one connection, or on two over HTTP.
pub struct Client {
    socket: TcpStream,
    carrier: Carrier,
    read: BytesMut,
    decoder: Decoder,
    frames: VecDeque<Frame>,
    /// Heart-beats that came.
    pub beats: usize,
    /// The close frames that came: of SockJS, and of the WebSocket.
    pub closes: Vec<(u16, String)>,
    /// The connection ended by a reset.
    pub reset: bool,
    /// How fast it reads, if not as fast as it can.
    pub pace: Option<Pace>,
    /// Octets that were read, and when, of one that has a pace.
    pub reads: Vec<(u64, Instant)>,
    taken: u64,
    http: Option<Http>,
    /// Whether it asks on another connection where its receiver's was closed between two answers; else that is its end.
    pub asks_anew: bool,
    /// How many octets more are read before it counts as ended; `None`: all.
    left: Option<usize>,
}

/// What a session over HTTP has beside the connection of its receiver.
struct Http {
    receiver: Receiver,
    sender: Sender,
    /// Where its receiver connects anew, and how.
    address: SocketAddr,
    window: Option<u32>,
}

/// Session ids that no two clients of this process share.
static SESSIONS: AtomicU64 = AtomicU64::new(0);

impl Client {
    /// Opens a connection and says nothing.
    pub async fn open(address: SocketAddr, carrier: Carrier) -> Client {
        Client::with_window(address, carrier, None).await
    }

    /// As [`Client::open`], with a receive buffer of so many octets.
    pub async fn with_window(address: SocketAddr, carrier: Carrier, window: Option<u32>) -> Client {
        let mut socket = connect(address, window).await;
        let mut read = BytesMut::new();
        let path = match carrier {
            Carrier::Raw => "/ws/websocket",
            Carrier::SockJs => "/ws/0/x/websocket",
            Carrier::Tcp => return Client::on(socket, carrier, read),
            Carrier::Streaming | Carrier::Polling | Carrier::EventSource => {
                let session = format!("client-{}", SESSIONS.fetch_add(1, Ordering::Relaxed));
                let (receiver, sender) = (Receiver::new(&session, carrier), Sender::new(address, &session));
                let mut client = Client::on(socket, carrier, read);
                client.http = Some(Http { receiver, sender, address, window });
                assert_eq!(client.heard().await, Heard::Message(Bytes::from_static(b"o")));
                return client;
            }
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: v12.stomp\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let head = Head::read(&mut socket, &mut read).await.expect("an answer to the handshake");
        assert_eq!(head.status, 101, "{}", head.text);
        let mut client = Client::on(socket, carrier, read);
        if carrier == Carrier::SockJs {
            assert_eq!(client.heard().await, Heard::Message(Bytes::from_static(b"o")));
        }
        client
    }

    fn on(socket: TcpStream, carrier: Carrier, read: BytesMut) -> Client {
        Client {
            socket,
            carrier,
            read,
            decoder: Decoder::new(Limits { body: 64 << 20, ..Limits::default() }),
            frames: VecDeque::new(),
            beats: 0,
            closes: Vec::new(),
            reset: false,
            pace: None,
            reads: Vec::new(),
            taken: 0,
            http: None,
            asks_anew: true,
            left: None,
        }
    }

    /// Opens a connection and connects, by STOMP 1.2 without heart-beats.
    pub async fn connect(address: SocketAddr, carrier: Carrier) -> Client {
        let mut client = Client::open(address, carrier).await;
        client.greet("1.2", "0,0").await;
        client
    }

    /// Sends CONNECT and takes CONNECTED.
    pub async fn greet(&mut self, versions: &str, beats: &str) -> Frame {
        self.send(&format!("CONNECT\naccept-version:{versions}\nheart-beat:{beats}\n\n\0")).await;
        let connected = self.frame().await.unwrap();
        assert_eq!(connected.command.as_str(), "CONNECTED");
        let version: Version = connected.get("version").unwrap().parse().unwrap();
        self.decoder.set_version(version);
        connected
    }

    /// Frames that come from here on are of this version.
    pub fn speak(&mut self, version: Version) {
        self.decoder.set_version(version);
    }

    /// Sends text as one message.
    pub async fn send(&mut self, text: &str) {
        self.try_send(&[text]).await.unwrap();
    }

    /// Sends texts, by SockJS together. The error is an answer to a request that did not take them; what has no answers
    /// knows none.
    pub async fn try_send(&mut self, texts: &[&str]) -> Result<(), String> {
        if let Some(http) = &mut self.http {
            return http.sender.send(texts).await;
        }
        if self.carrier == Carrier::SockJs {
            self.send_payload(0x1, &serde_json::to_vec(texts).unwrap()).await;
            return Ok(());
        }
        for text in texts {
            match self.carrier {
                Carrier::Tcp => self.raw(text.as_bytes()).await,
                _ => self.send_payload(0x1, text.as_bytes()).await,
            }
        }
        Ok(())
    }

    /// Closes the connection on which a session over HTTP sends, until it sends again.
    pub fn close_sender(&mut self) {
        if let Some(http) = &mut self.http {
            http.sender.close();
        }
    }

    /// Sends one WebSocket frame.
    pub async fn send_payload(&mut self, opcode: u8, payload: &[u8]) {
        let mut wire = vec![0x80 | opcode];
        match payload.len() {
            short @ 0..=125 => wire.push(0x80 | short as u8),
            middle @ 126..=0xffff => {
                wire.push(0x80 | 126);
                wire.extend_from_slice(&(middle as u16).to_be_bytes());
            }
            long => {
                wire.push(0x80 | 127);
                wire.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        let mask = [0x5a, 0x13, 0xc4, 0x07];
        wire.extend_from_slice(&mask);
        wire.extend(payload.iter().enumerate().map(|(at, octet)| octet ^ mask[at % 4]));
        self.raw(&wire).await;
    }

    /// Says that nothing more comes from here.
    pub async fn close(&mut self) {
        match self.carrier {
            Carrier::Raw | Carrier::SockJs => self.send_payload(0x8, &1000u16.to_be_bytes()).await,
            _ => drop(self.socket.shutdown().await),
        }
    }

    /// Sends octets as they are; a server that has closed does not matter.
    pub async fn raw(&mut self, octets: &[u8]) {
        let _ = self.socket.write_all(octets).await;
    }

    /// Sends as many octets as the socket takes now.
    pub fn try_raw(&mut self, octets: &[u8]) -> usize {
        self.socket.try_write(octets).unwrap_or(0)
    }

    /// Reads so many octets more, wherever in a frame that is; then the connection counts as ended.
    pub fn cut_after(&mut self, octets: usize) {
        self.left = Some(octets);
    }

    /// Is gone without a word: a reset.
    pub fn vanish(self) {
        let socket = self.socket.into_std().unwrap();
        socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Subscribes and waits for the receipt.
    pub async fn subscribe(&mut self, id: &str, destination: &str) {
        self.send(&format!("SUBSCRIBE\nid:{id}\ndestination:{destination}\nreceipt:sub-{id}\n\n\0")).await;
        let receipt = self.frame().await.unwrap();
        assert_eq!(receipt.get("receipt-id"), Some(format!("sub-{id}").as_str()), "{receipt:?}");
    }

    /// Sends a message and, if asked to, waits for the receipt.
    pub async fn publish(&mut self, destination: &str, body: &str) {
        self.send(&format!("SEND\ndestination:{destination}\n\n{body}\0")).await;
    }

    /// The next STOMP frame; `None` when the connection has ended.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Some(frame);
            }
            match self.heard().await {
                Heard::Message(payload) => self.take(payload),
                Heard::Close(code, reason) => self.closes.push((code, reason)),
                Heard::End => return None,
            }
        }
    }

    /// Frames that were taken too early: they come next.
    pub fn put_back(&mut self, frames: Vec<Frame>) {
        for frame in frames.into_iter().rev() {
            self.frames.push_front(frame);
        }
    }

    /// The next frame's body as text.
    pub async fn body(&mut self) -> String {
        let frame = self.frame().await.expect("a frame, not the end");
        assert_eq!(frame.command.as_str(), "MESSAGE", "{frame:?}");
        String::from_utf8(frame.body.to_vec()).unwrap()
    }

    /// Whether nothing comes for a while. For what must not happen there is no condition to wait for.
    pub async fn is_quiet(&mut self) -> bool {
        self.frames.is_empty() && timeout(Duration::from_millis(200), self.frame()).await.is_err()
    }

    fn take(&mut self, payload: Bytes) {
        match self.carrier {
            Carrier::Raw | Carrier::Tcp => self.octets(payload),
            _ => match payload.first() {
                Some(b'a') => {
                    let messages: Vec<String> = serde_json::from_slice(&payload[1..]).unwrap();
                    for message in messages {
                        self.octets(message.into());
                    }
                }
                Some(b'c') => {
                    let (code, reason): (u16, String) = serde_json::from_slice(&payload[1..]).unwrap();
                    self.closes.push((code, reason));
                }
                Some(b'h') => self.beats += 1,
                Some(b'o') if self.http.is_some() => panic!("a second session"),
                other => panic!("no SockJS frame: {other:?}"),
            },
        }
    }

    fn octets(&mut self, octets: Bytes) {
        self.beats += usize::from(self.carrier != Carrier::Tcp && &octets[..] == b"\n");
        self.decoder.feed(octets);
        while let Some(frame) = self.decoder.next().expect("the server's frames are right") {
            self.frames.push_back(frame);
        }
        if self.carrier == Carrier::Tcp {
            self.beats = self.decoder.heartbeats() as usize;
        }
    }

    /// The next WebSocket message, the next SockJS frame over HTTP, or what there is to read.
    pub async fn heard(&mut self) -> Heard {
        loop {
            if self.carrier == Carrier::Tcp && !self.read.is_empty() {
                return Heard::Message(self.read.split().freeze());
            }
            if self.read.starts_with(b"HTTP/1.1 408") {
                self.comes_anew().await;
            }
            if let Some(http) = &mut self.http {
                if let Some(frame) = http.receiver.frame(&mut self.read) {
                    return Heard::Message(frame.freeze());
                }
                // Behind its close frame a session has nothing more to say.
                if !self.closes.is_empty() {
                    return Heard::End;
                }
                self.ask().await;
            } else if let Some((opcode, payload)) = self.ws_frame() {
                match opcode {
                    0x1 | 0x2 => return Heard::Message(payload),
                    0x8 if payload.len() >= 2 => {
                        let mut payload = payload;
                        let code = payload.get_u16();
                        return Heard::Close(code, String::from_utf8(payload.to_vec()).unwrap());
                    }
                    0x8 => return Heard::Close(1005, String::new()),
                    _ => continue,
                }
            }
            let read = self.read_some().await;
            if !matches!(read, Ok(1..)) && self.comes_anew().await {
                continue;
            }
            match read {
                Ok(0) => return Heard::End,
                Err(_) => {
                    self.reset = true;
                    return Heard::End;
                }
                Ok(read) => self.left = self.left.map(|left| left - read),
            }
        }
    }

    /// Asks for frames over HTTP, if no answer is under way.
    pub async fn ask(&mut self) {
        if let Some(http) = &mut self.http
            && let Some(request) = http.receiver.ask()
        {
            let _ = self.socket.write_all(request.as_bytes()).await;
        }
    }

    /// Between two requests a server may close a connection, as it does to one that is long in asking again: then the
    /// receiver has another now, which is said.
    async fn comes_anew(&mut self) -> bool {
        let Some(http) = &mut self.http else { return false };
        let is_anew = self.asks_anew && self.left != Some(0) && http.receiver.was_closed(&mut self.read);
        if is_anew {
            self.socket = connect(http.address, http.window).await;
        }
        is_anew
    }

    async fn read_some(&mut self) -> std::io::Result<usize> {
        let Some(Pace { octets, every }) = self.pace else {
            self.read.reserve(4096);
            let left = self.left.unwrap_or(usize::MAX);
            let read = self.socket.read_buf(&mut (&mut self.read).limit(left)).await?;
            self.taken += read as u64;
            return Ok(read);
        };
        sleep(every).await;
        let read = (&mut self.socket).take(octets as u64).read_buf(&mut self.read).await?;
        self.taken += read as u64;
        self.reads.push((self.taken, Instant::now()));
        Ok(read)
    }

    /// How far the frames that were given out stand in all that was read, to one read exactly.
    pub fn place(&self) -> u64 {
        let held = self.http.as_ref().map_or(0, |http| http.receiver.held());
        self.taken - (self.read.len() + held) as u64
    }

    fn ws_frame(&mut self) -> Option<(u8, Bytes)> {
        let read = &self.read;
        let short = usize::from(*read.get(1)?);
        let (head, length) = match short {
            126 => (4, usize::from(u16::from_be_bytes(read.get(2..4)?.try_into().unwrap()))),
            127 => (10, u64::from_be_bytes(read.get(2..10)?.try_into().unwrap()) as usize),
            short => (2, short),
        };
        if read.len() < head + length {
            return None;
        }
        let opcode = read[0];
        assert_eq!(opcode & 0xf0, 0x80, "the server never splits");
        self.read.advance(head);
        Some((opcode & 0x0f, self.read.split_to(length).freeze()))
    }
}
