//! Cursors: how far a subscription has come in the log, as text that a client keeps.
//!
//! Owns the form. To a client a cursor is opaque; inside it says which log it is of, a number in that log, and for
//! what destination it was given out. One that was cut short, altered or given out elsewhere does not add up.
//!
//! ```text
//! cursor = base64url(form log installation epoch number check)
//! form   = 1 octet, 1          ; of this layout
//! log    = 1 octet, 0          ; room for more than one
//! installation, epoch, check = 4 octets ; number = 8 octets ; all big-endian
//! check  = hash of all before it, the tenant and the destination's text
//! ```

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::broker::destination::Filter;

const FORM: u8 = 1;
const LOG: u8 = 0;

/// Octets before the check.
const HEAD: usize = 18;
const ALL: usize = HEAD + 4;

/// Which log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogIdentity {
    /// The same for every node, and after every start, of one installation.
    pub installation: u32,
    /// Another whenever the log is begun anew.
    pub epoch: u32,
    /// What this node's numbers are ahead of the cursors': they go on rising when a log is begun anew.
    pub base: u64,
}

impl LogIdentity {
    /// The log of the installation of this name.
    pub fn new(installation: &str, epoch: u32) -> LogIdentity {
        LogIdentity { installation: wyhash::wyhash(installation.as_bytes(), 0) as u32, epoch, base: 0 }
    }
}

/// What a text says that may be a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum Claim {
    /// Everything up to this number of this log was sent.
    UpTo(u64),
    /// It is of a log that this installation had before.
    Lost,
    /// Nothing that was given out here, for this destination.
    Unknown,
}

/// A cursor to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor([u8; ALL]);

impl Cursor {
    /// Says that `filter` was sent everything up to `number`.
    pub(in crate::broker) fn new(log: LogIdentity, number: u64, filter: &Filter) -> Cursor {
        let mut octets = [0; ALL];
        octets[0] = FORM;
        octets[1] = LOG;
        octets[2..6].copy_from_slice(&log.installation.to_be_bytes());
        octets[6..10].copy_from_slice(&log.epoch.to_be_bytes());
        octets[10..HEAD].copy_from_slice(&number.saturating_sub(log.base).to_be_bytes());
        let check = check(&octets[..HEAD], filter);
        octets[HEAD..].copy_from_slice(&check);
        Cursor(octets)
    }

    /// Whether a client's text is a cursor of this log, beyond `last`.
    pub(in crate::broker) fn is_ahead(text: &str, log: LogIdentity, last: u64, filter: &Filter) -> bool {
        matches!(Cursor::read(text, log, u64::MAX, filter), Claim::UpTo(number) if number > last)
    }

    /// What a client's text says to a log that has given out numbers up to `last`.
    pub(in crate::broker) fn read(text: &str, log: LogIdentity, last: u64, filter: &Filter) -> Claim {
        let mut octets = [0; ALL];
        // The length first: the decoder takes no more than fits, and says so.
        if URL_SAFE_NO_PAD.decode_slice(text, &mut octets) != Ok(ALL) {
            return Claim::Unknown;
        }
        let four =
            |at: usize| u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        let number = (u64::from(four(10)) << 32 | u64::from(four(14))).saturating_add(log.base);
        let is_ours = octets[..2] == [FORM, LOG]
            && octets[HEAD..] == check(&octets[..HEAD], filter)
            && four(2) == log.installation;
        match is_ours {
            true if four(6) != log.epoch => Claim::Lost,
            true if number <= last => Claim::UpTo(number),
            _ => Claim::Unknown,
        }
    }
}

/// Not a secret: a made-up cursor that adds up shows its maker no more than another subscription would.
fn check(head: &[u8], filter: &Filter) -> [u8; 4] {
    let seed = wyhash::wyhash(head, u64::from(filter.tenant().number()));
    let hash = wyhash::wyhash(filter.text().as_bytes(), seed);
    ((hash ^ hash >> 32) as u32).to_be_bytes()
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; ALL.div_ceil(3) * 4];
        let length = URL_SAFE_NO_PAD.encode_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text[..length]).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::broker::destination::Tenant;

    const LOG: LogIdentity = LogIdentity { installation: 7, epoch: 9, base: 0 };

    fn filter(text: &str) -> Filter {
        Filter::parse(Tenant::DEFAULT, text.into()).unwrap()
    }

    #[test]
    fn a_cursor_reads_as_it_was_written() {
        let filter = filter("/topic/task-events");
        for number in [0, 1, 255, 1 << 40] {
            let text = Cursor::new(LOG, number, &filter).to_string();
            assert_eq!(Cursor::read(&text, LOG, 1 << 40, &filter), Claim::UpTo(number));
        }
    }

    #[test]
    fn what_does_not_add_up_is_unknown() {
        let here = filter("/topic/task-events");
        let text = Cursor::new(LOG, 5, &here).to_string();
        assert_eq!(Cursor::read(&text, LOG, 4, &here), Claim::Unknown, "ahead of the log");
        assert_eq!(
            Cursor::read(&text, LOG, 9, &filter("/topic/chat")),
            Claim::Unknown,
            "given out elsewhere"
        );
        let other = LogIdentity { installation: 8, ..LOG };
        assert_eq!(Cursor::read(&text, other, 9, &here), Claim::Unknown, "of another installation");
        let anew = LogIdentity { epoch: 10, ..LOG };
        assert_eq!(Cursor::read(&text, anew, 9, &here), Claim::Lost);
        for end in 0..text.len() {
            assert_eq!(Cursor::read(&text[..end], LOG, 9, &here), Claim::Unknown, "cut short at {end}");
        }
        for at in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert_ne!(Cursor::read(&altered, LOG, 9, &here), Claim::UpTo(5), "altered at {at}");
        }
        for text in ["", "0", "not a cursor", "☃", &"A".repeat(10_000)] {
            assert_eq!(Cursor::read(text, LOG, 9, &here), Claim::Unknown);
        }
    }
}
