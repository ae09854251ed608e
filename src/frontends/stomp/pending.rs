//! What a session's client is not answered yet: messages that other nodes have to confirm, and subscriptions that wait for
//! them.
//!
//! Owns the answers that are late. The session itself goes on meanwhile: what comes behind is not held up.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::BytesMut;
use bytestring::ByteString;
use stomp_parser::{Command, Frame};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, spawn_local};

use super::acknowledge::Acknowledgement;
use super::encoder::StompEncoder;
use super::refusal::Refusal;
use crate::broker::{Accepted, CloseReason, SessionKey, Unsubscribed, Worker};
use crate::telemetry::metrics::Rule;

/// Messages of which others answer for all together, and what is done then.
pub(super) struct Unanswered {
    pub(super) messages: Vec<Accepted>,
    /// What was acknowledged in the same transaction.
    pub(super) settles: Vec<Acknowledgement>,
    pub(super) receipt: Option<ByteString>,
    /// Whether the receipt says that a message reached nobody.
    pub(super) tells_nobody: bool,
}

/// How a session's client is spoken to.
#[derive(Clone)]
pub(super) struct Voice {
    pub(super) worker: Rc<Worker>,
    pub(super) key: SessionKey,
    pub(super) encoder: &'static StompEncoder,
}

/// The late answers of one session.
#[derive(Default)]
pub(super) struct Pending {
    unanswered: RefCell<VecDeque<Unanswered>>,
    is_working: Cell<bool>,
    idle: Notify,
    subscriptions: RefCell<Vec<(ByteString, AbortHandle)>>,
}

impl Voice {
    pub(super) fn receipt(&self, receipt: ByteString, is_undeliverable: bool) {
        let mut frame = Frame::new(Command::Receipt).header("receipt-id", receipt);
        if is_undeliverable {
            frame = frame.header("undeliverable", "true");
        }
        self.worker.send(self.key, self.encoder.frame(&frame));
    }

    /// Tells the client what was wrong, and ends the connection.
    pub(super) fn refuse(&self, refusal: Refusal) {
        let Refusal { rule, message, detail, headers } = refusal;
        self.worker.broker().metrics().errors.get_or_create(&Rule { rule }).inc();
        let reason = CloseReason::Refused { rule };
        let mut last_words = BytesMut::new();
        self.encoder.error(message, &headers, &detail, &reason, &mut last_words);
        self.worker.end(self.key, last_words.freeze(), reason);
    }
}

impl Pending {
    /// Answers when others have answered for the messages, each at its turn.
    pub(super) fn await_confirmation(self: &Rc<Self>, voice: &Voice, unanswered: Unanswered) {
        self.unanswered.borrow_mut().push_back(unanswered);
        if self.is_working.replace(true) {
            return;
        }
        let (pending, voice) = (self.clone(), voice.clone());
        spawn_local(async move {
            while let Some(next) = pending.next() {
                pending.answer(&voice, next).await;
                voice.worker.flush();
            }
            pending.is_working.set(false);
            pending.idle.notify_waiters();
        });
    }

    fn next(&self) -> Option<Unanswered> {
        self.unanswered.borrow_mut().pop_front()
    }

    pub(super) async fn answer(&self, voice: &Voice, unanswered: Unanswered) {
        let Unanswered { messages, settles, receipt, tells_nobody } = unanswered;
        let mut nobody = false;
        for accepted in messages {
            match accepted.confirmed().await {
                Ok(published) => nobody |= published.undeliverable,
                Err(why) => {
                    self.unanswered.borrow_mut().clear();
                    return voice.refuse(Refusal::from(why).answering(receipt.as_deref()));
                }
            }
        }
        for acknowledgement in settles {
            // One that was looked at and is not found any more was acknowledged by another, of all up to it.
            let _ = acknowledgement.settle(&voice.worker, voice.key);
        }
        if let Some(receipt) = receipt {
            voice.receipt(receipt, nobody && tells_nobody);
        }
    }

    /// Whether something is not answered.
    pub(super) fn is_working(&self) -> bool {
        self.is_working.get()
    }

    /// Waits until everything is answered.
    pub(super) async fn answered(&self) {
        while self.is_working.get() {
            self.idle.notified().await;
        }
    }

    /// Has a subscription be made while the session goes on; it can still be [taken back](Pending::unsubscribe).
    pub(super) fn subscribe(
        self: &Rc<Self>,
        voice: Voice,
        id: ByteString,
        receipt: Option<ByteString>,
        making: impl Future<Output = Result<(), Unsubscribed>> + 'static,
    ) {
        let (pending, name) = (self.clone(), id.clone());
        let task = spawn_local(async move {
            let made = making.await;
            pending.subscriptions.borrow_mut().retain(|(id, _)| *id != name);
            match made {
                Ok(()) => voice.worker.flush(),
                Err(why) => voice.refuse(Refusal::from(why).answering(receipt.as_deref())),
            }
        });
        self.subscriptions.borrow_mut().push((id, task.abort_handle()));
    }

    /// How many subscriptions wait, and whether one of them has this id.
    pub(super) fn subscribed(&self, id: &str) -> (usize, bool) {
        let subscriptions = self.subscriptions.borrow();
        (subscriptions.len(), subscriptions.iter().any(|(have, _)| have == id))
    }

    /// Takes back a subscription that waits. Says whether there was one of that id.
    pub(super) fn unsubscribe(&self, id: &str) -> bool {
        let mut subscriptions = self.subscriptions.borrow_mut();
        let Some(at) = subscriptions.iter().position(|(have, _)| have == id) else { return false };
        subscriptions.swap_remove(at).1.abort();
        true
    }

    /// The session has ended.
    pub(super) fn end(&self) {
        for (_, task) in self.subscriptions.borrow_mut().drain(..) {
            task.abort();
        }
    }
}
