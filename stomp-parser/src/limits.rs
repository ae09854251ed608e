//! The bounds that a [`Decoder`](crate::Decoder) keeps while it reads what a peer sends.
//!
//! Only the numbers and their meaning; the enforcing is the decoder's.

/// How much a peer may send in one frame before the decoder refuses it.
///
/// The 1.2 specification (*Size Limits*) leaves the values to the server. A broken limit is fatal,
/// like any other error. Each limit is the greatest amount that is still accepted.
///
/// ```
/// use stomp_parser::Limits;
///
/// let limits = Limits { body: 64 * 1024, ..Limits::default() };
/// assert_eq!(limits.headers, 128);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Header lines of one frame, repeats of a name counted each.
    pub headers: usize,
    /// Octets of one header line, its line feed not counted.
    pub line: usize,
    /// Octets of everything before the body: command line, header lines and the blank line, with
    /// their line ends.
    pub header_bytes: usize,
    /// Octets of the body, whether a `content-length` announces them or not.
    pub body: usize,
}

impl Limits {
    /// 128 headers, 16 KiB a line, 64 KiB of headers, 8 MiB of body.
    pub const DEFAULT: Self =
        Self { headers: 128, line: 16 * 1024, header_bytes: 64 * 1024, body: 8 * 1024 * 1024 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
