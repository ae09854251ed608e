//! A service that drains takes no new sessions, and keeps those that it has.

use sockjs::{Config, SockJs};

use crate::support::{CARRIERS, Server, UPGRADE, echo};

#[test]
fn sessions_go_on_and_new_ones_are_refused() {
    for carrier in CARRIERS {
        let server = Server::start_with(carrier, usize::MAX, 2, SockJs::new(echo).config(Config::default()));
        assert_eq!(server.poll("old"), "o\n");
        let mut websocket = server.sockjs();
        server.sockjs.drain();

        let mut refusals = vec![
            server.ask("new/xhr", ""),
            server.ask("new/xhr_streaming", ""),
            server.request("GET /echo/000/new/eventsource HTTP/1.1", &[]),
            server.request("GET /echo/info HTTP/1.1", &["Origin: http://a.org"]),
        ];
        assert_eq!(refusals[3].header("access-control-allow-origin"), Some("http://a.org"));
        assert!(refusals[3].header("cache-control").is_some_and(|value| value.contains("no-store")));
        refusals.push(server.request("GET /echo/websocket HTTP/1.1", &UPGRADE));
        refusals.push(server.request("GET /echo/000/new/websocket HTTP/1.1", &UPGRADE));
        for refusal in refusals {
            assert_eq!((refusal.status, &*refusal.body), (503, "This server is about to stop."));
            assert_eq!(
                (refusal.header("retry-after"), refusal.header("connection")),
                (Some("1"), Some("close"))
            );
        }
        // What is wrong anyway is told as ever, and what there is not is not found.
        assert_eq!(server.request("GET /echo/websocket HTTP/1.1", &[]).status, 400);
        assert_eq!(server.ask("new/xhr_send", "[\"x\"]").status, 404);

        server.send_to("old", "[\"x\"]");
        assert_eq!(server.poll("old"), "a[\"x\"]\n");
        websocket.send_text("\"x\"");
        assert_eq!(websocket.text(), r#"a["x"]"#);
    }
}
