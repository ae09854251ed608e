//! What clients do, by mistake or to do harm, that shall cost a server no more than it costs them.

use std::{
    net::Shutdown,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use sockjs::{Config, Session, SockJs};

use crate::support::{Carrier, Server, echo, wait_until};

fn one_worker(max: usize, config: Config) -> Server {
    Server::start_with(Carrier::Taken, max, 1, SockJs::new(echo).config(config))
}

fn soon_over() -> Config {
    Config { session_timeout: Duration::from_millis(300), ..Config::default() }
}

#[test]
fn a_receiver_that_asks_for_another_protocol_keeps_no_socket() {
    let server = one_worker(usize::MAX, soon_over());
    for n in 0..5 {
        let mut client = server.connect();
        let upgrade = ["Connection: Upgrade", "Upgrade: websocket"];
        client.send_request(&format!("POST /echo/000/{n}/xhr_streaming HTTP/1.1"), &upgrade);
        let response = client.response();
        assert_eq!((response.status, response.header("transfer-encoding")), (200, None));
        assert!(client.bytes(2049 + 2).ends_with(b"h\no\n"));
    }
    wait_until("nothing is left of them", || {
        server.connections.total() == 0 && server.sockjs.http_sessions() == 0
    });
}

#[test]
fn a_receiver_behind_a_large_answer_is_greeted_and_noticed_when_it_goes() {
    let server = one_worker(usize::MAX, soon_over());
    assert_eq!(server.poll("a"), "o\n");
    let mut client = server.connect();
    client.post("/echo/000/a/xhr", &[], "");
    client.post("/echo/000/b/xhr_streaming", &[], "");
    // Nothing shows that the poll waits. If it does not yet, the answer comes all the same.
    std::thread::sleep(Duration::from_millis(100));
    server.send_to("a", &format!("[\"{}\"]", "x".repeat(31_500)));
    assert_eq!(client.response().body.len(), 31_506);
    assert_eq!(client.response().status, 200);
    assert_eq!(client.until("\n").len(), 2049);
    assert_eq!(client.streamed(), "o\n");
    drop(client);
    wait_until("its socket is closed", || server.connections.total() == 0);
}

#[test]
fn a_full_server_goes_on_serving_whom_it_has() {
    let server = one_worker(1, Config { response_limit: 100, ..Config::default() });
    let mut client = server.stream("b");
    assert_eq!(client.streamed(), "o\n");
    for _ in 0..3 {
        server.send_to("b", &format!("[\"{}\"]", "y".repeat(100)));
        assert_eq!(client.streamed().len(), 106);
        assert_eq!(client.streamed(), "");
        client.post("/echo/000/b/xhr_streaming", &[], "");
        assert_eq!(client.response().status, 200);
        assert_eq!(client.until("\n").len(), 2049);
    }
}

#[test]
fn a_writer_hears_that_its_receiver_went() {
    static WRITTEN: AtomicUsize = AtomicUsize::new(0);
    static BLOCKED: AtomicUsize = AtomicUsize::new(0);
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    async fn pour(session: Session) {
        let (mut incoming, sink, _) = session.into_parts();
        actix_web::rt::spawn(async move {
            let frame = format!("a[\"{}\"]\n", "x".repeat(60_000));
            loop {
                match sink.try_write(frame.as_bytes()) {
                    Ok(written) => drop(WRITTEN.fetch_add(written, Ordering::SeqCst)),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        BLOCKED.store(WRITTEN.load(Ordering::SeqCst), Ordering::SeqCst);
                        sink.writable().await;
                    }
                    Err(_) => break,
                }
            }
            ENDED.fetch_add(1, Ordering::SeqCst);
        });
        while incoming.next().await.is_ok() {}
    }
    let sockjs = SockJs::new(pour).config(Config { response_limit: 1 << 40, ..soon_over() });
    let server = Server::start_with(Carrier::Taken, usize::MAX, 1, sockjs);
    let client = server.stream("a");
    wait_until("the socket is full", || BLOCKED.load(Ordering::SeqCst) > 0);
    client.stream.shutdown(Shutdown::Write).unwrap();
    wait_until("it ends", || ENDED.load(Ordering::SeqCst) == 1);
}

/// What looks like the end of a head in a body is none. This shows that nothing of it is lost, not what it costs.
#[test]
fn line_ends_without_end_are_read_like_anything_else() {
    let server = one_worker(usize::MAX, Config::default());
    assert_eq!(server.poll("a"), "o\n");
    server.send_to("a", &format!("[{}\"x\"]", "\r\n\r\n".repeat(100_000)));
    assert_eq!(server.poll("a"), "a[\"x\"]\n");
}
