//! The HTTP server that gives up its sockets.

use sockjs::{Config, SockJs};

use crate::support::{BIG, CARRIERS, Carrier, Server, UPGRADE, echo, frame, request, wait_until};

fn plain() -> SockJs {
    SockJs::new(echo)
}

#[test]
fn answers_to_earlier_requests_come_before_the_handshakes() {
    for carrier in CARRIERS {
        let server = Server::start(carrier, plain);
        let mut client = server.connect();
        let mut bytes = request("GET /hello HTTP/1.1", &[]).repeat(3).into_bytes();
        bytes.extend(request("GET /echo/s/s/websocket HTTP/1.1", &UPGRADE).into_bytes());
        bytes.extend(frame(0x81, b"\"behind\""));
        client.send(&bytes);
        for _ in 0..3 {
            assert_eq!(client.response().body, "hello");
        }
        assert_eq!(client.response().status, 101);
        assert_eq!(client.text(), "o");
        assert_eq!(client.text(), r#"a["behind"]"#);
    }
}

#[test]
fn a_handshake_waits_for_an_earlier_answer_that_is_read_slowly() {
    let server = Server::start(Carrier::Taken, plain);
    let mut client = server.connect();
    client.send_request("GET /big HTTP/1.1", &[]);
    client.send_request("GET /echo/s/s/websocket HTTP/1.1", &UPGRADE);
    assert_eq!(client.response().body.len(), BIG);
    assert_eq!(client.response().status, 101);
    assert_eq!(client.text(), "o");
    client.send_text("\"x\"");
    assert_eq!(client.text(), r#"a["x"]"#);
}

#[test]
fn taken_connections_are_counted_and_bounded() {
    let server = Server::start_bounded(Carrier::Taken, 2, plain);
    let (first, mut second) = (server.raw(), server.sockjs());
    assert_eq!(server.connections.total(), 2);
    let refused = server.request("GET /echo/websocket HTTP/1.1", &UPGRADE);
    assert_eq!((refused.status, &*refused.body), (503, "Too many connections."));
    drop(first);
    wait_until("one is gone", || server.connections.total() == 1);
    let mut third = server.raw();
    third.send_text("x");
    assert_eq!(third.text(), "x");
    second.send_text("\"x\"");
    assert_eq!(second.text(), r#"a["x"]"#);
}

#[test]
fn upgrades_that_are_not_for_sessions_get_the_apps_answer() {
    let server = Server::start(Carrier::Taken, plain);
    let mut client = server.connect();
    client.send_request("GET /hello HTTP/1.1", &UPGRADE);
    let response = client.response();
    assert_eq!((response.status, &*response.body), (200, "hello"));
    assert_eq!(response.header("connection"), Some("close"));
    client.expect_end();

    assert_eq!(server.request("GET /nothing HTTP/1.1", &UPGRADE).status, 404);
    assert_eq!(server.request("GET /other HTTP/1.1", &UPGRADE).status, 501);
    let mut client = server.connect();
    client.send_request("GET /hello HTTP/1.1", &UPGRADE);
    client.send_much_once_answered();
    assert_eq!(client.response().body, "hello");
    client.expect_end();

    let mut client = server.connect();
    client.send_request("GET /big HTTP/1.1", &UPGRADE);
    assert_eq!(client.response().body.len(), BIG);
    client.expect_end();
}

#[test]
fn other_requests_keep_their_connection() {
    let server = Server::start(Carrier::Taken, plain);
    let mut client = server.connect();
    for _ in 0..3 {
        client.send_request("GET /echo HTTP/1.1", &[]);
        assert_eq!(client.response().body, "Welcome to SockJS!\n");
    }
}

#[test]
fn a_stop_with_open_sessions_is_clean() {
    for carrier in CARRIERS {
        for graceful in [false, true] {
            // A mounted session holds up a graceful stop until its time is over, as every open
            // request does.
            if carrier == Carrier::Mounted && graceful {
                continue;
            }
            let mut server = Server::start(carrier, || {
                SockJs::new(echo).config(Config { notsent_lowat: None, ..Config::default() })
            });
            let (mut raw, mut sockjs) = (server.raw(), server.sockjs());
            raw.send_text("x");
            assert_eq!(raw.text(), "x");
            sockjs.send_text("\"x\"");
            assert_eq!(sockjs.text(), r#"a["x"]"#);
            server.stop(graceful);
            raw.read_to_end();
            sockjs.read_to_end();
            wait_until("all are gone", || server.connections.total() == 0);
        }
    }
}
