//! STOMP on a socket of its own: frames as they are, one behind the other.
//!
//! Owns what happens to a connection that a listener gave, and the loop that reads. The socket and its counting are the
//! `sockjs` crate's, whose `Stream` is an enum with room for TLS; writing is the hub's.

use std::io::{Read as _, Write as _};
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use sockjs::Writer;
use sockjs::server::{Connections, Octets};
use tokio::net::TcpStream;

use super::carrier::{open, take};
use super::encoder::Form;
use super::session::{Session, StompDoor};
use crate::broker::CloseReason;
use crate::telemetry::metrics::Rule;

/// The label in metrics.
const TRANSPORT: &str = "tcp";

/// Takes a connection that came, and serves it on this thread; one too many is told so and closed.
pub fn accept(tcp: TcpStream, connections: &Connections, door: Rc<StompDoor>) {
    match connections.take(tcp) {
        Ok((octets, writer)) => {
            actix_web::rt::spawn(serve(octets, writer, door));
        }
        Err(tcp) => refuse(tcp, &door),
    }
}

/// Serves one client until its connection ends. What it sends behind the last frame that counts is read and dropped: closing
/// a socket with unread input makes a reset, which can destroy what was written last.
async fn serve(mut octets: Octets, writer: Writer, door: Rc<StompDoor>) {
    let (open, mut session) = open(writer, Form::Plain, TRANSPORT, door);
    // A reset and the like are ways to go.
    while let Ok(read) = octets.next().await {
        let Some(chunk) = read else {
            // The client said its last; what it was promised is written, for as long as the hub allows.
            open.worker.end(open.key, Bytes::new(), CloseReason::Gone);
            return open.worker.written(open.key).await;
        };
        take(&open, &mut session, chunk).await;
    }
}

/// Says why, as far as that is possible without waiting: there is no place for one that waits.
fn refuse(tcp: TcpStream, door: &StompDoor) {
    let rule = "too_many_connections";
    door.worker.broker().metrics().errors.get_or_create(&Rule { rule }).inc();
    let mut words = BytesMut::new();
    let detail = "This server has as many connections as it may have. Try again later.";
    let reason = CloseReason::Refused { rule };
    Session::greeting_encoder(Form::Plain).error("too many connections", &[], detail, &reason, &mut words);
    // The runtime has not looked at the socket yet, and would not try.
    if let Ok(mut socket) = tcp.into_std() {
        // What the client sent already would make a reset of the end. One that has gone is not told.
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write(&words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, F: Future>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// What thousands of idle connections have each.
    #[test]
    fn the_task_of_an_idle_connection_is_small() {
        let octets = size_of_future(serve);
        assert!(octets <= 448, "{octets} octets");
    }
}
