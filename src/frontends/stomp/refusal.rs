//! Why a frame is refused: the rule, a few words for `message`, and what to do for the body.
//!
//! Every refusal ends the connection: clients reconnect only on close, and a client that broke one rule is not to
//! be trusted with the next frame.

use bytestring::ByteString;
use stomp_parser::Frame;

use crate::broker::{
    Denied, Full, InvalidDestination, InvalidSelector, InvalidView, Unconfirmed, Unpublished, Unsubscribed,
};
use crate::frontends::app::Refused;

/// A refused frame.
#[derive(Debug)]
pub(super) struct Refusal {
    /// A short and stable label, for metrics.
    pub(super) rule: &'static str,
    /// The `message` header.
    pub(super) message: &'static str,
    /// What is wrong and what to do.
    pub(super) detail: String,
    /// More headers.
    pub(super) headers: Vec<(&'static str, ByteString)>,
}

impl Refusal {
    pub(super) fn new(rule: &'static str, message: &'static str, detail: impl Into<String>) -> Refusal {
        Refusal { rule, message, detail: detail.into(), headers: Vec::new() }
    }

    /// The frame asked for a receipt, which the ERROR answers.
    pub(super) fn answering(mut self, receipt: Option<&str>) -> Refusal {
        if let Some(receipt) = receipt {
            self.headers.push(("receipt-id", receipt.into()));
        }
        self
    }

    /// A header that the frame must have.
    pub(super) fn missing(frame: &Frame, name: &str) -> Refusal {
        Refusal::new(
            "missing_header",
            "missing header",
            format!("{} needs the header '{name}'.", frame.command.as_str()),
        )
    }
}

impl From<stomp_parser::Error> for Refusal {
    fn from(error: stomp_parser::Error) -> Refusal {
        Refusal::new(error.kind().rule(), error.kind().summary(), error.to_string())
            .answering(error.receipt())
    }
}

impl From<InvalidDestination> for Refusal {
    fn from(error: InvalidDestination) -> Refusal {
        Refusal::new(error.rule(), "bad destination", format!("{error}."))
    }
}

impl From<Denied> for Refusal {
    fn from(error: Denied) -> Refusal {
        Refusal::new("denied", "access denied", format!("{error}."))
    }
}

impl From<Unpublished> for Refusal {
    fn from(error: Unpublished) -> Refusal {
        match error {
            Unpublished::Denied(denied) => denied.into(),
            Unpublished::Full(full) => full.into(),
            Unpublished::ClearWithBody => Refusal::new("bad_retain", "bad retain", format!("{error}.")),
            Unpublished::Unconfirmed(why) => why.into(),
        }
    }
}

impl From<Unconfirmed> for Refusal {
    fn from(error: Unconfirmed) -> Refusal {
        let message = match error {
            Unconfirmed::Unsendable(_) => "bad header",
            Unconfirmed::Late | Unconfirmed::TooMany | Unconfirmed::Refused(_) => "not confirmed",
        };
        Refusal::new(error.label(), message, format!("{error}."))
    }
}

impl From<Unsubscribed> for Refusal {
    fn from(error: Unsubscribed) -> Refusal {
        match error {
            Unsubscribed::Denied(denied) => denied.into(),
            Unsubscribed::View(view) => view.into(),
            Unsubscribed::Name(_) => Refusal::new("bad_destination", "bad destination", format!("{error}.")),
            Unsubscribed::Full(full) => full.into(),
            Unsubscribed::QueueSelector => {
                Refusal::new("queue_selector", "no selector on queues", format!("{error}."))
            }
            Unsubscribed::History => Refusal::new("bad_history", "bad history", format!("{error}.")),
        }
    }
}

impl From<InvalidView> for Refusal {
    fn from(error: InvalidView) -> Refusal {
        let (rule, message) = match error {
            InvalidView::Fields(_) => ("bad_fields", "bad fields"),
            InvalidView::Rate => ("bad_max_rate", "bad max-rate"),
            InvalidView::Delta => ("bad_delta", "bad delta"),
            InvalidView::NotHere { .. } => ("no_such_view", "no such view"),
        };
        Refusal::new(rule, message, format!("{error}."))
    }
}

impl From<Full> for Refusal {
    fn from(error: Full) -> Refusal {
        Refusal::new("queue_full", "queue full", format!("{error}."))
    }
}

impl From<InvalidSelector> for Refusal {
    fn from(error: InvalidSelector) -> Refusal {
        Refusal::new("bad_selector", "bad selector", format!("{error}."))
    }
}

impl From<Refused> for Refusal {
    fn from(Refused(why): Refused) -> Refusal {
        Refusal::new("app_refused", "refused", why)
    }
}
