//! The services that SockJS test suites expect: `cargo run -p sockjs --example test_server -- --listen 127.0.0.1:8081`.
//!
//! | service | what it does |
//! | --- | --- |
//! | `/echo` | gives every message back |
//! | `/disabled_websocket_echo` | the same, without WebSockets |
//! | `/cookie_needed_echo` | the same, with the cookie of load balancers |
//! | `/close` | closes each session with 3000, "Go away!" |
//!
//! All end their streaming responses after 4096 octets. With `--plain`, they run in actix-web's own `HttpServer`.

use std::{env, io, net::TcpListener, process};

use actix_web::{App, HttpServer, web};
use sockjs::{Config, Message, Session, SockJs, server::Http};

const USAGE: &str = "usage: test_server [--listen ADDR] [--workers N] [--plain]";

struct Options {
    listen: String,
    workers: usize,
    plain: bool,
}

fn options() -> Option<Options> {
    let mut options = Options { listen: "127.0.0.1:8081".into(), workers: 2, plain: false };
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        match &*arg {
            "--listen" => options.listen = args.next()?,
            "--workers" => options.workers = args.next()?.parse().ok().filter(|workers| *workers > 0)?,
            "--plain" => options.plain = true,
            _ => return None,
        }
    }
    Some(options)
}

/// Where each service is, and the service.
fn services() -> [(&'static str, SockJs); 4] {
    let config =
        Config { response_limit: 4096, sockjs_url: Some("/lib/sockjs.min.js".into()), ..Config::default() };
    [
        ("/echo", SockJs::new(echo).config(config.clone())),
        ("/disabled_websocket_echo", SockJs::new(echo).config(Config { websocket: false, ..config.clone() })),
        ("/cookie_needed_echo", SockJs::new(echo).config(Config { cookie_needed: true, ..config.clone() })),
        ("/close", SockJs::new(close).config(config)),
    ]
}

#[actix_web::main]
async fn main() -> io::Result<()> {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        process::exit(2);
    };
    let listener = TcpListener::bind(&*options.listen)?;
    println!("listening on http://{}", listener.local_addr()?);
    let services = services();
    let mount = |services: &[(&'static str, SockJs)], config: &mut web::ServiceConfig| {
        for (prefix, sockjs) in services {
            config.service(sockjs.mount(prefix));
        }
    };
    if options.plain {
        let app = move || App::new().configure(|config| mount(&services, config));
        return HttpServer::new(app).workers(options.workers).listen(listener)?.run().await;
    }
    let server = actix_server::Server::build().workers(options.workers);
    server
        .listen("test_server", listener, move || {
            let http = services.iter().fold(Http::new(), |http, (prefix, sockjs)| http.take(prefix, sockjs));
            http.serve(App::new().configure(|config| mount(&services, config)))
        })?
        .run()
        .await
}

async fn echo(mut session: Session) {
    let sender = session.sender();
    while let Some(message) = session.recv().await {
        let sent = match message {
            Message::Text(text) => sender.text(text),
            Message::Binary(body) => sender.binary(body),
        };
        if sent.is_err() {
            sender.close(4000, "read faster");
            break;
        }
    }
}

async fn close(session: Session) {
    session.sender().close(3000, "Go away!");
}
