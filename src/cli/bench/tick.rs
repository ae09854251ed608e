//! `stentor bench tick`: messages at a fixed rate, and how late they come.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::Failure;
use super::super::broker::seconds;
use super::Common;
use super::delivery::{Crowd, Stage};
use super::pacer::{Paced, Pacer};

/// A publisher that is later than this is worth a note.
const LATE: Duration = Duration::from_millis(5);

/// A fixed rate: how long from the time a message was due until each subscriber has it
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,

    #[command(flatten)]
    crowd: Crowd,

    /// Messages a second to each topic
    #[arg(long, value_name = "RATE", default_value = "10", value_parser = rate)]
    rate: f64,

    /// How long to publish
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    seconds: Duration,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("give a number of messages a second, from 0.001 to 100000".to_owned()),
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let messages = (args.seconds.as_secs_f64() * args.rate).max(1.0) as u64;
    let mut stage = args.crowd.gather(&args.common, messages)?;
    let paced = publish(args, &mut stage, messages)?;
    let cost = stage.drain(&paced.sent)?;

    let mut report = args.common.report("tick", &stage.target);
    args.crowd.describe(&mut report);
    report.add_rounded("rate_per_s", args.rate);
    report.add_rounded("sent_late_max_ms", paced.latest.as_secs_f64() * 1e3);
    if paced.latest > LATE {
        report.note(format!(
            "the publisher was up to {:.1} ms late, which the latencies include",
            paced.latest.as_secs_f64() * 1e3
        ));
    }
    let mut unclean = stage.conclude(&mut report, &paced.sent, &cost);
    unclean.extend(paced.failed.map(|why| format!("the publisher's connection ended: {why}")));
    args.common.finish(&report, &unclean)
}

/// Publishes in a thread of its own while this one reads.
fn publish(args: &Args, stage: &mut Stage, messages: u64) -> Result<Paced, Failure> {
    let pacer = Pacer {
        carrier: stage.target.carrier(),
        topics: std::mem::take(&mut stage.topics),
        publishers: std::mem::take(&mut stage.publishers),
        interval: Duration::from_secs_f64(1.0 / args.rate),
        messages,
    };
    let (start, stop) = (stage.start, AtomicBool::new(false));
    std::thread::scope(|scope| {
        let pacing = scope.spawn(|| pacer.run(start, &stop));
        while !pacing.is_finished() {
            let received = stage.audience.receive(Duration::from_millis(50));
            if received.is_err() || stage.audience.ledger.is_deserted() {
                stop.store(true, Ordering::Relaxed);
            }
            received?;
        }
        let paced = pacing.join();
        paced.map_err(|_| Failure::Failed("the publisher's thread broke down".to_owned()))
    })
}
