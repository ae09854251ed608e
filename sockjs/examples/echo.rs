//! An echo service at `/echo`, with its WebSockets taken out of the HTTP server.
//!
//! Run it with `cargo run -p sockjs --example echo`, then connect any SockJS client to
//! `http://127.0.0.1:8081/echo`, or by hand: `wscat -c ws://127.0.0.1:8081/echo/websocket`.

use actix_web::App;
use sockjs::{
    Message, Session, SockJs,
    server::{Connections, Http},
};

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let connections = Connections::at_most(20_000);
    println!("http://127.0.0.1:8081/echo");
    let echo = SockJs::new(echo);
    actix_server::Server::build()
        .bind("echo", ("127.0.0.1", 8081), move || {
            let app = App::new().service(echo.mount("/echo"));
            Http::new().connections(&connections).take("/echo", &echo).serve(app)
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
        // The peer does not read its own echo: end the session rather than lose messages silently.
        if sent.is_err() {
            sender.close(4000, "read faster");
            break;
        }
    }
}
