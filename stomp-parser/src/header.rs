//! The header lines of a frame, decoded, in the order in which they came.
//!
//! Reading them from the wire is the parser's, writing them the encoder's.

use std::fmt;

use bytestring::ByteString;

/// The headers of a frame: names and values without escapes, in wire order, repeats kept.
///
/// Of headers with the same name the first counts (1.2 specification, *Repeated Header Entries*),
/// so [`get`](Self::get) gives that one. Names are compared octet by octet: STOMP knows no case
/// folding.
///
/// ```
/// use stomp_parser::Headers;
///
/// let mut headers = Headers::new();
/// headers.push("foo", "World");
/// headers.push("foo", "Hello");
/// assert_eq!(headers.get("foo"), Some("World"));
/// assert_eq!(headers.len(), 2);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(ByteString, ByteString)>);

impl Headers {
    /// No headers; allocates nothing.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// No headers yet, with room for this many.
    pub fn with_capacity(headers: usize) -> Self {
        Self(Vec::with_capacity(headers))
    }

    /// The value of the first header of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.value(name).map(|value| &**value)
    }

    /// The value of the first header of this name, in a form that can be kept by cloning it without
    /// a copy.
    pub fn value(&self, name: &str) -> Option<&ByteString> {
        self.0.iter().find(|(n, _)| **n == *name).map(|(_, value)| value)
    }

    /// Whether there is a header of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Adds a header behind the others. One of the same name before it keeps its precedence.
    pub fn push(&mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) {
        self.0.push((name.into(), value.into()));
    }

    /// Takes out all headers for which `keep(name, value)` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        self.0.retain(|(name, value)| keep(name, value));
    }

    /// All headers in wire order, repeats included.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&ByteString, &ByteString)> + Clone {
        self.0.iter().map(|(name, value)| (name, value))
    }

    /// How many headers there are, repeats counted each.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the spaces off both ends of each name and value. No copy is made.
    pub(crate) fn trim_spaces(&mut self) {
        let trim = |text: &mut ByteString| {
            let trimmed = text.trim_matches(' ');
            if trimmed.len() < text.len() {
                *text = text.slice_ref(trimmed);
            }
        };
        for (name, value) in &mut self.0 {
            trim(name);
            trim(value);
        }
    }
}

/// A header name of the specifications as static text, which costs no reference count: about a seventh of
/// the time that decoding a small frame takes (`benches/frames`).
pub(crate) fn well_known(name: &str) -> Option<&'static str> {
    macro_rules! names {
        ($($name:literal)*) => { match name { $($name => Some($name),)* _ => None } };
    }
    names! {
        "accept-version" "ack" "content-length" "content-type" "destination" "heart-beat" "host" "id" "login"
        "message" "message-id" "passcode" "receipt" "receipt-id" "selector" "server" "session" "subscription"
        "transaction" "version"
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (&**name, &**value))).finish()
    }
}

impl From<Vec<(ByteString, ByteString)>> for Headers {
    fn from(headers: Vec<(ByteString, ByteString)>) -> Self {
        Self(headers)
    }
}

impl<N: Into<ByteString>, V: Into<ByteString>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Self {
        headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect::<Vec<_>>().into()
    }
}

impl<N: Into<ByteString>, V: Into<ByteString>> Extend<(N, V)> for Headers {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, headers: I) {
        for (name, value) in headers {
            self.push(name, value);
        }
    }
}

impl IntoIterator for Headers {
    type Item = (ByteString, ByteString);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_repeats_wins_and_all_are_kept() {
        let headers = Headers::from_iter([("a", "1"), ("b", "2"), ("a", "3")]);
        assert_eq!(headers.get("a"), Some("1"));
        assert_eq!(headers.get("A"), None);
        let all: Vec<_> = headers.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(all, ["a=1", "b=2", "a=3"]);
    }

    #[test]
    fn trimming_takes_spaces_only() {
        let mut headers = Headers::from_iter([("  a ", " \tv\r  "), ("b", "")]);
        headers.trim_spaces();
        assert_eq!(headers, Headers::from_iter([("a", "\tv\r"), ("b", "")]));
    }
}
