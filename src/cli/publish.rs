//! `stentor pub`: sends messages and waits until the broker has accepted each of them.

use std::io::{self, BufRead as _, Read as _};
use std::time::Duration;

use bytes::Bytes;
use stomp_parser::{Command, Frame};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Failure;
use super::broker::{Broker, header, runtime, seconds};
use crate::client::{Client, Error, LARGEST_MESSAGE};

const EXAMPLES: &str = "\
Examples:
  stentor pub /topic/greetings hello
  jq -c . status.json | stentor pub --content-type application/json /topic/status -
      The body from standard input
  tail -f app.log | stentor pub --lines /topic/log
      Each line is a message, sent as it comes
  stentor pub --count 1000 --url http://127.0.0.1:8080/ws /topic/load x
      The same message a thousand times, over SockJS

Exit codes: 0 when the broker has accepted every message, 1 when it has not.";

/// Messages under way whose receipt is not there yet.
const WINDOW: u64 = 128;

/// Send a message, or several, and wait until the broker has accepted them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where to, such as /topic/greetings
    #[arg(value_name = "DEST")]
    destination: String,

    /// The message; - for standard input, to its end
    #[arg(value_name = "BODY", default_value = "-", allow_hyphen_values = true)]
    body: String,

    #[command(flatten)]
    broker: Broker,

    /// A header of SEND. Can be given several times
    #[arg(long, value_name = "NAME:VALUE", value_parser = header)]
    header: Vec<(String, String)>,

    /// What the body is, such as application/json
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,

    /// Send it so many times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,

    /// Each line of standard input is a message
    #[arg(long, conflicts_with = "count")]
    lines: bool,

    /// How long to wait for the broker: until it is connected, and for each receipt
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    timeout: Duration,
}

/// Sends what it is told to.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    if args.lines && args.body != "-" {
        return Err(Failure::Usage("--lines reads standard input: leave BODY out".to_owned()));
    }
    runtime()?.block_on(publish(args))
}

async fn publish(args: &Args) -> Result<(), Failure> {
    let login = args.broker.credentials.login(Duration::ZERO);
    let connect = Client::connect(&args.broker.url, &login);
    let late = |_| Failure::Failed(format!("{} does not answer in time", args.broker.url));
    let mut client = timeout(args.timeout, connect).await.map_err(late)??;
    let mut accepted = 0;
    let sent = send_all(args, &mut client, &mut accepted).await;
    sent.map_err(|why| Failure::Failed(format!("{why}\n  messages accepted: {accepted}")))?;
    client.disconnect().await;
    Ok(())
}

/// Sends every message, each with a receipt, and waits for the receipts.
async fn send_all(args: &Args, client: &mut Client, accepted: &mut u64) -> Result<(), String> {
    let mut bodies = Bodies::of(args)?;
    let (mut sent, mut more) = (0, true);
    while more || *accepted < sent {
        tokio::select! {
            receipt = next_receipt(client, (*accepted < sent).then_some(args.timeout)) => {
                receipt?;
                *accepted += 1;
            }
            body = bodies.next(), if more && sent - *accepted < WINDOW => match body? {
                Some(body) => {
                    sent += 1;
                    let frame = args.frame(body, sent);
                    client.send(&frame).await.map_err(|error| error.to_string())?;
                }
                None => more = false,
            },
        }
    }
    Ok(())
}

/// Waits for a receipt, with a deadline if one is due. Brokers give them in order.
async fn next_receipt(client: &mut Client, deadline: Option<Duration>) -> Result<(), String> {
    let receipt = async {
        while client.next().await?.command != Command::Receipt {}
        Ok::<(), Error>(())
    };
    let came = match deadline {
        Some(deadline) => {
            timeout(deadline, receipt).await.map_err(|_| "no receipt came in time".to_owned())?
        }
        None => receipt.await,
    };
    came.map_err(|error| error.to_string())
}

impl Args {
    fn frame(&self, body: Bytes, number: u64) -> Frame {
        let mut frame = Frame::new(Command::Send)
            .header("destination", self.destination.as_str())
            .header("receipt", number.to_string());
        if let Some(content_type) = &self.content_type {
            frame = frame.header("content-type", content_type.as_str());
        }
        for (name, value) in &self.header {
            frame = frame.header(name.as_str(), value.as_str());
        }
        frame.body(body)
    }
}

/// The bodies to send, one after the other.
enum Bodies {
    /// The same so many times.
    Same(Bytes, u64),
    /// Lines, as they come.
    Lines(mpsc::Receiver<io::Result<Bytes>>),
}

impl Bodies {
    fn of(args: &Args) -> Result<Bodies, String> {
        if args.lines {
            return Ok(Bodies::Lines(lines()));
        }
        let body = match args.body.as_str() {
            "-" => whole_input().map_err(|error| unreadable(&error))?,
            body => Bytes::copy_from_slice(body.as_bytes()),
        };
        Ok(Bodies::Same(body, args.count))
    }

    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        match self {
            Bodies::Same(_, 0) => Ok(None),
            Bodies::Same(body, left) => {
                *left -= 1;
                Ok(Some(body.clone()))
            }
            Bodies::Lines(lines) => match lines.recv().await {
                Some(line) => line.map(Some).map_err(|error| unreadable(&error)),
                None => Ok(None),
            },
        }
    }
}

fn whole_input() -> io::Result<Bytes> {
    let mut body = Vec::new();
    let limit = LARGEST_MESSAGE as u64 + 1;
    io::stdin().lock().take(limit).read_to_end(&mut body)?;
    bounded(body)
}

/// The lines of standard input without their ends, read by a thread of its own.
fn lines() -> mpsc::Receiver<io::Result<Bytes>> {
    let (give, take) = mpsc::channel(64);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let limit = LARGEST_MESSAGE as u64 + 1;
            let line = match input.by_ref().take(limit).read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => bounded(without_end(line)),
                Err(error) => Err(error),
            };
            let last = line.is_err();
            if give.blocking_send(line).is_err() || last {
                return;
            }
        }
    });
    take
}

fn without_end(mut line: Vec<u8>) -> Vec<u8> {
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    line
}

fn bounded(body: Vec<u8>) -> io::Result<Bytes> {
    if body.len() > LARGEST_MESSAGE {
        return Err(io::Error::other("a message is larger than 64 MiB"));
    }
    Ok(body.into())
}

fn unreadable(error: &io::Error) -> String {
    format!("can't read standard input: {error}")
}
