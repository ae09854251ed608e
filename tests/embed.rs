//! A program with Stentor inside, that answers `/app/…`.

#![allow(clippy::unwrap_used)]

mod support;

use actix_web::rt::System;
use stentor::app::Running;
use stentor::frontends::app::{Handlers, Json, Refused, User};
use support::{Carrier, Client, config};

fn handlers() -> Handlers {
    Handlers::new()
        .on("add", |Json((a, b)): Json<(i64, i64)>| match a.checked_add(b) {
            Some(sum) => Ok(Json(sum)),
            None => Err(Refused("too large".into())),
        })
        .on("hello", |User(user): User| format!("hello {}", user.unwrap_or_default()))
}

#[test]
fn handlers_of_the_program_answer_the_asker_alone() {
    System::new().block_on(async {
        let running = Running::start_with(&config(), handlers()).unwrap();
        let address = running.addresses()[0];
        let mut other = Client::open(address, Carrier::Raw).await;
        other.send("CONNECT\naccept-version:1.2\nlogin:eve\n\n\0").await;
        other.frame().await.unwrap();
        other.subscribe("a", "/user/queue/add").await;
        let mut client = Client::open(address, Carrier::SockJs).await;
        client.send("CONNECT\naccept-version:1.2\nlogin:ann\n\n\0").await;
        client.frame().await.unwrap();
        client.subscribe("a", "/user/queue/add").await;
        client.send("SEND\ndestination:/app/add\ncorrelation-id:7\n\n[1,2]\0").await;
        let answer = client.frame().await.unwrap();
        assert_eq!(answer.body, "3");
        assert_eq!(answer.get("destination"), Some("/user/queue/add"));
        assert_eq!(answer.get("content-type"), Some("application/json"));
        assert_eq!(answer.get("correlation-id"), Some("7"));
        client.send("SEND\ndestination:/app/hello\nreply-to:/temp-queue/x\n\n\0").await;
        let answer = client.frame().await.unwrap();
        assert_eq!(
            (answer.get("subscription"), &answer.body[..]),
            (Some("/temp-queue/x"), &b"hello ann"[..])
        );
        assert!(other.is_quiet().await);
        client.send("SEND\ndestination:/app/add\n\n[9223372036854775807,1]\0").await;
        let error = client.frame().await.unwrap();
        assert_eq!((error.command.as_str(), &error.body[..]), ("ERROR", &b"too large"[..]));
        drop((client, other));
        running.stop().await;
    });
}
