//! What handlers answer, to the asker alone.

use bytes::Bytes;
use serde::Serialize;

use super::{Json, Refused};
use crate::broker::Message;

/// An answer.
#[derive(Debug)]
pub enum Answer {
    /// A body: it goes to the `reply-to` of the request or, where there is none, to the asker's subscription to
    /// `/user/queue/<name>`, `<name>` being that of the handler.
    Body {
        /// What it is, as `content-type` says.
        content_type: &'static str,
        /// Its octets.
        body: Bytes,
    },
    /// A message to a destination, for those of the asker's own subscriptions that match it.
    Message(Message),
}

/// A result of a handler that is an answer, or none.
pub trait IntoAnswer {
    /// Makes it one.
    ///
    /// # Errors
    /// [`Refused`], if it says that the request is none that the handler takes.
    fn into_answer(self) -> Result<Option<Answer>, Refused>;
}

impl IntoAnswer for () {
    fn into_answer(self) -> Result<Option<Answer>, Refused> {
        Ok(None)
    }
}

impl IntoAnswer for Message {
    fn into_answer(self) -> Result<Option<Answer>, Refused> {
        Ok(Some(Answer::Message(self)))
    }
}

impl IntoAnswer for String {
    fn into_answer(self) -> Result<Option<Answer>, Refused> {
        Ok(Some(Answer::Body { content_type: "text/plain", body: self.into() }))
    }
}

impl<T: Serialize> IntoAnswer for Json<T> {
    fn into_answer(self) -> Result<Option<Answer>, Refused> {
        let body = serde_json::to_vec(&self.0)
            .map_err(|error| Refused(format!("the answer can't be written as JSON: {error}")))?;
        Ok(Some(Answer::Body { content_type: "application/json", body: body.into() }))
    }
}

impl<A: IntoAnswer> IntoAnswer for Option<A> {
    fn into_answer(self) -> Result<Option<Answer>, Refused> {
        self.map_or(Ok(None), A::into_answer)
    }
}

impl<A: IntoAnswer> IntoAnswer for Result<A, Refused> {
    fn into_answer(self) -> Result<Option<Answer>, Refused> {
        self.and_then(A::into_answer)
    }
}
