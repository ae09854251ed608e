//! `stentor bench churn`: connections that come, get one message, and go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use hdrhistogram::Histogram;
use stomp_parser::{Command, Frame};
use tokio::time::timeout;

use super::super::Failure;
use super::super::broker::{runtime, seconds};
use super::crew::{enough_files, subscribe};
use super::meter::Meter;
use super::{Common, topic};
use crate::client::{Client, Error, Login, Target};

/// How long one cycle may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a run by --cycles may take at most.
const LONGEST: Duration = Duration::from_secs(600);

/// Connect, subscribe, one message, disconnect, over and over: how many a second, and what each costs
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,

    /// Connections at the same time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    parallel: u32,

    /// Stop after so many cycles
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    cycles: Option<u64>,

    /// Stop after so many seconds [default: 10, or 600 with --cycles]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,
}

/// What the cycles came to.
struct Outcome {
    done: u64,
    /// Microseconds each.
    took: Histogram<u64>,
    failed: BTreeMap<String, u64>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let common = &args.common;
    let target = common.target()?;
    if common.streams() {
        let why = "churn does not go over XHR streaming: take --over ws, sockjs or tcp";
        return Err(Failure::Usage(why.to_owned()));
    }
    enough_files(u64::from(args.parallel))?;
    let runtime = runtime()?;
    let meter = Meter::start(common.pid)?;
    let begun = Instant::now();
    let outcome = runtime.block_on(churn(args, &target))?;
    let elapsed = begun.elapsed().as_secs_f64();
    let cost = meter.read()?;

    let mut report = common.report("churn", &target);
    report.add("parallel", args.parallel);
    report.add_rounded("seconds", elapsed);
    report.add("cycles", outcome.done);
    report.add("failed", outcome.failed.values().sum::<u64>());
    report.add_rounded("cycles_per_s", outcome.done as f64 / elapsed);
    let names = ["cycle_p50_ms", "cycle_p90_ms", "cycle_p99_ms", "cycle_max_ms"];
    report.add_percentiles(names, &outcome.took);
    let per_unit = ["cycles_per_server_cpu_s", "server_cpu_us_per_cycle"];
    report.add_cost(&cost, outcome.done, per_unit);
    let unclean: Vec<String> =
        outcome.failed.iter().map(|(why, count)| format!("{count} cycles failed: {why}")).collect();
    common.finish(&report, &unclean)
}

async fn churn(args: &Args, target: &Target) -> Result<Outcome, Failure> {
    let default = args.cycles.map_or(Duration::from_secs(10), |_| LONGEST);
    let until = Instant::now() + args.seconds.unwrap_or(default);
    let login = args.common.login();
    let topics = topic::Topic::several(1, topic::SMALLEST);
    let topic = topics.first().map_or("", |topic| &topic.destination);
    let took = Histogram::new_with_max(PATIENCE.as_micros() as u64, 3);
    let mut outcome = Outcome {
        done: 0,
        took: took.map_err(|error| Failure::Failed(error.to_string()))?,
        failed: BTreeMap::new(),
    };
    let cycles = stream::iter(0..args.cycles.unwrap_or(u64::MAX))
        .take_while(|_| std::future::ready(Instant::now() < until))
        .map(|number| timed(target, &login, format!("{topic}-{number}")))
        .buffer_unordered(args.parallel as usize);
    let mut cycles = std::pin::pin!(cycles);
    while let Some(cycle) = cycles.next().await {
        match cycle {
            Ok(took) => {
                outcome.done += 1;
                outcome.took.saturating_record(took.as_micros() as u64);
            }
            Err(why) => *outcome.failed.entry(why).or_default() += 1,
        }
    }
    Ok(outcome)
}

/// One cycle and its time, or why it failed.
async fn timed(target: &Target, login: &Login, destination: String) -> Result<Duration, String> {
    let begun = Instant::now();
    match timeout(PATIENCE, cycle(target, login, &destination)).await {
        Ok(Ok(())) => Ok(begun.elapsed()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it took longer than 10 s".to_owned()),
    }
}

async fn cycle(target: &Target, login: &Login, destination: &str) -> Result<(), Error> {
    let body = Bytes::copy_from_slice(destination.as_bytes());
    let mut client = Client::connect(target, login).await?;
    client.send(&subscribe(destination)).await?;
    let message = Frame::new(Command::Send).header("destination", destination);
    client.send(&message.body(body.clone())).await?;
    let frame = client.next().await?;
    if frame.command != Command::Message || frame.body != body {
        return Err(Error::Protocol(format!("{} instead of the message", frame.command.as_str())));
    }
    client.send_and_wait(Frame::new(Command::Disconnect)).await
}
