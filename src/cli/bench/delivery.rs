//! What `fanout` and `tick` have in common: many subscribers, some topics, some publishers, and a report on every message.

use std::time::{Duration, Instant};

use super::super::Failure;
use super::audience::Audience;
use super::crew::{self, Standing};
use super::ledger::Ledger;
use super::meter::Meter;
use super::report::{Cost, Report};
use super::topic::{SMALLEST, Topic};
use super::{Common, topic};
use crate::client::Target;

/// A run ends when nothing has come for so long although something should.
const STALL: Duration = Duration::from_secs(10);

/// How long to wait, after everything has come, for what should not come.
const SETTLE: Duration = Duration::from_millis(200);

/// The largest body.
const LARGEST: usize = 1 << 20;

/// Who takes part.
#[derive(Debug, clap::Args)]
pub(super) struct Crowd {
    /// Subscribers, spread evenly over the topics
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    subscribers: u32,

    /// Topics
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    topics: u32,

    /// Connections that publish; topics are spread evenly over them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    publishers: u32,

    /// Octets of each body
    #[arg(long, value_name = "OCTETS", default_value_t = 256, value_parser = size)]
    size: usize,
}

fn size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size @ SMALLEST..=LARGEST) => Ok(size),
        _ => Err(format!("give a number from {SMALLEST}, which the stamp of a message takes, to {LARGEST}")),
    }
}

/// Everybody connected and subscribed, and nothing sent.
pub(super) struct Stage {
    pub(super) target: Target,
    pub(super) topics: Vec<Topic>,
    pub(super) publishers: Vec<Standing>,
    pub(super) audience: Audience,
    /// When the run began.
    pub(super) start: Instant,
    meter: Meter,
}

impl Crowd {
    /// Connects everybody. No topic will get more than `limit` messages.
    pub(super) fn gather(&self, common: &Common, limit: u64) -> Result<Stage, Failure> {
        for (name, number, of) in
            [("--topics", self.topics, self.subscribers), ("--publishers", self.publishers, self.topics)]
        {
            if number > of {
                let rule = "there can be no more topics than subscribers, and no more publishers than topics";
                return Err(Failure::Usage(format!("{name} {number} is too many: {rule}")));
            }
        }
        let target = common.target()?;
        let topics = topic::Topic::several(self.topics, self.size);
        let subscribed: Vec<u32> = (0..self.subscribers).map(|at| at % self.topics).collect();
        let mut destinations: Vec<Option<&str>> =
            subscribed.iter().map(|topic| Some(topics[*topic as usize].destination.as_str())).collect();
        destinations.resize(destinations.len() + self.publishers as usize, None);
        let mut standing = crew::connect(&target, &common.login(), &destinations, common.streams())?;
        let publishers = standing.split_off(subscribed.len());
        let ledger = Ledger::new(topics.len(), &subscribed, limit).map_err(Failure::Failed)?;
        let meter = Meter::start(common.pid)?;
        let start = Instant::now();
        let mut audience = Audience::new(target.carrier(), ledger, start)?;
        for (at, standing) in standing.into_iter().enumerate() {
            audience.join(standing, Some(at))?;
        }
        Ok(Stage { target, topics, publishers, audience, start, meter })
    }

    /// Adds what was asked for.
    pub(super) fn describe(&self, report: &mut Report) {
        report.add("subscribers", self.subscribers);
        report.add("topics", self.topics);
        report.add("publishers", self.publishers);
        report.add("size", self.size);
    }
}

impl Stage {
    /// Reads until everything that was sent has come, or nothing comes any more; then for a moment more, for what should not
    /// come. Gives what was used until all had come.
    pub(super) fn drain(&mut self, sent: &[u64]) -> Result<Cost, Failure> {
        let mut watch = Watch::new();
        while !self.audience.ledger.is_complete(sent) && !watch.stalls(&self.audience.ledger) {
            self.audience.receive(Duration::from_millis(100))?;
        }
        let cost = self.meter.read()?;
        let settled = Instant::now() + SETTLE;
        while Instant::now() < settled {
            self.audience.receive(SETTLE)?;
        }
        Ok(cost)
    }

    /// Adds what was found, and gives what was not as it should be.
    pub(super) fn conclude(&self, report: &mut Report, sent: &[u64], cost: &Cost) -> Vec<String> {
        let Audience { ledger, ended, octets, .. } = &self.audience;
        let seconds = Duration::from_micros(ledger.latest).as_secs_f64();
        let expected = ledger.expected(sent);
        report.add_rounded("seconds", seconds);
        report.add("sent", sent.iter().sum::<u64>());
        report.add("expected", expected);
        report.add("delivered", ledger.delivered);
        let faults = ledger.faults(sent);
        report.add_faults(faults);
        if seconds > 0.0 {
            report.add_rounded("deliveries_per_s", ledger.delivered as f64 / seconds);
            report.add_rounded("received_mb_per_s", *octets as f64 / seconds / 1e6);
        }
        let latency = ["latency_p50_ms", "latency_p90_ms", "latency_p99_ms", "latency_max_ms"];
        let last = ["last_of_all_p50_ms", "last_of_all_p90_ms", "last_of_all_p99_ms", "last_of_all_max_ms"];
        report.add_percentiles(latency, &ledger.latency);
        report.add_percentiles(last, &ledger.last);
        let per_unit = ["deliveries_per_server_cpu_s", "server_cpu_us_per_delivery"];
        report.add_cost(cost, ledger.delivered, per_unit);
        let connections: u64 = ended.values().sum();
        report.add("connections_ended", connections);
        let mut unclean = Vec::new();
        let each = [
            (faults.lost, "messages lost"),
            (faults.repeated, "messages repeated"),
            (faults.out_of_order, "messages out of order"),
            (faults.stray, "messages came to whom they were not sent"),
        ];
        for (number, what) in each {
            if number > 0 {
                unclean.push(format!("{number} {what}"));
            }
        }
        unclean.extend(ended.iter().map(|(why, count)| format!("{count} connections ended: {why}")));
        unclean
    }
}

/// Sees when nothing comes any more.
pub(super) struct Watch {
    delivered: u64,
    since: Instant,
}

impl Watch {
    pub(super) fn new() -> Watch {
        Watch { delivered: 0, since: Instant::now() }
    }

    /// Whether nothing has come for long, or nobody is left to whom it could.
    pub(super) fn stalls(&mut self, ledger: &Ledger) -> bool {
        if ledger.delivered != self.delivered {
            *self = Watch { delivered: ledger.delivered, since: Instant::now() };
        }
        self.since.elapsed() > STALL || ledger.is_deserted()
    }
}
