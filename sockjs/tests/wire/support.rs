//! Servers on free ports of loopback, and a client that sends and expects octets.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use actix_server::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};
use sockjs::{
    Message, Session, SockJs,
    server::{Connections, Http},
};

/// How long anything may take. Only failing tests wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    Mounted,
    Taken,
}

pub(crate) const CARRIERS: [Carrier; 2] = [Carrier::Mounted, Carrier::Taken];

/// A server with a service at `/echo`, stopped when dropped.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) connections: Connections,
    pub(crate) sockjs: SockJs,
    carrier: Carrier,
    handle: ServerHandle,
    thread: Option<thread::JoinHandle<io::Result<()>>>,
}

impl Server {
    pub(crate) fn start(carrier: Carrier, make: impl Fn() -> SockJs + Send + Clone + 'static) -> Server {
        Server::start_bounded(carrier, usize::MAX, make)
    }

    pub(crate) fn start_bounded(
        carrier: Carrier,
        max: usize,
        make: impl Fn() -> SockJs + Send + Clone + 'static,
    ) -> Server {
        Server::start_with(carrier, max, 1, make())
    }

    /// A server with so many workers.
    pub(crate) fn start_with(carrier: Carrier, max: usize, workers: usize, sockjs: SockJs) -> Server {
        let service = sockjs.clone();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let connections = Connections::at_most(max);
        let counted = connections.clone();
        let (tx, rx) = mpsc::channel();
        let thread = thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let server = match carrier {
                    Carrier::Mounted => HttpServer::new(move || app(&service))
                        .workers(workers)
                        .disable_signals()
                        .listen(listener)?
                        .run(),
                    Carrier::Taken => actix_server::Server::build()
                        .workers(workers)
                        .disable_signals()
                        .listen("http", listener, move || {
                            Http::new().connections(&counted).take("/echo", &service).serve(app(&service))
                        })?
                        .run(),
                };
                tx.send(server.handle()).unwrap();
                server.await
            })
        });
        let handle = rx.recv_timeout(PATIENCE).unwrap();
        Server { addr, connections, sockjs, carrier, handle, thread: Some(thread) }
    }

    /// A connection on which nothing was sent.
    pub(crate) fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { stream, buf: Vec::new(), streamed: String::new(), carrier: self.carrier }
    }

    /// A request without a body, its headers each as `Name: value`.
    pub(crate) fn request(&self, line: &str, headers: &[&str]) -> Response {
        let mut client = self.connect();
        client.send_request(line, headers);
        client.response()
    }

    /// A WebSocket at this path; the 101 is read.
    pub(crate) fn websocket(&self, path: &str) -> Client {
        let mut client = self.connect();
        client.send_request(&format!("GET {path} HTTP/1.1"), &UPGRADE);
        let response = client.response();
        assert_eq!(response.status, 101, "{response:?}");
        client
    }

    /// A raw WebSocket.
    pub(crate) fn raw(&self) -> Client {
        self.websocket("/echo/websocket")
    }

    /// A SockJS session, open.
    pub(crate) fn sockjs(&self) -> Client {
        let mut client = self.websocket("/echo/000/session/websocket");
        assert_eq!(client.text(), "o");
        client
    }

    /// Stops the server and tells whether it ended without a panic.
    pub(crate) fn stop(&mut self, graceful: bool) {
        drop(self.handle.stop(graceful));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.stop(false);
        }
    }
}

fn app(
    sockjs: &SockJs,
) -> App<
    impl actix_web::dev::ServiceFactory<
        actix_web::dev::ServiceRequest,
        Config = (),
        Response = actix_web::dev::ServiceResponse,
        Error = actix_web::Error,
        InitError = (),
    > + use<>,
> {
    App::new()
        .service(sockjs.mount("/echo"))
        .route("/hello", web::get().to(|| async { "hello" }))
        .route("/big", web::get().to(|| async { "x".repeat(BIG) }))
        .route(
            "/other",
            web::get().to(|| async { HttpResponse::SwitchingProtocols().upgrade("other").finish() }),
        )
}

/// The length of the answer at `/big`.
pub(crate) const BIG: usize = 20_000_000;

/// The headers of a good handshake. The key and its answer are those of RFC 6455, section 1.3.
pub(crate) const UPGRADE: [&str; 5] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "User-Agent: test",
];

