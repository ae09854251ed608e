//! A SockJS client whose every request goes where a test says, on a connection of its own.

#![allow(missing_docs, unreachable_pub)]

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::{Buf as _, BytesMut};
use memchr::memmem;
use stomp_parser::{Decoder, Frame, Limits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::dice::Dice;

/// The transports over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Polling,
    Streaming,
    EventSource,
    HtmlFile,
    Jsonp,
}

pub const KINDS: [Kind; 5] = [Kind::Polling, Kind::Streaming, Kind::EventSource, Kind::HtmlFile, Kind::Jsonp];

impl Kind {
    /// The request of a receiver.
    pub fn receiver(self, session: &str) -> String {
        let (method, name) = match self {
            Kind::Polling => ("POST", "xhr"),
            Kind::Streaming => ("POST", "xhr_streaming"),
            Kind::EventSource => ("GET", "eventsource"),
            Kind::HtmlFile => ("GET", "htmlfile?c=cb"),
            Kind::Jsonp => ("GET", "jsonp?c=cb"),
        };
        let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
        format!("{method} /ws/0/{session}/{name} HTTP/1.1\r\nHost: a\r\nCookie: who=me\r\n{length}\r\n")
    }

    /// The request that sends texts.
    pub fn sender(self, session: &str, texts: &[&str]) -> String {
        let json = serde_json::to_string(texts).unwrap();
        let (name, kind, body) = match self {
            Kind::Jsonp => {
                let coded: String = json.bytes().map(|octet| format!("%{octet:02X}")).collect();
                ("jsonp_send", "application/x-www-form-urlencoded", format!("d={coded}"))
            }
            _ => ("xhr_send", "text/plain", json),
        };
        let length = body.len();
        format!(
            "POST /ws/0/{session}/{name} HTTP/1.1\r\nHost: a\r\nCookie: who=me\r\nContent-Type: {kind}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    }

    /// Takes the next frame off what came.
    fn frame(self, text: &mut BytesMut) -> Option<String> {
        let (begin, end): (&[u8], &[u8]) = match self {
            Kind::Polling | Kind::Streaming => (b"", b"\n"),
            Kind::EventSource => (b"data: ", b"\r\n\r\n"),
            Kind::HtmlFile => (b"<script>\np(", b");\n</script>\r\n"),
            Kind::Jsonp => (b"/**/cb(", b");\r\n"),
        };
        let prelude: &[u8] = match self {
            Kind::EventSource => b"\r\n",
            Kind::HtmlFile => b"</script>",
            _ => b"",
        };
        if text.starts_with(b"\r\n") && !prelude.is_empty() {
            text.advance(2);
        }
        if text.starts_with(b"<!doctype") {
            let end = memmem::find(text, b"</script>")?;
            let frames = memmem::find(&text[end..], b"\r\n\r\n")?;
            text.advance(end + frames + 4);
        }
        let at = memmem::find(text, end)?;
        let frame = text.split_to(at);
        text.advance(end.len());
        let frame = frame.strip_prefix(begin).unwrap_or_else(|| panic!("{frame:?}"));
        let frame = std::str::from_utf8(frame).unwrap();
        match self {
            Kind::HtmlFile | Kind::Jsonp => Some(serde_json::from_str(frame).unwrap()),
            Kind::EventSource => Some(frame.replace("%25", "%")),
            Kind::Polling | Kind::Streaming if frame.starts_with("hh") => self.frame(text),
            Kind::Polling | Kind::Streaming => Some(frame.to_owned()),
        }
    }
}

/// The answer to one request: its head, and the body as it comes.
pub struct Answer {
    socket: TcpStream,
    read: BytesMut,
    pub status: u16,
    pub head: String,
    /// Octets to come, if that is known; else there are chunks, up to an empty one.
    left: Option<usize>,
    has_ended: bool,
}

impl Answer {
    /// Sends a request and waits for the head of the answer.
    pub async fn to(address: SocketAddr, request: &str) -> Answer {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut read = BytesMut::new();
        let end = loop {
            if let Some(end) = memmem::find(&read, b"\r\n\r\n") {
                break end;
            }
            assert!(socket.read_buf(&mut read).await.unwrap() > 0, "no answer: {read:?}");
        };
        let head = String::from_utf8(read.split_to(end).to_vec()).unwrap();
        read.advance(4);
        let status = head[9..12].parse().unwrap();
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let left =
            if lower.contains("transfer-encoding: chunked") { None } else { Some(length.unwrap_or(0)) };
        Answer { socket, read, status, head, left, has_ended: false }
    }

    /// Adds what comes next of the body; false at its end.
    pub async fn more(&mut self, text: &mut BytesMut) -> bool {
        loop {
            match &mut self.left {
                Some(0) => return false,
                Some(left) if !self.read.is_empty() => {
                    let some = self.read.split_to((*left).min(self.read.len()));
                    *left -= some.len();
                    text.extend_from_slice(&some);
                    return true;
                }
                Some(_) => {}
                None => {
                    if self.has_ended {
                        return false;
                    }
                    if let Some(at) = memmem::find(&self.read, b"\r\n") {
                        let size = std::str::from_utf8(&self.read[..at]).unwrap();
                        let size = usize::from_str_radix(size, 16).unwrap();
                        if self.read.len() >= at + 4 + size {
                            self.read.advance(at + 2);
                            text.extend_from_slice(&self.read.split_to(size));
                            self.read.advance(2);
                            self.has_ended = size == 0;
                            if size > 0 {
                                return true;
                            }
                            continue;
                        }
                    }
                }
            }
            if self.socket.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                panic!("the answer was cut off");
            }
        }
    }

    /// The whole body.
    pub async fn text(mut self) -> String {
        let mut text = BytesMut::new();
        while self.more(&mut text).await {}
        String::from_utf8(text.to_vec()).unwrap()
    }
}

/// One session, each of whose requests goes to any of some nodes.
pub struct Roamer {
    pub nodes: Vec<SocketAddr>,
    pub kind: Kind,
    pub session: String,
    pub dice: Dice,
    answer: Option<Answer>,
    text: BytesMut,
    decoder: Decoder,
    frames: VecDeque<Frame>,
}

impl Roamer {
    pub fn new(nodes: Vec<SocketAddr>, kind: Kind, session: &str) -> Roamer {
        Roamer {
            nodes,
            kind,
            session: session.to_owned(),
            dice: Dice(session.len() as u64),
            answer: None,
            text: BytesMut::new(),
            decoder: Decoder::new(Limits::default()),
            frames: VecDeque::new(),
        }
    }

