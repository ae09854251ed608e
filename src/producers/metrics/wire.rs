//! The octets of a part: numbers and names, written small and read with distrust.
//!
//! Whole numbers are varints, floating-point ones without the zeros they end with, and of sorted names only what
//! differs from the one before. A [`Reader`] takes no number for a length that is not bounded by the caller, so that
//! what it is given decides neither how much is allocated nor how long it takes.

/// Why octets are no part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPart {
    /// They are of a form that this version does not know.
    #[error("a form that is not known here: {0}")]
    Form(u8),
    /// They end too early.
    #[error("it ends too early")]
    Cut,
    /// They are more than any part has.
    #[error("it is too long")]
    TooLong,
    /// They say what can't be, and of what.
    #[error("what it says of {0} can't be")]
    Absurd(&'static str),
}

/// More than anybody counts, and little enough that thousands of them can be added up.
pub(super) const MAX_COUNT: u64 = 1 << 48;

/// Octets in the making.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn octet(&mut self, octet: u8) {
        self.0.push(octet);
    }

    pub(super) fn octets(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    pub(super) fn uint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// Small if it is near zero on either side.
    pub(super) fn int(&mut self, number: i64) {
        self.uint(((number << 1) ^ (number >> 63)) as u64);
    }

    /// As many octets as it has that matter, and these: a whole number has few.
    pub(super) fn float(&mut self, number: f64) {
        self.0.push(significant(number) as u8);
        self.bare_float(number);
    }

    /// The octets of a number that matter, for a reader who is told otherwise how many these are.
    pub(super) fn bare_float(&mut self, number: f64) {
        self.0.extend_from_slice(&number.to_be_bytes()[..significant(number)]);
    }

    /// A name, of which only what differs from `before` is written.
    pub(super) fn name(&mut self, before: &str, name: &str) {
        let same = before.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
        self.uint(same as u64);
        self.uint((name.len() - same) as u64);
        self.octets(&name.as_bytes()[same..]);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// How many octets of a number matter: those up to the last that is not 0.
pub(super) fn significant(number: f64) -> usize {
    8 - number.to_bits().trailing_zeros() as usize / 8
}

/// Octets not yet read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub(super) fn octet(&mut self) -> Result<u8, BadPart> {
        let (&first, rest) = self.0.split_first().ok_or(BadPart::Cut)?;
        self.0 = rest;
        Ok(first)
    }

    pub(super) fn octets(&mut self, count: usize) -> Result<&'a [u8], BadPart> {
        let (octets, rest) = self.0.split_at_checked(count).ok_or(BadPart::Cut)?;
        self.0 = rest;
        Ok(octets)
    }

    pub(super) fn uint(&mut self) -> Result<u64, BadPart> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let octet = self.octet()?;
            if shift == 63 && octet > 1 {
                break;
            }
            number |= u64::from(octet & 0x7f) << shift;
            if octet < 0x80 {
                return Ok(number);
            }
        }
        Err(BadPart::Absurd("a number"))
    }

    /// A number that is at most `most`; `what` names it if it is not.
    pub(super) fn at_most(&mut self, most: u64, what: &'static str) -> Result<u64, BadPart> {
        self.uint().and_then(|number| if number <= most { Ok(number) } else { Err(BadPart::Absurd(what)) })
    }

    /// How often something happened.
    pub(super) fn count(&mut self) -> Result<u64, BadPart> {
        self.at_most(MAX_COUNT, "a count")
    }

    pub(super) fn int(&mut self) -> Result<i64, BadPart> {
        let number = self.uint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub(super) fn float(&mut self) -> Result<f64, BadPart> {
        let length = usize::from(self.octet()?);
        self.bare_float(length)
    }

    /// A number of which `length` octets were written.
    pub(super) fn bare_float(&mut self, length: usize) -> Result<f64, BadPart> {
        let mut octets = [0; 8];
        octets.get_mut(..length).ok_or(BadPart::Absurd("a number"))?.copy_from_slice(self.octets(length)?);
        let number = f64::from_be_bytes(octets);
        if number.is_finite() { Ok(number) } else { Err(BadPart::Absurd("a number")) }
    }

    /// A name of at most `most` octets that comes after `before` in order.
    pub(super) fn name(&mut self, before: &str, most: usize) -> Result<Box<str>, BadPart> {
        const WHAT: BadPart = BadPart::Absurd("a name");
        let same = self.at_most(most as u64, "a name")? as usize;
        let more = self.at_most((most - same) as u64, "a name")? as usize;
        let start = before.as_bytes().get(..same).ok_or(WHAT)?;
        let name = String::from_utf8([start, self.octets(more)?].concat()).map_err(|_| WHAT)?;
        if before < name.as_str() { Ok(name.into()) } else { Err(WHAT) }
    }

    /// That there is nothing more.
    pub(super) fn finish(self) -> Result<(), BadPart> {
        if self.0.is_empty() { Ok(()) } else { Err(BadPart::TooLong) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            uint in any::<u64>(), int in any::<i64>(), float in proptest::num::f64::NORMAL | proptest::num::f64::ZERO,
            names in proptest::collection::btree_set("[aé]{1,4}b?", 1..5),
        ) {
            let mut writer = Writer::default();
            writer.uint(uint);
            writer.int(int);
            writer.float(float);
            let mut before = "";
            for name in &names {
                writer.name(before, name);
                before = name;
            }
            let octets = writer.finish();
            let mut reader = Reader::new(&octets);
            prop_assert_eq!((reader.uint(), reader.int(), reader.float()), (Ok(uint), Ok(int), Ok(float)));
            let mut before = Box::from("");
            for name in &names {
                before = reader.name(&before, 16).unwrap();
                prop_assert_eq!(&*before, name.as_str());
            }
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn a_whole_number_has_few_octets() {
        let mut writer = Writer::default();
        writer.float(2_000.0);
        writer.float(0.0);
        assert_eq!(writer.finish().len(), 4 + 1);
    }

    #[test]
    fn what_can_not_be_is_an_error() {
        assert_eq!(Reader::new(&[0xff; 10]).uint(), Err(BadPart::Absurd("a number")));
        assert_eq!(Reader::new(&[0x80]).uint(), Err(BadPart::Cut));
        assert_eq!(Reader::new(&[9; 10]).float(), Err(BadPart::Absurd("a number")));
        assert_eq!(Reader::new(&[2, 0x7f, 0xf0]).float(), Err(BadPart::Absurd("a number")), "infinite");
        assert_eq!(Reader::new(&[0, 1, b'a']).name("b", 9), Err(BadPart::Absurd("a name")), "out of order");
        assert_eq!(Reader::new(&[0, 1, 0xff]).name("", 9), Err(BadPart::Absurd("a name")), "no text");
        assert_eq!(Reader::new(&[2, 0]).name("b", 9), Err(BadPart::Absurd("a name")), "more than there was");
        assert_eq!(Reader::new(&[0, 7, b'b']).name("b", 9), Err(BadPart::Cut));
    }
}
