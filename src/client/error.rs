//! What ends a client's connection, as sentences for the person at the terminal.

use std::io;
use std::time::Duration;

use stomp_parser::Frame;

/// Why a connection did not come about, or ended. Each says whose doing it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens there, or nobody can be reached.
    #[error(
        "can't connect to {address}: {error}\n  fix: see whether the server runs there, or name another with --url"
    )]
    Connect {
        /// Host and port.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// What listens there does not open a WebSocket.
    #[error(
        "no WebSocket at {address}: {answer}\n  fix: give the endpoint's path in --url: ws://HOST:PORT/ws/websocket for a raw \
         WebSocket, http://HOST:PORT/ws for SockJS, tcp://HOST:PORT for plain TCP"
    )]
    Handshake {
        /// The address asked for.
        address: String,
        /// The status line of the answer, or what is wrong with it.
        answer: String,
    },
    /// The server sent an ERROR frame.
    #[error("the server says: {message}{}", indented(.detail))]
    Refused {
        /// Its header `message`.
        message: String,
        /// Its body.
        detail: String,
    },
    /// The server closed the connection with a code.
    #[error("the server closed the connection: {code}{}", spaced(.reason))]
    Closed {
        /// The code of the WebSocket's or SockJS's close frame.
        code: u16,
        /// What it says with it; may be empty.
        reason: String,
    },
    /// The connection ended without a word.
    #[error("the connection was lost: {0}")]
    Lost(String),
    /// Not even a heart-beat came.
    #[error("the connection was lost: nothing came for {} s, not even a heart-beat", .0.as_secs_f32())]
    Silent(Duration),
    /// The server broke a rule of a protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
}

impl Error {
    /// What an ERROR frame says.
    pub(super) fn refused(frame: &Frame) -> Error {
        Error::Refused {
            message: frame.get("message").unwrap_or("an ERROR frame").to_owned(),
            detail: String::from_utf8_lossy(&frame.body).trim().to_owned(),
        }
    }

    pub(super) fn lost(error: &io::Error) -> Error {
        Error::Lost(error.to_string())
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("\n  {line}")).collect()
}

fn spaced(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" {text}") }
}
