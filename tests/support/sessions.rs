//! STOMP over SockJS over HTTP, by bytes: a receiver on one connection, and what is sent on another.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use memchr::memmem;
use stomp_parser::{Decoder, Frame, Limits, Version};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// By which transport a session receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// `xhr_streaming`: one response for many frames.
    Streaming,
    /// `xhr`: one response for what there is.
    Polling,
    /// `eventsource`: one response for many events.
    EventSource,
}

/// A client on one SockJS session, for as long as its first receiver's connection lasts.
pub struct Session {
    address: SocketAddr,
    path: String,
    receiver: Receiver,
    down: Octets,
    up: Option<Octets>,
    body: Body,
    /// What came of a frame that is not whole.
    text: BytesMut,
    /// Where in it no frame has its end.
    searched: usize,
    decoder: Decoder,
    frames: VecDeque<Frame>,
    ended: bool,
}

/// What is still to come of the response under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// There is none: it has to be asked for.
    Unasked,
    /// So many octets.
    Length(usize),
    /// So many octets of a chunk, then others.
    Chunk(usize),
    /// The end of a chunk, then others.
    ChunkEnd,
}

static SESSIONS: AtomicUsize = AtomicUsize::new(0);

impl Session {
    /// Opens a session, and connects by STOMP 1.2 without heart-beats. The receiver's socket has a receive buffer of so many
    /// octets.
    pub async fn connect(address: SocketAddr, receiver: Receiver, window: Option<u32>) -> Session {
        let path = format!("/ws/0/by-bytes-{}", SESSIONS.fetch_add(1, Ordering::Relaxed));
        let mut session = Session {
            address,
            path,
            receiver,
            down: Octets::open(address, window).await,
            up: None,
            body: Body::Unasked,
            text: BytesMut::new(),
            searched: 0,
            decoder: Decoder::new(Limits { body: 64 << 20, ..Limits::default() }),
            frames: VecDeque::new(),
            ended: false,
        };
        assert_eq!(session.sockjs_frame().await.as_deref(), Some("o"));
        session.send("CONNECT\naccept-version:1.2\nheart-beat:0,0\n\n\0").await;
        let connected = session.frame().await.unwrap();
        assert_eq!(connected.command.as_str(), "CONNECTED");
        session.decoder.set_version(Version::V1_2);
        session
    }

    /// Sends text as one message; a session that has ended does not matter.
    pub async fn send(&mut self, text: &str) {
        let body = serde_json::to_string(&[text]).unwrap();
        let request = format!(
            "POST {}/xhr_send HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            self.path,
            body.len()
        );
        let mut up = match self.up.take() {
            Some(up) => up,
            None => Octets::open(self.address, None).await,
        };
        if up.socket.write_all(request.as_bytes()).await.is_ok()
            && let Some((204, _)) = up.head().await
        {
            self.up = Some(up);
        }
    }

    /// Reads so many octets more from the receiver, wherever in a frame that is; then it counts as ended.
    pub fn cut_after(&mut self, octets: usize) {
        self.down.left = Some(octets);
    }

