//! The test kit: a real server on a free port, and clients that speak bytes.

#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

mod client;
mod cluster;
pub mod fanout;
mod foreign;
mod http;
mod program;
mod proxy;
mod rabbit;
mod server;

#[allow(unused_imports)] // not every test needs everything
pub use client::{ALL_CARRIERS, CARRIERS, Carrier, Client, Heard, Pace, WEBSOCKETS};
#[allow(unused_imports)]
pub use cluster::{Cluster, node_config};
#[allow(unused_imports)]
pub use foreign::Foreign;
#[allow(unused_imports)]
pub use http::{http, try_http};
#[allow(unused_imports)]
pub use program::Program;
#[allow(unused_imports)]
pub use proxy::{Line, Proxy};
#[allow(unused_imports)]
pub use rabbit::Rabbit;
#[allow(unused_imports)]
pub use server::{Server, config};

use std::time::Duration;

/// Runs a test on a thread's own runtime, and fails it rather than hang.
pub fn run(test: impl Future<Output = ()>) {
    run_within(Duration::from_secs(60), test);
}

/// As [`run`], for a test that takes longer.
pub fn run_within(limit: Duration, test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limited = async { tokio::time::timeout(limit, test).await };
    runtime.block_on(limited).expect("the test hangs");
}

/// Waits until a condition holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed().as_secs() < 20, "waited in vain: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// A number from the environment, by which a test is made longer.
pub fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// The number that a message's body begins with.
pub fn number_of(frame: &stomp_parser::Frame) -> u64 {
    assert_eq!(frame.command.as_str(), "MESSAGE", "{frame:?}");
    let text = std::str::from_utf8(&frame.body).unwrap();
    text.split(' ').next().unwrap().parse().expect("a number")
}
