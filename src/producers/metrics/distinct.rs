//! How many different texts there were, in bounded space.

use cardinality_estimator::CardinalityEstimator;
use wyhash::WyHash;

use super::wire::{BadPart, Reader, Writer};

/// HyperLogLog registers, as a power of two: 12 KiB, and a standard error of 1.04 / √16384 = 0.8 %.
const PRECISION: usize = 14;
/// Bits of a register.
const WIDTH: usize = 6;
/// Words of 32 bits that all registers fill.
const WORDS: usize = (1 << PRECISION) * WIDTH / 32;
/// Hashes that are kept as they are, before there are registers.
const MAX_HASHES: usize = 128;
/// Most that a register says: the zeros that a hash may have behind the number of its register, and one.
const MAX_RANK: u32 = 64 - PRECISION as u32 + 1;
/// By what an estimator says to serde that it has registers.
const HAS_REGISTERS: usize = 3;

type Estimator = CardinalityEstimator<str, WyHash, PRECISION, WIDTH>;

/// How many different texts were seen: nearly exact up to 128, thereafter with a standard error of 0.8 %. The same
/// on every node, so that it can be merged.
#[derive(Clone, Debug, Default)]
pub(super) struct Distinct(Estimator);

impl Distinct {
    pub(super) fn insert(&mut self, text: &str) {
        self.0.insert(text);
    }

    pub(super) fn merge(&mut self, part: &Distinct) {
        self.0.merge(&part.0);
    }

    /// How many there are. The estimator adds up as it goes, and so its estimate depends a little on the order; this
    /// one is made of the registers alone, and the same on every node that has the same.
    pub(super) fn estimate(&self) -> u64 {
        let anew = match self.words() {
            Words::Registers(registers) => with_registers(registers),
            Words::Hashes(_) => None,
        };
        anew.as_ref().unwrap_or(&self.0).estimate() as u64
    }

