//! `stentor sub`: subscribes, and prints what comes, for people or for scripts.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use stomp_parser::{Command, Frame};

use super::Failure;
use super::broker::{Broker, header, runtime, seconds};
use crate::client::Client;

const EXAMPLES: &str = "\
Examples:
  stentor sub /topic/greetings
      Print the body of each message on a line, until ctrl-c
  stentor sub --count 1 --json /topic/metrics | jq .body
      One message as a JSON object: destination, headers, body
  stentor sub --url http://127.0.0.1:8080/ws --json '/topic/host-metrics:*' /topic/greetings
      Two subscriptions over SockJS
  stentor sub --url tcp://127.0.0.1:61613 /topic/greetings
      Over plain TCP
  stentor sub --receipt --timeout 60 --count 3 /topic/greetings
      Say when the subscription stands; fail unless three messages come within a minute

With --json a body that is no UTF-8 stands there in base64, marked by \"encoding\":\"base64\".
Exit codes: 0 for --count reached, --timeout without --count, and ctrl-c; 1 when the
connection ends or time is up before.";

/// The interval at which the server shall show that it lives.
const BEAT: Duration = Duration::from_secs(10);

/// Subscribe, and print what comes
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// What to subscribe to, such as /topic/greetings or the pattern '/topic/host-metrics:*'
    #[arg(required = true, value_name = "DEST")]
    destinations: Vec<String>,

    #[command(flatten)]
    broker: Broker,

    /// Stop after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Print a JSON object for each message
    #[arg(long)]
    json: bool,

    /// A header of SUBSCRIBE. Can be given several times
    #[arg(long, value_name = "NAME:VALUE", value_parser = header)]
    header: Vec<(String, String)>,

    /// The ids of the subscriptions, in the order of the destinations [default: sub-0, sub-1 and so on]
    #[arg(long, value_name = "ID")]
    id: Vec<String>,

    /// Ask for a receipt of each subscription, and say on standard error when it has come
    #[arg(long)]
    receipt: bool,

    /// Stop after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
}

/// Prints messages until there is a reason to stop.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let printed = Cell::new(0);
    runtime()?.block_on(async {
        tokio::select! {
            done = listen(args, &printed) => done,
            interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Failure::Output),
            () = time_is_up(args.timeout) => match args.count {
                Some(count) => Err(Failure::Failed(format!(
                    "time is up: {} of {count} messages came",
                    printed.get()
                ))),
                None => Ok(()),
            },
        }
    })
}

async fn time_is_up(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

async fn listen(args: &Args, printed: &Cell<u64>) -> Result<(), Failure> {
    let login = args.broker.credentials.login(BEAT);
    let mut client = Client::connect(&args.broker.url, &login).await?;
    for frame in args.subscriptions() {
        client.send(&frame).await?;
    }
    while args.count.is_none_or(|count| printed.get() < count) {
        let frame = client.next().await?;
        match frame.command {
            Command::Message if !print_message(args, &frame)? => return Ok(()),
            Command::Message => printed.set(printed.get() + 1),
            Command::Receipt => args.say_subscribed(&frame),
            _ => {}
        }
    }
    client.disconnect().await;
    Ok(())
}

impl Args {
    fn id(&self, at: usize) -> String {
        let given = self.id.get(at);
        given.map_or_else(|| format!("sub-{at}"), String::clone)
    }

    fn subscriptions(&self) -> impl Iterator<Item = Frame> {
        self.destinations.iter().enumerate().map(|(at, destination)| {
            let mut frame = Frame::new(Command::Subscribe)
                .header("id", self.id(at))
                .header("destination", destination.as_str());
            if self.receipt {
                frame = frame.header("receipt", at.to_string());
            }
            for (name, value) in &self.header {
                frame = frame.header(name.as_str(), value.as_str());
            }
            frame
        })
    }

    fn say_subscribed(&self, receipt: &Frame) {
        let at = receipt.get("receipt-id").and_then(|id| id.parse().ok());
        if let Some(destination) = at.and_then(|at: usize| self.destinations.get(at)) {
            // Nobody needs to listen there.
            let _ = writeln!(io::stderr(), "subscribed to {destination}");
        }
    }
}

/// Writes one message; false when nobody reads any more.
fn print_message(args: &Args, frame: &Frame) -> Result<bool, Failure> {
    let mut line = if args.json {
        let message = JsonMessage::from(frame);
        serde_json::to_vec(&message).map_err(|error| Failure::Output(error.into()))?
    } else {
        frame.body.to_vec()
    };
    line.push(b'\n');
    let mut out = io::stdout().lock();
    match out.write_all(&line).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::Output(error)),
        Ok(()) => Ok(true),
    }
}

/// A message as `--json` prints it.
#[derive(Debug, Serialize)]
struct JsonMessage<'a> {
    destination: &'a str,
    /// Of repeated headers the first.
    headers: BTreeMap<&'a str, &'a str>,
    body: String,
    /// `base64` for a body that is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
}

impl<'a> From<&'a Frame> for JsonMessage<'a> {
    fn from(frame: &'a Frame) -> Self {
        let mut headers = BTreeMap::new();
        for (name, value) in frame.headers.iter() {
            headers.entry(&**name).or_insert(&**value);
        }
        let (body, encoding) = match std::str::from_utf8(&frame.body) {
            Ok(text) => (text.to_owned(), None),
            Err(_) => (STANDARD.encode(&frame.body), Some("base64")),
        };
        JsonMessage { destination: frame.get("destination").unwrap_or_default(), headers, body, encoding }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn json(frame: &Frame) -> String {
        serde_json::to_string(&JsonMessage::from(frame)).unwrap()
    }

    #[test]
    fn a_message_as_json() {
        let frame = Frame::new(Command::Message)
            .header("destination", "/topic/a")
            .header("foo", "World")
            .header("foo", "Hello");
        assert_eq!(
            json(&frame.clone().body("\"hi\"\n")),
            r#"{"destination":"/topic/a","headers":{"destination":"/topic/a","foo":"World"},"body":"\"hi\"\n"}"#
        );
        assert!(json(&frame.body(&b"\xff"[..])).ends_with(r#""body":"/w==","encoding":"base64"}"#));
    }
}
