//! What a process has used, as Linux tells in `/proc` (proc(5)).

use std::fs;
use std::time::Duration;

/// Times in `/proc/PID/stat` are in hundredths of a second: `USER_HZ` is 100 on every machine that Rust's standard library
/// runs on.
const TICK: Duration = Duration::from_millis(10);

/// Time on the processors and memory of a process.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// In user mode and in the kernel, all threads together.
    pub(super) cpu: Duration,
    /// Resident memory in KiB.
    pub(super) resident: u64,
}

impl Usage {
    /// Of another process.
    ///
    /// # Errors
    /// If there is no such process, or no `/proc`.
    pub(super) fn of(pid: u32) -> Result<Usage, String> {
        Usage::read(&pid.to_string())
            .ok_or_else(|| format!("process {pid} can't be looked at: is it there, and is this Linux?"))
    }

    /// Of this process; nothing where that is not known.
    pub(super) fn own() -> Usage {
        Usage::read("self").unwrap_or_default()
    }

    fn read(pid: &str) -> Option<Usage> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Some(Usage { cpu: cpu(&stat)?, resident: resident(&status)? })
    }
}

/// Fields 14 and 15. The second field is a name in parentheses that may hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * (user + system))
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// How long this thread ran, and how long it could have run but had to wait for a processor.
pub(super) fn this_thread() -> Option<(Duration, Duration)> {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let mut fields = schedstat.split_ascii_whitespace();
    let mut time = || Some(Duration::from_nanos(fields.next()?.parse().ok()?));
    Some((time()?, time()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_fields_are_found() {
        let stat = "12 (a) b ) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu("12 (a"), None);
        assert_eq!(resident("Name:\ta\nVmRSS:\t    7340 kB\n"), Some(7340));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_used_something() {
        let begun = this_thread().unwrap().0;
        while this_thread().unwrap().0 < begun + Duration::from_millis(30) {}
        assert!(Usage::of(std::process::id()).unwrap().cpu >= Duration::from_millis(20));
        assert!(Usage::own().resident > 100);
        assert!(Usage::of(u32::MAX).unwrap_err().contains("can't be looked at"));
    }
}
