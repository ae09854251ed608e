//! `stentor bench idle`: connections that do nothing, and what each costs in memory.

use std::time::{Duration, Instant};

use super::super::Failure;
use super::super::broker::seconds;
use super::Common;
use super::audience::Audience;
use super::crew;
use super::ledger::Ledger;
use super::meter::Meter;
use super::topic::{SMALLEST, Topic};

/// How long the server may take to let go of what the connections took.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// Connections with one subscription each and nothing to do: what each costs in memory
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    common: Common,

    /// Connections
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,

    /// How long they stand before memory is looked at
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    seconds: Duration,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let common = &args.common;
    let target = common.target()?;
    let topics = Topic::several(1, SMALLEST);
    let destination = topics.first().map(|topic| topic.destination.as_str());
    let meter = Meter::start(common.pid)?;
    let begun = Instant::now();
    let destinations = vec![destination; args.connections as usize];
    let standing = crew::connect(&target, &common.login(), &destinations, common.streams())?;
    let connecting = begun.elapsed().as_secs_f64();

    let subscribed = vec![0; standing.len()];
    let ledger = Ledger::new(1, &subscribed, 0).map_err(Failure::Failed)?;
    let mut audience = Audience::new(target.carrier(), ledger, Instant::now())?;
    for (at, standing) in standing.into_iter().enumerate() {
        audience.join(standing, Some(at))?;
    }
    let until = Instant::now() + args.seconds;
    while Instant::now() < until && !audience.ledger.is_deserted() {
        let left = until.saturating_duration_since(Instant::now());
        audience.receive(left)?;
    }
    let cost = meter.read()?;
    let ended = std::mem::take(&mut audience.ended);
    drop(audience);
    std::thread::sleep(AFTERWARDS);
    let left = meter.read()?;

    let mut report = common.report("idle", &target);
    report.add("connections", args.connections);
    report.add_rounded("connecting_s", connecting);
    report.add_rounded("connections_per_s", f64::from(args.connections) / connecting);
    report.add("connections_ended", ended.values().sum::<u64>());
    let per_unit = ["connections_per_server_cpu_s", "server_cpu_us_per_connection"];
    report.add_cost(&cost, u64::from(args.connections), per_unit);
    if let (Some((before, with)), Some((_, after))) = (cost.server, left.server) {
        let grown = with.resident as f64 - before.resident as f64;
        report.add_rounded("server_bytes_per_connection", grown * 1024.0 / f64::from(args.connections));
        report.add("server_memory_left_kib", after.resident);
    }
    let unclean: Vec<String> =
        ended.iter().map(|(why, count)| format!("{count} connections ended: {why}")).collect();
    common.finish(&report, &unclean)
}
