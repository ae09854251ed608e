//! Requests that open no session: greeting, `/info`, and what handshakes are refused with.

use sockjs::{Config, Origins, SockJs};

use crate::support::{CARRIERS, Server, UPGRADE, echo, upgrade_with};

fn with(config: Config) -> impl Fn() -> SockJs + Send + Clone + 'static {
    move || SockJs::new(echo).config(config.clone())
}

#[test]
fn the_prefix_greets() {
    for carrier in CARRIERS {
        let server = Server::start(carrier, with(Config::default()));
        for path in ["/echo", "/echo/", "/echo?query"] {
            let response = server.request(&format!("GET {path} HTTP/1.1"), &[]);
            assert_eq!((response.status, &*response.body), (200, "Welcome to SockJS!\n"), "{path}");
            assert_eq!(response.header("content-type"), Some("text/plain; charset=UTF-8"));
        }
        for path in [
            "/echo//",
            "/echo/a",
            "/echo.html",
            "/echo/a/a",
            "/echo/a/a/",
            "/echoes",
            "/echo/a.b/c/websocket",
        ] {
            assert_eq!(server.request(&format!("GET {path} HTTP/1.1"), &[]).status, 404, "{path}");
        }
        let response = server.request("DELETE /echo HTTP/1.1", &[]);
        assert_eq!((response.status, response.header("allow"), &*response.body), (405, Some("GET"), ""));
    }
}

#[test]
fn info_tells_what_there_is() {
    for carrier in CARRIERS {
        let server = Server::start(carrier, with(Config { cookie_needed: true, ..Config::default() }));
        let response = server.request("GET /echo/info HTTP/1.1", &[]);
        assert_eq!(response.status, 200);
        assert_eq!(response.header("content-type"), Some("application/json; charset=UTF-8"));
        assert_eq!(
            response.header("cache-control"),
            Some("no-store, no-cache, no-transform, must-revalidate, max-age=0")
        );
        assert_eq!(response.header("x-accel-buffering"), Some("no"));
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
        assert_eq!(response.header("access-control-allow-credentials"), None);
        assert_eq!(response.header("set-cookie"), None);
        let info: serde_json::Value = serde_json::from_str(&response.body).unwrap();
        assert_eq!(info["websocket"], true);
        assert_eq!(info["cookie_needed"], true);
        assert_eq!(info["origins"], serde_json::json!(["*:*"]));
        assert!(info["entropy"].as_u64().unwrap() <= u64::from(u32::MAX));
        assert!(info.get("base_url").is_none());
        let entropies: std::collections::HashSet<String> =
            (0..8).map(|_| server.request("GET /echo/info HTTP/1.1", &[]).body).collect();
        assert!(entropies.len() > 6, "{entropies:?}");
        assert_eq!(server.request("POST /echo/info HTTP/1.1", &[]).header("allow"), Some("OPTIONS, GET"));
    }
}

