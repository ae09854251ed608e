//! What the core costs without sockets: finding who wants a message, and handing it to many connections.
//!
//! `kit.rs` has a broker with one worker on this thread, and connections that take anything.

mod delivery;
mod kit;
mod matching;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20)
        .configure_from_args();
    matching::bench(&mut criterion);
    delivery::bench(&mut criterion);
    criterion.final_summary();
}
