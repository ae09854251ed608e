//! The edge at which an event comes in: what `POST /api/v1/events` and its like take, and what they answer.
//!
//! A body becomes an [`Event`] or a [`Rejection`] that names everything wrong with it at once. Reading the request,
//! its size limit and the status line belong to the doors; counting belongs to [`metrics`](super::metrics).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::clock::iso;
use fields::Fields;

mod fields;
#[cfg(test)]
mod tests;

/// Most characters of `eventType` and of `source`, and of the name of a tag.
pub const MAX_NAME: usize = 100;
/// Most characters of `userId` and of `sessionId`.
pub const MAX_ID: usize = 256;
/// Most tags of one event.
pub const MAX_TAGS: usize = 64;
/// Most characters of the value of a tag.
pub const MAX_TAG_VALUE: usize = 1_000;

/// How grave an event is, in rising order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing is wrong. What an event has that says nothing of it.
    #[default]
    Info,
    /// Something may go wrong.
    Warning,
    /// Something went wrong.
    Error,
    /// Something went wrong and needs somebody now.
    Critical,
}

impl Severity {
    /// All of them, in rising order; `severity as usize` is the place in it.
    pub const ALL: [Severity; 4] = [Severity::Info, Severity::Warning, Severity::Error, Severity::Critical];

    /// The name in JSON, in capitals.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "INFO",
            Severity::Warning => "WARNING",
            Severity::Error => "ERROR",
            Severity::Critical => "CRITICAL",
        }
    }

    /// Whether an event of this severity counts as an error.
    pub fn is_error(self) -> bool {
        self >= Severity::Error
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str().eq_ignore_ascii_case(text))
    }
}

/// An event that was found in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// `evt_` and 128 random bits in hexadecimal: unique, and not to be guessed.
    pub event_id: String,
    /// What happened, as in `payment.failed`; up to [`MAX_NAME`] characters, not blank.
    pub event_type: String,
    /// What it happened to, as in `payment-service`; up to [`MAX_NAME`] characters, not blank.
    pub source: String,
    /// When it happened, by the sender's clock; the moment of receipt if the sender did not say.
    pub timestamp: Timestamp,
    /// When it came in, by ours.
    pub received_at: Timestamp,
    /// Who caused it; never blank, up to [`MAX_ID`] characters.
    pub user_id: Option<String>,
    /// In which session of that user; never blank, up to [`MAX_ID`] characters.
    pub session_id: Option<String>,
    /// How grave it is.
    pub severity: Severity,
    /// Names and values given by the sender, up to [`MAX_TAGS`].
    pub tags: BTreeMap<String, String>,
    /// Whatever JSON the sender gave; null if none.
    pub metadata: Value,
    /// Milliseconds: `metadata.latency` if that is a number or a numeric string, else receipt − timestamp.
    /// None unless above zero.
    pub latency: Option<f64>,
}

impl Event {
    /// Reads one event from a JSON body that came in at `received_at`.
    ///
    /// # Errors
    /// [`Rejection::Malformed`] if the body is not JSON, [`Rejection::Invalid`] if it breaks a rule, and
    /// [`Rejection::NoRandomness`] if the machine gives no random bits for the id.
    pub fn from_json(body: &[u8], received_at: Timestamp) -> Result<Self, Rejection> {
        let value = serde_json::from_slice(body).map_err(|error| Rejection::Malformed(error.to_string()))?;
        Self::from_value(value, received_at)
    }

    /// The same for a body that has been parsed already, as the items of a batch have.
    ///
    /// # Errors
    /// As [`Event::from_json`], but never [`Rejection::Malformed`].
    pub fn from_value(value: Value, received_at: Timestamp) -> Result<Self, Rejection> {
        let mut fields = Fields::new(value)?;
        let timestamp = fields.timestamp("timestamp").unwrap_or(received_at);
        let metadata = fields.any("metadata");
        let latency = latency(&metadata, timestamp, received_at);
        let event = Self {
            event_id: String::new(),
            event_type: fields.name("eventType"),
            source: fields.name("source"),
            timestamp,
            received_at,
            user_id: fields.id("userId"),
            session_id: fields.id("sessionId"),
            severity: fields.severity("severity"),
            tags: fields.tags("tags"),
            metadata,
            latency,
        };
        fields.finish()?;
        Ok(Self { event_id: event_id()?, ..event })
    }

    /// The body of the 202 that answers it.
    pub fn accepted(&self) -> Accepted<'_> {
        Accepted {
            event_id: &self.event_id,
            event_type: &self.event_type,
            status: "accepted",
            received_at: iso(self.received_at),
        }
    }
}

/// The answer to an event that was taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted<'a> {
    /// The id given to it.
    pub event_id: &'a str,
    /// Its type, as sent.
    pub event_type: &'a str,
    /// Always `accepted`.
    pub status: &'static str,
    /// When it came in; ISO 8601, UTC.
    pub received_at: String,
}

/// Why an event was not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The sender's fault: the body is not JSON, and why.
    #[error("the body is not JSON: {0}")]
    Malformed(String),
    /// The sender's fault: field by field, what is wrong with it.
    #[error("validation failed: {0:?}")]
    Invalid(BTreeMap<String, String>),
    /// Ours: the machine has no random bits to make an id of.
    #[error("no random bits for the id of an event")]
    NoRandomness,
}

impl Rejection {
    /// Whether the sender is at fault (400), and not we (500).
    pub fn is_senders_fault(&self) -> bool {
        !matches!(self, Rejection::NoRandomness)
    }

    /// The body of the answer.
    pub fn body(&self) -> Refusal {
        let (message, errors) = match self {
            Rejection::Malformed(why) => {
                let errors = BTreeMap::from([("body".to_owned(), why.clone())]);
                ("Malformed JSON", errors)
            }
            Rejection::Invalid(errors) => ("Validation failed", errors.clone()),
            Rejection::NoRandomness => ("Internal error", BTreeMap::new()),
        };
        Refusal { status: "error", message, errors }
    }
}

/// The answer to an event that was not taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Always `error`.
    pub status: &'static str,
    /// `Validation failed`, `Malformed JSON` or `Internal error`.
    pub message: &'static str,
    /// Field → why; the field is `body` where it is the body as a whole.
    pub errors: BTreeMap<String, String>,
}

fn latency(metadata: &Value, timestamp: Timestamp, received_at: Timestamp) -> Option<f64> {
    let stated = match metadata.get("latency") {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    let ms = stated
        .filter(|ms: &f64| ms.is_finite())
        .unwrap_or_else(|| received_at.duration_since(timestamp).as_secs_f64() * 1e3);
    (ms > 0.0).then_some(ms)
}

fn event_id() -> Result<String, Rejection> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|_| Rejection::NoRandomness)?;
    Ok(format!("evt_{:032x}", u128::from_ne_bytes(bits)))
}
