//! The connections of a run and the one thread that serves them: it waits for sockets that have something, reads as much as
//! there is into one buffer, and goes through that without parsing messages.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use mio::{Events, Interest, Poll, Token};

use super::super::Failure;
use super::crew::Standing;
use super::ledger::Ledger;
use super::streaming::Streaming;
use super::walk::{Found, Inside, look_inside, walk};
use crate::client::{Carrier, websocket};

/// What is read at once at most, behind the beginning of a frame that came before.
const CHUNK: usize = 256 * 1024;

/// Sockets that are told of at once.
const EVENTS: usize = 1024;

/// A rest between two looks at the sockets, see [`Audience::may_rest`].
const REST: Duration = Duration::from_millis(1);

/// Fewer connections than this are served faster than a rest takes.
const RESTING: usize = 256;

/// All connections of a run.
pub(super) struct Audience {
    carrier: Carrier,
    poll: Poll,
    events: Events,
    /// The sockets that have something.
    ready: Vec<Ready>,
    buffer: Vec<u8>,
    members: Vec<Member>,
    start: Instant,
    may_rest: bool,
    rests: bool,
    /// What came.
    pub(super) ledger: Ledger,
    /// Octets that came.
    pub(super) octets: u64,
    /// Why connections ended, and how many did so for that reason.
    pub(super) ended: BTreeMap<String, u64>,
}

/// What the system says of a socket.
#[derive(Clone, Copy)]
struct Ready {
    member: usize,
    writable: bool,
    /// The server sends no more.
    ends: bool,
}

/// One connection.
struct Member {
    /// None when it has ended.
    stream: Option<mio::net::TcpStream>,
    /// The beginning of a frame of which the rest has not come.
    kept: Vec<u8>,
    /// What could not be written yet.
    out: BytesMut,
    /// Which subscriber this is, if it is one.
    subscriber: Option<usize>,
    /// For XHR streaming, how far it is.
    streaming: Option<Box<Streaming>>,
}

impl Audience {
    /// Nobody yet. Times are since `start`.
    pub(super) fn new(carrier: Carrier, ledger: Ledger, start: Instant) -> Result<Audience, Failure> {
        Ok(Audience {
            carrier,
            poll: Poll::new().map_err(|error| refused(&error))?,
            events: Events::with_capacity(EVENTS),
            ready: Vec::with_capacity(EVENTS),
            buffer: vec![0; CHUNK],
            members: Vec::new(),
            start,
            may_rest: false,
            rests: false,
            ledger,
            octets: 0,
            ended: BTreeMap::new(),
        })
    }

    /// Lets the thread sleep for a moment when only few of many sockets have something, so that it reads more at once and is
    /// not woken for each, which costs the server as well. For runs that measure throughput: it adds a millisecond to latencies.
    pub(super) fn may_rest(&mut self) {
        self.may_rest = true;
    }

    /// Adds a connection: that of a subscriber of the ledger, or one that only sends. Returns its name here.
    pub(super) fn join(&mut self, standing: Standing, subscriber: Option<usize>) -> Result<usize, Failure> {
        let Standing { socket, read, streaming } = standing;
        let ready = socket.set_nonblocking(true);
        ready.map_err(|error| refused(&error))?;
        let mut stream = mio::net::TcpStream::from_std(socket);
        let at = self.members.len();
        let interest = match subscriber {
            Some(_) if streaming.is_none() => Interest::READABLE,
            _ => Interest::READABLE | Interest::WRITABLE,
        };
        let watched = self.poll.registry().register(&mut stream, Token(at), interest);
        watched.map_err(|error| refused(&error))?;
        self.members.push(Member {
            stream: Some(stream),
            kept: read.to_vec(),
            out: BytesMut::new(),
            subscriber,
            streaming: streaming.map(Box::new),
        });
        Ok(at)
    }

    /// Microseconds since the run began.
    pub(super) fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// Whether a connection is there.
    pub(super) fn is_here(&self, member: usize) -> bool {
        self.members[member].stream.is_some()
    }

    /// Where to put what is to be [sent](Self::send) to a connection.
    pub(super) fn out(&mut self, member: usize) -> &mut BytesMut {
        &mut self.members[member].out
    }

