//! STOMP over what the `sockjs` crate carries: SockJS sessions and raw WebSockets.
//!
//! Owns the loop that reads. Writing is the hub's, through the write half that it is given here.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use actix_web::rt::task::JoinHandle;
use bytes::Bytes;
use sockjs::{End, Received, Writer};

use super::encoder::Form;
use super::session::{Session, StompDoor};
use crate::broker::{CloseReason, Connection, SessionKey, Worker};
use crate::telemetry::metrics::Rule;

/// Serves one client until its connection ends.
pub async fn serve(session: sockjs::Session, door: Rc<StompDoor>) {
    let (mut incoming, sink, peer) = session.into_parts();
    // Its headers are not needed any more, and there may be 20,000 of them.
    drop(peer);
    let framing = sink.framing();
    let transport = sink.transport();
    let (mut open, mut session) = open(sink.into_writer(), framing.into(), transport, door);
    let key = open.key;
    loop {
        let received = incoming.next().await;
        match received {
            Ok(Received::Text(text)) => take(&open, &mut session, text.into_bytes()).await,
            Ok(Received::Binary(octets)) => take(&open, &mut session, octets).await,
            Ok(Received::Reply(frame)) => {
                open.worker.heard(key);
                open.worker.send(key, frame);
                open.worker.flush();
            }
            Ok(Received::Partial) => {
                open.worker.heard(key);
            }
            Err(End::Protocol { code, reason }) => {
                let rule = "websocket";
                open.worker.broker().metrics().errors.get_or_create(&Rule { rule }).inc();
                open.reason = CloseReason::Refused { rule };
                break open.worker.end(key, framing.close(code, reason), open.reason.clone());
            }
            // The client said its last: when it was answered, both have.
            Err(End::Closed { .. }) => {
                open.worker.end(key, Bytes::new(), CloseReason::Gone);
                return open.worker.written(key).await;
            }
            Err(End::Gone | End::Io(_)) => return,
        }
    }
    // The hub writes what is left, within its deadline; unread input would make a reset of the end.
    incoming.drain().await;
}

/// Opens a session in the hub, which writes to it by `writer`.
pub(super) fn open(
    writer: Writer,
    form: Form,
    transport: &'static str,
    door: Rc<StompDoor>,
) -> (Open, Session) {
    let worker = door.worker.clone();
    let key = worker.open(Box::new(Half::new(writer)), Session::greeting_encoder(form), transport);
    (Open { worker, key, reason: CloseReason::Gone }, Session::new(door, key, form))
}

/// Hands octets to the session, if it is still listened to.
pub(super) async fn take(open: &Open, session: &mut Session, octets: Bytes) {
    if open.worker.begin(open.key) {
        // In a box, because what a session needs while it works would else be kept by each that is idle: 1,600
        // octets of 2,200 (see the test below).
        Box::pin(session.octets(octets)).await;
        open.worker.done(open.key);
    }
}

/// A session that is open in the hub, and removed from it however its task ends.
pub(super) struct Open {
    pub(super) worker: Rc<Worker>,
    pub(super) key: SessionKey,
    reason: CloseReason,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.worker.remove(self.key, self.reason.clone());
    }
}

/// The write half of a connection, as the hub wants it.
struct Half {
    writer: Writer,
    /// The task that waits until the connection takes something again. It keeps the socket, so it must not outlive the session.
    waits: RefCell<Option<JoinHandle<()>>>,
}

impl Half {
    fn new(writer: Writer) -> Half {
        Half { writer, waits: RefCell::new(None) }
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        if let Some(waits) = self.waits.take() {
            waits.abort();
        }
    }
}

impl Connection for Half {
    fn write(&self, octets: &[u8]) -> io::Result<usize> {
        self.writer.try_write(octets)
    }

    fn write_vectored(&self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.writer.try_write_vectored(pieces)
    }

    fn when_writable(&self, wake: Box<dyn FnOnce()>) {
        let writable = self.writer.writable();
        let waits = actix_web::rt::spawn(async move {
            writable.await;
            wake();
        });
        self.waits.replace(Some(waits));
    }

    fn finish(&self) {
        self.writer.shutdown();
    }

    fn abort(&self) {
        self.writer.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, F: Future>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// What 20,000 idle connections have each.
    #[test]
    fn the_task_of_an_idle_connection_is_small() {
        let octets = size_of_future(serve);
        assert!(octets <= 448, "{octets} octets");
    }
}
