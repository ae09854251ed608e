//! Peers that break the rules are told, and nothing is kept for them.

use std::time::Instant;

use sockjs::{Config, SockJs};

use crate::support::{CARRIERS, Client, Server, echo, frame};

fn small() -> SockJs {
    SockJs::new(echo).config(Config { max_message: 1000, ..Config::default() })
}

/// What a raw WebSocket is closed with after these octets.
fn closed_after(client: &mut Client, bytes: &[u8], code: u16) {
    client.send(bytes);
    client.expect_close(code);
    client.expect_end();
}

#[test]
fn raw_websockets_are_closed_with_the_codes_of_rfc_6455() {
    let cases: &[(&[u8], u16)] = &[
        (&[0x81, 0x01, b'x'], 1002),
        (&frame(0xc1, b"x"), 1002),
        (&frame(0x83, b"x"), 1002),
        (&frame(0x80, b"x"), 1002),
        (&frame(0x09, b"x"), 1002),
        (&frame(0x89, &[0; 126]), 1002),
        (&[frame(0x01, b"x"), frame(0x81, b"x")].concat(), 1002),
        (&frame(0x88, b"\x03"), 1002),
        (&frame(0x88, b"\x03\xee"), 1002),
        (&frame(0x88, b"\x03\xe8\xff"), 1007),
        (&frame(0x81, b"\xc3\x28"), 1007),
        (&[frame(0x01, b"\xc3"), frame(0x80, b"\x28")].concat(), 1007),
        (&frame(0x81, &[b'x'; 1001]), 1009),
        (&[frame(0x01, &[b'x'; 500]), frame(0x80, &[b'x'; 501])].concat(), 1009),
    ];
    for carrier in CARRIERS {
        let server = Server::start(carrier, small);
        for (bytes, code) in cases {
            closed_after(&mut server.raw(), bytes, *code);
        }
        let mut client = server.raw();
        client.send(&[frame(0x81, &[b'x'; 1000]), frame(0x81, b"\xff"), frame(0x81, b"after")].concat());
        assert_eq!(client.text().len(), 1000);
        client.expect_close(1007);
        client.expect_end();
    }
}

#[test]
fn a_message_too_big_is_refused_before_it_comes() {
    for carrier in CARRIERS {
        let server = Server::start(carrier, small);
        let head = [&[0x82, 0xff][..], &(1u64 << 40).to_be_bytes(), &[0; 4]].concat();
        closed_after(&mut server.raw(), &head, 1009);

        let mut client = server.sockjs();
        client.send(&head);
        assert_eq!(client.text(), r#"c[1009,"message too big"]"#);
        client.expect_close(1009);
        client.expect_end();

        // Small enough for the wire, too big once unquoted.
        let mut client = server.sockjs();
        client.send_text(&format!("[\"{}\"]", "x".repeat(1001)));
        assert_eq!(client.text(), r#"c[1009,"message too big"]"#);
        client.expect_close(1009);
    }
}

#[test]
fn the_reason_reaches_a_client_that_goes_on_sending() {
    for carrier in CARRIERS {
        let server = Server::start(carrier, small);
        let mut client = server.raw();
        let head = [&[0x82, 0xff][..], &(1u64 << 40).to_be_bytes(), &[0; 4]].concat();
        client.send(&head);
        client.send_much_once_answered();
        client.expect_close(1009);
        client.expect_end();
    }
}

#[test]
fn broken_sockjs_messages_close_at_once() {
    for carrier in CARRIERS {
        let server = Server::start(carrier, small);
        for broken in ["[\"x", "[1]", "{}", "\"\\ud800\"", "x"] {
            let mut client = server.sockjs();
            client.send_text(broken);
            assert_eq!(client.text(), r#"c[3000,"Broken framing."]"#, "{broken}");
            assert_eq!(client.expect_close(1000), "Normal closure");
            client.expect_end();
        }
        let mut client = server.sockjs();
        client.frame(0x82, b"[\"x\"]");
        assert_eq!(client.text(), r#"c[1003,"SockJS carries text only"]"#);
        client.expect_close(1003);
        let mut client = server.sockjs();
        client.frame(0x81, b"[\"\xff\"]");
        assert_eq!(client.text(), r#"c[1007,"text that is not UTF-8"]"#);
        client.expect_close(1007);
    }
}

#[test]
fn pings_without_end_are_answered_without_a_queue() {
    for carrier in CARRIERS {
        let server = Server::start(carrier, small);
        let mut client = server.raw();
        let started = Instant::now();
        let pings = frame(0x89, &[b'x'; 100]).repeat(1000);
        for _ in 0..100 {
            client.send(&pings);
        }
        client.frame(0x89, b"last");
        while client.read_frame().payload != b"last" {}
        assert!(started.elapsed().as_secs() < 10);
    }
}
