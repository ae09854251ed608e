//! From octets, as they come, to frames: keeps what of a frame is there until the rest comes.
//!
//! The rules of a frame are those of `scan` (where the headers end), `parser` (what they say) and
//! `body` (where the body ends). Who may send which frame when is left to the session.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use bytestring::ByteString;

use crate::body::Extent;
use crate::error::Error;
use crate::scan::{HeadScan, Section};
use crate::{Command, Frame, Headers, Limits, Version, meter, parser};

/// An incremental decoder for one direction of one connection.
///
/// Octets go in with [`feed`](Self::feed) in pieces of any size, frames come out of
/// [`next`](Self::next). A frame that lies wholly in one piece is made of slices of it: nothing is
/// copied but header names and values that hold an escape. What is kept beyond the life of a read
/// buffer should therefore be copied out of it. A frame spread over pieces is put together in a
/// buffer of its own.
///
/// Work is linear in the octets fed, however small the pieces. Between frames nothing is held: the
/// decoder itself is 64 octets.
///
/// ```
/// use bytes::Bytes;
/// use stomp_parser::{Command, Decoder, Limits, Version};
///
/// # fn main() -> Result<(), stomp_parser::Error> {
/// let mut decoder = Decoder::new(Limits::default());
/// decoder.set_version(Version::V1_2);
/// decoder.feed(Bytes::from_static(b"\nSEND\ndestination:/topic/a\\cb\n\nhel"));
/// assert_eq!(decoder.next()?, None);
/// decoder.feed(Bytes::from_static(b"lo\0"));
///
/// let frame = decoder.next()?.expect("the frame is complete");
/// assert_eq!(frame.command, Command::Send);
/// assert_eq!(frame.get("destination"), Some("/topic/a:b"));
/// assert_eq!(frame.body, "hello");
/// assert_eq!(decoder.heartbeats(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Decoder {
    limits: Arc<Limits>,
    /// What is left of the piece being read.
    chunk: Bytes,
    /// All that is needed only while something is pending.
    pending: Option<Box<Pending>>,
    heartbeats: u64,
    version: Option<Version>,
}

#[derive(Debug, Default)]
struct Pending {
    stage: Stage,
    /// Pieces behind `Decoder::chunk`.
    queue: VecDeque<Bytes>,
}

/// How much of a frame that is spread over pieces has been taken out of them.
#[derive(Debug, Default)]
enum Stage {
    #[default]
    Between,
    Head {
        octets: Vec<u8>,
        scan: HeadScan,
    },
    Body {
        head: Head,
        octets: Vec<u8>,
    },
    Dead(Error),
}

/// A complete header section.
#[derive(Debug)]
struct Head {
    text: ByteString,
    command: Command,
    headers: Headers,
    extent: Extent,
}

impl Decoder {
    /// A decoder for a connection that has not agreed on a version yet. Takes [`Limits`], or an
    /// `Arc` of them where many connections share one.
    pub fn new(limits: impl Into<Arc<Limits>>) -> Self {
        Self { limits: limits.into(), chunk: Bytes::new(), pending: None, heartbeats: 0, version: None }
    }

    /// Sets the version that the peers agreed on, for all frames not yet taken by
    /// [`next`](Self::next): call it before asking for the frame behind `CONNECT` (or, in a client,
    /// `CONNECTED`).
    ///
    /// Until then lines may end with LF or CR LF, nothing is unescaped, and only what asks for 1.0
    /// (by saying nothing else) has the spaces around its headers trimmed.
    pub fn set_version(&mut self, version: Version) {
        if self.version.replace(version) != Some(version) {
            self.start_frame_over();
        }
    }

