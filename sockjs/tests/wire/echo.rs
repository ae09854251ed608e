//! Messages there and back, in whatever pieces they come.

use sockjs::{Config, Message, Prepared, Session, SockJs};

use crate::support::{CARRIERS, Server, UPGRADE, echo, frame, request};

/// What must survive: everything that quoting, JSON and UTF-8 treat in their own way.
const ODD: &str = "\u{0}\u{1}\u{8}\t\n\u{c}\r\u{1f} \"\\/</script> é \
    \u{200b}\u{200c}\u{2028}\u{2060}\u{d7ff}\u{e000}\u{fff0}\u{ffff}😀";

fn json(texts: &[&str]) -> String {
    serde_json::to_string(texts).unwrap()
}

/// The text of a SockJS frame with one message.
fn message(frame: &str) -> String {
    let texts: Vec<String> = serde_json::from_str(frame.strip_prefix('a').expect(frame)).unwrap();
    assert_eq!(texts.len(), 1);
    texts.into_iter().next().unwrap()
}

fn plain() -> SockJs {
    SockJs::new(echo)
}

#[test]
fn sockjs_messages() {
    for carrier in CARRIERS {
        let server = Server::start(carrier, plain);
        let mut client = server.sockjs();
        client.send_text(&json(&["hello"]));
        assert_eq!(client.text(), r#"a["hello"]"#);
        client.send_text(&json(&[ODD]));
        assert_eq!(message(&client.text()), ODD);
        client.send_text(&json(&["one", "two", "three"]));
        for text in ["one", "two", "three"] {
            assert_eq!(message(&client.text()), text);
        }
        client.send_text("");
        client.send_text("[]");
        client.send_text("\"a single string\"");
        assert_eq!(client.text(), r#"a["a single string"]"#);
    }
}

#[test]
fn raw_messages() {
    for carrier in CARRIERS {
        let server = Server::start(carrier, plain);
        let mut client = server.raw();
        client.send_text(ODD);
        assert_eq!(client.text(), ODD);
        client.send_text("");
        assert_eq!(client.text(), "");
        client.frame(0x82, b"\xff\x00\xfe");
        let answer = client.read_frame();
        assert_eq!((answer.opcode, &answer.payload[..]), (2, &b"\xff\x00\xfe"[..]));
    }
}

#[test]
fn large_messages() {
    for carrier in CARRIERS {
        let server = Server::start(carrier, plain);
        for len in [125, 126, 4_000, 65_535, 65_536, 70_000, 1024 * 1024] {
            let text: String = ('a'..='z').cycle().take(len).collect();
            let mut client = server.raw();
            client.send_text(&text);
            assert!(client.text() == text, "{len} octets raw");
            let mut client = server.sockjs();
            client.send_text(&json(&[&text]));
            assert!(message(&client.text()) == text, "{len} octets over SockJS");
        }
        // Each octet of it takes six on the wire.
        let text = "\u{1}".repeat(1024 * 1024);
        let mut client = server.sockjs();
        client.send_text(&json(&[&text]));
        assert!(message(&client.text()) == text);
    }
}

#[test]
fn fragments_with_control_frames_between() {
    for carrier in CARRIERS {
        let server = Server::start(carrier, plain);
        let mut client = server.raw();
        client.frame(0x01, b"Hel");
        client.frame(0x89, b"ping");
        client.frame(0x00, "lo \u{e9}".as_bytes().split_last().unwrap().1);
        client.frame(0x8a, b"unasked");
        client.frame(0x89, b"");
        client.frame(0x80, &"\u{e9}!".as_bytes()[1..]);
        let mut pongs = Vec::new();
        let text = loop {
            let frame = client.read_frame();
            match frame.opcode {
                10 => pongs.push(frame.payload),
                _ => break frame.payload,
            }
        };
        assert_eq!(String::from_utf8(text).unwrap(), "Hello \u{e9}!");
        // Of pings that came together, only the last one needs an answer.
        assert_eq!(pongs.pop().as_deref(), Some(&b""[..]));
        assert!(pongs.is_empty() || pongs == [b"ping"], "{pongs:?}");
    }
}

#[test]
fn one_octet_at_a_time() {
    for carrier in CARRIERS {
        let server = Server::start(carrier, plain);
        let mut client = server.connect();
        let mut bytes = request("GET /echo/s/s/websocket HTTP/1.1", &UPGRADE).into_bytes();
        for text in ["first", ODD, "last"] {
            bytes.extend(frame(0x81, json(&[text]).as_bytes()));
        }
        for octet in bytes {
            client.send(&[octet]);
        }
        assert_eq!(client.response().status, 101);
        assert_eq!(client.text(), "o");
        for text in ["first", ODD, "last"] {
            assert_eq!(message(&client.text()), text);
        }
    }
}

#[test]
fn all_at_once_right_behind_the_handshake() {
    // A client on a busy machine may read late: the queue has room for all of them.
    let roomy = || plain().config(Config { queue_messages: 5_000, ..Config::default() });
    for carrier in CARRIERS {
        let server = Server::start(carrier, roomy);
        let mut client = server.connect();
        let mut bytes = request("GET /echo/websocket HTTP/1.1", &UPGRADE).into_bytes();
        for n in 0..5_000 {
            bytes.extend(frame(0x81, format!("message {n}").as_bytes()));
        }
        client.send(&bytes);
        assert_eq!(client.response().status, 101);
        for n in 0..5_000 {
            assert_eq!(client.text(), format!("message {n}"));
        }
    }
}

#[test]
fn prepared_messages_reach_both_framings() {
    async fn twice(mut session: Session) {
        let sender = session.sender();
        let prepared = Prepared::text("prepared \u{1}");
        while let Some(Message::Text(_)) = session.recv().await {
            sender.try_send(&prepared).unwrap();
            sender.try_send(&prepared).unwrap();
            assert!(
                sender.try_send(&Prepared::binary(&b"x"[..])).is_ok()
                    == (session.peer().transport() == "websocket-raw")
            );
        }
    }
    for carrier in CARRIERS {
        let server = Server::start(carrier, || SockJs::new(twice));
        let mut client = server.sockjs();
        client.send_text("\"go\"");
        assert_eq!(client.text(), "a[\"prepared \\u0001\"]");
        assert_eq!(client.text(), "a[\"prepared \\u0001\"]");
        let mut client = server.raw();
        client.send_text("go");
        assert_eq!(client.text(), "prepared \u{1}");
        assert_eq!(client.text(), "prepared \u{1}");
        assert_eq!(client.read_frame().opcode, 2);
    }
}

#[test]
fn the_handler_knows_its_peer() {
    fn facts(session: &Session) -> String {
        let peer = session.peer();
        let agent = peer.headers().get("user-agent").unwrap();
        format!(
            "{} {} {:?} {} {}",
            peer.transport(),
            peer.uri().path(),
            peer.query(),
            agent.to_str().unwrap(),
            peer.remote().unwrap().ip(),
        )
    }
    async fn tell(mut session: Session) {
        let sender = session.sender();
        sender.text(facts(&session)).unwrap();
        session.recv().await;
        sender.text(facts(&session)).unwrap();
    }
    for carrier in CARRIERS {
        let server = Server::start(carrier, || SockJs::new(tell));
        let mut client = server.websocket("/echo/websocket?a=b%20c");
        let facts = "websocket-raw /echo/websocket Some(\"a=b%20c\") test 127.0.0.1";
        assert_eq!(client.text(), facts);
        client.send_text("and again");
        assert_eq!(client.text(), facts);
        let mut client = server.sockjs();
        let facts = "websocket /echo/000/session/websocket None test 127.0.0.1";
        assert_eq!(message(&client.text()), facts);
    }
}
