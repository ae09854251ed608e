//! A streaming response on a socket taken from the HTTP server, which wrote its head. What is offered goes to the kernel
//! as one chunk, without being copied; when the response is over, the connection goes back to the server.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use tokio::{io::AsyncReadExt as _, time::timeout};

use crate::server::{Connections, Counted, Exchange, Stream};

/// The largest chunk. A client that is cut off within one can't be told the end of the response.
const MAX_CHUNK: usize = 64 * 1024;

/// Pieces given to the kernel at once.
const AT_ONCE: usize = 64;

/// What a client may send before it has its answer; a request of a browser is smaller.
const MAX_EARLY: usize = 16 * 1024;

/// How long the end of a response may take to be written: a slow client has to read first what the kernel holds.
const SLOWNESS: Duration = Duration::from_secs(60);

/// How long a client may take to close behind it.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is needed to go on with a response on another thread.
pub(crate) struct Moved {
    stream: std::net::TcpStream,
    early: BytesMut,
    facts: Facts,
    connections: Connections,
}

/// What the request said of the response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    /// HTTP/1.1 has chunks; the end of a response of HTTP/1.0 is that of the connection.
    pub(crate) chunked: bool,
    pub(crate) keep_alive: bool,
    pub(crate) peer: Option<SocketAddr>,
    /// Octets after which the response ends, at the end of a frame.
    pub(crate) limit: usize,
}

/// A response under way.
pub(crate) struct TakenResponse {
    stream: Stream,
    counted: Counted,
    facts: Facts,
    /// Where the connection goes afterwards.
    exchange: Option<Rc<Exchange>>,
    /// Octets until the response ends.
    left: usize,
    chunk: Chunk,
    /// What came of the next request.
    early: BytesMut,
    /// The end of the response, as far as it is not written.
    rest: BytesMut,
}

/// What the kernel has not taken of a chunk.
#[derive(Debug, Default)]
struct Chunk {
    /// Its head, as far as it is not written.
    head: Tiny,
    /// Octets that were promised and not yet offered, or not taken.
    body: usize,
    tail: Tiny,
    /// The response ends behind it, if it ends with a frame: what was offered may be replaced by something else on the way.
    is_last: bool,
    /// The last octet that was taken of it ended a frame.
    ends_frame: bool,
}

/// A few octets to write.
#[derive(Debug, Default, Clone, Copy)]
struct Tiny {
    octets: [u8; 18],
    from: u8,
    to: u8,
}

impl Tiny {
    fn new(text: &[u8]) -> Tiny {
        let mut tiny = Tiny::default();
        let len = text.len().min(tiny.octets.len());
        tiny.octets[..len].copy_from_slice(&text[..len]);
        tiny.to = len as u8;
        tiny
    }

    /// The line that begins a chunk of this size, in hexadecimal digits.
    fn size(size: usize) -> Tiny {
        let mut text = [0; 18];
        let mut at = text.len() - 2;
        text[at..].copy_from_slice(b"\r\n");
        let mut rest = size;
        while at == text.len() - 2 || rest > 0 {
            at -= 1;
            text[at] = b"0123456789abcdef"[rest % 16];
            rest /= 16;
        }
        Tiny::new(&text[at..])
    }

    fn rest(&self) -> &[u8] {
        &self.octets[usize::from(self.from)..usize::from(self.to)]
    }

    /// Takes away what was written; returns what is left of the count.
    fn advance(&mut self, written: usize) -> usize {
        let mine = written.min(self.rest().len());
        self.from += mine as u8;
        written - mine
    }
}

impl TakenResponse {
    pub(crate) fn new(
        stream: Stream,
        early: BytesMut,
        counted: Counted,
        facts: Facts,
        exchange: Option<Rc<Exchange>>,
    ) -> TakenResponse {
        TakenResponse {
            stream,
            counted,
            facts,
            exchange,
            left: facts.limit,
            chunk: Chunk::default(),
            early,
            rest: BytesMut::new(),
        }
    }

    /// Lets go of this thread. Only before anything was offered.
    pub(crate) fn leave(self) -> io::Result<Moved> {
        let connections = self.counted.connections();
        Ok(Moved { stream: self.stream.into_std()?, early: self.early, facts: self.facts, connections })
    }

    /// Goes on with it on this thread.
    pub(crate) fn enter(moved: Moved, exchange: Option<Rc<Exchange>>) -> io::Result<TakenResponse> {
        let Moved { stream, early, facts, connections } = moved;
        let counted = connections.enter().ok_or(io::ErrorKind::QuotaExceeded)?;
        Ok(TakenResponse::new(Stream::from_std(stream)?, early, counted, facts, exchange))
    }

