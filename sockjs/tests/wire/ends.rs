//! Ways for a session to end, and heartbeats as long as it does not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sockjs::{Config, Message, SendError, Session, SockJs};

use crate::support::{CARRIERS, Carrier, Server, echo, frame, wait_until};

#[test]
fn the_client_closes() {
    for carrier in CARRIERS {
        let server = Server::start(carrier, || SockJs::new(echo));
        let mut client = server.raw();
        client.frame(0x88, b"\x0f\xa0because");
        assert_eq!(client.expect_close(4000), "");
        client.expect_end();
        let mut client = server.raw();
        client.frame(0x88, b"");
        let answer = client.read_frame();
        assert_eq!((answer.opcode, answer.payload.len()), (8, 0));
        client.expect_end();
        let mut client = server.sockjs();
        client.send(&[frame(0x81, b"\"x\""), frame(0x88, b"\x03\xe8")].concat());
        assert_eq!(client.text(), r#"a["x"]"#);
        client.expect_close(1000);
        client.expect_end();
    }
}

#[test]
fn the_handler_ends() {
    async fn last_words(session: Session) {
        session.sender().text("bye").unwrap();
    }
    for carrier in CARRIERS {
        let server = Server::start(carrier, || SockJs::new(last_words));
        let mut client = server.sockjs();
        assert_eq!(client.text(), r#"a["bye"]"#);
        assert_eq!(client.text(), r#"c[3000,"Go away!"]"#);
        assert_eq!(client.expect_close(1000), "Normal closure");
        client.frame(0x88, b"\x03\xe8");
        client.expect_end();
        let mut client = server.raw();
        assert_eq!(client.text(), "bye");
        assert_eq!(client.expect_close(1000), "");
        client.frame(0x88, b"\x03\xe8");
        client.expect_end();

        let server = Server::start(carrier, || SockJs::new(|_session| async {}));
        let mut client = server.sockjs();
        assert_eq!(client.text(), r#"c[3000,"Go away!"]"#);
    }
}

#[test]
fn the_handler_closes_with_a_code() {
    async fn close(mut session: Session) {
        let sender = session.sender();
        while let Some(Message::Text(text)) = session.recv().await {
            sender.text(&text).unwrap();
            sender.close(4321, "as \"asked\"");
            assert!(sender.is_closed());
            assert_eq!(sender.text("too late"), Err(SendError::Closed));
        }
    }
    for carrier in CARRIERS {
        let server = Server::start(carrier, || SockJs::new(close));
        let mut client = server.sockjs();
        client.send_text("\"x\"");
        assert_eq!(client.text(), r#"a["x"]"#);
        assert_eq!(client.text(), r#"c[4321,"as \"asked\""]"#);
        client.expect_close(1000);
        client.frame(0x88, b"\x03\xe8");
        client.expect_end();
        let mut client = server.raw();
        client.send_text("x");
        assert_eq!(client.text(), "x");
        assert_eq!(client.expect_close(4321), "as \"asked\"");
        client.frame(0x88, b"\x10\xe1");
        client.expect_end();
    }
}

#[test]
fn another_task_closes() {
    async fn closed_from_afar(mut session: Session) {
        let sender = session.sender();
        actix_web::rt::spawn(async move {
            for n in 0.. {
                if sender.text(n.to_string()).is_err() {
                    break;
                }
                if n == 3 {
                    sender.close(3001, "enough");
                }
                actix_web::rt::time::sleep(Duration::from_millis(1)).await;
            }
        });
        assert_eq!(session.recv().await, None);
    }
    for carrier in CARRIERS {
        let server = Server::start(carrier, || SockJs::new(closed_from_afar));
        let mut client = server.raw();
        for n in 0..4 {
            assert_eq!(client.text(), n.to_string());
        }
        assert_eq!(client.expect_close(3001), "enough");
    }
}

#[test]
fn a_client_that_does_not_answer_the_close_is_cut_off() {
    for carrier in CARRIERS {
        let config = Config { close_timeout: Duration::from_millis(200), ..Config::default() };
        let server = Server::start(carrier, move || SockJs::new(|_| async {}).config(config.clone()));
        let mut client = server.raw();
        client.expect_close(1000);
        let started = Instant::now();
        client.read_to_end();
        assert!(started.elapsed() < Duration::from_secs(5));
        wait_until("the connection is gone", || server.connections.total() == 0);
    }
}

#[test]
fn a_client_that_does_not_read_cannot_hold_an_ended_session() {
    async fn flood(session: Session) {
        let sender = session.sender();
        while sender.text("x".repeat(100_000)) != Err(SendError::Full) {
            actix_web::rt::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let config = Config { close_timeout: Duration::from_millis(200), ..Config::default() };
    let server = Server::start(Carrier::Taken, move || SockJs::new(flood).config(config.clone()));
    let client = server.raw();
    wait_until("the session began", || server.connections.total() == 1);
    wait_until("the connection is gone", || server.connections.total() == 0);
    drop(client);
}

#[test]
fn a_queue_that_is_full_says_so_and_loses_nothing() {
    const COUNT: usize = 400;
    async fn flood(mut session: Session) {
        let sender = session.sender();
        let mut full = 0;
        for n in 0..COUNT {
            while let Err(error) = sender.text(format!("{n} {}", "x".repeat(100_000))) {
                assert_eq!(error, SendError::Full);
                full += 1;
                if full == 1 {
                    FULL.fetch_add(1, Ordering::SeqCst);
                }
                actix_web::rt::time::sleep(Duration::from_millis(1)).await;
            }
        }
        session.recv().await;
    }
    static FULL: AtomicUsize = AtomicUsize::new(0);
    for (n, carrier) in CARRIERS.into_iter().enumerate() {
        let server = Server::start(carrier, || SockJs::new(flood));
        let mut client = server.raw();
        wait_until("the queue is full", || FULL.load(Ordering::SeqCst) == n + 1);
        for n in 0..COUNT {
            let text = client.text();
            assert!(text.starts_with(&format!("{n} ")) && text.len() > 100_000);
        }
    }
}

#[test]
fn vanished_clients_end_their_sessions() {
    for carrier in CARRIERS {
        let ended = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&ended);
        let server = Server::start(carrier, move || {
            let counter = Arc::clone(&counter);
            SockJs::new(move |session| {
                let counter = Arc::clone(&counter);
                async move {
                    echo(session).await;
                    counter.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        let mut half = server.raw();
        half.send(&frame(0x81, b"unfinished")[..5]);
        drop(half);
        drop(server.sockjs());
        let rude = server.raw();
        socket2::SockRef::from(&rude.stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(rude);
        wait_until("the sessions ended", || ended.load(Ordering::SeqCst) == 3);
        wait_until("the connections are gone", || server.connections.total() == 0);
    }
}

#[test]
fn sockjs_sessions_get_heartbeats_and_raw_ones_none() {
    for carrier in CARRIERS {
        let config = Config { heartbeat: Duration::from_millis(60), ..Config::default() };
        let server = Server::start(carrier, move || SockJs::new(echo).config(config.clone()));
        let (mut sockjs, mut raw) = (server.sockjs(), server.raw());
        let started = Instant::now();
        for _ in 0..3 {
            assert_eq!(sockjs.text(), "h");
        }
        assert!(started.elapsed() >= Duration::from_millis(150), "{:?}", started.elapsed());
        sockjs.send_text("\"x\"");
        while sockjs.text() == "h" {}
        raw.send_text("nothing before this");
        assert_eq!(raw.text(), "nothing before this");
    }
}
