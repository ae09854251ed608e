//! A program with Stentor inside: it answers `/app/add` and `/app/hello`, and publishes the time to `/topic/time` each second.
//!
//! `cargo run --example embed`, then for instance
//! `npx wscat -c ws://127.0.0.1:8080/ws/0/x/websocket` and, line by line:
//!
//! ```text
//! ["CONNECT\naccept-version:1.2\nlogin:ann\n\n\u0000"]
//! ["SUBSCRIBE\nid:0\ndestination:/user/queue/add\n\n\u0000"]
//! ["SEND\ndestination:/app/add\n\n{\"a\":1,\"b\":2}\u0000"]
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use stentor::app::Running;
use stentor::broker::{Destination, Door, Identity, Message, Tenant};
use stentor::config::Config;
use stentor::frontends::app::{Handlers, Json, Refused, User};

#[derive(Deserialize)]
struct Numbers {
    a: i64,
    b: i64,
}

#[derive(Serialize)]
struct Sum {
    sum: i64,
}

/// The answer goes to the asker: to the request's `reply-to`, or to its subscription to `/user/queue/add`.
fn add(Json(Numbers { a, b }): Json<Numbers>) -> Result<Json<Sum>, Refused> {
    let sum = a.checked_add(b).ok_or_else(|| Refused("the sum is too large".into()))?;
    Ok(Json(Sum { sum }))
}

fn hello(User(user): User) -> String {
    format!("hello {}", user.as_deref().unwrap_or("nobody in particular"))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let handlers = Handlers::new().on("add", add).on("hello", hello);
    let running = Running::start_with(&Config::default(), handlers)?;
    println!("listening on {:?}", running.addresses());

    let time = Destination::topic(Tenant::DEFAULT, "time")?;
    let mut each_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = each_second.tick() => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
                let message = Message::json(time.clone(), now.to_string());
                running.broker().publish(&Identity::anonymous(), Door::Producer, message).await?;
            }
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    running.stop().await;
    Ok(())
}
