//! Why a connection ends, as values.
//!
//! Owns the reasons with their code, text and label. How a reason is told to a client is the door's.

use std::borrow::Cow;

/// Why a connection ends. The label stands in metrics and logs, code and text in the close frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said that it goes.
    Disconnected,
    /// The client's end of the connection vanished or was closed.
    Gone,
    /// The client broke a rule of its protocol; it was told which.
    Refused {
        /// The rule, as a short and stable label.
        rule: &'static str,
    },
    /// The client's outbox was full.
    SlowConsumer {
        /// The subscription whose message did not fit, if it was one.
        subscription: Option<bytestring::ByteString>,
        /// How far each of its subscriptions to events was sent.
        cursors: Vec<(bytestring::ByteString, super::log::Cursor)>,
    },
    /// Nothing could be written to the client for too long.
    Stalled,
    /// The client was silent for three of its agreed intervals.
    Silent,
    /// The client opened a connection and never connected.
    NeverConnected,
    /// The server stops.
    Shutdown,
}

impl CloseReason {
    /// A short and stable label.
    pub fn label(&self) -> &'static str {
        match self {
            CloseReason::Disconnected => "disconnected",
            CloseReason::Gone => "gone",
            CloseReason::Refused { .. } => "refused",
            CloseReason::SlowConsumer { .. } => "slow_consumer",
            CloseReason::Stalled => "stalled",
            CloseReason::Silent => "silent",
            CloseReason::NeverConnected => "never_connected",
            CloseReason::Shutdown => "shutdown",
        }
    }

    /// The rule that the client broke, where that is why.
    pub fn rule(&self) -> Option<&'static str> {
        match self {
            CloseReason::Refused { rule } => Some(rule),
            _ => None,
        }
    }

    /// The status code of a WebSocket close frame (RFC 6455 7.4.1).
    pub fn code(&self) -> u16 {
        match self {
            CloseReason::Disconnected | CloseReason::Gone => 1000,
            CloseReason::Shutdown => 1001,
            CloseReason::Refused { .. } => 1002,
            CloseReason::SlowConsumer { .. } | CloseReason::Stalled => 1008,
            CloseReason::Silent | CloseReason::NeverConnected => 1008,
        }
    }

    /// A few words for a close frame and for the `message` of an ERROR.
    pub fn text(&self) -> &'static str {
        match self {
            CloseReason::Disconnected => "disconnected",
            CloseReason::Gone => "gone",
            CloseReason::Refused { .. } => "protocol error",
            CloseReason::SlowConsumer { .. } => "slow consumer",
            CloseReason::Stalled => "stalled",
            CloseReason::Silent => "no heart-beat",
            CloseReason::NeverConnected => "no CONNECT",
            CloseReason::Shutdown => "server is going away",
        }
    }

    /// What the client should do, for the body of an ERROR; `None` where the reason needs no ERROR.
    pub fn advice(&self) -> Option<Cow<'static, str>> {
        match self {
            CloseReason::SlowConsumer { .. } => Some(
                "Messages came faster than this connection read them, and its outbox is full. \
                 Reconnect, and read faster or subscribe to less; events go on from the cursor."
                    .into(),
            ),
            CloseReason::Stalled => {
                Some("Nothing could be written to this connection for too long. Reconnect.".into())
            }
            CloseReason::Silent => Some(
                "Nothing was heard from this client for three of the agreed heart-beat intervals. \
                 Reconnect, and send heart-beats as agreed."
                    .into(),
            ),
            CloseReason::NeverConnected => {
                Some("No CONNECT frame came in time. Send CONNECT right after the connection opens.".into())
            }
            CloseReason::Disconnected
            | CloseReason::Gone
            | CloseReason::Refused { .. }
            | CloseReason::Shutdown => None,
        }
    }
}
