//! Subscribers over XHR streaming: a response in chunks, asked for again when it ends, and a line for each SockJS frame.

use bytes::{Buf as _, Bytes, BytesMut};
use stomp_parser::{Command, Frame, Version, encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::Failure;
use super::crew::{Standing, subscribe};
use super::stamp::Stamp;
use super::walk::Found;
use crate::client::{Login, Said, Target, said, websocket};

/// What a head of a response, or a frame, may have at most.
const LARGEST_HEAD: usize = 16 * 1024;

/// How far one connection is in its responses.
#[derive(Debug)]
pub(super) struct Streaming {
    /// What asks for the next response.
    request: Bytes,
    /// The head of a response is to come.
    in_head: bool,
    /// The beginning of a frame that goes on in the next chunk.
    cut: Vec<u8>,
}

impl Streaming {
    fn new(request: Bytes) -> Streaming {
        Streaming { request, in_head: true, cut: Vec::new() }
    }

    /// Calls `each` with every whole frame of every whole chunk, and appends to `out` what asks for more. Returns how many
    /// octets were used.
    ///
    /// # Errors
    /// What the server does that is no such response.
    pub(super) fn walk(
        &mut self,
        octets: &[u8],
        out: &mut BytesMut,
        mut each: impl FnMut(Found<'_>),
    ) -> Result<usize, &'static str> {
        let mut at = 0;
        loop {
            let rest = &octets[at..];
            if self.in_head {
                let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") else {
                    return if rest.len() > LARGEST_HEAD {
                        Err("the head of a response does not end")
                    } else {
                        Ok(at)
                    };
                };
                if !rest.starts_with(b"HTTP/1.1 200 ") {
                    return Err("the server answers a receiver with something else than 200");
                }
                self.in_head = false;
                at += end + 4;
                continue;
            }
            let Some((head, size)) = chunk_head(rest)? else { return Ok(at) };
            let Some(chunk) = rest.get(head..head + size + 2) else { return Ok(at) };
            at += head + size + 2;
            if size == 0 {
                self.in_head = true;
                out.extend_from_slice(&self.request);
            }
            self.lines(&chunk[..size], &mut each);
        }
    }

    fn lines(&mut self, mut chunk: &[u8], each: &mut impl FnMut(Found<'_>)) {
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            let line = &chunk[..end];
            if self.cut.is_empty() {
                each(found(line));
            } else {
                self.cut.extend_from_slice(line);
                each(found(&self.cut));
                self.cut = Vec::new();
            }
            chunk = &chunk[end + 1..];
        }
        self.cut.extend_from_slice(chunk);
    }
}

/// The length of a chunk's head, and of the chunk.
#[inline]
fn chunk_head(octets: &[u8]) -> Result<Option<(usize, usize)>, &'static str> {
    let mut size = 0usize;
    for (at, octet) in octets.iter().enumerate().take(16) {
        match char::from(*octet).to_digit(16) {
            Some(digit) => size = size * 16 + digit as usize,
            None if *octet == b'\r' && at > 0 => return Ok((octets.len() > at + 1).then_some((at + 2, size))),
            None => return Err("a chunk has no size"),
        }
    }
    if octets.len() < 16 { Ok(None) } else { Err("a chunk is too large") }
}

/// A frame as [`look_inside`](super::walk::look_inside) takes it. The prelude is as good as a heartbeat.
fn found(line: &[u8]) -> Found<'_> {
    let payload = if line.starts_with(b"hh") { b"h" } else { line };
    let stamp = payload.strip_suffix(b"\\u0000\"]").and_then(Stamp::at_end_of);
    Found { opcode: websocket::TEXT, payload, stamp }
}

/// Connects, and subscribes to a destination.
pub(super) async fn connect(target: &Target, login: &Login, destination: &str) -> Result<Standing, Failure> {
    let session = target.new_session();
    let request = Bytes::from(post(target, &format!("{session}/xhr_streaming"), b""));
    let mut socket = open(target, &request).await?;
    let mut streaming = Streaming::new(request);
    let mut read = BytesMut::new();
    next(&mut socket, &mut streaming, &mut read, |said| matches!(said, Said::Open).then_some(Ok(()))).await?;

    send(target, &session, &connect_frame(login), Version::V1_0).await?;
    next(&mut socket, &mut streaming, &mut read, |said| expect(said, "CONNECTED")).await?;
    let subscribe = subscribe(destination).header("receipt", "wait");
    send(target, &session, &subscribe, Version::V1_2).await?;
    next(&mut socket, &mut streaming, &mut read, |said| expect(said, "RECEIPT")).await?;
    let socket = socket.into_std().map_err(|error| lost(target, &error))?;
    Ok(Standing { socket, read, streaming: Some(streaming) })
}

fn connect_frame(login: &Login) -> Frame {
    let mut frame = Frame::new(Command::Connect).header("accept-version", "1.2").header("heart-beat", "0,0");
    for (name, value) in [("host", &login.host), ("login", &login.login), ("passcode", &login.passcode)] {
        if let Some(value) = value {
            frame = frame.header(name, value.as_str());
        }
    }
    frame
}

