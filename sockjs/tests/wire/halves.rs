//! Sessions taken apart: a handler that reads and writes by itself.

use std::{
    io::{self, IoSlice},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use bytes::BytesMut;
use sockjs::{End, Framing, Incoming, Received, Session, Sink, SockJs};

use crate::support::{CARRIERS, Carrier, PATIENCE, Server, frame, wait_until};

/// Writes all of it, waiting where that is needed.
async fn write_all(sink: &Sink, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match sink.try_write(bytes) {
            Ok(taken) => bytes = &bytes[taken..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sink.writable().await,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads and drops until the end.
async fn end_of(incoming: &mut Incoming) -> End {
    loop {
        if let Err(end) = incoming.next().await {
            return end;
        }
    }
}

/// Everything that is received, in words.
async fn record(session: Session, log: mpsc::Sender<String>) {
    let (mut incoming, sink, _) = session.into_parts();
    loop {
        let (word, over) = match incoming.next().await {
            Ok(Received::Text(text)) => (format!("text {text}"), false),
            Ok(Received::Binary(body)) => (format!("binary {body:?}"), false),
            Ok(Received::Reply(reply)) => {
                write_all(&sink, &reply).await.unwrap();
                (format!("reply {reply:?}"), false)
            }
            Ok(Received::Partial) => ("partial".into(), false),
            Err(End::Closed { code, reason }) => (format!("closed {code} {reason}"), true),
            Err(End::Protocol { code, reason }) => {
                write_all(&sink, &sink.framing().close(code, reason)).await.unwrap();
                (format!("protocol {code}"), true)
            }
            Err(end) => (format!("{end:?}"), true),
        };
        let _ = log.send(word);
        if over {
            assert!(matches!(incoming.next().await, Err(End::Gone)));
            return;
        }
    }
}

/// A server that records into the receiver.
fn recorder(carrier: Carrier) -> (Server, mpsc::Receiver<String>) {
    let (tx, rx) = mpsc::channel();
    let server = Server::start(carrier, move || {
        let log = tx.clone();
        SockJs::new(move |session| record(session, log.clone()))
    });
    (server, rx)
}

fn next(log: &mpsc::Receiver<String>) -> String {
    log.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn what_comes_is_told_as_it_comes() {
    for carrier in CARRIERS {
        let (server, log) = recorder(carrier);
        let mut client = server.raw();
        client.send_text("one");
        assert_eq!(next(&log), "text one");
        let bytes = frame(0x81, b"in two");
        client.send(&bytes[..7]);
        assert_eq!(next(&log), "partial");
        client.send(&bytes[7..]);
        assert_eq!(next(&log), "text in two");
        client.frame(0x8a, b"");
        assert_eq!(next(&log), "partial", "a pong is a sign of life");
        client.frame(0x89, b"hi");
        assert_eq!(next(&log), r#"reply b"\x8a\x02hi""#);
        assert_eq!(client.read_frame().payload, b"hi");
        client.frame(0x82, b"\xff");
        assert_eq!(next(&log), r#"binary b"\xff""#);
        client.frame(0x88, b"\x03\xe8bye");
        assert_eq!(next(&log), r#"reply b"\x88\x02\x03\xe8""#);
        assert_eq!(next(&log), "closed 1000 bye");
        client.expect_close(1000);
        client.expect_end();

        let mut client = server.sockjs();
        client.send_text("[]");
        assert_eq!(next(&log), "partial");
        client.send_text(r#"["a","b"]"#);
        assert_eq!((next(&log), next(&log)), ("text a".into(), "text b".into()));
        client.frame(0x81, b"[");
        assert_eq!(next(&log), "protocol 3000");
        assert_eq!(client.text(), r#"c[3000,"Broken framing."]"#);
        drop(server.raw());
        assert_eq!(next(&log), "Gone");
    }
}

/// So many octets that no kernel takes them all for a client that does not read.
const MUCH: usize = 64 << 20;

#[test]
fn a_write_waits_for_the_reader_and_goes_on_exactly_where_it_stopped() {
    #[derive(Default)]
    struct Seen {
        written: AtomicUsize,
        blocked: AtomicUsize,
    }
    async fn pour(session: Session, seen: Arc<Seen>) {
        let (mut incoming, sink, _) = session.into_parts();
        let bytes: Vec<u8> = (0..MUCH as u32 / 4).flat_map(u32::to_le_bytes).collect();
        let mut frame = BytesMut::new();
        sink.framing().binary(&bytes, &mut frame).unwrap();
        while !frame.is_empty() {
            // With several buffers at once, as a hub writes.
            let parts: Vec<IoSlice<'_>> = frame.chunks(100_000).take(50).map(IoSlice::new).collect();
            match sink.try_write_vectored(&parts) {
                Ok(taken) => {
                    drop(frame.split_to(taken));
                    seen.written.fetch_add(taken, Ordering::SeqCst);
                }
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    seen.blocked.fetch_add(1, Ordering::SeqCst);
                    sink.writable().await;
                }
            }
        }
        sink.shutdown();
        assert!(matches!(end_of(&mut incoming).await, End::Gone));
    }
    for carrier in CARRIERS {
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let server = Server::start(carrier, move || {
            let seen = Arc::clone(&shared);
            SockJs::new(move |session| pour(session, Arc::clone(&seen)))
        });
        let mut client = server.raw();
        let written = || seen.written.load(Ordering::SeqCst);
        wait_until("the socket is full", || {
            let before = written();
            thread::sleep(Duration::from_millis(50));
            seen.blocked.load(Ordering::SeqCst) > 0 && written() == before
        });
        assert!(written() < MUCH);
        let frame = client.read_frame();
        let numbers = frame.payload.chunks(4).map(|n| u32::from_le_bytes(n.try_into().unwrap()));
        assert!(numbers.eq(0..MUCH as u32 / 4));
        client.expect_end();
        // Each time with room for a segment or more: it waited, rather than asking all the time.
        let blocked = seen.blocked.load(Ordering::SeqCst);
        assert!(blocked < MUCH / 1000, "blocked {blocked} times");
    }
}

#[test]
fn abort_ends_both_halves_and_the_connection() {
    async fn abort(session: Session, ended: Arc<AtomicUsize>) {
        let (mut incoming, sink, _) = session.into_parts();
        let mut much = BytesMut::new();
        sink.framing().binary(&vec![0; MUCH], &mut much).unwrap();
        let mut offered = &much[..];
        while let Ok(taken) = sink.try_write(offered) {
            offered = &offered[taken..];
        }
        let reader = actix_web::rt::spawn(async move {
            let end = end_of(&mut incoming).await;
            (end, incoming)
        });
        let writable = sink.writable();
        let writer = actix_web::rt::spawn(writable);
        actix_web::rt::task::yield_now().await;
        sink.abort();
        let (end, incoming) = reader.await.unwrap();
        assert!(matches!(end, End::Gone));
        writer.await.unwrap();
        assert_ne!(sink.try_write(b"x").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        ended.fetch_add(1, Ordering::SeqCst);
        // The connection goes although its halves are still held.
        actix_web::rt::time::sleep(Duration::from_secs(3600)).await;
        drop((incoming, sink));
    }
    for carrier in CARRIERS {
        let ended = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&ended);
        let server = Server::start(carrier, move || {
            let ended = Arc::clone(&counter);
            SockJs::new(move |session| abort(session, Arc::clone(&ended)))
        });
        let mut client = server.raw();
        wait_until("both halves ended", || ended.load(Ordering::SeqCst) == 1);
        if carrier == Carrier::Taken {
            let (octets, error) = client.read_to_end();
            assert_eq!(error, Some(io::ErrorKind::ConnectionReset));
            assert!(octets < MUCH, "what the kernel had not sent is discarded");
        } else {
            let (octets, _) = client.read_to_end();
            assert!(octets < MUCH);
        }
    }
}

#[test]
fn dropping_both_halves_closes() {
    for carrier in CARRIERS {
        let server =
            Server::start(carrier, || SockJs::new(|session: Session| async { drop(session.into_parts()) }));
        server.raw().expect_end();
        wait_until("the connection is gone", || server.connections.total() == 0);
    }
}

#[test]
fn halves_outlive_their_handler() {
    async fn leave(session: Session) {
        let (mut incoming, sink, peer) = session.into_parts();
        drop(peer);
        actix_web::rt::spawn(async move {
            while let Ok(received) = incoming.next().await {
                if let Received::Text(text) = received {
                    let mut frame = BytesMut::new();
                    sink.framing().text(&text, &mut frame);
                    write_all(&sink, &frame).await.unwrap();
                }
            }
        });
    }
    for carrier in CARRIERS {
        let server = Server::start(carrier, || SockJs::new(leave));
        let mut client = server.sockjs();
        for text in ["one", "two"] {
            client.send_text(&format!("\"{text}\""));
            assert_eq!(client.text(), format!("a[\"{text}\"]"));
        }
        assert_eq!(Framing::SockJsWebSocket.heartbeat(), Some(&b"\x81\x01h"[..]));
    }
}