    /// Writes what is kept of the texts.
    pub(super) fn encode(&self, writer: &mut Writer) {
        let (few, words) = match self.words() {
            Words::Hashes(hashes) => (hashes.len() as u8, hashes),
            Words::Registers(registers) => (u8::MAX, registers),
        };
        writer.octet(few);
        words.iter().for_each(|word| writer.octets(&word.to_le_bytes()));
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, BadPart> {
        const WHAT: BadPart = BadPart::Absurd("distinct names");
        let few = reader.octet()?;
        let count = if few == u8::MAX { WORDS } else { usize::from(few) };
        let octets = reader.octets(count * 4)?.chunks_exact(4);
        let words: Vec<u32> =
            octets.map(|word| word.iter().rfold(0, |word, &o| word << 8 | u32::from(o))).collect();
        if few == u8::MAX {
            return with_registers(words).map(Self).ok_or(WHAT);
        }
        let mut estimator = Estimator::new();
        for word in words {
            let rank = word % (1 << WIDTH);
            if !(1..=MAX_RANK).contains(&rank) {
                return Err(WHAT);
            }
            // A hash that is kept as this word: its lower bits, and as many ones behind the register as rank says.
            let ones = (1_u64 << (rank - 1)) - 1;
            estimator.insert_hash(u64::from(word >> WIDTH) | ones << PRECISION);
        }
        let sound = count <= MAX_HASHES && estimator.estimate() == count;
        if sound { Ok(Self(estimator)) } else { Err(WHAT) }
    }

    fn words(&self) -> Words {
        // An estimator shows what it holds to nobody but serde.
        let octets = postcard::to_allocvec(&self.0).unwrap_or_default();
        match postcard::from_bytes(&octets) {
            Ok((_, Some(hashes))) if Vec::len(&hashes) <= MAX_HASHES => Words::Hashes(hashes),
            Ok((_, Some(words))) => Words::Registers(Vec::from(&words[2..2 + WORDS])),
            Ok((few, None)) => Words::Hashes(hashes_of(few)),
            Err(_) => Words::Hashes(Vec::new()),
        }
    }
}

/// What an estimator holds.
enum Words {
    /// Of few texts, a word each: the lower bits of the hash, and the rank.
    Hashes(Vec<u32>),
    /// Of many, the registers.
    Registers(Vec<u32>),
}

/// The hashes of up to two texts, which an estimator keeps in the place of a pointer.
fn hashes_of(few: usize) -> Vec<u32> {
    const MASK: usize = (1 << 31) - 1;
    [few >> 2 & MASK, few >> 33 & MASK]
        .into_iter()
        .filter(|&hash| hash != 0)
        .map(|hash| hash as u32)
        .collect()
}

/// An estimator with `registers`, which are [`WORDS`] words. None if it won't have them.
fn with_registers(registers: Vec<u32>) -> Option<Estimator> {
    let mut whole = Vec::with_capacity(WORDS + 3);
    let (empty, sum) = harmonic(&registers);
    whole.extend([empty, (sum as f32).to_bits()]);
    whole.extend(registers);
    whole.push(0); // It has one word more, which is never used.
    let octets = postcard::to_allocvec(&(HAS_REGISTERS, Some(whole))).ok()?;
    postcard::from_bytes(&octets).ok()
}

/// How many of the registers are empty, and the sum of 2⁻ʳ over what all say.
fn harmonic(registers: &[u32]) -> (u32, f64) {
    let bit = |place: usize| (registers[place / 32] >> (place % 32)) & 1;
    let register = |number: usize| (0..WIDTH).fold(0, |all, n| all | bit(number * WIDTH + n) << n);
    let all = 0..registers.len() * 32 / WIDTH;
    all.fold((0, 0.0), |(empty, sum), number| {
        let rank = register(number);
        (empty + u32::from(rank == 0), sum + (-f64::from(rank)).exp2())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn distinct(range: std::ops::Range<u32>) -> Distinct {
        let mut distinct = Distinct::default();
        range.for_each(|n| distinct.insert(&format!("someone{n}")));
        distinct
    }

    fn again(distinct: &Distinct) -> Distinct {
        let mut writer = Writer::default();
        distinct.encode(&mut writer);
        let octets = writer.finish();
        let mut reader = Reader::new(&octets);
        let read = Distinct::decode(&mut reader).unwrap();
        reader.finish().unwrap();
        read
    }

    #[test]
    fn distinct_counts_keep_their_error() {
        let mut distinct = Distinct::default();
        for n in 1..=300_000_u64 {
            distinct.insert(&format!("someone{n}"));
            if [1, 10, 100].contains(&n) {
                assert_eq!(distinct.estimate(), n);
            }
            if [1_000, 10_000, 100_000, 300_000].contains(&n) {
                let error = (distinct.estimate() as f64 - n as f64).abs() / n as f64;
                assert!(error < 0.025, "{n}: {}", distinct.estimate());
            }
        }
    }

    #[test]
    fn what_is_written_is_read_and_goes_on() {
        for count in [0, 1, 2, 3, 4, 127, 128, 129, 130, 1_000, 50_000] {
            let mut known = distinct(0..count);
            let mut read = again(&known);
            assert!(read.0 == again(&read).0, "{count}");
            assert_eq!(read.estimate(), known.estimate(), "{count}");
            for other in [distinct(count / 2..count), distinct(count..count + 50), distinct(0..3_000)] {
                known.merge(&other);
                read.merge(&again(&other));
                assert_eq!(read.estimate(), known.estimate(), "{count}");
            }
        }
    }

    #[test]
    fn the_estimate_does_not_depend_on_the_order() {
        let (mut one, mut other) = (distinct(0..20_000), distinct(30_000..50_000));
        (20_000..50_000).rev().for_each(|n| one.insert(&format!("someone{n}")));
        other.merge(&distinct(10_000..30_000));
        other.merge(&distinct(0..15_000));
        assert_eq!(one.estimate(), other.estimate());
    }

    #[test]
    fn the_estimate_is_near_the_estimators_own() {
        let many = distinct(0..50_000);
        assert!(many.estimate().abs_diff(many.0.estimate() as u64) <= 5);
    }

    #[test]
    fn what_can_not_be_is_an_error() {
        for octets in [&[129_u8; 600][..], &[1, 0, 0, 0, 0], &[1, 52, 0, 0, 0], &[2, 1, 0, 0, 0, 1, 0, 0, 0]]
        {
            assert!(Distinct::decode(&mut Reader::new(octets)).is_err(), "{octets:?}");
        }
        assert_eq!(Distinct::decode(&mut Reader::new(&[255, 1])).err(), Some(BadPart::Cut));
        // Any registers are some.
        let octets = [255; 1 + WORDS * 4];
        Distinct::decode(&mut Reader::new(&octets)).unwrap().estimate();
    }
}
