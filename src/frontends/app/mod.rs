//! `/app/…` destinations: answered by handlers.
//!
//! Owns the table of handlers, and the types by which these say what they take and what they answer. What they do is theirs;
//! who may ask is the core's.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use stentor::frontends::app::{Handlers, Json, Refused, User};
//!
//! #[derive(Deserialize)]
//! struct Sum {
//!     a: i64,
//!     b: i64,
//! }
//!
//! #[derive(Serialize)]
//! struct Result_ {
//!     sum: i64,
//! }
//!
//! let handlers = Handlers::new()
//!     .on("add", |Json(sum): Json<Sum>| match sum.a.checked_add(sum.b) {
//!         Some(sum) => Ok(Json(Result_ { sum })),
//!         None => Err(Refused("the sum is too large".into())),
//!     })
//!     .on("hello", |User(user): User| format!("hello {}", user.as_deref().unwrap_or("nobody")));
//! # drop(handlers);
//! ```

mod answer;
mod extract;

use std::collections::BTreeMap;
use std::fmt;

pub use self::answer::{Answer, IntoAnswer};
pub use self::extract::{FromRequest, Json, Text, User};
use crate::broker::Message;

/// A message that a handler can't take. The text says what is wrong with it, to whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

/// What a handler is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The message.
    pub message: &'a Message,
    /// Who asks, if it said so.
    pub user: Option<&'a str>,
}

/// A function that answers: of arguments that are taken [from the request](FromRequest), up to four, and with a result
/// that [is an answer](IntoAnswer). It runs on a worker's thread and must not block.
pub trait Handler<Arguments>: Send + Sync + 'static {
    /// Answers.
    ///
    /// # Errors
    /// [`Refused`], if the request is none that it takes.
    fn answer(&self, request: &Request<'_>) -> Result<Option<Answer>, Refused>;
}

macro_rules! handler {
    ($($argument:ident),*) => {
        impl<F, R, $($argument,)*> Handler<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> R + Send + Sync + 'static,
            R: IntoAnswer,
            $($argument: FromRequest,)*
        {
            fn answer(&self, _request: &Request<'_>) -> Result<Option<Answer>, Refused> {
                self($($argument::from_request(_request)?),*).into_answer()
            }
        }
    };
}

handler!();
handler!(A);
handler!(A, B);
handler!(A, B, C);
handler!(A, B, C, D);

type Erased = Box<dyn Fn(&Request<'_>) -> Result<Option<Answer>, Refused> + Send + Sync>;

/// Handlers by the name behind `/app/`.
#[derive(Default)]
pub struct Handlers(BTreeMap<String, Erased>);

impl Handlers {
    /// No handlers.
    pub fn new() -> Handlers {
        Handlers::default()
    }

    /// Answers `/app/<name>` by `handler`; of two for one name the later counts.
    #[must_use]
    pub fn on<Arguments>(mut self, name: &str, handler: impl Handler<Arguments>) -> Handlers {
        self.0.insert(name.to_owned(), Box::new(move |request| handler.answer(request)));
        self
    }

    /// These, and `others`, which count where both have a name.
    #[must_use]
    pub fn and(mut self, others: Handlers) -> Handlers {
        self.0.extend(others.0);
        self
    }

    /// Hands a request to the handler of its destination.
    ///
    /// # Errors
    /// [`Refused`], by the handler or because there is none.
    pub fn call(&self, request: &Request<'_>) -> Result<Option<Answer>, Refused> {
        let destination = &request.message.destination;
        match self.0.get(destination.name()) {
            Some(handler) => handler(request),
            None => {
                let known: Vec<String> = self.0.keys().map(|name| format!("/app/{name}")).collect();
                Err(Refused(format!(
                    "nothing answers {}; what is answered: {}",
                    crate::broker::excerpt(destination.text()),
                    known.join(", "),
                )))
            }
        }
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handlers").field(&self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;

    use super::*;
    use crate::broker::{Destination, Headers, Tenant};

    fn ask(
        handlers: &Handlers,
        name: &str,
        body: &str,
        user: Option<&str>,
    ) -> Result<Option<Answer>, Refused> {
        let destination = Destination::parse(Tenant::DEFAULT, format!("/app/{name}").into()).unwrap();
        let message = Message::new(destination, Headers::new(), body.to_owned());
        handlers.call(&Request { message: &message, user })
    }

    fn body(answer: Result<Option<Answer>, Refused>) -> String {
        match answer.unwrap().unwrap() {
            Answer::Body { body, .. } => String::from_utf8(body.to_vec()).unwrap(),
            Answer::Message(message) => message.destination.text().to_string(),
        }
    }

    #[test]
    fn arguments_are_taken_from_the_request_and_results_are_answers() {
        let handlers = Handlers::new()
            .on("add", |Json((a, b)): Json<(i32, i32)>| Json(a + b))
            .on("who", |User(user): User, Text(text): Text| format!("{user:?} {text}"))
            .on("drop", |_: Bytes| ())
            .on("maybe", |Text(text): Text| (!text.is_empty()).then_some(text))
            .on("never", || Err::<(), _>(Refused("no".into())));
        assert_eq!(body(ask(&handlers, "add", "[1,2]", None)), "3");
        assert_eq!(body(ask(&handlers, "who", "x", Some("bob"))), "Some(\"bob\") x");
        assert!(ask(&handlers, "drop", "x", None).unwrap().is_none());
        assert!(ask(&handlers, "maybe", "", None).unwrap().is_none());
        assert_eq!(ask(&handlers, "never", "", None).unwrap_err(), Refused("no".into()));
        let Refused(why) = ask(&handlers, "add", "{}", None).unwrap_err();
        assert!(why.contains("not what /app/add takes"), "{why}");
        let Refused(why) = ask(&handlers, "other", "", None).unwrap_err();
        assert!(why.contains("/app/add, /app/drop"), "{why}");
    }
}
