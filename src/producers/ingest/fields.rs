//! The fields of an event, one rule each. A broken rule is noted and reading goes on, so that the sender learns of
//! all of them at once.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil, tz};
use serde_json::{Map, Value};

use super::{MAX_ID, MAX_NAME, MAX_TAG_VALUE, MAX_TAGS, Rejection, Severity};

/// Most characters of what was sent that an answer repeats.
const MAX_ECHO: usize = 40;

/// The fields not yet read, and what was wrong with those that were.
pub(super) struct Fields {
    unread: Map<String, Value>,
    wrong: BTreeMap<String, String>,
}

impl Fields {
    pub(super) fn new(body: Value) -> Result<Self, Rejection> {
        match body {
            Value::Object(unread) => Ok(Self { unread, wrong: BTreeMap::new() }),
            other => Err(Rejection::Invalid(BTreeMap::from([(
                "body".to_owned(),
                format!("must be an object, but is {}", kind(&other)),
            )]))),
        }
    }

    /// Whether all was well.
    pub(super) fn finish(self) -> Result<(), Rejection> {
        if self.wrong.is_empty() { Ok(()) } else { Err(Rejection::Invalid(self.wrong)) }
    }

    /// A required text, not blank, of up to [`MAX_NAME`] characters. Empty if it was wrong.
    pub(super) fn name(&mut self, field: &str) -> String {
        if !matches!(self.unread.get(field), Some(value) if !value.is_null()) {
            self.complain(field, "is required".to_owned());
            return String::new();
        }
        let text = self.text(field, MAX_NAME).unwrap_or_default();
        if is_blank(&text) && !self.wrong.contains_key(field) {
            self.complain(field, "must not be blank".to_owned());
        }
        text
    }

    /// An optional text of up to [`MAX_ID`] characters; a blank one is none.
    pub(super) fn id(&mut self, field: &str) -> Option<String> {
        self.text(field, MAX_ID).filter(|text| !is_blank(text))
    }

    /// Any JSON; null if absent.
    pub(super) fn any(&mut self, field: &str) -> Value {
        self.unread.remove(field).unwrap_or_default()
    }

    /// An optional moment in ISO 8601. Without an offset it is taken as UTC, and a date alone as its first moment.
    pub(super) fn timestamp(&mut self, field: &str) -> Option<Timestamp> {
        let text = self.text(field, usize::MAX)?;
        let moment = parse_timestamp(&text);
        if moment.is_none() {
            let why = "must be an ISO 8601 date and time, as 2026-01-31T12:00:00Z is, but is";
            self.complain(field, format!("{why} {}", echo(&text)));
        }
        moment
    }

    /// An optional severity, in capitals or not.
    pub(super) fn severity(&mut self, field: &str) -> Severity {
        let Some(text) = self.text(field, usize::MAX) else {
            return Severity::default();
        };
        Severity::parse(&text).unwrap_or_else(|| {
            let known = Severity::ALL.map(Severity::as_str).join(", ");
            self.complain(field, format!("must be one of {known}, but is {}", echo(&text)));
            Severity::default()
        })
    }

    /// Optional tags: an object of texts.
    pub(super) fn tags(&mut self, field: &str) -> BTreeMap<String, String> {
        let given = match self.unread.remove(field) {
            None | Some(Value::Null) => return BTreeMap::new(),
            Some(Value::Object(given)) => given,
            Some(other) => {
                self.complain(field, format!("must be an object, but is {}", kind(&other)));
                return BTreeMap::new();
            }
        };
        if given.len() > MAX_TAGS {
            let why = format!("must be at most {MAX_TAGS} tags, but there are {}", given.len());
            self.complain(field, why);
            return BTreeMap::new();
        }
        let read = given.into_iter().map(|(name, value)| tag(name, value));
        read.collect::<Result<_, String>>().unwrap_or_else(|why| {
            self.complain(field, why);
            BTreeMap::new()
        })
    }

    /// An optional text of up to `most` characters. Null is absent, as many a serialiser writes it.
    fn text(&mut self, field: &str, most: usize) -> Option<String> {
        match self.unread.remove(field)? {
            Value::Null => None,
            Value::String(text) => match too_long(&text, most) {
                None => Some(text),
                Some(why) => {
                    self.complain(field, why);
                    None
                }
            },
            other => {
                self.complain(field, format!("must be a string, but is {}", kind(&other)));
                None
            }
        }
    }

    fn complain(&mut self, field: &str, why: String) {
        self.wrong.insert(field.to_owned(), why);
    }
}

fn tag(name: String, value: Value) -> Result<(String, String), String> {
    if let Some(why) = too_long(&name, MAX_NAME) {
        return Err(format!("the name of tag {} {why}", echo(&name)));
    }
    match value {
        Value::String(text) => match too_long(&text, MAX_TAG_VALUE) {
            None => Ok((name, text)),
            Some(why) => Err(format!("tag {} {why}", echo(&name))),
        },
        other => Err(format!("tag {} must be a string, but is {}", echo(&name), kind(&other))),
    }
}

fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        let local: civil::DateTime = text.parse().ok()?;
        tz::Offset::UTC.to_timestamp(local).ok()
    })
}

/// What is wrong with the length of `text`, if anything.
fn too_long(text: &str, most: usize) -> Option<String> {
    if text.len() <= most {
        return None; // There are never more characters than octets.
    }
    let length = text.chars().count();
    (length > most).then(|| format!("must be at most {most} characters, but has {length}"))
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// What was sent, quoted and cut short.
fn echo(text: &str) -> String {
    let mut start: String = text.chars().take(MAX_ECHO).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    format!("{start:?}")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
