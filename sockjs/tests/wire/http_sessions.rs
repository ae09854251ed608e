//! Sessions over HTTP: receivers come and go, messages come by requests of their own, to any worker.

use std::{net::Shutdown, time::Duration};

use sockjs::{Config, Message, Origins, Session, SockJs};

use crate::support::{CARRIERS, Carrier, Client, Response, Server, echo, request, wait_until};

fn service(config: Config) -> SockJs {
    SockJs::new(echo).config(config)
}

/// Two workers: every second connection is another one's.
fn start(carrier: Carrier, config: Config) -> Server {
    Server::start_with(carrier, usize::MAX, 2, service(config))
}

impl Server {
    /// A request on a connection of its own.
    pub(crate) fn ask(&self, transport: &str, body: &str) -> Response {
        self.ask_with(transport, &[], body)
    }

    pub(crate) fn ask_with(&self, transport: &str, headers: &[&str], body: &str) -> Response {
        let mut client = self.connect();
        client.post(&format!("/echo/000/{transport}"), headers, body);
        client.response()
    }

    /// A poll on a connection of its own.
    pub(crate) fn poll(&self, session: &str) -> String {
        let response = self.ask(&format!("{session}/xhr"), "");
        assert_eq!(response.status, 200);
        response.body
    }

    pub(crate) fn send_to(&self, session: &str, messages: &str) {
        assert_eq!(self.ask(&format!("{session}/xhr_send"), messages).status, 204);
    }

    /// A poll that waits.
    fn wait(&self, session: &str) -> Client {
        let mut client = self.connect();
        client.post(&format!("/echo/000/{session}/xhr"), &[], "");
        client
    }

    /// A poll that the session has: of two, one is refused.
    fn wait_surely(&self, session: &str) -> Client {
        let polls = [self.wait(session), self.wait(session)];
        for poll in &polls {
            poll.stream.set_nonblocking(true).unwrap();
        }
        let is_answered = |poll: &Client| poll.stream.peek(&mut [0]).is_ok();
        wait_until("one is refused", || polls.iter().any(is_answered));
        let [one, two] = polls;
        let poll = if is_answered(&one) { two } else { one };
        poll.stream.set_nonblocking(false).unwrap();
        poll
    }

    /// A streaming receiver, its prelude read.
    pub(crate) fn stream(&self, session: &str) -> Client {
        let mut client = self.connect();
        client.stream(session);
        client
    }
}

impl Client {
    fn stream(&mut self, session: &str) {
        self.post(&format!("/echo/000/{session}/xhr_streaming"), &[], "");
        let response = self.response();
        assert_eq!(response.header("transfer-encoding"), Some("chunked"));
        assert_eq!(self.until("\n"), "h".repeat(2048) + "\n");
    }
}

