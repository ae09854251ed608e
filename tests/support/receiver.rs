//! The receiving side of a SockJS session over HTTP: asks, and takes away what HTTP puts around frames.

use bytes::{Buf, BytesMut};

/// One session's receiver, streaming or polling.
pub struct Receiver {
    path: String,
    streams: bool,
    phase: Phase,
    asked: usize,
    /// What came of bodies and is no whole line yet.
    text: BytesMut,
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
    pub fn new(session: &str, streams: bool) -> Receiver {
        let path = format!("/ws/0/{session}/{}", if streams { "xhr_streaming" } else { "xhr" });
        Receiver { path, streams, phase: Phase::Idle, asked: 0, text: BytesMut::new() }
    }

    /// Octets that were read and are no whole line.
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
    pub fn ask(&mut self) -> Option<String> {
        (self.phase == Phase::Idle).then(|| {
            self.phase = Phase::Head;
            self.asked += 1;
            format!("POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", self.path)
        })
    }

    /// The next frame of what was read, if it is there.
    pub fn frame(&mut self, read: &mut BytesMut) -> Option<BytesMut> {
        loop {
            if let Some(at) = self.text.iter().position(|octet| *octet == b'\n') {
                let mut line = self.text.split_to(at + 1);
                line.truncate(at);
                // The prelude is no frame.
                if line.starts_with(b"hh") {
                    continue;
                }
                return Some(line);
            }
            match self.phase {
                Phase::Idle => return None,
                Phase::Head => {
                    let end = read.windows(4).position(|four| four == b"\r\n\r\n")?;
                    let head = String::from_utf8(read.split_to(end + 4).to_vec()).unwrap().to_lowercase();
                    assert!(head.starts_with("http/1.1 200"), "{head}");
                    let length =
                        head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                    self.phase = length.map_or(Phase::ChunkHead, Phase::Body);
                    assert_eq!(self.streams, length.is_none(), "{head}");
                }
                Phase::ChunkHead => {
                    let end = read.windows(2).position(|two| two == b"\r\n")?;
                    let size = usize::from_str_radix(std::str::from_utf8(&read[..end]).unwrap(), 16).unwrap();
                    // The end of the last chunk is the end of all.
                    if size == 0 && read.len() < end + 4 {
                        return None;
                    }
                    read.advance(if size == 0 { end + 4 } else { end + 2 });
                    self.phase = if size == 0 { Phase::Idle } else { Phase::Chunk(size) };
                }
                Phase::Chunk(0) => {
                    if read.len() < 2 {
                        return None;
                    }
                    read.advance(2);
                    self.phase = Phase::ChunkHead;
                }
                Phase::Body(0) => self.phase = Phase::Idle,
                Phase::Body(left) | Phase::Chunk(left) => {
                    let some = left.min(read.len());
                    if some == 0 {
                        return None;
                    }
                    self.text.extend_from_slice(&read.split_to(some));
                    self.phase = match self.phase {
                        Phase::Chunk(_) => Phase::Chunk(left - some),
                        _ => Phase::Body(left - some),
                    };
                }
            }
        }
    }
}
