//! What one node tells the others of the events it took in: its whole state, so that a part that is lost, late or
//! comes twice does no harm. Of each incarnation of a node the part with the highest version counts.
//!
//! A node of 40 types, 100 sources and 2,000 users has a part of 100 KB when it was busy all day, 124 KB if latencies
//! are no whole milliseconds; one that counted nothing yet has 38 octets; the bound is [`MAX_OCTETS`].

use bytes::Bytes;
use jiff::Timestamp;

use super::peak::Peak;
use super::slices::Slices;
use super::totals::Totals;
use super::wire::{BadPart, Reader, Writer};

/// The form in which parts are written.
const FORM: u8 = 1;
/// Octets of the largest part: all users, types and sources with the longest names and latencies of all magnitudes.
pub(super) const MAX_OCTETS: usize = 8 << 20;
/// The latest moment that a part may name: the end of the year 9999, in ms.
pub(in crate::producers) const MAX_MOMENT: u64 = 253_402_300_799_999;

/// What is said of a part before the part itself. Moments are ms since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::producers) struct Head {
    /// The incarnation of the node that took the events in.
    pub(in crate::producers) incarnation: u32,
    /// Rises with each change.
    pub(in crate::producers) version: u64,
    /// The last reset that the node knows of; 0 if none.
    pub(in crate::producers) epoch: u64,
    /// From when on it counts: its start, or the last reset.
    pub(in crate::producers) since: u64,
    /// When this version was made.
    pub(in crate::producers) made: u64,
    /// The highest peak that this node had or found.
    pub(in crate::producers) peak: Peak,
}

/// What one node counted.
#[derive(Clone, Debug)]
pub(in crate::producers) struct Part {
    pub(in crate::producers) head: Head,
    pub(super) totals: Totals,
    pub(super) slices: Slices,
}

impl Head {
    /// Reads the beginning of a part.
    ///
    /// # Errors
    /// [`BadPart`] if that is not what it is.
    pub(in crate::producers) fn decode(octets: &[u8]) -> Result<Self, BadPart> {
        Self::read(&mut Reader::new(octets))
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, BadPart> {
        match reader.octet()? {
            FORM => {}
            other => return Err(BadPart::Form(other)),
        }
        let incarnation = reader.at_most(u32::MAX.into(), "the incarnation")? as u32;
        let version = reader.uint()?;
        let mut moment = || reader.at_most(MAX_MOMENT, "a moment");
        let (epoch, since, made) = (moment()?, moment()?, moment()?);
        Ok(Self { incarnation, version, epoch, since, made, peak: read_peak(reader)? })
    }

    fn write(&self, writer: &mut Writer) {
        writer.octet(FORM);
        writer.uint(self.incarnation.into());
        for number in [self.version, self.epoch, self.since, self.made, self.peak.events] {
            writer.uint(number);
        }
        if let Some(at) = self.peak.at.filter(|_| self.peak.events > 0) {
            writer.int(at.as_millisecond());
        }
    }
}

impl Part {
    pub(in crate::producers) fn encode(&self) -> Bytes {
        let mut writer = Writer::default();
        self.head.write(&mut writer);
        self.totals.encode(&mut writer, self.head.made as i64);
        self.slices.encode(&mut writer);
        writer.finish().into()
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`BadPart`] if it is anything else.
    pub(in crate::producers) fn decode(octets: &[u8]) -> Result<Self, BadPart> {
        if octets.len() > MAX_OCTETS {
            return Err(BadPart::TooLong);
        }
        let mut reader = Reader::new(octets);
        let head = Head::read(&mut reader)?;
        let totals = Totals::decode(&mut reader, head.made as i64)?;
        let slices = Slices::decode(&mut reader)?;
        reader.finish()?;
        Ok(Self { head, totals, slices })
    }
}

fn read_peak(reader: &mut Reader<'_>) -> Result<Peak, BadPart> {
    let events = reader.count()?;
    if events == 0 {
        return Ok(Peak::default());
    }
    let at = Timestamp::from_millisecond(reader.int()?).map_err(|_| BadPart::Absurd("a moment"))?;
    Ok(Peak { events, at: Some(at) })
}