    /// The version set, if any.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Takes the next piece of what the peer sent. After an error it is dropped.
    pub fn feed(&mut self, chunk: Bytes) {
        let dead = matches!(self.pending.as_deref(), Some(Pending { stage: Stage::Dead(_), .. }));
        if chunk.is_empty() || dead {
            return;
        }
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            self.pending.get_or_insert_default().queue.push_back(chunk);
        }
    }

    /// The next complete frame, or `None` if more octets are needed.
    ///
    /// Line ends between frames are skipped and [counted](Self::heartbeats).
    ///
    /// # Errors
    /// The rule that the peer broke. Errors are for good: what was fed is dropped, and every later
    /// call gives the same error.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator's end is for good, that of the frames so far is not"
    )]
    pub fn next(&mut self) -> Result<Option<Frame>, Error> {
        loop {
            if let Some(Pending { stage: Stage::Dead(error), .. }) = self.pending.as_deref() {
                return Err(error.clone());
            }
            if self.chunk.is_empty() && !self.next_chunk() {
                return Ok(None);
            }
            let pending = self.pending.as_deref_mut();
            let step = match pending.map(|pending| std::mem::take(&mut pending.stage)) {
                None | Some(Stage::Between) => self.start_frame(),
                Some(Stage::Head { octets, scan }) => self.continue_head(octets, scan),
                Some(Stage::Body { head, octets }) => self.continue_body(head, octets),
                Some(Stage::Dead(error)) => Err(error),
            };
            match step {
                Ok(None) => {}
                Err(error) => self.die(error),
                frame => {
                    if self.chunk.is_empty() {
                        self.next_chunk();
                    }
                    return frame;
                }
            }
        }
    }

    /// Octets held: those fed and not read yet, and those of an incomplete frame.
    ///
    /// Once [`next`](Self::next) has given `None` these are at most [`Limits::header_bytes`] and
    /// [`Limits::body`] together, or the CR of a line end between frames.
    pub fn buffered(&self) -> usize {
        let Some(pending) = &self.pending else {
            return self.chunk.len();
        };
        let frame = match &pending.stage {
            Stage::Between | Stage::Dead(_) => 0,
            Stage::Head { octets, .. } => octets.len(),
            Stage::Body { head, octets } => head.text.len() + octets.len(),
        };
        let queue: usize = pending.queue.iter().map(Bytes::len).sum();
        self.chunk.len() + queue + frame
    }

    /// Octets of memory that an incomplete frame takes here, room that it has not filled yet and the table of its headers
    /// included; 0 between frames.
    ///
    /// For whoever keeps many decoders together below a bound, to be asked when [`next`](Self::next) has given `None`.
    pub fn incomplete(&self) -> usize {
        match self.pending.as_deref().map(|pending| &pending.stage) {
            None | Some(Stage::Between | Stage::Dead(_)) => 0,
            Some(Stage::Head { octets, .. }) => octets.capacity(),
            Some(Stage::Body { head, octets }) => {
                let table = head.headers.len() * size_of::<(ByteString, ByteString)>();
                head.text.len() + table + octets.capacity()
            }
        }
    }

    /// Line ends skipped between frames so far: heart-beats, and the line ends that some clients
    /// put behind a frame's NUL, which nobody can tell from them.
    ///
    /// That a peer lives is told by any octet, not by these only.
    pub fn heartbeats(&self) -> u64 {
        self.heartbeats
    }

    /// Begins a frame at the front of the chunk, and finishes it too when it lies wholly within.
    fn start_frame(&mut self) -> Result<Option<Frame>, Error> {
        self.skip_line_ends();
        if self.chunk.is_empty() {
            return Ok(None);
        }
        let mut scan = HeadScan::default();
        // A lone CR may be half of a line end, which is none of the frame's.
        let found = if self.chunk[..] == *b"\r" {
            None
        } else {
            scan.advance(&self.chunk, parser::allows_crlf(self.version), &self.limits)
                .map_err(|error| self.asked_for_receipt(error, &self.chunk[..scan.lines_end()]))?
        };
        let Some(section) = found else {
            let octets = copy(&std::mem::take(&mut self.chunk));
            self.keep(Stage::Head { octets, scan });
            return Ok(None);
        };
        let length = section.length;
        let text = text(self.chunk.slice(..length), &self.chunk[..length])
            .map_err(|error| self.asked_for_receipt(error, &self.chunk[..length]))?;
        let head = self.read_head(text, section)?;
        let end = head
            .extent
            .end(0, &self.chunk[length..])
            .map_err(|error| self.asked_for_receipt(error, head.text.as_bytes()))?;
        let Some(end) = end else {
            // Read again from a copy, so that the frame's beginning does not keep the chunk alive.
            meter::count(length);
            let head = self.read_head(ByteString::from(&*head.text), section)?;
            let mut octets = Vec::new();
            head.extent.append(&mut octets, &self.chunk[length..]);
            self.chunk = Bytes::new();
            self.keep(Stage::Body { head, octets });
            return Ok(None);
        };
        self.chunk.advance(length);
        let body = self.take(end);
        Ok(Some(head.into_frame(body)))
    }

    /// Takes more of a header section, up to the end of a line.
    fn continue_head(&mut self, mut octets: Vec<u8>, mut scan: HeadScan) -> Result<Option<Frame>, Error> {
        if octets == b"\r" && self.chunk.first() == Some(&b'\n') {
            meter::count(1);
            self.chunk.advance(1);
            self.heartbeats += 1;
            return Ok(None);
        }
        let crlf = parser::allows_crlf(self.version);
        let reach = scan.reach(&octets, &self.chunk, crlf, &self.limits);
        octets.extend_from_slice(&self.chunk[..reach]);
        self.chunk.advance(reach);
        let found = scan
            .advance(&octets, crlf, &self.limits)
            .map_err(|error| self.asked_for_receipt(error, &octets[..scan.lines_end()]))?;
        let Some(section) = found else {
            self.keep(Stage::Head { octets, scan });
            return Ok(None);
        };
        let octets = Bytes::from(octets);
        let text = text(octets.clone(), &octets).map_err(|error| self.asked_for_receipt(error, &octets))?;
        let head = self.read_head(text, section)?;
        self.keep(Stage::Body { head, octets: Vec::new() });
        Ok(None)
    }

    /// Takes more of a body.
    fn continue_body(&mut self, head: Head, mut octets: Vec<u8>) -> Result<Option<Frame>, Error> {
        let end = head
            .extent
            .end(octets.len(), &self.chunk)
            .map_err(|error| self.asked_for_receipt(error, head.text.as_bytes()))?;
        let Some(end) = end else {
            head.extent.append(&mut octets, &self.chunk);
            self.chunk = Bytes::new();
            self.keep(Stage::Body { head, octets });
            return Ok(None);
        };
        let body = if octets.is_empty() {
            self.take(end)
        } else {
            head.extent.append(&mut octets, &self.chunk[..end]);
            self.chunk.advance(end + 1);
            octets.shrink_to_fit();
            Bytes::from(octets)
        };
        Ok(Some(head.into_frame(body)))
    }

    /// Skips LF and CR LF in front of a frame, in every version: no frame can begin with either.
    fn skip_line_ends(&mut self) {
        let mut at = 0;
        loop {
            let length = match self.chunk[at..] {
                [b'\n', ..] => 1,
                [b'\r', b'\n', ..] => 2,
                _ => break,
            };
            at += length;
            self.heartbeats += 1;
        }
        meter::count(at);
        self.chunk.advance(at);
    }

    fn read_head(&self, text: ByteString, section: Section) -> Result<Head, Error> {
        let command = section.command;
        let head = parser::headers(&text, section, self.version).and_then(|headers| {
            let extent = Extent::of(command, &headers, &self.limits)?;
            Ok((headers, extent))
        });
        match head {
            Ok((headers, extent)) => Ok(Head { text, command, headers, extent }),
            Err(error) => Err(self.asked_for_receipt(error, text.as_bytes())),
        }
    }

    /// Takes a body of this many octets and the NUL behind it out of the chunk.
    fn take(&mut self, octets: usize) -> Bytes {
        // Mostly one piece is one frame, and there is nothing to share.
        if self.chunk.len() == octets + 1 {
            self.chunk.truncate(octets);
            return std::mem::take(&mut self.chunk);
        }
        let body = self.chunk.split_to(octets);
        self.chunk.advance(1);
        body
    }

    fn asked_for_receipt(&self, error: Error, lines: &[u8]) -> Error {
        error.with_receipt(parser::receipt(lines, self.version))
    }

    /// Keeps what is there of a frame until more of it comes.
    fn keep(&mut self, stage: Stage) {
        self.pending.get_or_insert_default().stage = stage;
    }

    /// Lets go of the chunk that was read, and goes on to the one fed after it.
    fn next_chunk(&mut self) -> bool {
        self.chunk = Bytes::new();
        let Some(pending) = &mut self.pending else {
            return false;
        };
        if let Some(chunk) = pending.queue.pop_front() {
            self.chunk = chunk;
            return true;
        }
        if matches!(pending.stage, Stage::Between) {
            self.pending = None;
        }
        false
    }

    /// Puts the octets of a frame under way back in front, to be read by other rules.
    fn start_frame_over(&mut self) {
        let Some(pending) = self.pending.as_deref_mut() else {
            return;
        };
        let octets = match std::mem::take(&mut pending.stage) {
            Stage::Between => return,
            Stage::Head { octets, .. } => octets,
            Stage::Body { head, octets } => [head.text.as_bytes(), &octets[..]].concat(),
            dead @ Stage::Dead(_) => {
                pending.stage = dead;
                return;
            }
        };
        let chunk = std::mem::replace(&mut self.chunk, Bytes::from(octets));
        if !chunk.is_empty() {
            pending.queue.push_front(chunk);
        }
    }

    fn die(&mut self, error: Error) {
        self.chunk = Bytes::new();
        self.pending = Some(Box::new(Pending { stage: Stage::Dead(error), queue: VecDeque::new() }));
    }
}

