//! STOMP 1.0, 1.1 and 1.2 frames, without I/O and without a runtime.
//!
//! A [`Decoder`] takes octets as they come, in pieces of any size, and gives [`Frame`]s that own
//! slices of them. [`encode`] writes a frame by the rules of the receiver's [`Version`]. Both know
//! the wire only: sessions, subscriptions, acknowledgement and heart-beat timers belong to whoever
//! uses them.
//!
//! ```
//! use bytes::{Bytes, BytesMut};
//! use stomp_parser::{Command, Decoder, Frame, Limits, Version, encode};
//!
//! # fn main() -> Result<(), stomp_parser::Error> {
//! let mut decoder = Decoder::new(Limits::default());
//! decoder.feed(Bytes::from_static(
//!     b"CONNECT\naccept-version:1.1,1.2\n\n\0\nSUBSCRIBE\nid:0\ndestination:/topic/metrics\n\n\0",
//! ));
//!
//! let connect = decoder.next()?.expect("a whole frame");
//! let version = Version::negotiate(connect.get("accept-version")).expect("one in common");
//! decoder.set_version(version);
//!
//! let subscribe = decoder.next()?.expect("another one");
//! assert_eq!(subscribe.command, Command::Subscribe);
//! assert_eq!(subscribe.get("destination"), Some("/topic/metrics"));
//! assert_eq!(decoder.next()?, None);
//!
//! let connected = Frame::new(Command::Connected)
//!     .header("version", version.as_str())
//!     .header("heart-beat", "1000,30000");
//! let mut out = BytesMut::new();
//! encode(&connected, version, &mut out);
//! assert_eq!(out, "CONNECTED\nversion:1.2\nheart-beat:1000,30000\n\n\0");
//! # Ok(())
//! # }
//! ```
//!
//! # Where the specifications leave room
//!
//! * A header line splits at its first colon; further colons belong to the value.
//! * Line ends are LF, in 1.2 also CR LF. Before a version is agreed on both are taken. Between
//!   frames CR LF is taken in every version. In 1.0 and 1.1 a CR is an ordinary octet of a header.
//! * `CONNECT`, `STOMP` and `CONNECTED` are never escaped or unescaped, so that a passcode with a
//!   backslash works.
//! * 1.0 peers pad: spaces at both ends of names and values are trimmed, in 1.0 only.
//! * `content-length` is honoured on every frame that has it; a body on a frame other than `SEND`,
//!   `MESSAGE` and `ERROR` is an error.
//! * Header sections are UTF-8 in every version. Bodies are octets.
//!
//! Every broken rule is an [`Error`] that says what to do about it, and every amount has its
//! [limit](Limits).

mod body;
mod command;
mod decoder;
pub mod encoder;
mod error;
mod frame;
mod header;
mod limits;
mod meter;
mod parser;
mod scan;
mod version;

pub use command::Command;
pub use decoder::Decoder;
pub use encoder::{
    encode, encode_body, encode_command, encode_connect_header, encode_content_length, encode_header,
};
pub use error::{Error, ErrorKind};
pub use frame::Frame;
pub use header::Headers;
pub use limits::Limits;
pub use version::{UnknownVersion, Version};

/// The example of the README, so that it compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