    fn node(&mut self) -> SocketAddr {
        *self.dice.one_of(&self.nodes).unwrap()
    }

    /// Asks for frames, if no such request is under way.
    pub async fn ask(&mut self) {
        if self.answer.is_none() {
            let node = self.node();
            let answer = Answer::to(node, &self.kind.receiver(&self.session)).await;
            assert_eq!(answer.status, 200, "{}", answer.head);
            self.answer = Some(answer);
        }
    }

    /// Takes an answer for that of its receiver.
    pub fn take(&mut self, answer: Answer) {
        self.answer = Some(answer);
    }

    /// The next SockJS frame.
    pub async fn sockjs(&mut self) -> String {
        loop {
            if let Some(frame) = self.kind.frame(&mut self.text) {
                return frame;
            }
            self.ask().await;
            let answer = self.answer.as_mut().unwrap();
            if !answer.more(&mut self.text).await {
                self.answer = None;
            }
        }
    }

    /// The next STOMP frame.
    pub async fn frame(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return frame;
            }
            let frame = self.sockjs().await;
            if frame == "h" {
                continue;
            }
            let texts = frame.strip_prefix('a').unwrap_or_else(|| panic!("{frame}"));
            for text in serde_json::from_str::<Vec<String>>(texts).unwrap() {
                self.decoder.feed(text.into());
                while let Some(frame) = self.decoder.next().unwrap() {
                    self.frames.push_back(frame);
                }
            }
        }
    }

    /// Sends texts; gives the status.
    pub async fn send(&mut self, texts: &[&str]) -> u16 {
        let request = self.kind.sender(&self.session, texts);
        Answer::to(self.node(), &request).await.status
    }
}