    /// Is gone without a word: a reset.
    pub fn vanish(self) {
        let socket = self.down.socket.into_std().unwrap();
        socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// The next STOMP frame; `None` when the session, or its receiver, has ended.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Some(frame);
            }
            let text = self.sockjs_frame().await?;
            match text.as_bytes().first() {
                Some(b'a') => {
                    let messages: Vec<String> = serde_json::from_str(&text[1..]).unwrap();
                    for message in messages {
                        self.decoder.feed(Bytes::from(message));
                    }
                    while let Some(frame) = self.decoder.next().expect("the server's frames are right") {
                        self.frames.push_back(frame);
                    }
                }
                Some(b'c') => self.ended = true,
                Some(b'h') => {}
                _ => panic!("no SockJS frame: {text:?}"),
            }
        }
    }

    async fn sockjs_frame(&mut self) -> Option<String> {
        let end: &[u8] = if self.receiver == Receiver::EventSource { b"\r\n\r\n" } else { b"\n" };
        loop {
            if let Some(at) = memmem::find(&self.text[self.searched..], end) {
                let at = self.searched + at;
                self.searched = 0;
                let frame = String::from_utf8(self.text.split_to(at).to_vec()).unwrap();
                self.text.advance(end.len());
                if self.receiver == Receiver::EventSource {
                    let event = frame.trim_start_matches("\r\n").strip_prefix("data: ");
                    return Some(event.expect("an event").replace("%25", "%"));
                }
                if !frame.starts_with("hh") {
                    return Some(frame);
                }
            } else if self.ended {
                return None;
            } else {
                self.searched = self.text.len().saturating_sub(end.len());
                self.more().await?;
            }
        }
    }

    /// Reads some of the response's body, and asks for the next response where that is over.
    async fn more(&mut self) -> Option<()> {
        self.body = match self.body {
            Body::Unasked => {
                self.ask().await;
                match self.down.head().await? {
                    (200, Some(length)) => Body::Length(length),
                    (200, None) => Body::Chunk(0),
                    (status, _) => panic!("{status}"),
                }
            }
            Body::Length(0) => Body::Unasked,
            Body::Length(left) => Body::Length(self.down.some(left, &mut self.text).await?),
            Body::ChunkEnd => {
                self.down.line().await?;
                Body::Chunk(0)
            }
            Body::Chunk(0) => match usize::from_str_radix(&self.down.line().await?, 16).unwrap() {
                0 => {
                    self.down.line().await?;
                    Body::Unasked
                }
                size => Body::Chunk(size),
            },
            Body::Chunk(left) => match self.down.some(left, &mut self.text).await? {
                0 => Body::ChunkEnd,
                left => Body::Chunk(left),
            },
        };
        Some(())
    }

    async fn ask(&mut self) {
        let (method, name) = match self.receiver {
            Receiver::Streaming => ("POST", "xhr_streaming"),
            Receiver::Polling => ("POST", "xhr"),
            Receiver::EventSource => ("GET", "eventsource"),
        };
        let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
        let request = format!("{method} {}/{name} HTTP/1.1\r\nHost: a\r\n{length}\r\n", self.path);
        let _ = self.down.socket.write_all(request.as_bytes()).await;
    }
}

/// A connection that speaks HTTP/1.1.
struct Octets {
    socket: TcpStream,
    read: BytesMut,
    left: Option<usize>,
}

impl Octets {
    async fn open(address: SocketAddr, window: Option<u32>) -> Octets {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(window) = window {
            socket.set_recv_buffer_size(window).unwrap();
        }
        let socket = socket.connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Octets { socket, read: BytesMut::new(), left: None }
    }

    async fn more(&mut self) -> Option<()> {
        let left = self.left.unwrap_or(usize::MAX);
        self.read.reserve(4096);
        let read = self.socket.read_buf(&mut (&mut self.read).limit(left)).await.unwrap_or(0);
        self.left = self.left.map(|left| left - read);
        (read > 0).then_some(())
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.read.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8(self.read.split_to(at).to_vec()).unwrap();
                self.read.advance(2);
                return Some(line);
            }
            self.more().await?;
        }
    }

    /// Moves up to `most` octets to `text`; gives how many are left of these.
    async fn some(&mut self, most: usize, text: &mut BytesMut) -> Option<usize> {
        if self.read.is_empty() {
            self.more().await?;
        }
        let some = most.min(self.read.len());
        text.put_slice(&self.read.split_to(some));
        Some(most - some)
    }

    /// A response's status, and the length of its body if that is told.
    async fn head(&mut self) -> Option<(u16, Option<usize>)> {
        let status = self.line().await?[9..12].parse().unwrap();
        let mut length = None;
        loop {
            let line = self.line().await?.to_ascii_lowercase();
            if line.is_empty() {
                return Some((status, length));
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = Some(value.parse().unwrap());
            }
        }
    }
}
