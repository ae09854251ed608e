//! Faults injected into a stream of real sockets are found and named.

#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use sockjs::Framing;

use super::audience::Audience;
use super::crew::Standing;
use super::ledger::{Faults, Ledger};
use super::stamp::Stamp;
use crate::client::Carrier;

const BOTH: [(Carrier, Framing); 2] =
    [(Carrier::Raw, Framing::WebSocket), (Carrier::SockJs, Framing::SockJsWebSocket)];

/// A server's side of a connection, and the client's.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (listener.accept().unwrap().0, client)
}

fn standing(socket: TcpStream, read: &[u8]) -> Standing {
    Standing { socket, read: read.into(), streaming: None }
}

fn message(number: u64, padding: usize) -> String {
    let stamp = Stamp { topic: 0, number, due: 0 }.text();
    format!(
        "MESSAGE\nsubscription:sub-0\nmessage-id:{number}\ndestination:/topic/a\n\n{}{stamp}\0",
        "x".repeat(padding)
    )
}

/// What one subscriber finds who is sent these numbers, of which there should be ten, in bodies of about this size.
fn found(numbers: &[u64], padding: usize, carrier: Carrier, framing: Framing) -> Faults {
    let (mut server, client) = pair();
    let ledger = Ledger::new(1, &[0], 10).unwrap();
    let mut audience = Audience::new(carrier, ledger, Instant::now()).unwrap();
    audience.join(standing(client, b""), Some(0)).unwrap();
    let mut wire = BytesMut::new();
    for number in numbers {
        framing.text(&message(*number, padding), &mut wire);
        framing.text("\n", &mut wire);
    }
    let writing = std::thread::spawn(move || server.write_all(&wire).unwrap());
    while !audience.ledger.is_deserted() {
        audience.receive(Duration::from_secs(1)).unwrap();
    }
    writing.join().unwrap();
    assert_eq!(audience.ended.values().sum::<u64>(), 1, "{:?}", audience.ended);
    audience.ledger.faults(&[10])
}

#[test]
fn lost_repeated_and_reordered_messages_are_noticed_on_the_wire() {
    let clean = Faults::default();
    for (carrier, framing) in BOTH {
        // Within one read, and over many.
        for padding in [0, 300_000] {
            let found = |numbers: &[u64]| found(numbers, padding, carrier, framing);
            assert_eq!(found(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), clean);
            assert_eq!(found(&[0, 1, 2, 4, 5, 6, 7, 8]), Faults { lost: 2, ..clean });
            assert_eq!(found(&[0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9]), Faults { repeated: 1, ..clean });
            assert_eq!(found(&[0, 1, 2, 4, 3, 5, 6, 7, 8, 9]), Faults { out_of_order: 1, ..clean });
            assert_eq!(found(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), Faults { stray: 1, ..clean });
        }
    }
}

#[test]
fn an_error_of_the_server_ends_the_connection_with_its_reason() {
    for (carrier, framing) in BOTH {
        let (mut server, client) = pair();
        let ledger = Ledger::new(1, &[0], 10).unwrap();
        let mut audience = Audience::new(carrier, ledger, Instant::now()).unwrap();
        // The beginning came with what was read while connecting.
        let mut wire = BytesMut::new();
        framing.text(&message(0, 0), &mut wire);
        framing.text("ERROR\nmessage:slow consumer\n\nRead faster.\0", &mut wire);
        let member = audience.join(standing(client, &wire[..20]), Some(0)).unwrap();
        server.write_all(&wire[20..]).unwrap();
        while audience.is_here(member) {
            audience.receive(Duration::from_secs(1)).unwrap();
        }
        assert_eq!(audience.ended.keys().collect::<Vec<_>>(), ["slow consumer"]);
        assert_eq!((audience.ledger.delivered, audience.ledger.faults(&[1]).lost), (1, 0));
    }
}
