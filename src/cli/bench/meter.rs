//! Looks at what server and client use, at the beginning and at the end of a run.

use std::time::{Duration, Instant};

use super::super::Failure;
use super::process::{self, Usage};
use super::report::Cost;

/// A measurement that has begun.
pub(super) struct Meter {
    begun: Instant,
    pid: Option<u32>,
    server: Option<Usage>,
    own: Usage,
    thread: Option<(Duration, Duration)>,
}

impl Meter {
    /// Begins, with the server's process if it is known. To be read by the same thread.
    pub(super) fn start(pid: Option<u32>) -> Result<Meter, Failure> {
        Ok(Meter {
            begun: Instant::now(),
            pid,
            server: look_at(pid)?,
            own: Usage::own(),
            thread: process::this_thread(),
        })
    }

    /// What was used so far.
    pub(super) fn read(&self) -> Result<Cost, Failure> {
        let elapsed = self.begun.elapsed().as_secs_f64();
        let busy = self.thread.zip(process::this_thread()).map(|(before, after)| {
            let ran = after.0.saturating_sub(before.0) + after.1.saturating_sub(before.1);
            ran.as_secs_f64() / elapsed
        });
        Ok(Cost {
            server: self.server.zip(look_at(self.pid)?),
            client: Usage::own().cpu.saturating_sub(self.own.cpu),
            busy,
        })
    }
}

fn look_at(pid: Option<u32>) -> Result<Option<Usage>, Failure> {
    pid.map(Usage::of).transpose().map_err(Failure::Failed)
}