    /// Writes what can be written without waiting; the rest follows when the socket takes it.
    pub(super) fn send(&mut self, member: usize) {
        let Member { stream, out, .. } = &mut self.members[member];
        let Some(stream) = stream else { return };
        while out.has_remaining() {
            match stream.write(out) {
                Ok(written) => out.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What is left to read says why.
                Err(_) => out.clear(),
            }
        }
    }

    /// Takes what has come, and waits for it for so long at most.
    pub(super) fn receive(&mut self, patience: Duration) -> Result<(), Failure> {
        if self.rests {
            std::thread::sleep(REST.min(patience));
        }
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(refused(&error));
            }
            _ => {}
        }
        self.ready.clear();
        self.ready.extend(self.events.iter().map(|event| Ready {
            member: event.token().0,
            writable: event.is_writable(),
            ends: event.is_read_closed(),
        }));
        let few = self.ready.len() < self.members.len() / 8;
        self.rests = self.may_rest && few && self.members.len() >= RESTING;
        for at in 0..self.ready.len() {
            let Ready { member, writable, ends } = self.ready[at];
            self.read(member, ends);
            if writable {
                self.send(member);
            }
        }
        Ok(())
    }

    /// Reads a socket until it is empty, or to its end.
    fn read(&mut self, at: usize, ends: bool) {
        loop {
            let member = &mut self.members[at];
            let Some(stream) = &mut member.stream else { return };
            let kept = member.kept.len();
            self.buffer.resize(self.buffer.len().max(kept + CHUNK), 0);
            self.buffer[..kept].copy_from_slice(&member.kept);
            match stream.read(&mut self.buffer[kept..]) {
                Ok(0) => return self.end(at, "lost: it ended without a close frame".to_owned()),
                Ok(read) => {
                    let full = kept + read == self.buffer.len();
                    self.octets += read as u64;
                    if let Err(why) = self.take(at, kept + read) {
                        return self.end(at, why);
                    }
                    // Less than there was room for: it is empty, and the system tells when more comes. An end that it has
                    // told already it will not tell again.
                    if !full && !ends {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.end(at, format!("lost: {error}")),
            }
        }
    }

    /// Goes through the first `len` octets of the buffer, and keeps the beginning of a frame at their end.
    ///
    /// # Errors
    /// Why the connection is over.
    fn take(&mut self, at: usize, len: usize) -> Result<(), String> {
        let now = self.start.elapsed().as_micros() as u64;
        let (carrier, ledger) = (self.carrier, &mut self.ledger);
        let Member { kept, out, subscriber, streaming, .. } = &mut self.members[at];
        let octets = &self.buffer[..len];
        let mut over = None;
        let mut again = BytesMut::new();
        let each = |found: Found<'_>| match (found.stamp, *subscriber) {
            (Some(stamp), Some(who)) if ledger.expects(who, stamp) => ledger.count(who, stamp, now),
            _ => {
                for inside in look_inside(found, carrier) {
                    match (inside, *subscriber) {
                        (Inside::Stamp(stamp), Some(who)) => ledger.count(who, stamp, now),
                        (Inside::Stamp(_), None) => ledger.strays += 1,
                        (Inside::Ping(text), _) => websocket::put(websocket::PONG, &text, 0, out),
                        (Inside::Refused(why) | Inside::Closed(why), _) => {
                            over.get_or_insert(why);
                        }
                    }
                }
            }
        };
        let used = match streaming {
            Some(streaming) => streaming.walk(octets, &mut again, each)?,
            None => walk(octets, carrier, each)?,
        };
        out.extend_from_slice(&again);
        kept.clear();
        kept.extend_from_slice(&octets[used..]);
        if out.has_remaining() {
            self.send(at);
        }
        over.map_or(Ok(()), Err)
    }

    fn end(&mut self, at: usize, why: String) {
        let member = &mut self.members[at];
        if let Some(mut stream) = member.stream.take() {
            // It is closed with the stream.
            let _ = self.poll.registry().deregister(&mut stream);
            if let Some(subscriber) = member.subscriber {
                self.ledger.leave(subscriber);
            }
            *self.ended.entry(why).or_default() += 1;
        }
    }
}

fn refused(error: &io::Error) -> Failure {
    Failure::Failed(format!("the system refuses to watch the connections: {error}"))
}