/// Whether the server said a frame of this command; an error if it said that something is wrong.
fn expect(said: &Said, command: &str) -> Option<Result<(), String>> {
    match said {
        Said::Messages(messages) => messages.iter().find_map(|message| {
            if message.starts_with(command) {
                Some(Ok(()))
            } else {
                message.starts_with("ERROR").then(|| Err(message.clone()))
            }
        }),
        Said::Close(code, reason) => Some(Err(format!("closed: {code} {reason}"))),
        Said::Open | Said::Heartbeat => None,
    }
}

fn post(target: &Target, path: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
        target.authority(),
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

async fn open(target: &Target, request: &[u8]) -> Result<TcpStream, Failure> {
    let connect = async {
        let mut socket = TcpStream::connect((target.host(), target.port())).await?;
        socket.set_nodelay(true)?;
        socket.write_all(request).await?;
        std::io::Result::Ok(socket)
    };
    connect.await.map_err(|error| lost(target, &error))
}

fn lost(target: &Target, error: &std::io::Error) -> Failure {
    Failure::Failed(format!("{target}: {error}"))
}

/// Sends a frame by a request of its own.
async fn send(target: &Target, session: &str, frame: &Frame, version: Version) -> Result<(), Failure> {
    let mut stomp = BytesMut::new();
    encode(frame, version, &mut stomp);
    let body = serde_json::to_string(&[String::from_utf8_lossy(&stomp)]).unwrap_or_default();
    let mut socket = open(target, &post(target, &format!("{session}/xhr_send"), body.as_bytes())).await?;
    let mut answer = BytesMut::new();
    while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
        let read = socket.read_buf(&mut answer).await.map_err(|error| lost(target, &error))?;
        if read == 0 || answer.len() > LARGEST_HEAD {
            break;
        }
    }
    if answer.starts_with(b"HTTP/1.1 204 ") {
        return Ok(());
    }
    let status = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
    Err(Failure::Failed(format!("the server answers {status:?} to a message")))
}

/// Reads until `is_it` finds what it looks for.
async fn next(
    socket: &mut TcpStream,
    streaming: &mut Streaming,
    read: &mut BytesMut,
    is_it: impl Fn(&Said) -> Option<Result<(), String>>,
) -> Result<(), Failure> {
    loop {
        let mut out = BytesMut::new();
        let mut result = None;
        let used = streaming.walk(read, &mut out, |found| {
            if let Some(said) = said(found.payload) {
                result = result.take().or_else(|| is_it(&said));
            }
        });
        read.advance(used.map_err(|wrong| Failure::Failed(wrong.to_owned()))?);
        if !out.is_empty() {
            let sent = socket.write_all(&out).await;
            sent.map_err(|error| Failure::Failed(error.to_string()))?;
        }
        match result {
            Some(Ok(())) => return Ok(()),
            Some(Err(wrong)) => return Err(Failure::Failed(wrong)),
            None => {}
        }
        if socket.read_buf(read).await.map_err(|error| Failure::Failed(error.to_string()))? == 0 {
            return Err(Failure::Failed("the server ends a connection before its response".to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn frames_are_found_however_the_response_is_cut() {
        let stamp = Stamp { topic: 0, number: 7, due: 1 };
        let frame = format!("a[\"MESSAGE\\n\\n{}\\u0000\"]\n", stamp.text());
        let (one, two) = frame.split_at(20);
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        let response = [
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            &chunk(&format!("{}\n", "h".repeat(2048))),
            &chunk(&frame.repeat(2)),
            &chunk(one),
            &chunk(two),
            "0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            &chunk(&frame),
        ]
        .concat();
        for step in [1, 7, 100, response.len()] {
            let mut streaming = Streaming::new(Bytes::from_static(b"again"));
            let (mut kept, mut out) = (Vec::new(), BytesMut::new());
            let (mut stamps, mut others) = (0, 0);
            for piece in response.as_bytes().chunks(step) {
                kept.extend_from_slice(piece);
                let used = streaming.walk(&kept, &mut out, |found| match found.stamp {
                    Some(found) => {
                        assert_eq!(found, stamp);
                        stamps += 1;
                    }
                    None => others += 1,
                });
                kept.drain(..used.unwrap());
            }
            assert_eq!((stamps, others, kept.len()), (4, 1, 0), "{step}");
            assert_eq!(out, "again");
        }
    }

    #[test]
    fn what_is_no_such_response_is_said() {
        let walk = |octets: &[u8]| {
            Streaming::new(Bytes::new()).walk(octets, &mut BytesMut::new(), |_| {}).unwrap_err()
        };
        assert!(walk(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").contains("200"));
        assert!(walk(b"HTTP/1.1 200 OK\r\n\r\nxyz\r\n").contains("no size"));
    }
}
