//! STOMP over what the `sockjs` crate carries: SockJS sessions and raw WebSockets.
//!
//! Owns the loop that reads. Writing is the hub's, through the write half that it is given here.

use std::io;
use std::rc::Rc;

use bytes::Bytes;
use sockjs::{End, Received, Sink};

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
    let key = door.worker.open(
        Box::new(Half(sink)),
        Session::greeting_encoder(framing),
        transport,
    );
    let mut open = Open {
        worker: door.worker.clone(),
        key,
        reason: CloseReason::Gone,
    };
    let mut session = Session::new(door, key, framing);
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
                open.worker
                    .broker()
                    .metrics()
                    .errors
                    .get_or_create(&Rule { rule })
                    .inc();
                open.reason = CloseReason::Refused { rule };
                open.worker
                    .end(key, framing.close(code, reason), open.reason.clone());
                break;
            }
            Err(End::Closed { .. } | End::Gone | End::Io(_)) => break,
        }
    }
}

/// Hands octets to the session, if it is still listened to.
async fn take(open: &Open, session: &mut Session, octets: Bytes) {
    if open.worker.heard(open.key) {
        // In a box, because what a session needs while it works would else be kept by each that is idle: 1,600
        // octets of 2,200 (see the test below).
        Box::pin(session.octets(octets)).await;
    }
}

/// A session that is open in the hub, and removed from it however its task ends.
struct Open {
    worker: Rc<Worker>,
    key: SessionKey,
    reason: CloseReason,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.worker.remove(self.key, self.reason.clone());
    }
}

/// The write half of a session, as the hub wants it.
struct Half(Sink);

impl Connection for Half {
    fn write(&self, octets: &[u8]) -> io::Result<usize> {
        self.0.try_write(octets)
    }

    fn write_vectored(&self, pieces: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(pieces)
    }

    fn when_writable(&self, wake: Box<dyn FnOnce()>) {
        let writable = self.0.writable();
        actix_web::rt::spawn(async move {
            writable.await;
            wake();
        });
    }

    fn finish(&self) {
        self.0.shutdown();
    }

    fn abort(&self) {
        self.0.abort();
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
