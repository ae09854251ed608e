//! What the clients speak of HTTP: heads, single requests, and a SockJS session's two sides by requests.

use std::net::SocketAddr;

use bytes::{Buf as _, BytesMut};
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::Carrier;

/// A connection, with a receive buffer of so many octets.
pub async fn connect(address: SocketAddr, window: Option<u32>) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    if let Some(window) = window {
        socket.set_recv_buffer_size(window).unwrap();
    }
    let socket = socket.connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

/// The head of a response.
#[derive(Debug)]
pub struct Head {
    pub status: u16,
    /// Its text, without the empty line at its end.
    pub text: String,
}

impl Head {
    /// Takes it from what was read, if all of it is there.
    fn take(read: &mut BytesMut) -> Option<Head> {
        let end = memmem::find(read, b"\r\n\r\n")?;
        let text = String::from_utf8(read.split_to(end).to_vec()).unwrap();
        read.advance(4);
        Some(Head { status: text[9..12].parse().unwrap(), text })
    }

    /// Reads until it is there; `None` if the connection ends before that.
    pub async fn read(socket: &mut TcpStream, read: &mut BytesMut) -> Option<Head> {
        loop {
            if let Some(head) = Head::take(read) {
                return Some(head);
            }
            if !matches!(socket.read_buf(read).await, Ok(1..)) {
                return None;
            }
        }
    }

    /// The length of the body, if that is told.
    fn length(&self) -> Option<usize> {
        let text = self.text.to_ascii_lowercase();
        text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
    }
}

/// One HTTP request on a connection of its own; gives status, head and body.
pub async fn http(address: SocketAddr, request: &str) -> (u16, String, String) {
    try_http(address, request).await.expect("an answer")
}

/// The same; `None` if there is no answer, or nobody who would give one.
pub async fn try_http(address: SocketAddr, request: &str) -> Option<(u16, String, String)> {
    let mut socket = TcpStream::connect(address).await.ok()?;
    socket.write_all(request.as_bytes()).await.ok()?;
    let mut read = BytesMut::new();
    while socket.read_buf(&mut read).await.ok()? > 0 {}
    let head = Head::take(&mut read)?;
    Some((head.status, head.text, String::from_utf8_lossy(&read).into_owned()))
}

/// The sending side of a session: it has a connection from its first message on.
pub struct Sender {
    address: SocketAddr,
    session: String,
    socket: Option<TcpStream>,
}

impl Sender {
    pub fn new(address: SocketAddr, session: &str) -> Sender {
        Sender { address, session: session.to_owned(), socket: None }
    }

    /// Sends messages by one request, and waits for the answer. One that does not take them is the error, and the end of the
    /// connection.
    pub async fn send(&mut self, messages: &[&str]) -> Result<(), String> {
        let body = serde_json::to_string(messages).unwrap();
        let (session, length) = (&self.session, body.len());
        let request = format!(
            "POST /ws/0/{session}/xhr_send HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => connect(self.address, None).await,
        };
        socket.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
        let head = Head::read(&mut socket, &mut BytesMut::new()).await.ok_or("closed before the answer")?;
        if head.status != 204 {
            return Err(head.text);
        }
        self.socket = Some(socket);
        Ok(())
    }

    /// Closes the connection; the next message has another.
    pub fn close(&mut self) {
        self.socket = None;
    }
}

/// The receiving side of a session: asks, and takes away what HTTP and the transport put around frames.
pub struct Receiver {
    request: String,
    carrier: Carrier,
    phase: Phase,
    asked: usize,
    /// What came of bodies and is no whole frame yet.
    text: BytesMut,
    /// So much of it has no end of a frame.
    searched: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No request is under way.
    Idle,
    Head,
    /// A body, or a chunk of one, of which so much is to come.
    Body(usize),
    Chunk(usize),
    ChunkHead,
}

