//! The three protocol versions, and how a client and a server agree on one of them.

use std::fmt;
use std::str::FromStr;

/// A version of the STOMP protocol. Later versions are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// STOMP 1.0: no escapes, and peers that pad headers with spaces.
    V1_0,
    /// STOMP 1.1: the escapes `\n`, `\c` and `\\`, and heart-beats.
    V1_1,
    /// STOMP 1.2: the escape `\r` as well, and lines that may end with CR LF.
    V1_2,
}

impl Version {
    /// All versions, the oldest first.
    pub const ALL: [Self; 3] = [Self::V1_0, Self::V1_1, Self::V1_2];

    /// The version as the `version` and `accept-version` headers write it: `1.0`, `1.1` or `1.2`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
        }
    }

    /// The WebSocket subprotocol of this version, as registered with IANA.
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::V1_0 => "v10.stomp",
            Self::V1_1 => "v11.stomp",
            Self::V1_2 => "v12.stomp",
        }
    }

    /// The version that a WebSocket subprotocol stands for; `None` for any other subprotocol.
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.subprotocol() == name)
    }

    /// Chooses the version for a `CONNECT` frame whose `accept-version` header is the argument.
    ///
    /// Without the header the client speaks 1.0 (1.1 specification, *Protocol Negotiation*). With
    /// it, the highest version that both know is taken, whatever the order of the list; spaces
    /// around its items do no harm. `None` means that there is no version in common: the server
    /// answers with an `ERROR` frame whose `version` header lists its own.
    ///
    /// ```
    /// use stomp_parser::Version;
    ///
    /// assert_eq!(Version::negotiate(None), Some(Version::V1_0));
    /// assert_eq!(Version::negotiate(Some("1.2,1.0,1.1")), Some(Version::V1_2));
    /// assert_eq!(Version::negotiate(Some("2.0")), None);
    /// ```
    pub fn negotiate(accept_version: Option<&str>) -> Option<Self> {
        let Some(list) = accept_version else {
            return Some(Self::V1_0);
        };
        list.split(',').filter_map(|item| item.trim().parse().ok()).max()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        Self::ALL.into_iter().find(|v| v.as_str() == text).ok_or(UnknownVersion)
    }
}

/// A text that is none of `1.0`, `1.1` and `1.2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownVersion;

impl fmt::Display for UnknownVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the STOMP versions are 1.0, 1.1 and 1.2")
    }
}

impl std::error::Error for UnknownVersion {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_wins_whatever_the_order() {
        for (list, expected) in [
            ("1.0,1.1,1.2", Some(Version::V1_2)),
            ("1.2,1.1,1.0", Some(Version::V1_2)),
            ("1.1,1.0", Some(Version::V1_1)),
            ("1.0, 1.1 ,2.0", Some(Version::V1_1)),
            ("1.0", Some(Version::V1_0)),
            ("1.3", None),
            ("", None),
            ("1.2.0", None),
        ] {
            assert_eq!(Version::negotiate(Some(list)), expected, "{list:?}");
        }
    }

    #[test]
    fn names_lead_back_to_their_version() {
        for version in Version::ALL {
            assert_eq!(version.as_str().parse(), Ok(version));
            assert_eq!(Version::from_subprotocol(version.subprotocol()), Some(version));
        }
        assert_eq!("1.3".parse::<Version>(), Err(UnknownVersion));
        assert_eq!(Version::from_subprotocol("mqtt"), None);
        assert!(Version::V1_0 < Version::V1_2);
    }
}
