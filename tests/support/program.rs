//! The built program as a process of its own, whose memory is nobody else's.
//!
//! `TEST_LOGS` names a folder for what it logs, a file for each address.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Carrier, http};

/// The built program, ended when dropped.
pub struct Program {
    child: Child,
    pub address: SocketAddr,
    /// Where plain TCP is.
    pub tcp: SocketAddr,
}

impl Program {
    /// Starts it on free ports of the IPv4 loopback, with these variables set.
    pub fn start(environment: &[(&str, &str)]) -> Program {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Program::start_at([free; 2], environment)
    }

    /// The same where it is told to listen: for HTTP, and for plain TCP.
    pub fn start_at(addresses: [SocketAddr; 2], environment: &[(&str, &str)]) -> Program {
        let [address, tcp] = addresses.map(|address| address.to_string());
        let logs = std::env::var_os("TEST_LOGS");
        let level = if logs.is_some() { "info" } else { "error" };
        let mut command = Command::new(env!("CARGO_BIN_EXE_stentor"));
        command.args(["serve", "--listen", &address, "--tcp", &tcp, "--log-level", level]);
        command.envs(environment.iter().copied());
        if let Some(folder) = logs {
            let file = std::path::Path::new(&folder).join(format!("{address}.log"));
            command.stderr(OpenOptions::new().create(true).append(true).open(file).unwrap());
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut find = |scheme: &str| {
            lines.find_map(|line| {
                let at = line.find(scheme)?;
                let rest = &line[at + scheme.len()..];
                rest.split(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').next()?.parse().ok()
            })
        };
        let address = find("http://").expect("it says where it listens");
        let tcp = find("tcp://").expect("it says where plain TCP is");
        Program { child, address, tcp }
    }

    /// Where a carrier is served.
    pub fn at(&self, carrier: Carrier) -> SocketAddr {
        if carrier == Carrier::Tcp { self.tcp } else { self.address }
    }

    /// Tells it to stop.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal of this name.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits until it has ended.
    pub fn exit_status(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed().as_secs() < 30, "the program does not end");
            sleep(Duration::from_millis(10));
        }
    }

    /// The processor's time that it has taken, to a hundredth of a second.
    pub fn cpu(&self) -> std::time::Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // Behind the name, which may have blanks: user and system time are the 12th and 13th, in hundredths.
        let mut fields = stat.rsplit(')').next().unwrap().split_whitespace().skip(11);
        let mut next = || fields.next().unwrap().parse::<u64>().unwrap();
        std::time::Duration::from_millis((next() + next()) * 10)
    }

    /// Resident memory, in octets.
    pub fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// The sum of a metric over its labels.
    pub async fn metric(&self, name: &str) -> u64 {
        let (_, _, text) = http(self.address, "GET /metrics HTTP/1.0\r\n\r\n").await;
        let of = |line: &str| {
            line.starts_with(name)
                && !line[name.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
        };
        text.lines()
            .filter(|line| of(line))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64)
            .sum()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
