//! Finds where the header section of a frame ends, octet by octet as they come, within the limits.
//!
//! Looks at line ends only; what the lines say is the parser's business. It remembers how far it
//! looked, so that no octet is looked at twice.

use memchr::memchr2;

use crate::error::Error;
use crate::{Command, Limits, meter};

/// Octets that a command line may have. The longest command has 11; the rest is for a useful
/// excerpt of what came instead, such as `GET /ws/websocket HTTP/1.1`.
const COMMAND_LINE: usize = 32;

/// How far the header section of one frame was looked through.
#[derive(Debug, Default)]
pub(crate) struct HeadScan {
    /// Octets of the frame that were looked at.
    at: usize,
    /// Where the line under way begins.
    line: usize,
    /// Header lines that ended.
    headers: usize,
    /// What the first line said, and where the second begins. A word that is no command is found wrong when its headers
    /// are there, which may ask for a receipt; anything else at once.
    command: Option<(Option<Command>, usize)>,
}

/// A complete header section.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Section {
    pub(crate) command: Command,
    /// Where the first header line begins.
    pub(crate) start: usize,
    /// How many header lines there are.
    pub(crate) lines: usize,
    /// Octets of all of it, the blank line included.
    pub(crate) length: usize,
}

/// A limit, and how many octets of the frame it takes to break it. Counted that way, the same limit
/// is found broken first however the frame is split.
struct Bound {
    octets: usize,
    breaks: Limit,
}

#[derive(Clone, Copy, PartialEq)]
enum Limit {
    CommandLine,
    Headers,
    Line,
    HeaderBytes,
}

impl HeadScan {
    /// Looks at what is new in `frame`, which holds a frame from its first octet on, as far as it
    /// came.
    ///
    /// Gives the header section once its blank line is there. `crlf` says whether a line may end
    /// with CR LF.
    pub(crate) fn advance(
        &mut self,
        frame: &[u8],
        crlf: bool,
        limits: &Limits,
    ) -> Result<Option<Section>, Error> {
        let section = self.look(frame, crlf, limits);
        match (self.command, &section) {
            (Some((None, start)), Err(_) | Ok(Some(_))) => Err(Error::unknown_command(&frame[..start - 1])),
            _ => section,
        }
    }

    fn look(&mut self, frame: &[u8], crlf: bool, limits: &Limits) -> Result<Option<Section>, Error> {
        while let Some(found) = memchr2(b'\n', 0, &frame[self.at..]) {
            let end = self.at + found;
            meter::count(found + 1);
            if frame[end] == 0 {
                self.check(frame, end, end, crlf, limits)?;
                return Err(Error::nul_in_headers(&frame[self.line..end], end == 0));
            }
            if !self.is_within(limits, end) {
                self.check(frame, end, end + 1, crlf, limits)?;
            }
            let line = &frame[self.line..end];
            self.at = end + 1;
            match (self.command, line) {
                (None, _) => self.command = Some((command(line, crlf)?, self.at)),
                (Some((command, start)), b"" | b"\r") => {
                    if !crlf && !line.is_empty() {
                        return Err(Error::line_ending(line));
                    }
                    // Of an unknown one nobody hears.
                    let command = command.unwrap_or(Command::Send);
                    return Ok(Some(Section { command, start, lines: self.headers, length: self.at }));
                }
                _ => self.headers += 1,
            }
            self.line = self.at;
        }
        meter::count(frame.len() - self.at);
        self.at = frame.len();
        self.check(frame, self.at, self.at, crlf, limits)?;
        Ok(None)
    }

    /// How many octets of `chunk` to put behind `frame` before it is looked at again: up to the
    /// next line end, and never more than it takes to break a limit.
    pub(crate) fn reach(&self, frame: &[u8], chunk: &[u8], crlf: bool, limits: &Limits) -> usize {
        let allowed = self
            .bounds(frame, crlf, limits)
            .iter()
            .map(|bound| bound.octets.saturating_sub(frame.len()))
            .min()
            .map_or(chunk.len(), |octets| octets.clamp(1, chunk.len()));
        let window = &chunk[..allowed];
        let found = memchr2(b'\n', 0, window);
        let reach = found.map_or(window.len(), |found| found + 1);
        meter::count(reach);
        reach
    }

    /// Where the last complete line ends.
    pub(crate) fn lines_end(&self) -> usize {
        self.line
    }