impl Head {
    fn into_frame(self, body: Bytes) -> Frame {
        Frame { command: self.command, headers: self.headers, body }
    }
}

/// A header section as text; `octets` are the same, for the error.
fn text(section: Bytes, octets: &[u8]) -> Result<ByteString, Error> {
    ByteString::try_from(section).map_err(|error| {
        let is_line_feed = |octet: &u8| *octet == b'\n';
        let (before, after) = octets.split_at(error.valid_up_to());
        let start = before.iter().rposition(is_line_feed).map_or(0, |at| at + 1);
        let length = after.iter().position(is_line_feed).unwrap_or(after.len());
        Error::not_utf8(&octets[start..before.len() + length])
    })
}

fn copy(octets: &[u8]) -> Vec<u8> {
    meter::count(octets.len());
    octets.to_vec()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Octets looked at or copied while these come one by one.
    fn work_for(wire: &[u8]) -> usize {
        let mut decoder = Decoder::new(Limits::default());
        decoder.set_version(Version::V1_2);
        meter::during(|| {
            for octet in wire {
                decoder.feed(Bytes::copy_from_slice(&[*octet]));
                decoder.next().unwrap();
            }
            assert_eq!(decoder.buffered(), 0, "all of it is read");
        })
    }

    #[test]
    fn a_frame_that_comes_octet_by_octet_costs_linear_work() {
        let long = "x".repeat(12_000);
        let lines = "name:value\n".repeat(100);
        let escapes = "\\n".repeat(6_000);
        for wire in [
            format!("SEND\n\n{long}\0"),
            format!("SEND\ncontent-length:12000\n\n{long}\0"),
            format!("SEND\nh:{long}\n\n\0"),
            format!("SEND\nh:{escapes}\n\n\0"),
            format!("SEND\n{lines}\n\0"),
            "\n".repeat(12_000),
            "\r\n".repeat(6_000),
        ] {
            let work = work_for(wire.as_bytes());
            let start = &wire[..wire.len().min(20)];
            assert!(work >= wire.len() && work <= 4 * wire.len(), "{work} for {start:?}…");
        }
    }

    #[test]
    fn frames_within_one_piece_are_looked_at_twice_at_most() {
        let wire = "SEND\ndestination:/topic/a\n\nbody\0\n".repeat(1_000);
        let mut decoder = Decoder::new(Limits::default());
        decoder.feed(Bytes::from(wire.clone()));
        let work = meter::during(|| while decoder.next().unwrap().is_some() {});
        assert!(work <= 2 * wire.len(), "{work} for {}", wire.len());
    }

    #[test]
    fn what_an_incomplete_frame_takes_is_told() {
        let mut decoder = Decoder::new(Limits::default());
        let mut feed = |octets: &'static [u8]| {
            decoder.feed(Bytes::from_static(octets));
            while decoder.next().unwrap().is_some() {}
            decoder.incomplete()
        };
        assert_eq!(feed(b"\nSEND\n\nwhole\0\n"), 0);
        assert!((8..64).contains(&feed(b"SEND\na:b")));
        let head = feed(b"\n\n");
        assert!((10..200).contains(&head), "{head}");
        assert!((head + 1000..head + 3000).contains(&feed(&[b'x'; 1000])));
        assert_eq!(feed(b"\0"), 0);
    }

    #[test]
    fn an_announced_body_takes_no_room_before_it_comes() {
        let mut decoder = Decoder::new(Limits::default());
        let room = |decoder: &Decoder| match &decoder.pending.as_ref().unwrap().stage {
            Stage::Body { octets, .. } => octets.capacity(),
            _ => panic!("no body under way"),
        };
        decoder.feed(Bytes::from_static(b"SEND\ncontent-length:5000000\n\n"));
        assert_eq!(decoder.next().unwrap(), None);
        assert_eq!(room(&decoder), 0);
        for came in (1..=50).map(|pieces| pieces * 100_000) {
            decoder.feed(Bytes::from(vec![b'x'; 100_000]));
            assert_eq!(decoder.next().unwrap(), None);
            assert!(room(&decoder) <= (2 * came).min(5_000_000), "{} for {came}", room(&decoder));
        }
    }
}