#[test]
fn messages_go_both_ways_through_any_worker() {
    for carrier in CARRIERS {
        let server = start(carrier, Config::default());
        assert_eq!(server.poll("a"), "o\n");
        for n in 0..10 {
            server.send_to("a", &format!("[\"{n}\",\"more\"]"));
            let mut got = server.poll("a");
            if !got.contains("more") {
                got += &server.poll("a");
            }
            let joined = got.replace("]\na[", ",");
            assert_eq!(joined, format!("a[\"{n}\",\"more\"]\n"));
        }
        // A poll that waits before the message comes.
        for n in 0..6 {
            let mut waiting = server.wait("a");
            server.send_to("a", &format!("[\"{n}\"]"));
            assert_eq!(waiting.response().body, format!("a[\"{n}\"]\n"));
        }
        for n in 0..6 {
            let session = format!("stream{n}");
            let mut stream = server.stream(&session);
            assert_eq!(stream.streamed(), "o\n");
            server.send_to(&session, r#"["x","y"]"#);
            assert_eq!(stream.until("a[\"y\"]\n"), "a[\"x\"]\na[\"y\"]\n");
        }
    }
}

#[test]
fn a_streaming_response_ends_at_its_limit_and_its_connection_goes_on() {
    for carrier in CARRIERS {
        let server = start(carrier, Config { response_limit: 4096, ..Config::default() });
        let mut stream = server.stream("a");
        assert_eq!(stream.streamed(), "o\n");
        let message = "m".repeat(128);
        for round in 0..5 {
            let mut octets = if round == 0 { 2 } else { 0 };
            let mut sent = 0;
            while octets < 4096 {
                server.send_to("a", &format!("[\"{message}\"]"));
                assert_eq!(stream.streamed(), format!("a[\"{message}\"]\n"));
                octets += 134;
                sent += 1;
            }
            assert!(sent == 31, "{sent}");
            assert_eq!(stream.streamed(), "", "the end");
            // The same connection, for whatever comes next.
            if round % 2 == 0 {
                stream.send_request("GET /hello HTTP/1.1", &[]);
                assert_eq!(stream.response().body, "hello");
            }
            stream.stream("a");
        }
    }
}

#[test]
fn what_comes_while_nobody_receives_waits() {
    for carrier in CARRIERS {
        let server = start(carrier, Config::default());
        assert_eq!(server.poll("a"), "o\n");
        let many: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        for n in &many {
            server.send_to("a", &format!("[\"{n}\"]"));
        }
        let mut got: Vec<String> = Vec::new();
        while got.len() < many.len() {
            let frame = server.poll("a");
            got.extend(serde_json::from_str::<Vec<String>>(&frame[1..]).unwrap());
        }
        assert_eq!(got, many);
    }
}

#[test]
fn a_message_larger_than_the_limit_of_responses_goes_out_whole() {
    for carrier in CARRIERS {
        let server = start(carrier, Config { response_limit: 4096, ..Config::default() });
        let large = "x".repeat(900_000);
        for session in ["a", "b"] {
            assert_eq!(server.poll(session), "o\n");
            server.send_to(session, &format!("[\"{large}\"]"));
        }
        assert_eq!(server.poll("a"), format!("a[\"{large}\"]\n"));
        let mut stream = server.stream("b");
        assert_eq!(stream.until("\n"), format!("a[\"{large}\"]\n"));
        assert_eq!(stream.streamed(), "");
    }
}

#[test]
fn a_second_receiver_is_told_and_does_no_harm() {
    for carrier in CARRIERS {
        let server = start(carrier, Config::default());
        let mut stream = server.stream("a");
        assert_eq!(stream.streamed(), "o\n");
        let told = "c[2010,\"Another connection still open\"]\n";
        for _ in 0..4 {
            assert_eq!(server.poll("a"), told);
        }
        let mut second = server.stream("a");
        assert_eq!(second.streamed(), told);
        assert_eq!(second.streamed(), "");
        server.send_to("a", "[\"x\"]");
        assert_eq!(stream.streamed(), "a[\"x\"]\n");
    }
}

/// Under a plain `HttpServer` this shows only when something is written.
#[test]
fn a_receiver_that_vanishes_is_noticed_and_interrupts_its_session() {
    let server = start(Carrier::Taken, Config::default());
    for (session, half) in [("a", false), ("b", true), ("c", false), ("d", true)] {
        let receiver = if session < "c" {
            let mut stream = server.stream(session);
            assert_eq!(stream.streamed(), "o\n");
            stream
        } else {
            assert_eq!(server.poll(session), "o\n");
            server.wait_surely(session)
        };
        if half {
            receiver.stream.shutdown(Shutdown::Write).unwrap();
        } else {
            drop(receiver);
        }
        let told = "c[1002,\"Connection interrupted\"]\n";
        let mut frame = server.poll(session);
        while frame.starts_with("c[2010") {
            frame = server.poll(session);
        }
        assert_eq!(frame, told, "{session}");
        assert_eq!(server.poll(session), told);
        assert_eq!(server.ask(&format!("{session}/xhr_send"), "[\"x\"]").status, 404);
    }
    wait_until("sockets are closed", || server.connections.total() == 0);
}

#[test]
fn a_closed_session_repeats_its_close_frame() {
    async fn close(mut session: Session) {
        session.recv().await;
        session.sender().close(4000, "enough");
    }
    for carrier in CARRIERS {
        let config = Config { session_timeout: Duration::from_secs(60), ..Config::default() };
        let server = Server::start_with(carrier, usize::MAX, 2, SockJs::new(close).config(config));
        let mut stream = server.stream("a");
        assert_eq!(stream.streamed(), "o\n");
        server.send_to("a", "[\"x\"]");
        assert_eq!(stream.streamed(), "c[4000,\"enough\"]\n");
        assert_eq!(stream.streamed(), "");
        for _ in 0..3 {
            assert_eq!(server.poll("a"), "c[4000,\"enough\"]\n");
        }
        server.send_to("a", "[\"to nobody\"]");
    }
}

#[test]
fn sessions_end_without_a_receiver_and_leave_nothing() {
    for carrier in CARRIERS {
        let config = Config { session_timeout: Duration::from_millis(300), ..Config::default() };
        let server = start(carrier, config);
        for n in 0..50 {
            assert_eq!(server.poll(&format!("s{n}")), "o\n");
        }
        server.send_to("s0", "[\"old\"]");
        wait_until("all are gone", || server.sockjs.http_sessions() == 0);
        assert_eq!(server.ask("s0/xhr_send", "[\"x\"]").status, 404);
        assert_eq!(server.poll("s0"), "o\n", "a new one");
        server.send_to("s0", "[\"new\"]");
        assert_eq!(server.poll("s0"), "a[\"new\"]\n");
    }
}

#[test]
fn a_session_lives_as_long_as_somebody_receives() {
    let config = Config { session_timeout: Duration::from_millis(100), ..Config::default() };
    let server = start(Carrier::Taken, config);
    let mut stream = server.stream("a");
    assert_eq!(stream.streamed(), "o\n");
    let other = server.poll("b");
    assert_eq!(other, "o\n");
    wait_until("the other is gone", || server.sockjs.http_sessions() == 1);
    server.send_to("a", "[\"x\"]");
    assert_eq!(stream.streamed(), "a[\"x\"]\n");
}

#[test]
fn payloads_that_are_none_are_refused() {
    for carrier in CARRIERS {
        let server = start(carrier, Config { max_message: 1000, ..Config::default() });
        assert_eq!(server.poll("a"), "o\n");
        for (payload, status, text) in [
            ("", 500, "Payload expected."),
            ("{}", 500, "Payload expected."),
            ("\"x\"", 500, "Payload expected."),
            ("[\"x\"", 500, "Broken JSON encoding."),
            ("x", 500, "Broken JSON encoding."),
            ("[\"\\ud800\"]", 500, "Broken JSON encoding."),
            (&format!("[\"{}\"]", "x".repeat(1001)), 413, "The messages are larger than this server takes."),
            (&"x".repeat(6_005), 413, "The messages are larger than this server takes."),
        ] {
            let answer = server.ask("a/xhr_send", payload);
            assert_eq!((answer.status, &*answer.body), (status, text), "{payload:.20}");
        }
        let answer = server.ask("unknown/xhr_send", "[\"x\"]");
        assert_eq!((answer.status, &*answer.body), (404, ""));
        server.send_to("a", "[]");
        server.send_to("a", "[\"after all\"]");
        assert_eq!(server.poll("a"), "a[\"after all\"]\n");
    }
}

#[test]
fn a_hundred_megabytes_are_refused_before_they_came() {
    for carrier in CARRIERS {
        let server = start(carrier, Config::default());
        assert_eq!(server.poll("a"), "o\n");
        let mut client = server.connect();
        client.send_request("POST /echo/000/a/xhr_send HTTP/1.1", &["Content-Length: 100000000"]);
        assert_eq!(client.response().status, 413);
        // Nor without saying so.
        let mut client = server.connect();
        client.send_request("POST /echo/000/a/xhr_send HTTP/1.1", &["Transfer-Encoding: chunked"]);
        let chunk = [b"10000\r\n", &[b'x'; 0x10000][..], b"\r\n"].concat();
        for _ in 0..100 {
            client.send(&chunk);
        }
        assert_eq!(client.response().status, 413);
        assert_eq!(server.ask("a/xhr_send", "[\"x\"]").status, 204, "nothing else is disturbed");
    }
}

#[test]
fn other_credentials_have_no_part_in_a_session() {
    for carrier in CARRIERS {
        let server = start(carrier, Config::default());
        let alice = ["Authorization: Bearer alice", "Cookie: sid=a"];
        assert_eq!(server.ask_with("a/xhr", &alice, "").body, "o\n");
        for stranger in
            [&[][..], &["Authorization: Bearer bob", "Cookie: sid=a"], &["Authorization: Bearer alice"]]
        {
            for transport in ["a/xhr", "a/xhr_send", "a/xhr_streaming"] {
                let refused = server.ask_with(transport, stranger, "[\"x\"]");
                assert_eq!(refused.status, 403, "{transport} {stranger:?}");
                assert_eq!(refused.body, "This session was opened with other credentials.");
            }
        }
        assert_eq!(server.ask_with("a/xhr_send", &alice, "[\"x\"]").status, 204);
        assert_eq!(server.ask_with("a/xhr", &alice, "").body, "a[\"x\"]\n");
    }
}

#[test]
fn sessions_and_connections_are_bounded() {
    let service = service(Config { max_sessions: 3, ..Config::default() });
    let server = Server::start_with(Carrier::Taken, 2, 2, service);
    let (one, two) = (server.stream("a"), server.stream("b"));
    let refused = server.ask("c/xhr_streaming", "");
    assert_eq!((refused.status, &*refused.body), (503, "Too many connections."));
    assert_eq!(server.poll("c"), "o\n");
    let refused = server.ask("d/xhr", "");
    assert_eq!((refused.status, &*refused.body), (503, "Too many sessions."));
    drop((one, two));
    wait_until("connections are free", || server.connections.total() == 0);
}

#[test]
fn a_million_session_ids_take_no_memory_but_that_of_those_that_live() {
    // In small: what is asked for and does not exist leaves nothing.
    let server = start(Carrier::Taken, Config { max_sessions: 10, ..Config::default() });
    let mut client = server.connect();
    for n in 0..1000 {
        client.post(&format!("/echo/000/{n}-{}/xhr", "x".repeat(500)), &[], "");
        let status = client.response().status;
        assert!(if n < 10 { status == 200 } else { status == 503 }, "{n}: {status}");
    }
    assert_eq!(server.sockjs.http_sessions(), 10);
}

#[test]
fn requests_may_follow_each_other_at_once() {
    for carrier in CARRIERS {
        let server = start(carrier, Config::default());
        let mut client = server.connect();
        let poll = request("POST /echo/000/a/xhr HTTP/1.1", &["Content-Length: 0"]);
        let send = request("POST /echo/000/a/xhr_send HTTP/1.1", &["Content-Length: 5"]) + "[\"x\"]";
        let stream = request("POST /echo/000/a/xhr_streaming HTTP/1.1", &["Content-Length: 0"]);
        client.send([&*poll, &*send, &*poll, &*stream].concat().as_bytes());
        assert_eq!(client.response().body, "o\n");
        assert_eq!(client.response().status, 204);
        assert_eq!(client.response().body, "a[\"x\"]\n");
        assert_eq!(client.response().status, 200);
        assert_eq!(client.until("\n").len(), 2049);
        server.send_to("a", "[\"y\"]");
        assert_eq!(client.streamed(), "a[\"y\"]\n");

        // A request that came before the response's end has its turn behind it.
        let server = start(carrier, Config { response_limit: 100, ..Config::default() });
        let mut client = server.connect();
        let hello = request("GET /hello HTTP/1.1", &[]);
        client.send((stream + &hello).as_bytes());
        assert_eq!(client.response().status, 200);
        assert_eq!(client.until("o\n").len(), 2051);
        server.send_to("a", &format!("[\"{}\"]", "y".repeat(100)));
        assert_eq!(client.streamed().len(), 106);
        assert_eq!(client.streamed(), "");
        let response = client.response();
        assert_eq!(response.body, "hello", "{carrier:?} {response:?}");
    }
}

/// A slow client is still reading the response while the HTTP server would lose its patience.
#[test]
fn a_connection_that_comes_back_has_time_for_its_next_request() {
    let server = start(Carrier::Taken, Config { response_limit: 100, ..Config::default() });
    let mut client = server.connect();
    client.send_request("POST /echo/000/a/xhr_streaming HTTP/1.1", &["Content-Length: 0"]);
    assert_eq!(client.response().status, 200);
    assert_eq!(client.until("o\n").len(), 2051);
    server.send_to("a", &format!("[\"{}\"]", "y".repeat(100)));
    assert_eq!(client.streamed().len(), 106);
    assert_eq!(client.streamed(), "");
    // The HTTP server's patience is five seconds.
    std::thread::sleep(Duration::from_millis(5500));
    client.send_request("GET /hello HTTP/1.1", &[]);
    assert_eq!(client.response().body, "hello");
}

#[test]
fn old_http_streams_until_the_connection_ends() {
    for carrier in CARRIERS {
        let server = start(carrier, Config { response_limit: 100, ..Config::default() });
        let mut client = server.connect();
        client.send(b"POST /echo/000/a/xhr_streaming HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
        let response = client.response();
        assert_eq!((response.status, response.header("transfer-encoding")), (200, None));
        assert_eq!(client.bytes(2051), ("h".repeat(2048) + "\no\n").into_bytes());
        let long = "y".repeat(100);
        server.send_to("a", &format!("[\"{long}\"]"));
        assert_eq!(client.bytes(106), format!("a[\"{long}\"]\n").into_bytes());
        client.expect_end();
        let mut client = server.connect();
        client.send(b"POST /echo/000/a/xhr HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
        server.send_to("a", "[\"z\"]");
        assert_eq!(client.response().body, "a[\"z\"]\n");
    }
}

#[test]
fn a_slow_reader_holds_back_what_is_sent_to_it_alone() {
    async fn flood(session: Session) {
        let sender = session.sender();
        let mut n = 0;
        let mut full = 0;
        let text = "x".repeat(1000);
        while full < 3 {
            match sender.text(format!("{n} {text}")) {
                Ok(()) => n += 1,
                Err(_) => {
                    full += 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        sender.close(4000, &n.to_string());
        let mut session = session;
        while session.recv().await.is_some() {}
    }
    for carrier in CARRIERS {
        let config = Config { response_limit: 100_000_000, ..Config::default() };
        let server = Server::start_with(carrier, usize::MAX, 1, SockJs::new(flood).config(config));
        let mut stream = server.stream("slow");
        // Others have their turn meanwhile.
        assert_eq!(server.poll("other"), "o\n");
        let mut text = String::new();
        while !text.contains("\nc[4000") {
            let chunk = stream.streamed();
            assert!(!chunk.is_empty(), "{}", &text[text.len() - 100..]);
            text += &chunk;
        }
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "o");
        let last = lines.len() - 1;
        for (n, line) in lines[1..last].iter().enumerate() {
            assert!(line.starts_with(&format!("a[\"{n} x")), "{n}: {line:.20}");
        }
        assert_eq!(lines[last], format!("c[4000,\"{}\"]", last - 1));
    }
}

#[test]
fn a_client_that_sends_faster_than_it_is_heard_waits_for_its_answers() {
    async fn deaf(mut session: Session) {
        let mut heard = 0;
        while let Some(Message::Text(text)) = session.recv().await {
            heard += 1;
            if text == "begin" {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            if text == "end" {
                let _ = session.sender().text(heard.to_string());
            }
        }
    }
    let config = Config { queue_bytes: 1000, ..Config::default() };
    let server = Server::start_with(Carrier::Taken, usize::MAX, 2, SockJs::new(deaf).config(config));
    assert_eq!(server.poll("a"), "o\n");
    let begun = std::time::Instant::now();
    server.send_to("a", "[\"begin\"]");
    server.send_to("a", &format!("[\"{}\"]", "x".repeat(2000)));
    server.send_to("a", "[\"end\"]");
    assert!(begun.elapsed() >= Duration::from_millis(250), "it had to wait");
    assert_eq!(server.poll("a"), "a[\"3\"]\n");
}

#[test]
fn pages_of_other_origins_are_kept_out_where_origins_are_listed() {
    for carrier in CARRIERS {
        let sockjs_url = Some("/sockjs.js".to_owned());
        let any = Config { sockjs_url, ..Config::default() };
        let listed = Config { origins: Origins::only(["https://good.example"]), ..any.clone() };
        let asked = Config { iframe_and_jsonp: Some(true), ..listed.clone() };
        for (config, frames, foreign) in [(any, 200, 200), (listed, 404, 403), (asked, 200, 403)] {
            let server = start(carrier, config);
            let get = |path: &str| server.request(&format!("GET /echo{path} HTTP/1.1"), &[]).status;
            assert_eq!((get("/iframe-1.html"), get("/000/a/jsonp?c=x")), (frames, frames));
            for transport in ["b/xhr", "b/xhr_send", "b/xhr_streaming"] {
                let status = server.ask_with(transport, &["Origin: https://evil.example"], "[]").status;
                assert_eq!(
                    status,
                    foreign.max(if transport == "b/xhr_send" && foreign == 200 { 204 } else { 0 })
                );
            }
            let mut good = server.connect();
            good.post("/echo/000/c/xhr", &["Origin: https://good.example"], "");
            let response = good.response();
            assert_eq!(response.header("access-control-allow-origin"), Some("https://good.example"));
            assert_eq!(response.header("access-control-allow-credentials"), Some("true"));
        }
    }
}

#[test]
fn each_transport_writes_frames_in_its_own_way() {
    for carrier in CARRIERS {
        let server = start(carrier, Config::default());
        let get = |session: &str, transport: &str| {
            let mut client = server.connect();
            client.send_request(&format!("GET /echo/000/{session}/{transport} HTTP/1.1"), &[]);
            let response = client.response();
            assert_eq!(response.status, 200);
            (client, response)
        };
        let (mut events, response) = get("e", "eventsource");
        assert_eq!(response.header("content-type"), Some("text/event-stream"));
        assert_eq!(events.until("data: o\r\n\r\n"), "\r\ndata: o\r\n\r\n");
        server.send_to("e", r#"["100%\n</b>"]"#);
        assert_eq!(events.until("\r\n\r\n"), "data: a[\"100%25\\n</b>\"]\r\n\r\n");

        let (mut page, response) = get("h", "htmlfile?c=parent.f");
        assert_eq!(response.header("content-type"), Some("text/html; charset=UTF-8"));
        let begin = page.until("<script>\np(\"o\");\n</script>\r\n");
        assert!(begin.contains("var c = parent.parent.f;"));
        server.send_to("h", r#"["</script>"]"#);
        let script = "<script>\np(\"a[\\\"<\\/script>\\\"]\");\n</script>\r\n";
        assert_eq!(page.until("\r\n"), script);

        let (_, response) = get("j", "jsonp?callback=f");
        assert_eq!(response.body, "/**/f(\"o\");\r\n");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        let form = ["Content-Type: application/x-www-form-urlencoded; charset=x"];
        let sent = server.ask_with("j/jsonp_send", &form, "d=%5B%22a+%2B%22%5D");
        assert_eq!((sent.status, &*sent.body), (200, "ok"));
        assert_eq!(get("j", "jsonp?c=g").1.body, "/**/g(\"a[\\\"a +\\\"]\");\r\n");
        assert_eq!(server.ask_with("j/jsonp_send", &["Content-Type: text/plain"], "[\"a+\"]").status, 200);
        assert_eq!(get("j", "jsonp?c=g").1.body, "/**/g(\"a[\\\"a+\\\"]\");\r\n");
        for (body, text) in
            [("d=", "Payload expected."), ("x=1", "Payload expected."), ("d=%5B", "Broken JSON encoding.")]
        {
            let refused = server.ask_with("j/jsonp_send", &form, body);
            assert_eq!((refused.status, &*refused.body), (500, text));
        }
        for (query, text) in [
            ("", "\"callback\" parameter required"),
            ("?c=", "invalid \"callback\" parameter"),
            ("?c=a%20b", "invalid \"callback\" parameter"),
            ("?c=alert(1)", "invalid \"callback\" parameter"),
            (&*format!("?c={}", "x".repeat(33)), "invalid \"callback\" parameter"),
        ] {
            for transport in ["jsonp", "htmlfile"] {
                let refused = server.request(&format!("GET /echo/000/x/{transport}{query} HTTP/1.1"), &[]);
                assert_eq!((refused.status, &*refused.body), (500, text), "{transport}{query}");
            }
        }
    }
}

#[test]
fn the_iframe_page_can_be_kept() {
    let sockjs_url = Some("/sockjs.js?a=1&b=\"2\"".to_owned());
    let server = start(Carrier::Taken, Config { sockjs_url, ..Config::default() });
    let page = server.request("GET /echo/iframe-1.6.1.html HTTP/1.1", &[]);
    assert_eq!(page.header("content-type"), Some("text/html; charset=UTF-8"));
    assert_eq!(page.header("cache-control"), Some("public, max-age=31536000"));
    assert!(page.header("expires").is_some() && page.header("set-cookie").is_none());
    assert!(page.body.contains("<script src=\"/sockjs.js?a=1&amp;b=&quot;2&quot;\"></script>"));
    let tag = format!("If-None-Match: {}", page.header("etag").unwrap());
    let known = server.request("GET /echo/iframe-2.html HTTP/1.1", &[&tag]);
    assert_eq!((known.status, &*known.body), (304, ""));
}

#[test]
fn preflights_are_answered_for_a_year() {
    let server = start(Carrier::Taken, Config { cookie_needed: true, ..Config::default() });
    for transport in ["xhr", "xhr_send", "xhr_streaming"] {
        let headers = ["Origin: https://a.example", "Access-Control-Request-Headers: x-a"];
        let answer = server.request(&format!("OPTIONS /echo/000/a/{transport} HTTP/1.1"), &headers);
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("access-control-allow-methods"), Some("OPTIONS, POST"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://a.example"));
        assert_eq!(answer.header("access-control-allow-headers"), Some("x-a"));
        assert_eq!(answer.header("access-control-max-age"), Some("31536000"));
        assert_eq!(answer.header("set-cookie"), Some("JSESSIONID=dummy; path=/"));
    }
}
