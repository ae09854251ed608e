//! `stentor bench fanout`: as fast as it goes, with a number of messages under way.

use std::time::Duration;

use super::super::Failure;
use super::super::broker::seconds;
use super::Common;
use super::delivery::{Crowd, Watch};
use super::window::Window;

/// What a run by --messages may take at most.
const LONGEST: Duration = Duration::from_secs(600);

/// As fast as it goes: a window of messages is under way in each topic, the next is sent when the last subscriber has one
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    crowd: Crowd,

    /// Messages under way in each topic
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    window: u64,

    /// Stop after so many messages to each topic
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    messages: Option<u64>,

    /// Stop after so many seconds [default: 10, or 600 with --messages]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let default = args.messages.map_or(Duration::from_secs(10), |_| LONGEST);
    let messages = args.messages.unwrap_or(u64::MAX);
    let mut stage = args.crowd.gather(&args.common, messages)?;
    stage.audience.may_rest();
    let mut publishers = Vec::new();
    for standing in std::mem::take(&mut stage.publishers) {
        publishers.push(stage.audience.join(standing, None)?);
    }
    let topics = std::mem::take(&mut stage.topics);
    let mut window = Window {
        carrier: stage.target.carrier(),
        topics: &topics,
        publishers: &publishers,
        size: args.window,
        messages,
        limit: args.seconds.unwrap_or(default),
        sent: vec![0; topics.len()],
    };
    let mut watch = Watch::new();
    while window.publish(&mut stage.audience) && !watch.stalls(&stage.audience.ledger) {
        let patience = Duration::from_millis(100);
        stage.audience.receive(patience)?;
    }
    let cost = stage.drain(&window.sent)?;

    let mut report = args.common.report("fanout", &stage.target);
    args.crowd.describe(&mut report);
    report.add("window", args.window);
    let unclean = stage.conclude(&mut report, &window.sent, &cost);
    args.common.finish(&report, &unclean)
}