    /// Offers frames, as far as they fit the limit, and says how many octets of them were taken.
    ///
    /// # Errors
    /// `WouldBlock` if the kernel takes nothing now; any other if the client is gone.
    pub(crate) fn offer(&mut self, frames: &[IoSlice<'_>]) -> io::Result<usize> {
        self.end_chunk()?;
        if self.is_idle() || self.is_untouched() {
            // An empty chunk would end the response.
            if frames.iter().all(|frame| frame.is_empty()) {
                return Ok(0);
            }
            self.begin_chunk(frames);
        }
        let mut pieces = [IoSlice::new(&[]); AT_ONCE];
        pieces[0] = IoSlice::new(self.chunk.head.rest());
        let (mut count, mut body) = (1, 0);
        for frame in frames {
            if body == self.chunk.body || count == AT_ONCE - 1 {
                break;
            }
            let len = frame.len().min(self.chunk.body - body);
            pieces[count] = IoSlice::new(&frame[..len]);
            body += len;
            count += 1;
        }
        if body == self.chunk.body {
            pieces[count] = IoSlice::new(self.chunk.tail.rest());
            count += 1;
        }
        let written = self.stream.try_write_vectored(&pieces[..count])?;
        let behind_head = self.chunk.head.advance(written);
        let taken = behind_head.min(body);
        if taken > 0 {
            self.chunk.ends_frame = last_of(frames, taken) == Some(b'\n');
        }
        self.chunk.body -= taken;
        self.left = self.left.saturating_sub(taken);
        self.chunk.tail.advance(behind_head - taken);
        if taken == 0 && body > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(taken)
    }

    /// Writes the end of a chunk of which all else is written. By itself, since it is nothing that was offered: an offer of
    /// which nothing was taken would say that the client is gone.
    fn end_chunk(&mut self) -> io::Result<()> {
        let Chunk { head, body, tail, .. } = &mut self.chunk;
        while head.rest().is_empty() && *body == 0 && !tail.rest().is_empty() {
            match self.stream.try_write(tail.rest())? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => tail.advance(written),
            };
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        let Chunk { head, body, tail, .. } = &self.chunk;
        head.rest().is_empty() && *body == 0 && tail.rest().is_empty()
    }

    /// Nothing of the chunk is written, so that it may as well be another.
    fn is_untouched(&self) -> bool {
        self.chunk.head.from == 0 && !self.chunk.head.rest().is_empty()
    }

    /// Decides how much of the frames the next chunk has.
    fn begin_chunk(&mut self, frames: &[IoSlice<'_>]) {
        let offered: usize = frames.iter().take(AT_ONCE - 2).map(|frame| frame.len()).sum();
        let (body, is_last) = match end_of_frame(frames, self.left.saturating_sub(1)) {
            Some(end) if end <= offered.min(MAX_CHUNK) => (end, true),
            _ => (offered.min(MAX_CHUNK), false),
        };
        self.chunk = match (self.facts.chunked, is_last) {
            (false, _) => Chunk { body, is_last, ..Chunk::default() },
            (true, _) => {
                let (head, tail) = (Tiny::size(body), Tiny::new(b"\r\n"));
                Chunk { head, body, tail, is_last, ..Chunk::default() }
            }
        };
    }

    /// Whether it has had its last frame.
    pub(crate) fn is_done(&self) -> bool {
        self.chunk.is_last && self.chunk.body == 0 && self.chunk.ends_frame
    }

    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        // An error shows in the write that follows.
        self.stream.poll_write_ready(cx).map(drop)
    }

    /// Ready when the client is gone. What it sends instead is kept for the next request.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.early.len() < MAX_EARLY {
            let room = MAX_EARLY - self.early.len();
            let mut few = (&mut self.stream).take(room as u64);
            match ready!(pin!(few.read_buf(&mut self.early)).poll(cx)) {
                Ok(read) if read > 0 => {}
                _ => return Poll::Ready(()),
            }
        }
        // Enough for now. Its end shows when something is written.
        Poll::Pending
    }

    /// Ends the response behind one more frame, or none, and hands the connection back if it can be used again.
    pub(crate) fn finish(mut self: Box<Self>, frame: &[u8]) {
        let is_done = self.is_done();
        if self.is_untouched() {
            self.chunk = Chunk::default();
        }
        if self.chunk.body > 0 {
            // More was promised: all that is left is to end the connection.
            self.facts.keep_alive = false;
        } else {
            self.rest.extend_from_slice(self.chunk.tail.rest());
            if !self.facts.chunked {
                self.rest.extend_from_slice(frame);
            } else {
                if !frame.is_empty() && !is_done {
                    self.rest.extend_from_slice(Tiny::size(frame.len()).rest());
                    self.rest.extend_from_slice(frame);
                    self.rest.extend_from_slice(b"\r\n");
                }
                self.rest.extend_from_slice(b"0\r\n\r\n");
            }
        }
        if matches!(self.flush(), Ok(true)) && self.can_be_used_again() {
            (*self).hand_back();
        } else {
            actix_rt::spawn(self.end());
        }
    }

    /// Writes what it can of the end; whether that is all.
    fn flush(&mut self) -> io::Result<bool> {
        while !self.rest.is_empty() {
            match self.stream.try_write(&self.rest) {
                Ok(written) => self.rest.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn can_be_used_again(&self) -> bool {
        self.facts.keep_alive && self.facts.chunked && self.exchange.is_some()
    }

    fn hand_back(self) {
        let TakenResponse { stream, counted, facts, exchange, early, .. } = self;
        if let Some(exchange) = exchange {
            exchange.join(stream, early, facts.peer, counted);
        }
    }

    /// Writes what is left and closes, or hands the connection back.
    async fn end(mut self: Box<Self>) {
        let written = timeout(SLOWNESS, async {
            while !self.flush()? {
                std::future::poll_fn(|cx| self.stream.poll_write_ready(cx)).await?;
            }
            io::Result::Ok(())
        });
        if !matches!(written.await, Ok(Ok(()))) {
            return;
        }
        if self.can_be_used_again() {
            return (*self).hand_back();
        }
        // Closing with unread input would reset the connection, and destroy what was written last.
        let _ = self.stream.shutdown_write();
        let _ = timeout(PATIENCE, async {
            let mut rest = BytesMut::with_capacity(4096);
            while self.stream.read_buf(&mut rest).await? > 0 {
                rest.clear();
            }
            io::Result::Ok(())
        })
        .await;
    }

    pub(crate) fn abort(&self) {
        let _ = self.stream.cut();
    }
}

/// The last of the first so many octets.
fn last_of(frames: &[IoSlice<'_>], octets: usize) -> Option<u8> {
    let mut rest = octets.checked_sub(1)?;
    for frame in frames {
        match frame.get(rest) {
            Some(octet) => return Some(*octet),
            None => rest -= frame.len(),
        }
    }
    None
}

/// Where the first frame ends that ends behind so many octets.
fn end_of_frame(frames: &[IoSlice<'_>], octets: usize) -> Option<usize> {
    let mut before = 0;
    for frame in frames {
        let from = octets.saturating_sub(before);
        if from < frame.len()
            && let Some(at) = memchr::memchr(b'\n', &frame[from..])
        {
            return Some(before + from + at + 1);
        }
        before += frame.len();
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_of_chunks() {
        for size in [0, 1, 9, 10, 15, 16, 255, 256, 65_536, usize::MAX] {
            assert_eq!(Tiny::size(size).rest(), format!("{size:x}\r\n").as_bytes());
        }
    }

    #[test]
    fn frames_end_where_their_line_does() {
        let frames = [IoSlice::new(b"a[]\na"), IoSlice::new(b"[]\n"), IoSlice::new(b"h\n")];
        for (octets, end) in
            [(0, Some(4)), (3, Some(4)), (4, Some(8)), (7, Some(8)), (8, Some(10)), (10, None)]
        {
            assert_eq!(end_of_frame(&frames, octets), end, "{octets}");
        }
    }

    async fn response(limit: usize) -> (TakenResponse, tokio::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = Stream::Tcp(listener.accept().await.unwrap().0);
        let counted = crate::server::Connections::unbounded().enter().unwrap();
        let facts = Facts { chunked: true, keep_alive: false, peer: None, limit };
        let response = TakenResponse::new(stream, BytesMut::new(), counted, facts, None);
        std::future::poll_fn(|cx| response.stream.poll_write_ready(cx)).await.unwrap();
        (response, client)
    }

    /// The kernel took a chunk up to its end, and that stands before what is offered next.
    #[actix_rt::test]
    async fn the_end_of_a_chunk_is_no_answer_to_an_offer() {
        for missing in 1..=2 {
            let (mut response, mut client) = response(1000).await;
            response.begin_chunk(&[IoSlice::new(b"a[1]\n")]);
            response.chunk.head.advance(18);
            response.chunk.body = 0;
            response.chunk.tail.advance(2 - missing);
            assert_eq!(response.offer(&[IoSlice::new(b"a[2]\n")]).unwrap(), 5);
            Box::new(response).finish(b"");
            let mut got = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut client, &mut got).await.unwrap();
            assert_eq!(got, format!("{}5\r\na[2]\n\r\n0\r\n\r\n", &"\r\n"[2 - missing..]));
        }
    }

    /// The last chunk was promised, and then its frame was replaced by a longer one: the response ends behind that.
    #[actix_rt::test]
    async fn a_response_ends_with_a_frame() {
        let (mut response, mut client) = response(4).await;

        response.begin_chunk(&[IoSlice::new(b"a[1]\n")]);
        assert_eq!(response.chunk.head.advance(1), 0, "as if its head was under way");
        let frames = b"c[1,\"2\"]\n";
        let taken = response.offer(&[IoSlice::new(frames)]).unwrap();
        assert!(taken < frames.len() && !response.is_done());
        assert_eq!(response.offer(&[IoSlice::new(&frames[taken..])]).unwrap(), frames.len() - taken);
        assert!(response.is_done());
        Box::new(response).finish(b"");
        let mut got = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut client, &mut got).await.unwrap();
        assert_eq!(got, "\r\nc[1,\"\r\n4\r\n2\"]\n\r\n0\r\n\r\n");
    }
}
