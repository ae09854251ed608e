//! The command line's clients from outside: the built program against a server in this process.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use support::Server;

fn stentor(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
    command.args(args).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
fn run(args: &[&str]) -> Output {
    stentor(args).output().unwrap()
}

/// Runs it to its end with this on standard input.
fn run_with(input: &[u8], args: &[&str]) -> Output {
    let mut child = stentor(args).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// Starts `stentor sub` and waits until its subscription stands.
fn subscribed(args: &[&str]) -> Child {
    let mut child = stentor(&["sub", "--receipt"]).args(args).spawn().unwrap();
    let mut line = String::new();
    let mut errors = BufReader::new(child.stderr.as_mut().unwrap());
    errors.read_line(&mut line).unwrap();
    assert!(line.starts_with("subscribed to /topic/"), "{line}");
    child
}

/// What it printed, when it ended well.
fn printed(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn accepted(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// That it failed with this code, and what it said.
fn failed(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The addresses of all carriers.
fn urls(server: &Server) -> [String; 3] {
    let Server { address, tcp, .. } = server;
    [format!("ws://{address}/ws/websocket"), format!("http://{address}/ws"), format!("tcp://{tcp}")]
}

#[test]
fn what_is_published_is_printed() {
    let server = Server::start();
    for to in urls(&server) {
        for from in urls(&server) {
            let sub = subscribed(&["--url", &to, "--count", "3", "/topic/a"]);
            accepted(&run(&["pub", "--url", &from, "/topic/a", "hello"]));
            accepted(&run(&["pub", "--url", &from, "/topic/a", "--count", "2", "-x-"]));
            assert_eq!(printed(sub), "hello\n-x-\n-x-\n");
        }
    }
}

#[test]
fn json_tells_destination_headers_and_body() {
    let server = Server::start();
    for url in urls(&server) {
        let sub = subscribed(&["--url", &url, "--json", "--count", "2", "--id", "mine", "/topic/j.*"]);
        let headers = ["--header", "k:a:b", "--content-type", "text/plain"];
        let publish = [&["pub", "--url", &url, "/topic/j.1", "say \"hi\"\n"][..], &headers].concat();
        accepted(&run(&publish));
        accepted(&run_with(b"\xff\0\xfe", &["pub", "--url", &url, "/topic/j.2"]));
        let lines = printed(sub);
        let messages: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [text, octets] = &messages[..] else { panic!("{lines}") };
        assert_eq!(text["destination"], "/topic/j.1");
        assert_eq!(text["body"], "say \"hi\"\n");
        assert_eq!(text["headers"]["k"], "a:b");
        assert_eq!(text["headers"]["content-type"], "text/plain");
        assert_eq!(text["headers"]["subscription"], "mine");
        assert_eq!(text.get("encoding"), None);
        // The three octets, whatever the carrier can take.
        assert_eq!(octets["body"], "/wD+");
        assert_eq!(octets["encoding"], "base64");
    }
}

#[test]
fn standard_input_is_one_message_or_one_a_line() {
    let server = Server::start();
    let [url, ..] = urls(&server);
    let sub = subscribed(&["--url", &url, "--count", "5", "/topic/stdin"]);
    accepted(&run_with(b"two\nlines", &["pub", "--url", &url, "/topic/stdin", "-"]));
    let lines = b"one\r\n\nthree\nlast";
    accepted(&run_with(lines, &["pub", "--url", &url, "--lines", "/topic/stdin"]));
    assert_eq!(printed(sub), "two\nlines\none\n\nthree\nlast\n");
}

#[test]
fn many_messages_all_have_their_receipt() {
    let server = Server::start();
    let [_, url, _] = urls(&server);
    accepted(&run(&["pub", "--url", &url, "--count", "1000", "/topic/many", "x"]));
    assert_eq!(server.metric("stentor_messages_in_total{door=\"stomp\"}"), 1000);
}

#[test]
fn what_the_server_says_is_printed() {
    let server = Server::start();
    for url in urls(&server) {
        let says = failed(&run(&["sub", "--url", &url, "nonsense"]), 1);
        assert!(says.starts_with("error: the server says: "), "{says}");
        assert!(says.lines().count() > 1, "the ERROR's body too: {says}");
        let says = failed(&run(&["pub", "--url", &url, "/topic/*", "x"]), 1);
        assert!(says.starts_with("error: the server says: "), "{says}");
        assert!(says.ends_with("messages accepted: 0\n"), "{says}");
    }
}

#[test]
fn the_end_of_the_connection_is_an_error_with_its_reason() {
    for carrier in 0..3 {
        let mut server = Server::start();
        let sub = subscribed(&["--url", &urls(&server)[carrier], "/topic/a"]);
        server.stop();
        let says = failed(&sub.wait_with_output().unwrap(), 1);
        let expected =
            ["the server closed the connection: 1001", "the connection was lost: the server ended it"];
        assert!(says.contains(expected[carrier / 2]), "{says}");
    }
}

#[test]
fn time_can_be_limited() {
    let server = Server::start();
    let [url, ..] = urls(&server);
    let limited = ["sub", "--url", &url, "--timeout", "0.2", "/topic/a"];
    accepted(&run(&limited));
    let says = failed(&run(&[&limited[..], &["--count", "2"]].concat()), 1);
    assert_eq!(says, "error: time is up: 0 of 2 messages came\n");

    // One that takes connections and says nothing.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/", mute.local_addr().unwrap());
    let says = failed(&run(&["pub", "--url", &url, "--timeout", "0.2", "/topic/a", "x"]), 1);
    assert!(says.contains("does not answer in time"), "{says}");
}

#[test]
fn where_nobody_is_nothing_is_accepted() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("ws://{free}/ws/websocket");
    let says = failed(&run(&["pub", "--url", &url, "/topic/a", "x"]), 1);
    assert!(says.contains(&format!("can't connect to {free}")) && says.contains("fix: "), "{says}");

    let server = Server::start();
    let url = format!("ws://{}/nowhere", server.address);
    let says = failed(&run(&["sub", "--url", &url, "/topic/a"]), 1);
    assert!(says.contains("404") && says.contains("fix: "), "{says}");
}

#[test]
fn wrong_usage_is_told_from_failure() {
    for (args, says) in [
        (&["sub", "--url", "tcp://h:1/ws", "/topic/a"][..], "plain TCP has no path"),
        (&["sub"], "<DEST>"),
        (&["sub", "--count", "0", "/topic/a"], "--count"),
        (&["pub", "/topic/a", "x", "--header", "novalue"], "give name:value"),
        (&["pub", "/topic/a", "x", "--lines"], "leave BODY out"),
    ] {
        let text = failed(&run(args), 2);
        assert!(text.contains(says), "{args:?}: {text}");
    }
}

#[test]
fn too_few_open_files_are_refused_before_anything_panics() {
    let serve = |limit: u32| {
        let program = env!("CARGO_BIN_EXE_stentor");
        let line = format!("ulimit -n {limit} && exec {program} serve --workers 2 --listen 127.0.0.1:0");
        failed(&Command::new("sh").args(["-c", &line]).stdin(Stdio::null()).output().unwrap(), 1)
    };
    for limit in [7, 20, 56] {
        let says = serve(limit);
        assert!(
            says.starts_with(&format!("error: the system allows this process {limit} open files")),
            "{says}"
        );
        assert!(says.lines().count() == 2 && says.contains("  fix: raise the limit"), "{says}");
    }
}
