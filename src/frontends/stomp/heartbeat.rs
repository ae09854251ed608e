//! How often each side says that it is still there.
//!
//! Owns the `heart-beat` header. The timers are the hub's.
//!
//! ```text
//! heart-beat = can "," wants      ; milliseconds, 0 for none
//! ```

/// What one side can send and wants to hear, in milliseconds; 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartBeats {
    /// It can send something at least this often.
    pub can: u32,
    /// It wants to hear something at least this often.
    pub wants: u32,
}

impl Default for HeartBeats {
    /// The broker can beat each second, and wants to hear one each 30 s: browsers throttle the timers of
    /// background tabs to one a minute, and a client is given up after three intervals.
    fn default() -> Self {
        HeartBeats { can: 1_000, wants: 30_000 }
    }
}

/// The longest interval that is kept: a beat too many does no harm, and a client that vanished is found out in the end.
const LONGEST: u32 = 3_600_000;

/// What two sides have agreed on, in milliseconds; 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agreed {
    /// The client is sent something at least this often.
    pub(super) beat: u32,
    /// The client is given up after this time of silence: three of its intervals.
    pub(super) silence: u32,
}

impl HeartBeats {
    /// Reads a client's header. Absent means none both ways; a number beyond 32 bits is as good as the largest.
    pub(super) fn parse(header: Option<&str>) -> Option<HeartBeats> {
        let Some(header) = header else {
            return Some(HeartBeats { can: 0, wants: 0 });
        };
        let (can, wants) = header.split_once(',')?;
        Some(HeartBeats { can: millis(can)?, wants: millis(wants)? })
    }

    /// What this side, the server, agrees on with a client.
    pub(super) fn agree(self, client: HeartBeats) -> Agreed {
        let both = |sends: u32, wants: u32| {
            if sends == 0 || wants == 0 { 0 } else { sends.max(wants).min(LONGEST) }
        };
        Agreed { beat: both(self.can, client.wants), silence: both(client.can, self.wants).saturating_mul(3) }
    }
}

fn millis(text: &str) -> Option<u32> {
    // Spaces around the numbers are no part of the grammar, but clients in the field send them behind the comma.
    let digits = text.trim_matches(' ');
    let valid = !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_side_decides() {
        let server = HeartBeats::default();
        let agreed = |header| HeartBeats::parse(Some(header)).map(|client| server.agree(client));
        assert_eq!(agreed("4000,4000"), Some(Agreed { beat: 4_000, silence: 90_000 }));
        assert_eq!(agreed("60000,10"), Some(Agreed { beat: 1_000, silence: 180_000 }));
        assert_eq!(agreed("4294967295,4294967295"), Some(Agreed { beat: 3_600_000, silence: 10_800_000 }));
        assert_eq!(agreed("0,0"), Some(Agreed { beat: 0, silence: 0 }));
        assert_eq!(agreed("0,5000"), Some(Agreed { beat: 5_000, silence: 0 }));
    }

    #[test]
    fn numbers_beyond_32_bits_are_clamped() {
        let parsed = HeartBeats::parse(Some("99999999999999999999,1"));
        assert_eq!(parsed, Some(HeartBeats { can: u32::MAX, wants: 1 }));
    }

    #[test]
    fn what_is_no_pair_of_numbers_is_refused() {
        for header in ["", "1", "1,", ",1", "a,b", "-1,0", "1,2,3", "1.5,0", "+1,0"] {
            assert_eq!(HeartBeats::parse(Some(header)), None, "{header}");
        }
        assert_eq!(HeartBeats::parse(None), Some(HeartBeats { can: 0, wants: 0 }));
    }
}