#[test]
fn info_has_the_settings() {
    let config =
        Config { websocket: false, base_url: Some("https://n1.example".into()), ..Config::default() };
    let server = Server::start(CARRIERS[0], with(config));
    let body = server.request("GET /echo/info HTTP/1.1", &[]).body;
    assert!(
        body.contains(r#""websocket":false"#) && body.contains(r#""base_url":"https://n1.example""#),
        "{body}"
    );
}

#[test]
fn info_is_for_pages_of_the_origins_allowed() {
    let config = Config { origins: Origins::only(["https://good.example"]), ..Config::default() };
    let server = Server::start(CARRIERS[0], with(config));
    for (origin, allowed) in [
        ("https://good.example", Some("https://good.example")),
        ("https://GOOD.example", Some("https://GOOD.example")),
        ("https://good.example.evil", None),
        ("http://good.example", None),
        ("null", None),
    ] {
        let header = format!("Origin: {origin}");
        for method in ["GET", "OPTIONS"] {
            let response = server.request(&format!("{method} /echo/info HTTP/1.1"), &[&header]);
            assert_eq!(response.header("access-control-allow-origin"), allowed);
            assert_eq!(response.header("access-control-allow-credentials"), allowed.map(|_| "true"));
            assert_eq!(response.header("vary"), Some("Origin"));
        }
    }
}

#[test]
fn preflights_are_kept_for_a_year() {
    for carrier in CARRIERS {
        let server = Server::start(carrier, with(Config::default()));
        let asked = ["Origin: http://page.example", "Access-Control-Request-Headers: a, b, c"];
        let response = server.request("OPTIONS /echo/info HTTP/1.1", &asked);
        assert_eq!((response.status, &*response.body), (204, ""));
        assert_eq!(response.header("cache-control"), Some("public, max-age=31536000"));
        assert_eq!(response.header("access-control-max-age"), Some("31536000"));
        assert!(response.header("expires").unwrap().ends_with("GMT"));
        assert_eq!(response.header("access-control-allow-methods"), Some("OPTIONS, GET"));
        assert_eq!(response.header("access-control-allow-headers"), Some("a, b, c"));
        assert_eq!(response.header("access-control-allow-origin"), Some("http://page.example"));
        assert_eq!(response.header("access-control-allow-credentials"), Some("true"));
    }
}

const PATHS: [&str; 2] = ["/echo/websocket", "/echo/server/session/websocket"];

#[test]
fn good_handshakes_are_answered() {
    for carrier in CARRIERS {
        let server = Server::start(carrier, with(Config::default()));
        for path in PATHS {
            for connection in
                ["Connection: Upgrade", "Connection: keep-alive, Upgrade", "Connection: upgrade"]
            {
                let response = server.request(&format!("GET {path} HTTP/1.1"), &upgrade_with(connection));
                assert_eq!(response.status, 101, "{response:?}");
                assert_eq!(response.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
                assert_eq!(response.header("upgrade"), Some("websocket"));
                assert!(response.header("connection").unwrap().eq_ignore_ascii_case("upgrade"));
                assert_eq!(response.header("sec-websocket-protocol"), None);
                assert_eq!(response.header("set-cookie"), None);
            }
        }
    }
}

#[test]
fn bad_handshakes_are_told_why() {
    for carrier in CARRIERS {
        let server = Server::start(carrier, with(Config::default()));
        let refused = |line: &str, headers: &[&str]| {
            let response = server.request(line, headers);
            assert_eq!(response.header("sec-websocket-accept"), None);
            (response.status, response.body)
        };
        let only = |text: &str| (400, text.to_owned());
        for path in PATHS {
            let get = format!("GET {path} HTTP/1.1");
            let not_websocket = only("Can \"Upgrade\" only to \"WebSocket\".");
            assert_eq!(refused(&get, &[]), not_websocket);
            assert_eq!(refused(&get, &upgrade_with("Upgrade: h2c")), not_websocket);
            let no_upgrade = only("\"Connection\" must be \"Upgrade\".");
            assert_eq!(refused(&get, &upgrade_with("Connection: close")), no_upgrade);
            assert_eq!(refused(&get, &["Upgrade: WebSocket"]), no_upgrade);
            assert_eq!(refused(&get, &upgrade_with("Sec-WebSocket-Version: 12")).0, 426);
            assert_eq!(refused(&get, &upgrade_with("Sec-WebSocket-Key: short")).0, 400);
            assert_eq!(refused(&format!("GET {path} HTTP/1.0"), &UPGRADE).0, 400);
            for method in ["POST", "OPTIONS", "DELETE"] {
                for headers in [&[][..], &UPGRADE] {
                    let response = server.request(&format!("{method} {path} HTTP/1.1"), headers);
                    assert_eq!(
                        (response.status, response.header("allow"), &*response.body),
                        (405, Some("GET"), "")
                    );
                }
            }
        }
        for path in [
            "/echo/a.b/c/websocket",
            "/echo/a/b.c/websocket",
            "/echo//b/websocket",
            "/echo/a//websocket",
            "/echo/a",
        ] {
            assert_eq!(refused(&format!("GET {path} HTTP/1.1"), &UPGRADE).0, 404, "{path}");
        }
    }
}

#[test]
fn switched_off_there_are_no_websockets() {
    for carrier in CARRIERS {
        let server = Server::start(carrier, with(Config { websocket: false, ..Config::default() }));
        for path in PATHS {
            assert_eq!(server.request(&format!("GET {path} HTTP/1.1"), &UPGRADE).status, 404);
            assert_eq!(server.request(&format!("GET {path} HTTP/1.1"), &[]).status, 404);
        }
    }
}

#[test]
fn handshakes_come_from_the_origins_allowed() {
    for carrier in CARRIERS {
        let config = Config { origins: Origins::only(["https://good.example"]), ..Config::default() };
        let server = Server::start(carrier, with(config));
        for path in PATHS {
            let ask = |headers: &[&str]| server.request(&format!("GET {path} HTTP/1.1"), headers);
            assert_eq!(ask(&UPGRADE).status, 101, "no browser");
            assert_eq!(ask(&upgrade_with("Origin: https://good.example")).status, 101);
            let refused = ask(&upgrade_with("Origin: https://evil.example"));
            assert_eq!((refused.status, &*refused.body), (403, "Pages of this origin may not connect here."));
        }
    }
}

#[test]
fn the_first_subprotocol_of_the_clients_that_is_spoken_is_chosen() {
    for carrier in CARRIERS {
        let subprotocols = ["chat.v3", "chat.v2", "chat.v1"].map(String::from).to_vec();
        let server = Server::start(carrier, with(Config { subprotocols, ..Config::default() }));
        let chosen = |path: &str, offers: &[&str]| {
            let offers: Vec<String> = offers.iter().map(|o| format!("Sec-WebSocket-Protocol: {o}")).collect();
            let headers: Vec<&str> = UPGRADE.into_iter().chain(offers.iter().map(String::as_str)).collect();
            let response = server.request(&format!("GET {path} HTTP/1.1"), &headers);
            assert_eq!(response.status, 101);
            response.header("sec-websocket-protocol").map(String::from)
        };
        assert_eq!(chosen(PATHS[0], &["chat.v1, chat.v2"]).as_deref(), Some("chat.v1"));
        assert_eq!(chosen(PATHS[0], &["x,chat.v3"]).as_deref(), Some("chat.v3"));
        assert_eq!(chosen(PATHS[0], &["x", "chat.v2"]).as_deref(), Some("chat.v2"));
        assert_eq!(chosen(PATHS[0], &["x"]), None);
        assert_eq!(chosen(PATHS[0], &[]), None);
        assert_eq!(chosen(PATHS[1], &["chat.v3"]), None, "SockJS has none");
    }
}

#[test]
fn a_needed_cookie_is_set_with_the_session() {
    for carrier in CARRIERS {
        let server = Server::start(carrier, with(Config { cookie_needed: true, ..Config::default() }));
        let cookie = |path: &str, header: &str| {
            let response = server.request(&format!("GET {path} HTTP/1.1"), &upgrade_with(header));
            response.header("set-cookie").map(String::from)
        };
        assert_eq!(cookie(PATHS[1], "X: y").as_deref(), Some("JSESSIONID=dummy; path=/"));
        assert_eq!(cookie(PATHS[1], "Cookie: JSESSIONID=mine").as_deref(), Some("JSESSIONID=mine; path=/"));
        assert_eq!(cookie(PATHS[0], "X: y"), None);
    }
}
