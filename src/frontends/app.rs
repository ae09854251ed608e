//! `/app/…` destinations: answered by handlers.
//!
//! Owns the table of handlers. What they do is theirs; who may ask is the core's.

use std::collections::BTreeMap;
use std::fmt;

use crate::broker::Message;

/// What a handler makes of a message: an answer for the asker alone, or nothing.
pub type Answer = Result<Option<Message>, Refused>;

/// A message that a handler can't take. The text says what is wrong with it, to whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

type Handler = Box<dyn Fn(&Message) -> Answer + Send + Sync>;

/// Handlers by the name behind `/app/`.
#[derive(Default)]
pub struct Handlers(BTreeMap<String, Handler>);

impl Handlers {
    /// No handlers.
    pub fn new() -> Handlers {
        Handlers::default()
    }

    /// Answers `/app/<name>` by `handler`. It runs on a worker's thread and must not block.
    #[must_use]
    pub fn on(
        mut self,
        name: &str,
        handler: impl Fn(&Message) -> Answer + Send + Sync + 'static,
    ) -> Handlers {
        self.0.insert(name.to_owned(), Box::new(handler));
        self
    }

    /// Hands `message` to the handler of its destination. The answer, if there is one, goes to the asker's own
    /// subscriptions that match its destination.
    ///
    /// # Errors
    /// [`Refused`], by the handler or because there is none.
    pub fn call(&self, message: &Message) -> Answer {
        match self.0.get(message.destination.name()) {
            Some(handler) => handler(message),
            None => {
                let known: Vec<String> = self.0.keys().map(|name| format!("/app/{name}")).collect();
                Err(Refused(format!(
                    "nothing answers {}; what is answered: {}",
                    crate::broker::excerpt(message.destination.text()),
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
