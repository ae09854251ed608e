//! Where the body of a frame ends, by its command, its `content-length` and the limit.
//!
//! Only finds the end; the decoder holds the octets.

use memchr::memchr;

use crate::error::Error;
use crate::{Command, Headers, Limits, meter, parser};

/// Octets of room that a body which comes in pieces begins with, so that single octets do not each
/// need more.
const SMALLEST_BUFFER: usize = 64;

/// How the end of one frame's body is found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent {
    /// By `content-length`: this many octets, then a NUL.
    Declared(usize),
    /// By the first NUL, at most `limit` octets away.
    ToNul { command: Command, limit: usize },
}

impl Extent {
    /// Decides by a frame's head. Refuses a `content-length` that is none, that is beyond the
    /// limit, or that announces a body where none may be.
    pub(crate) fn of(command: Command, headers: &Headers, limits: &Limits) -> Result<Self, Error> {
        let limit = if command.may_have_body() { limits.body } else { 0 };
        let extent = Self::ToNul { command, limit };
        let Some(value) = headers.get("content-length") else {
            return Ok(extent);
        };
        let Some(declared) = parser::content_length(value) else {
            return Err(Error::invalid_content_length(value));
        };
        match usize::try_from(declared) {
            Ok(octets) if octets <= limit => Ok(Self::Declared(octets)),
            _ => Err(Self::too_large(command, limit)),
        }
    }

    /// Looks for the end of the body in `fresh`, which follows `held` octets of it.
    ///
    /// `Some(n)`: the first `n` octets of `fresh` complete the body and the next is its NUL.
    /// `None`: all of `fresh` belongs to the body, and more has to come.
    pub(crate) fn end(self, held: usize, fresh: &[u8]) -> Result<Option<usize>, Error> {
        match self {
            Self::Declared(octets) => {
                let missing = octets.saturating_sub(held);
                match fresh.get(missing) {
                    None => Ok(None),
                    Some(0) => Ok(Some(missing)),
                    Some(_) => Err(Error::missing_nul(octets)),
                }
            }
            Self::ToNul { command, limit } => {
                let allowed = limit.saturating_sub(held);
                let window = &fresh[..fresh.len().min(allowed.saturating_add(1))];
                let nul = memchr(0, window);
                meter::count(nul.unwrap_or(window.len()));
                if nul.is_none() && window.len() > allowed {
                    return Err(Self::too_large(command, limit));
                }
                Ok(nul)
            }
        }
    }

    /// Puts octets behind those `held`. Room grows with what came, never by what was announced
    /// alone.
    pub(crate) fn append(self, held: &mut Vec<u8>, fresh: &[u8]) {
        meter::count(fresh.len());
        let needed = held.len() + fresh.len();
        if needed > held.capacity() {
            let most = match self {
                Self::Declared(octets) => octets,
                Self::ToNul { limit, .. } => limit,
            };
            let room = needed.max(2 * held.len()).max(SMALLEST_BUFFER).min(most);
            held.reserve_exact(room.max(needed) - held.len());
        }
        held.extend_from_slice(fresh);
    }

    fn too_large(command: Command, limit: usize) -> Error {
        if command.may_have_body() {
            Error::body_too_large(limit)
        } else {
            Error::body_not_allowed(command.as_str())
        }
    }
}
