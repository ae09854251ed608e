//! The stamp at the end of each message's body, by which a message is known without being parsed.
//!
//! Decimal digits of fixed width, so that no carrier quotes or changes them: `#`, 8 digits of topic, 16 of number, 16 of
//! the time at which the message was due, `#`. It is found from the end of the frame that carries it.

/// Who a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Which of the run's topics it was sent to.
    pub(super) topic: u32,
    /// Its number within the topic, from 0.
    pub(super) number: u64,
    /// When it was due, in microseconds since the run began.
    pub(super) due: u64,
}

/// Octets of a stamp.
pub(super) const WIDTH: usize = 42;

const MARK: u8 = b'#';

impl Stamp {
    /// The stamp as it is sent.
    pub(super) fn text(self) -> String {
        let Stamp { topic, number, due } = self;
        format!("#{topic:08}{number:016}{due:016}#")
    }

    /// Reads what [`text`](Self::text) wrote.
    #[inline]
    pub(super) fn parse(octets: &[u8; WIDTH]) -> Option<Stamp> {
        let [MARK, digits @ .., MARK] = octets else {
            return None;
        };
        let (words, _) = digits.as_chunks::<8>();
        let [topic, high, low, due_high, due_low] = words else {
            return None;
        };
        Some(Stamp {
            topic: u32::try_from(eight_digits(*topic)?).ok()?,
            number: eight_digits(*high)? * 100_000_000 + eight_digits(*low)?,
            due: eight_digits(*due_high)? * 100_000_000 + eight_digits(*due_low)?,
        })
    }

    /// The stamp at the end of `octets`.
    #[inline]
    pub(super) fn at_end_of(octets: &[u8]) -> Option<Stamp> {
        Stamp::parse(octets.last_chunk()?)
    }
}

/// Eight decimal digits as a number, all at once: neighbours are joined to pairs, pairs to fours, fours to the whole.
#[inline]
fn eight_digits(text: [u8; 8]) -> Option<u64> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let digits = u64::from_le_bytes(text).wrapping_sub(EACH * u64::from(b'0'));
    // Anything beyond 9 has a high bit, or gets one when 6 is added; what borrowed from a neighbour has one too.
    if (digits | digits.wrapping_add(EACH * 6)) & (EACH * 0xf0) != 0 {
        return None;
    }
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_stamp_reads_back() {
        for (topic, number, due) in [
            (0, 0, 0),
            (99_999_999, 9_999_999_999_999_999, 9_999_999_999_999_999),
            (12_345_678, 1_234_567_890_123_456, 6_543_210_987_654_321),
        ] {
            let stamp = Stamp { topic, number, due };
            let text = stamp.text();
            assert_eq!(text.len(), WIDTH);
            assert_eq!(Stamp::at_end_of(format!("xx{text}").as_bytes()), Some(stamp));
        }
    }

    #[test]
    fn what_is_no_stamp_is_none() {
        let good = Stamp { topic: 1, number: 2, due: 3 }.text().into_bytes();
        assert_eq!(Stamp::at_end_of(&good[1..]), None);
        for at in 0..WIDTH {
            for wrong in [b'/', b':', b' ', 0, 0xff, b'a'] {
                let mut octets = good.clone();
                octets[at] = wrong;
                assert_eq!(Stamp::at_end_of(&octets), None, "{wrong} at {at}");
            }
        }
    }

    #[test]
    fn digits_are_read_as_the_library_reads_them() {
        for number in (0..100_000_000u64).step_by(9_973) {
            let text = format!("{number:08}");
            assert_eq!(eight_digits(text.as_bytes().try_into().unwrap()), Some(number));
        }
    }
}
