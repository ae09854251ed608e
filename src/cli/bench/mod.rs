//! `stentor bench`: loads a broker, ours or another, and says what it took: throughput, latency, what was lost, repeated or
//! out of order, and what server and client used for it.
//!
//! `fanout` and `tick` share [`delivery`]: one thread serves all connections ([`audience`]) and knows messages by the stamp at
//! their end ([`stamp`], [`walk`]), so that the client costs little beside the server it measures. What has come is in the
//! [`ledger`]. `idle` and `churn` are about connections.

mod audience;
mod churn;
mod crew;
mod delivery;
mod fanout;
mod flight;
mod idle;
mod ledger;
mod meter;
mod pacer;
mod process;
mod report;
mod stamp;
mod streaming;
mod tally;
mod tick;
mod topic;
mod walk;
mod window;

#[cfg(test)]
mod tests;

use std::str::FromStr;
use std::time::Duration;

use self::report::Report;
use super::broker::Credentials;
use super::{Failure, print};
use crate::client::{Carrier, Login, Target};

const EXAMPLES: &str = "\
Examples:
  stentor bench fanout --pid $(pgrep -x stentor)
      1,000 subscribers of one topic, 16 messages under way, as fast as it goes
  stentor bench fanout --over sockjs --subscribers 100 --topics 100 --publishers 100
      A hundred pairs over SockJS
  stentor bench tick --rate 10 --size 1024 --seconds 30 --json
      Latency at ten messages a second, as JSON
  stentor bench idle --connections 8000 --pid 4711
      Memory of process 4711 for each connection
  stentor bench churn --url ws://127.0.0.1:15674/ws --login guest --passcode guest
      Connect, subscribe, one message, disconnect, at another broker

Exit codes: 0 when every message came once and in order and no connection was lost,
1 otherwise, 2 wrong usage.";

/// Load a broker, and measure what it takes
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, clap::Subcommand)]
enum Mode {
    Fanout(fanout::Args),
    Tick(tick::Args),
    Idle(idle::Args),
    Churn(churn::Args),
}

/// What all modes are told.
#[derive(Debug, clap::Args)]
struct Common {
    /// The broker: ws://HOST:PORT/PATH for a raw WebSocket, http://HOST:PORT/PREFIX for SockJS, tcp://HOST[:61613] for plain
    /// TCP [default: ws://127.0.0.1:8080/ws/websocket or, over SockJS, http://127.0.0.1:8080/ws, or, over TCP,
    /// tcp://127.0.0.1:61613]
    #[arg(long, value_name = "URL")]
    url: Option<Target>,

    /// The carrier: ws (or raw) for STOMP in WebSocket messages, sockjs for SockJS over WebSocket, xhr-streaming for
    /// subscribers over that, tcp for plain TCP [default: as the URL says]
    #[arg(long, value_name = "CARRIER")]
    over: Option<Over>,

    #[command(flatten)]
    credentials: Credentials,

    /// The server's process on this machine, whose processor time and memory are reported
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,

    /// Print the report as a line of JSON
    #[arg(long)]
    json: bool,
}

/// A carrier as `--over` names it.
#[derive(Debug, Clone, Copy)]
enum Over {
    Carrier(Carrier),
    /// SockJS over XHR streaming, for those who subscribe; who publishes does so over WebSocket.
    XhrStreaming,
}

impl FromStr for Over {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Over, &'static str> {
        match name {
            "ws" | "raw" => Ok(Over::Carrier(Carrier::Raw)),
            "sockjs" => Ok(Over::Carrier(Carrier::SockJs)),
            "xhr-streaming" | "xhr_streaming" => Ok(Over::XhrStreaming),
            "tcp" => Ok(Over::Carrier(Carrier::Tcp)),
            _ => Err("the carriers are ws (or raw), sockjs, xhr-streaming and tcp"),
        }
    }
}

impl Common {
    fn target(&self) -> Result<Target, Failure> {
        let over = self.over.map(|over| match over {
            Over::Carrier(carrier) => carrier,
            Over::XhrStreaming => Carrier::SockJs,
        });
        let target = match (&self.url, over) {
            (Some(url), Some(carrier)) => url.clone().over(carrier),
            (Some(url), None) => Ok(url.clone()),
            (None, Some(Carrier::SockJs)) => "http://127.0.0.1:8080/ws".parse(),
            (None, Some(Carrier::Tcp)) => "tcp://127.0.0.1".parse(),
            (None, _) => "ws://127.0.0.1:8080/ws/websocket".parse(),
        };
        target.map_err(|error| Failure::Usage(error.to_string()))
    }

    /// Whether subscribers come over XHR streaming.
    fn streams(&self) -> bool {
        matches!(self.over, Some(Over::XhrStreaming))
    }

    /// Without heart-beats: what is measured is the messages.
    fn login(&self) -> Login {
        self.credentials.login(Duration::ZERO)
    }

    /// A report that begins with what was asked for.
    fn report(&self, mode: &'static str, target: &Target) -> Report {
        let mut report = Report::default();
        report.add("mode", mode);
        report.add("url", target.to_string());
        let over = if self.streams() {
            "SockJS over XHR streaming".to_owned()
        } else {
            target.carrier().to_string()
        };
        report.add("over", over);
        report
    }

    /// Prints the report; an error if the run was not clean.
    fn finish(&self, report: &Report, unclean: &[String]) -> Result<(), Failure> {
        if self.json {
            print(&report.json())?;
        } else {
            print(report)?;
        }
        match unclean {
            [] => Ok(()),
            wrong => Err(Failure::Failed(wrong.join("\n  "))),
        }
    }
}

/// Runs one mode.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    match &args.mode {
        Mode::Fanout(args) => fanout::run(args),
        Mode::Tick(args) => tick::run(args),
        Mode::Idle(args) => idle::run(args),
        Mode::Churn(args) => churn::run(args),
    }
}
