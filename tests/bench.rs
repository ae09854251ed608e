//! `stentor bench` counts what the server counts, and what another client gets.

#![allow(clippy::unwrap_used)]

mod support;

use std::process::{Command, Output};

use serde_json::Value;
use stomp_parser::Frame;
use support::{Carrier, Client, Server, run, until};
use tokio::sync::oneshot;

const IN: &str = "stentor_messages_in_total{door=\"stomp\"}";
const OUT: &str = "stentor_messages_out_total";

/// The carriers that subscribers may come over.
const CARRIERS: [&str; 4] = ["tcp", "ws", "sockjs", "xhr-streaming"];

/// Runs a mode to its end, and gives its report.
fn bench(server: &Server, over: &str, args: &[&str]) -> Value {
    let url = match over {
        "tcp" => format!("tcp://{}", server.tcp),
        _ => format!("http://{}/ws", server.address),
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
    command.arg("bench").args(args).args(["--json", "--url", &url, "--over", over]);
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    serde_json::from_slice(&stdout).unwrap()
}

fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("{name} in {report}"))
}

/// The connections that have been there by now.
fn opened(server: &Server) -> u64 {
    let of =
        |transport| server.metric(&format!("stentor_connections_opened_total{{transport=\"{transport}\"}}"));
    of("tcp") + of("websocket") + of("websocket-raw") + of("xhr-streaming")
}

/// Runs a test with a fresh server over each of these carriers.
fn over_each(carriers: &[&str], test: impl Fn(&Server, &str)) {
    for over in carriers {
        test(&Server::start(), over);
    }
}

/// Counts the messages of a mode, and those of others, as one more subscriber while it runs.
fn listening(server: &Server, mode: impl FnOnce() -> Value) -> (Value, [u64; 2]) {
    let (ended, end) = oneshot::channel::<()>();
    let (ready, standing) = std::sync::mpsc::channel();
    let address = server.address;
    let listener = std::thread::spawn(move || {
        let mut heard = [0; 2];
        let mut count = |frame: &Frame| {
            let is_ours = frame.get("destination").unwrap().starts_with("/topic/bench-");
            heard[usize::from(!is_ours)] += 1;
        };
        run(async {
            let mut client = Client::connect(address, Carrier::Raw).await;
            client.subscribe("all", "/topic/#").await;
            ready.send(()).unwrap();
            let mut end = std::pin::pin!(end);
            loop {
                tokio::select! {
                    frame = client.frame() => count(&frame.unwrap()),
                    _ = &mut end => break,
                }
            }
            // What was published before this came before it.
            client.send("SEND\ndestination:/topic/last\n\n\0").await;
            loop {
                let frame = client.frame().await.unwrap();
                count(&frame);
                if frame.get("destination") == Some("/topic/last") {
                    break;
                }
            }
        });
        heard
    });
    standing.recv().unwrap();
    let report = mode();
    ended.send(()).unwrap();
    (report, listener.join().unwrap())
}

#[test]
fn fanout_and_tick_agree_with_the_servers_figures_and_with_a_listener() {
    over_each(&CARRIERS, |server, over| {
        let fanout =
            ["fanout", "--subscribers", "40", "--topics", "4", "--publishers", "2", "--messages", "50"];
        let tick = ["tick", "--subscribers", "40", "--rate", "50", "--seconds", "1"];
        for args in [&fanout[..], &tick] {
            let before = (server.metric(IN), server.metric(OUT));
            let (report, [heard, others]) = listening(server, || bench(server, over, args));
            let [sent, delivered] = ["sent", "delivered"].map(|name| number(&report, name));
            assert!(sent >= 50, "{report}");
            assert_eq!(heard, sent, "{report}");
            assert_eq!(server.metric(IN) - before.0, sent + 1);
            // The listener had them too, and its own. They are counted when the turn that wrote them ends.
            let out = delivered + heard + others;
            support::run(until("all are counted", || server.metric(OUT) - before.1 == out));
            for fault in ["lost", "repeated", "out_of_order", "stray"] {
                assert_eq!(number(&report, fault), 0, "{report}");
            }
        }
    });
}

#[test]
fn idle_holds_the_connections_that_it_says() {
    over_each(&CARRIERS, |server, over| {
        std::thread::scope(|scope| {
            let run = scope.spawn(|| bench(server, over, &["idle", "--connections", "30", "--seconds", "1"]));
            support::run(until("all are there", || server.subscriptions() == 30));
            assert_eq!(number(&run.join().unwrap(), "connections"), 30);
        });
        assert_eq!(opened(server), 30);
    });
}

#[test]
fn churn_counts_connections_that_each_had_their_message() {
    over_each(&CARRIERS[..3], |server, over| {
        let report = bench(server, over, &["churn", "--cycles", "60", "--parallel", "4"]);
        assert_eq!((number(&report, "cycles"), number(&report, "failed")), (60, 0));
        assert_eq!((opened(server), server.metric(IN), server.metric(OUT)), (60, 60, 60));
    });
}