/// A good handshake with one header more or, of the same name, another.
pub(crate) fn upgrade_with(header: &str) -> Vec<&str> {
    let name = header.split(':').next().unwrap();
    let mut headers: Vec<&str> =
        UPGRADE.into_iter().filter(|have| have.split(':').next() != Some(name)).collect();
    headers.push(header);
    headers
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buf: Vec<u8>,
    /// What came of a streaming response and was not asked for yet.
    streamed: String,
    carrier: Carrier,
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Client {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn send_request(&mut self, line: &str, headers: &[&str]) {
        self.send(request(line, headers).as_bytes());
    }

    /// Reads until there are so many octets; fewer only at the end of the connection.
    fn fill(&mut self, len: usize) {
        let mut chunk = [0; 64 * 1024];
        while self.buf.len() < len {
            match self.stream.read(&mut chunk).expect("something to read in time") {
                0 => return,
                n => self.buf.extend_from_slice(&chunk[..n]),
            }
        }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        self.fill(len);
        assert!(self.buf.len() >= len, "connection ended with {:?} left", String::from_utf8_lossy(&self.buf));
        self.buf.drain(..len).collect()
    }

    pub(crate) fn response(&mut self) -> Response {
        let head = loop {
            if let Some(at) = self.buf.windows(4).position(|end| end == b"\r\n\r\n") {
                break String::from_utf8(self.bytes(at + 4)).unwrap();
            }
            let len = self.buf.len() + 1;
            self.fill(len);
            assert!(self.buf.len() >= len, "connection ended before its answer");
        };
        let status = head[9..12].parse().unwrap();
        let mut response = Response { status, head, body: String::new() };
        if let Some(len) = response.header("content-length") {
            let len = len.parse().unwrap();
            response.body = String::from_utf8(self.bytes(len)).unwrap();
        }
        response
    }

    /// Sends a request with this body.
    pub(crate) fn post(&mut self, path: &str, headers: &[&str], body: &str) {
        let length = format!("Content-Length: {}", body.len());
        let headers: Vec<&str> = headers.iter().copied().chain([&*length]).collect();
        self.send((request(&format!("POST {path} HTTP/1.1"), &headers) + body).as_bytes());
    }

    /// The next chunk of a response, empty at its end.
    fn chunk(&mut self) -> String {
        let head = self.line();
        let len = usize::from_str_radix(&head, 16).expect(&head);
        let chunk = self.bytes(len + 2);
        assert!(chunk.ends_with(b"\r\n"));
        String::from_utf8(chunk[..len].to_vec()).unwrap()
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(at) = self.buf.windows(2).position(|end| end == b"\r\n") {
                let line = self.bytes(at + 2);
                return String::from_utf8(line[..at].to_vec()).unwrap();
            }
            let len = self.buf.len() + 1;
            self.fill(len);
            assert!(self.buf.len() >= len, "connection ended before its line did");
        }
    }

    /// What a streaming response has up to and with this, however it is cut into chunks; at the end of the response,
    /// what is left.
    pub(crate) fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.streamed.find(end) {
                let rest = self.streamed.split_off(at + end.len());
                return std::mem::replace(&mut self.streamed, rest);
            }
            let chunk = self.chunk();
            if chunk.is_empty() {
                return std::mem::take(&mut self.streamed);
            }
            self.streamed += &chunk;
        }
    }

    /// The next line of a streaming response, its line feed included; nothing at the end of the response.
    pub(crate) fn streamed(&mut self) -> String {
        self.until("\n")
    }

    /// Sends a masked frame; `first` is its first octet.
    pub(crate) fn frame(&mut self, first: u8, payload: &[u8]) {
        self.send(&frame(first, payload));
    }

    pub(crate) fn send_text(&mut self, text: &str) {
        self.frame(0x81, text.as_bytes());
    }

    pub(crate) fn read_frame(&mut self) -> Frame {
        let head = self.bytes(2);
        assert_eq!(head[0] & 0xf0, 0x80, "whole frames without reserved bits");
        assert_eq!(head[1] & 0x80, 0, "not masked");
        let len = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.bytes(2).try_into().unwrap())),
            127 => u64::from_be_bytes(self.bytes(8).try_into().unwrap()),
            len => u64::from(len),
        };
        Frame { opcode: head[0] & 0x0f, payload: self.bytes(len as usize) }
    }

    pub(crate) fn text(&mut self) -> String {
        let frame = self.read_frame();
        assert_eq!(frame.opcode, 1, "{frame:?}");
        String::from_utf8(frame.payload).unwrap()
    }

    /// Expects a close frame with this code.
    pub(crate) fn expect_close(&mut self, code: u16) -> String {
        let frame = self.read_frame();
        assert_eq!(frame.opcode, 8, "{frame:?}");
        assert_eq!(u16::from_be_bytes(frame.payload[..2].try_into().unwrap()), code, "{frame:?}");
        String::from_utf8(frame.payload[2..].to_vec()).unwrap()
    }

    /// Waits for something to read, and then sends so much that no kernel holds it: someone must be
    /// reading it.
    pub(crate) fn send_much_once_answered(&mut self) {
        assert!(self.stream.peek(&mut [0]).unwrap() > 0);
        let chunk = vec![0; 100_000];
        for _ in 0..200 {
            self.send(&chunk);
        }
    }

    /// Expects the connection to end without another octet, properly.
    pub(crate) fn expect_end(&mut self) {
        if self.carrier == Carrier::Mounted {
            // Under a plain `HttpServer` the client goes first, or the server waits a second for
            // it.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        self.fill(1);
        assert_eq!(String::from_utf8_lossy(&self.buf), "", "expected the end");
    }

    /// Reads on until the connection ends in whatever way; how many octets came.
    pub(crate) fn read_to_end(&mut self) -> (usize, Option<io::ErrorKind>) {
        let mut total = self.buf.len();
        let mut chunk = vec![0; 1 << 20];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return (total, None),
                Ok(n) => total += n,
                Err(error) => return (total, Some(error.kind())),
            }
        }
    }
}

pub(crate) fn request(line: &str, headers: &[&str]) -> String {
    let mut request = format!("{line}\r\nHost: localhost\r\n");
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request + "\r\n"
}

/// A frame as clients send it.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0xa1, 0x00, 0x37, 0xfe];
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    out
}

/// Gives every message back, in the plain way.
pub(crate) async fn echo(mut session: Session) {
    let sender = session.sender();
    while let Some(message) = session.recv().await {
        let sent = match message {
            Message::Text(text) => sender.text(text),
            Message::Binary(body) => sender.binary(body),
        };
        if sent.is_err() {
            break;
        }
    }
}

/// Waits for a condition.
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