    /// Whether the line that ends at `end` is within every limit. A quick test, which a line that may only be blank does not
    /// pass.
    fn is_within(&self, limits: &Limits, end: usize) -> bool {
        end < limits.header_bytes
            && end - self.line <= limits.line
            && self.headers < limits.headers
            && (self.line > 0 || end <= COMMAND_LINE)
    }

    /// Fails with the limit that was broken first, when the line under way ends (so far) at
    /// `line_end` and `octets` of the frame are there.
    fn check(
        &self,
        frame: &[u8],
        line_end: usize,
        octets: usize,
        crlf: bool,
        limits: &Limits,
    ) -> Result<(), Error> {
        let broken = self
            .bounds(frame, crlf, limits)
            .into_iter()
            .filter(|bound| {
                let whole_lines = bound.breaks == Limit::HeaderBytes;
                bound.octets <= if whole_lines { octets } else { line_end }
            })
            .min_by_key(|bound| bound.octets);
        match broken.map(|bound| bound.breaks) {
            None => Ok(()),
            Some(Limit::CommandLine) => Err(Error::unknown_command(&frame[..=COMMAND_LINE])),
            Some(Limit::Headers) => Err(Error::too_many_headers(limits.headers)),
            Some(Limit::Line) => Err(Error::line_too_long(limits.line)),
            Some(Limit::HeaderBytes) => Err(Error::headers_too_large(limits.header_bytes)),
        }
    }

    /// What the line under way may not reach.
    fn bounds(&self, frame: &[u8], crlf: bool, limits: &Limits) -> [Bound; 3] {
        let kind = if self.line == 0 {
            Bound { octets: COMMAND_LINE + 1, breaks: Limit::CommandLine }
        } else if self.headers < limits.headers {
            Bound { octets: usize::MAX, breaks: Limit::Headers }
        } else {
            // This line must be the blank one, and a CR may still become that.
            let blank = usize::from(crlf && frame.get(self.line) == Some(&b'\r'));
            Bound { octets: self.line + blank + 1, breaks: Limit::Headers }
        };
        let line =
            Bound { octets: self.line.saturating_add(limits.line).saturating_add(1), breaks: Limit::Line };
        let head = Bound { octets: limits.header_bytes.saturating_add(1), breaks: Limit::HeaderBytes };
        [kind, line, head]
    }
}

/// ```abnf
/// command = "CONNECT" / "STOMP" / "CONNECTED" / "SEND" / "SUBSCRIBE" / "UNSUBSCRIBE" / "ACK"
///         / "NACK" / "BEGIN" / "COMMIT" / "ABORT" / "DISCONNECT" / "MESSAGE" / "RECEIPT" / "ERROR"
/// ```
fn command(line: &[u8], crlf: bool) -> Result<Option<Command>, Error> {
    let bare = line.strip_suffix(b"\r").unwrap_or(line);
    match Command::from_octets(bare) {
        Some(command) if crlf || bare.len() == line.len() => Ok(Some(command)),
        Some(_) => Err(Error::line_ending(line)),
        None if !bare.is_empty() && bare.iter().all(u8::is_ascii_alphabetic) => Ok(None),
        None => Err(Error::unknown_command(line)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn no_more_is_taken_than_it_takes_to_break_a_limit() {
        let limits = Limits { headers: 1, line: 10, header_bytes: 20, body: 0 };
        let endless = [b'x'; 100];
        for (frame, reach) in
            [("", 11), ("SE", 9), ("SEND\n", 11), ("SEND\nab", 9), ("SEND\na:b\n", 1), ("SEND\na:b\n\r", 1)]
        {
            let mut scan = HeadScan::default();
            assert_eq!(scan.advance(frame.as_bytes(), true, &limits).unwrap(), None);
            let taken = scan.reach(frame.as_bytes(), &endless, true, &limits);
            assert_eq!(taken, reach, "after {frame:?}");
        }
    }

    #[test]
    fn no_more_is_taken_than_the_line() {
        let scan = HeadScan::default();
        for (chunk, reach) in [("SEND\na:b\n", 5), ("\n\n", 1), ("SE\0ND\n", 3), ("SE", 2)] {
            let taken = scan.reach(b"", chunk.as_bytes(), true, &Limits::DEFAULT);
            assert_eq!(taken, reach, "of {chunk:?}");
        }
    }
}
