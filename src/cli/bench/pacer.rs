//! Publishes at a fixed rate, whatever comes of it: each message carries the time at which it was due, and is sent then or, if
//! the broker or this machine can't keep up, later. So what is measured from that time on includes the waiting that a
//! publisher who waits for the broker would leave out (coordinated omission).

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::crew::Standing;
use super::topic::Topic;
use super::walk::{Inside, look_inside, walk};
use crate::client::Carrier;

/// A broker that takes nothing for this long ends the run.
const PATIENCE: Duration = Duration::from_secs(10);

/// The publishing side of a run at a fixed rate: a thread of its own, so that reading does not delay it.
pub(super) struct Pacer {
    pub(super) carrier: Carrier,
    pub(super) topics: Vec<Topic>,
    /// Connections that send; topics take turns.
    pub(super) publishers: Vec<Standing>,
    /// Between two messages of a topic.
    pub(super) interval: Duration,
    /// Messages to each topic.
    pub(super) messages: u64,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Paced {
    /// Messages sent to each topic.
    pub(super) sent: Vec<u64>,
    /// How long after its time the latest message was handed to the system.
    pub(super) latest: Duration,
    /// Why it ended early, if it did.
    pub(super) failed: Option<String>,
}

impl Pacer {
    /// Publishes until it is done, or told to stop. Times are since `start`.
    pub(super) fn run(mut self, start: Instant, stop: &AtomicBool) -> Paced {
        let mut paced = Paced {
            sent: vec![0; self.topics.len()],
            latest: Duration::ZERO,
            failed: self.set_up().err().map(|error| error.to_string()),
        };
        let topics = self.topics.len() as u64;
        for turn in 0..self.messages * topics {
            let (number, at) = (turn / topics, (turn % topics) as usize);
            // Topics are spread evenly over the interval.
            let due = self.interval.mul_f64(turn as f64 / topics as f64);
            sleep_until(start + due, stop);
            if paced.failed.is_some() || stop.load(Ordering::Relaxed) {
                break;
            }
            paced.latest = paced.latest.max(start.elapsed().saturating_sub(due));
            match self.send(at, number, due) {
                Ok(()) => paced.sent[at] = number + 1,
                Err(why) => paced.failed = Some(why),
            }
        }
        paced
    }

    fn set_up(&self) -> io::Result<()> {
        for Standing { socket, .. } in &self.publishers {
            socket.set_nonblocking(false)?;
            socket.set_write_timeout(Some(PATIENCE))?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        }
        Ok(())
    }

    fn send(&mut self, topic: usize, number: u64, due: Duration) -> Result<(), String> {
        let mut frame = BytesMut::new();
        let due = due.as_micros() as u64;
        self.topics[topic].put(number, due, self.carrier, &mut frame);
        let publisher = topic % self.publishers.len();
        let Standing { socket, read, .. } = &mut self.publishers[publisher];
        let carrier = self.carrier;
        socket
            .write_all(&frame)
            .map_err(|error| last_words(socket, read, carrier).unwrap_or_else(|| format!("lost: {error}")))
    }
}

/// Sleeps, in pieces, so that it can be told to stop.
fn sleep_until(time: Instant, stop: &AtomicBool) {
    const PIECE: Duration = Duration::from_millis(100);
    while !stop.load(Ordering::Relaxed) {
        let left = time.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(PIECE));
    }
}

/// What a broker said that takes nothing any more.
fn last_words(socket: &mut TcpStream, read: &mut BytesMut, carrier: Carrier) -> Option<String> {
    let mut said = read.to_vec();
    // An error is the end as well.
    let _ = socket.take(1 << 20).read_to_end(&mut said);
    let mut why = None;
    let _ = walk(&said, carrier, |found| {
        for inside in look_inside(found, carrier) {
            if let Inside::Refused(text) | Inside::Closed(text) = inside {
                why.get_or_insert(text);
            }
        }
    });
    why
}
