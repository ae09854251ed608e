//! REST: events in, metrics out, messages published, and what is refused.

#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;

use serde_json::{Value, json};
use support::{Carrier, Client, Server, http, run};

async fn request(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    let (status, _, body) = http(address, &request).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

async fn post(address: SocketAddr, path: &str, body: &Value) -> (u16, Value) {
    request(address, "POST", path, "Content-Type: application/json\r\n", &body.to_string()).await
}

#[test]
fn an_event_is_accepted_and_counted() {
    let server = Server::start();
    run(async {
        let event = json!({"eventType": "user.login", "source": "auth", "severity": "error", "metadata": {"latency": "12.5"}});
        let (status, answer) = post(server.address, "/api/v1/events", &event).await;
        assert_eq!(status, 202);
        assert!(answer["eventId"].as_str().unwrap().starts_with("evt_"));
        assert_eq!((&answer["eventType"], &answer["status"]), (&json!("user.login"), &json!("accepted")));
        assert!(answer["receivedAt"].is_string());
        let (status, metrics) = request(server.address, "GET", "/api/v1/metrics", "", "").await;
        assert_eq!(status, 200);
        assert_eq!(metrics["summary"]["totalEvents"], 1);
        assert_eq!(metrics["summary"]["errorRate"], 100.0);
        assert_eq!(metrics["eventsByType"], json!({"user.login": 1}));
        assert_eq!(metrics["latencyMetrics"]["overall"]["avg"], 12.5);
    });
}

#[test]
fn every_wrong_field_of_an_event_is_named() {
    let server = Server::start();
    run(async {
        let event = json!({"eventType": "", "severity": "LOUD"});
        let (status, answer) = post(server.address, "/api/v1/events", &event).await;
        assert_eq!(status, 400);
        assert_eq!((&answer["status"], &answer["message"]), (&json!("error"), &json!("Validation failed")));
        let mut fields: Vec<&String> = answer["errors"].as_object().unwrap().keys().collect();
        fields.sort();
        assert_eq!(fields, ["eventType", "severity", "source"]);
        let (_, metrics) = request(server.address, "GET", "/api/v1/metrics", "", "").await;
        assert_eq!(metrics["summary"]["totalEvents"], 0);
    });
}

#[test]
fn health_says_up() {
    let server = Server::start();
    run(async {
        let (status, answer) = request(server.address, "GET", "/api/v1/events/health", "", "").await;
        assert_eq!((status, &answer["status"]), (200, &json!("UP")));
        assert!(answer["timestamp"].is_string());
    });
}

#[test]
fn a_message_is_published_to_subscribers() {
    let server = Server::start();
    run(async {
        let mut client = Client::connect(server.address, Carrier::SockJs).await;
        client.subscribe("a", "/topic/greetings").await;
        let message =
            json!({"destination": "/topic/greetings", "headers": {"k": "v:\n"}, "json": {"hello": "world"}});
        let (status, answer) = post(server.address, "/api/v1/messages", &message).await;
        assert_eq!((status, &answer["status"]), (202, &json!("accepted")));
        let frame = client.frame().await.unwrap();
        assert_eq!(frame.get("k"), Some("v:\n"));
        assert_eq!(frame.get("content-type"), Some("application/json"));
        assert_eq!(&frame.body[..], br#"{"hello":"world"}"#);
    });
}

#[test]
fn what_a_page_of_another_origin_could_send_unasked_is_refused() {
    let server = Server::start();
    run(async {
        let message = json!({"destination": "/topic/a", "body": "x"}).to_string();
        for headers in
            ["", "Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"]
        {
            for path in ["/api/v1/messages", "/api/v1/events"] {
                let (status, answer) = request(server.address, "POST", path, headers, &message).await;
                assert_eq!((status, &answer["status"]), (415, &json!("error")), "{path} {headers}");
            }
        }
    });
}

#[test]
fn refusals_are_json_and_say_why() {
    let server = Server::start();
    run(async {
        let large = json!({"destination": "/topic/a", "body": "x".repeat(1 << 20)});
        let (status, answer) = post(server.address, "/api/v1/messages", &large).await;
        assert_eq!(status, 413);
        assert!(answer["message"].as_str().unwrap().contains("1048576"), "{answer}");
        let (status, answer) =
            post(server.address, "/api/v1/messages", &json!({"destination": "/nowhere"})).await;
        assert_eq!(status, 400);
        assert!(answer["message"].as_str().unwrap().contains("/topic/"), "{answer}");
        let (status, answer) = request(server.address, "GET", "/api/v1/messages", "", "").await;
        assert_eq!((status, &answer["message"]), (405, &json!("use POST")));
        let (status, answer) = request(server.address, "GET", "/api/v1/nothing", "", "").await;
        assert_eq!((status, &answer["status"]), (404, &json!("error")));
    });
}

#[test]
fn a_thousand_events_show_alike_in_the_topic_and_in_rest() {
    let server = Server::start();
    run(async {
        let mut client = Client::connect(server.address, Carrier::Raw).await;
        client.subscribe("m", "/topic/metrics").await;
        for number in 0..1000 {
            let event = json!({
                "eventType": (["login", "click", "buy", "fail"][number % 4]),
                "source": (["web", "app"][number % 2]),
                "severity": (["INFO", "WARNING", "ERROR", "CRITICAL"][number % 4]),
                "metadata": {"latency": number + 1},
            });
            assert_eq!(post(server.address, "/api/v1/events", &event).await.0, 202);
        }
        let (_, rest) = request(server.address, "GET", "/api/v1/metrics", "", "").await;
        let topic = loop {
            let metrics: Value = serde_json::from_str(&client.body().await).unwrap();
            if metrics["summary"]["totalEvents"] == 1000 {
                break metrics;
            }
        };
        for metrics in [rest, topic] {
            assert_eq!(metrics["summary"]["totalEvents"], 1000);
            assert_eq!(metrics["eventsByType"], json!({"login": 250, "click": 250, "buy": 250, "fail": 250}));
            assert_eq!(metrics["eventsBySource"], json!({"web": 500, "app": 500}));
            assert_eq!(
                metrics["eventsBySeverity"],
                json!({"INFO": 250, "WARNING": 250, "ERROR": 250, "CRITICAL": 250})
            );
            assert_eq!(metrics["summary"]["errorRate"], 50.0);
            assert_eq!(metrics["errorMetrics"]["totalErrors"], 500);
            let overall = &metrics["latencyMetrics"]["overall"];
            for (name, exact) in [("p50", 500.0), ("p95", 950.0), ("p99", 990.0)] {
                let shown = overall[name].as_f64().unwrap();
                assert!((shown - exact).abs() / exact < 0.02, "{name}: {shown}");
            }
            assert_eq!((&overall["min"], &overall["max"]), (&json!(1.0), &json!(1000.0)));
            assert_eq!(metrics["timeWindows"]["last1Minute"]["events"], 1000);
        }
    });
}

#[test]
fn host_metrics_are_this_machines() {
    let server = Server::start();
    run(async {
        let mut client = Client::connect(server.address, Carrier::Raw).await;
        client.subscribe("h", "/topic/host-metrics:#").await;
        let metrics: Value = serde_json::from_str(&client.body().await).unwrap();
        let cores = std::thread::available_parallelism().unwrap().get();
        assert!(metrics["cpu"]["cores"].as_u64().unwrap() as usize >= cores);
        assert_eq!(metrics["cpu"]["load_average"].as_array().unwrap().len(), 3);
        assert!(metrics["memory"]["total"].as_u64().unwrap() > 1 << 20);
        assert!(!metrics["disk"].as_array().unwrap().is_empty());
        assert!(!metrics["network"].as_array().unwrap().is_empty());
        let host = metrics["host_id"].as_str().unwrap();
        assert!(!host.is_empty());
    });
}

#[test]
fn nothing_is_computed_while_nobody_subscribes() {
    let server = Server::start();
    run(async {
        let name = "stentor_messages_in_total{door=\"producer\"}";
        let mut client = Client::connect(server.address, Carrier::Raw).await;
        assert_eq!(server.metric(name), 0);
        client.subscribe("m", "/topic/metrics").await;
        client.frame().await.unwrap();
        client.send("UNSUBSCRIBE\nid:m\nreceipt:u\n\n\0").await;
        while client.frame().await.unwrap().command.as_str() != "RECEIPT" {}
        let published = server.metric(name);
        assert!(published >= 1);
        // Two periods: what must not happen has no condition to wait for.
        tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
        assert_eq!(server.metric(name), published);
    });
}

#[test]
fn the_brokers_own_metrics_are_shown() {
    let server = Server::start();
    run(async {
        let _client = Client::connect(server.address, Carrier::SockJs).await;
        let (status, text) = request(server.address, "GET", "/metrics", "", "").await;
        assert_eq!(status, 200);
        let text = text.as_str().unwrap();
        assert!(text.contains("stentor_connections{transport=\"websocket\"} 1"), "{text}");
    });
}
