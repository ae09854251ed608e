//! Views: less of a channel than all of it.
//!
//! Owns what a SUBSCRIBE may ask for (`fields`, `max-rate`, `delta`), where that is allowed, and what is made of one message
//! for all who ask for the same. When a value is shown, and after which, is the hub's (`hub/viewing.rs`).

mod json;
mod patch;
mod projection;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::catalogue::Reach;
use super::message::{Message, MessageId, Standing};

use self::projection::Fields;
pub use self::projection::InvalidFields;

/// What subscriptions ask for that want less than all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct View {
    /// Only these members.
    pub(super) fields: Option<Fields>,
    /// Milliseconds that are at least between two values of a channel.
    pub(super) interval: Option<u64>,
    /// Changes rather than values.
    pub(super) delta: bool,
}

/// Why a view can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidView {
    /// The header `fields` is wrong.
    #[error(transparent)]
    Fields(#[from] InvalidFields),
    /// The header `max-rate` is wrong.
    #[error("max-rate takes N/Ts, at most N values in T seconds, both from 1 on, such as 1/5s")]
    Rate,
    /// The header `delta` is wrong.
    #[error("the only delta there is is merge-patch")]
    Delta,
    /// The destination has no such views.
    #[error(
        "{header} is for {kinds}, and this destination is, or may match, what is none; `stentor check` says what it is"
    )]
    NotHere {
        /// The header.
        header: &'static str,
        /// The kinds of channels that have it.
        kinds: &'static str,
    },
}

impl View {
    /// What the headers of a SUBSCRIBE ask for; `None` if for everything.
    ///
    /// # Errors
    /// Says which header is wrong.
    pub fn parse(
        fields: Option<&str>,
        rate: Option<&str>,
        delta: Option<&str>,
    ) -> Result<Option<Arc<View>>, InvalidView> {
        let view = View {
            fields: fields.map(Fields::parse).transpose()?,
            interval: rate.map(interval).transpose()?,
            delta: match delta {
                None => false,
                Some("merge-patch") => true,
                Some(_) => return Err(InvalidView::Delta),
            },
        };
        let is_whole = view.fields.is_none() && view.interval.is_none() && !view.delta;
        Ok((!is_whole).then(|| Arc::new(view)))
    }

    /// Whether such channels have such a view.
    ///
    /// # Errors
    /// Names the header that does not go with one of them.
    pub(super) fn check(&self, reach: Reach) -> Result<(), InvalidView> {
        let only_snapshots = !reach.plain && !reach.events;
        let refuse = |header, kinds| Err(InvalidView::NotHere { header, kinds });
        if self.fields.is_some() && reach.plain {
            refuse("fields", "snapshot and events channels")
        } else if self.interval.is_some() && !only_snapshots {
            refuse("max-rate", "snapshot channels")
        } else if self.delta && !only_snapshots {
            refuse("delta", "snapshot channels")
        } else {
            Ok(())
        }
    }
}

/// The milliseconds of `N/Ts`.
fn interval(text: &str) -> Result<u64, InvalidView> {
    let read = || {
        let (count, seconds) = text.split_once('/')?;
        let positive = |text: &str| {
            let is_plain = text.bytes().all(|octet| octet.is_ascii_digit());
            text.parse::<u32>().ok().filter(|number| is_plain && *number > 0)
        };
        Some((positive(count)?, positive(seconds.strip_suffix('s')?)?))
    };
    let (count, seconds) = read().ok_or(InvalidView::Rate)?;
    Ok((u64::from(seconds) * 1000).div_ceil(u64::from(count)))
}

/// What views made of a message: each made once, by the first worker that needs it.
#[derive(Default)]
pub(super) struct Shown(Mutex<Vec<(Asked, Option<Bytes>)>>);

/// What is remembered of one message; a value may be kept for long.
const MADE: usize = 16;

/// Values larger than this go whole: a patch of 8 MiB may cost half a second (a million members in random order).
const PATCHED: usize = 1024 * 1024;

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Fields(Fields),
    Patch(Option<Fields>, MessageId),
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl Shown {
    /// Looks up what was asked for, or makes it. Others who want the same wait for it.
    fn get(&self, asked: Asked, make: impl FnOnce() -> Option<Bytes>) -> (Option<Bytes>, bool) {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = made.iter().find(|(have, _)| *have == asked) {
            return (bytes.clone(), false);
        }
        let bytes = make();
        if made.len() < MADE {
            made.push((asked, bytes.clone()));
        }
        (bytes, true)
    }
}

impl Message {
    /// Its body, or only `fields` of it. A body that is no JSON object is whole.
    pub(super) fn projected(&self, fields: Option<&Fields>) -> Bytes {
        let Some(fields) = fields else { return self.body.clone() };
        let project = || fields.project(&self.body).map(Bytes::from);
        let projected = match self.standing {
            // History keeps it for long, and would keep what was made of it uncounted.
            Standing::Event(_) => project(),
            _ => self.shown.get(Asked::Fields(fields.clone()), project).0,
        };
        projected.unwrap_or_else(|| self.body.clone())
    }

    /// What has to change in `base` to make this of it, if that can be said in less than all of it; and whether this
    /// call was the first to ask.
    pub(super) fn patch(&self, base: &Message, fields: Option<&Fields>) -> (Option<Bytes>, bool) {
        // Made before, since the making of one waits for the other's lock.
        let (old, new) = (base.projected(fields), self.projected(fields));
        self.shown.get(Asked::Patch(fields.cloned(), base.id), || {
            if old.len().max(new.len()) > PATCHED {
                return None;
            }
            let patch = patch::merge_patch(&old, &new)?;
            (patch.len() < new.len()).then(|| Bytes::from(patch))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rates_are_intervals() {
        for (text, expected) in [("1/5s", 5000), ("10/1s", 100), ("3/1s", 334), ("5000/1s", 1)] {
            assert_eq!(interval(text), Ok(expected), "{text}");
        }
        for text in ["", "1", "1/s", "0/1s", "1/0s", "-1/1s", "+1/1s", "1/5", "1/5m", "1.5/1s", " 1/1s"] {
            assert_eq!(interval(text), Err(InvalidView::Rate), "{text}");
        }
    }

    #[test]
    fn each_view_is_where_it_makes_sense() {
        let snapshots = Reach { snapshots: true, ..Reach::default() };
        let events = Reach { events: true, ..Reach::default() };
        let plain = Reach { plain: true, ..Reach::default() };
        let view = |fields, rate, delta| View::parse(fields, rate, delta).unwrap().unwrap();
        let (fields, rate) = (view(Some("a"), None, None), view(None, Some("1/1s"), None));
        let delta = view(None, None, Some("merge-patch"));
        for view in [&fields, &rate, &delta] {
            assert!(view.check(snapshots).is_ok() && view.check(plain).is_err());
        }
        assert!(fields.check(events).is_ok() && rate.check(events).is_err() && delta.check(events).is_err());
        assert_eq!(View::parse(None, None, None), Ok(None));
        assert_eq!(View::parse(None, None, Some("json-patch")), Err(InvalidView::Delta));
    }
}
