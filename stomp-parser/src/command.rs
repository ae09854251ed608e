//! The closed set of STOMP commands, and what the specifications say of each.
//!
//! What a session may send when is the session's business, not this module's.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// The first line of a frame. Commands are written in capital letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Opens a session (client).
    Connect,
    /// Opens a session too, so that a server of several protocols can tell STOMP by its first
    /// octets (client).
    Stomp,
    /// Says that the session is open (server).
    Connected,
    /// Publishes a message (client).
    Send,
    /// Asks for the messages of a destination (client).
    Subscribe,
    /// Ends a subscription (client).
    Unsubscribe,
    /// Says that a message was consumed (client).
    Ack,
    /// Says that a message was not consumed (client, from 1.1 on).
    Nack,
    /// Opens a transaction (client).
    Begin,
    /// Makes a transaction take effect (client).
    Commit,
    /// Rolls a transaction back (client).
    Abort,
    /// Ends the session in good order (client).
    Disconnect,
    /// Brings a message of a subscription (server).
    Message,
    /// Says that a client frame was dealt with (server).
    Receipt,
    /// Says what went wrong, before the connection closes (server).
    Error,
}

impl Command {
    /// Every command of every version.
    pub const ALL: [Self; 15] = [
        Self::Connect,
        Self::Stomp,
        Self::Connected,
        Self::Send,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Ack,
        Self::Nack,
        Self::Begin,
        Self::Commit,
        Self::Abort,
        Self::Disconnect,
        Self::Message,
        Self::Receipt,
        Self::Error,
    ];

    /// The command as it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Stomp => "STOMP",
            Self::Connected => "CONNECTED",
            Self::Send => "SEND",
            Self::Subscribe => "SUBSCRIBE",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Ack => "ACK",
            Self::Nack => "NACK",
            Self::Begin => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Abort => "ABORT",
            Self::Disconnect => "DISCONNECT",
            Self::Message => "MESSAGE",
            Self::Receipt => "RECEIPT",
            Self::Error => "ERROR",
        }
    }

    /// Whether a frame of this command may have a body: only `SEND`, `MESSAGE` and `ERROR` (1.2
    /// specification, *Body*).
    pub const fn may_have_body(self) -> bool {
        matches!(self, Self::Send | Self::Message | Self::Error)
    }

    /// Whether this frame opens a session. Headers of `CONNECT`, `STOMP` and `CONNECTED` are never
    /// escaped, in any version, because they are written before a version is agreed on.
    pub const fn opens_session(self) -> bool {
        matches!(self, Self::Connect | Self::Stomp | Self::Connected)
    }

    /// Whether servers send this command, and clients never.
    pub const fn is_from_server(self) -> bool {
        matches!(self, Self::Connected | Self::Message | Self::Receipt | Self::Error)
    }

    /// The command whose name is exactly these octets.
    pub(crate) fn from_octets(line: &[u8]) -> Option<Self> {
        Some(match line {
            b"CONNECT" => Self::Connect,
            b"STOMP" => Self::Stomp,
            b"CONNECTED" => Self::Connected,
            b"SEND" => Self::Send,
            b"SUBSCRIBE" => Self::Subscribe,
            b"UNSUBSCRIBE" => Self::Unsubscribe,
            b"ACK" => Self::Ack,
            b"NACK" => Self::Nack,
            b"BEGIN" => Self::Begin,
            b"COMMIT" => Self::Commit,
            b"ABORT" => Self::Abort,
            b"DISCONNECT" => Self::Disconnect,
            b"MESSAGE" => Self::Message,
            b"RECEIPT" => Self::Receipt,
            b"ERROR" => Self::Error,
            _ => return None,
        })
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Command {
    type Err = Error;

    /// Reads a command name. Anything else is
    /// [`ErrorKind::UnknownCommand`](crate::ErrorKind::UnknownCommand).
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::from_octets(text.as_bytes()).ok_or_else(|| Error::unknown_command(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_command() {
        for command in Command::ALL {
            assert_eq!(command.as_str().parse(), Ok(command));
        }
        assert!("send".parse::<Command>().is_err());
        assert!("SEND ".parse::<Command>().is_err());
        assert!("".parse::<Command>().is_err());
    }
}