impl Receiver {
    pub fn new(session: &str, carrier: Carrier) -> Receiver {
        let (method, name, length) = match carrier {
            Carrier::Streaming => ("POST", "xhr_streaming", "Content-Length: 0\r\n"),
            Carrier::Polling => ("POST", "xhr", "Content-Length: 0\r\n"),
            Carrier::EventSource => ("GET", "eventsource", ""),
            Carrier::Raw | Carrier::SockJs | Carrier::Tcp => panic!("{carrier:?} has no requests"),
        };
        let request = format!("{method} /ws/0/{session}/{name} HTTP/1.1\r\nHost: a\r\n{length}\r\n");
        Receiver { request, carrier, phase: Phase::Idle, asked: 0, text: BytesMut::new(), searched: 0 }
    }

    /// Octets that were read and are no whole frame.
    pub fn held(&self) -> usize {
        self.text.len()
    }

    /// The connection has ended, or says that it does: if that was between two answers, the request is to be repeated on
    /// another.
    pub fn was_closed(&mut self, read: &mut BytesMut) -> bool {
        let is_so = self.asked > 1
            && self.phase == Phase::Head
            && (read.is_empty() || read.starts_with(b"HTTP/1.1 408"));
        if is_so {
            read.clear();
            self.phase = Phase::Idle;
        }
        is_so
    }

    /// The request to be sent now, if none is under way.
    pub fn ask(&mut self) -> Option<&str> {
        matches!(self.phase, Phase::Idle | Phase::Body(0)).then(|| {
            self.phase = Phase::Head;
            self.asked += 1;
            self.request.as_str()
        })
    }

    /// The next frame of what was read, if it is there.
    pub fn frame(&mut self, read: &mut BytesMut) -> Option<BytesMut> {
        loop {
            if let Some(frame) = self.unwrapped() {
                return Some(frame);
            }
            self.unwrap_http(read)?;
        }
    }

    /// The next frame of the bodies' text.
    fn unwrapped(&mut self) -> Option<BytesMut> {
        let is_event = self.carrier == Carrier::EventSource;
        let end: &[u8] = if is_event { b"\r\n\r\n" } else { b"\n" };
        loop {
            let Some(at) = memmem::find(&self.text[self.searched..], end) else {
                self.searched = (self.text.len() + 1).saturating_sub(end.len());
                return None;
            };
            let frame = self.text.split_to(self.searched + at);
            self.text.advance(end.len());
            self.searched = 0;
            if is_event {
                let event = std::str::from_utf8(&frame).unwrap().trim_start_matches("\r\n");
                let data = event.strip_prefix("data: ").expect("an event");
                return Some(BytesMut::from(data.replace("%25", "%").as_str()));
            }
            // The prelude is no frame.
            if !frame.starts_with(b"hh") {
                return Some(frame);
            }
        }
    }

    /// Goes one step on in a response; `None` where more has to be read, or asked for.
    fn unwrap_http(&mut self, read: &mut BytesMut) -> Option<()> {
        self.phase = match self.phase {
            Phase::Idle | Phase::Body(0) => return None,
            Phase::Head => {
                let head = Head::take(read)?;
                assert_eq!(head.status, 200, "{}", head.text);
                let length = head.length();
                assert_eq!(length.is_some(), self.carrier == Carrier::Polling, "{}", head.text);
                length.map_or(Phase::ChunkHead, Phase::Body)
            }
            Phase::ChunkHead => {
                let end = memmem::find(read, b"\r\n")?;
                let size = usize::from_str_radix(std::str::from_utf8(&read[..end]).unwrap(), 16).unwrap();
                // The end of the last chunk is the end of all.
                if size == 0 && read.len() < end + 4 {
                    return None;
                }
                read.advance(if size == 0 { end + 4 } else { end + 2 });
                if size == 0 { Phase::Idle } else { Phase::Chunk(size) }
            }
            Phase::Chunk(0) if read.len() < 2 => return None,
            Phase::Chunk(0) => {
                read.advance(2);
                Phase::ChunkHead
            }
            Phase::Body(_) | Phase::Chunk(_) if read.is_empty() => return None,
            Phase::Body(left) => Phase::Body(left - self.move_text(left, read)),
            Phase::Chunk(left) => Phase::Chunk(left - self.move_text(left, read)),
        };
        Some(())
    }

    /// Moves up to so many octets of a body to the text, and says how many.
    fn move_text(&mut self, most: usize, read: &mut BytesMut) -> usize {
        let some = most.min(read.len());
        self.text.extend_from_slice(&read.split_to(some));
        some
    }
}
