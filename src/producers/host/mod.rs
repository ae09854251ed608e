//! The figures of this machine: what `host-metrics:<host_id>` shows of the host it runs on.
//!
//! A [`Collector`] reads the machine when asked and measures rates over the time between; when it is asked, and where
//! the figures go, is wired elsewhere. It reads files that the kernel makes up, which takes a few milliseconds and
//! may block where a file system hangs; a thread that may wait should do it.

pub use sampler::Sampler;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use sysinfo::{DiskRefreshKind, Disks, MemoryRefreshKind, Networks, System};

use super::clock::iso;
use mounts::{Mount, Space};

mod mounts;
mod sampler;
#[cfg(test)]
mod tests;

/// How long after [`Collector::new`] the first sample tells something of the processors: below this, the kernel's
/// clock ticks are too few to divide.
pub const SETTLE: Duration = sysinfo::MINIMUM_CPU_UPDATE_INTERVAL;

/// The figures of a machine, in the form of Cockpit's `host-metrics`. Sizes in octets, usage in percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostMetrics {
    /// Which machine.
    pub host_id: String,
    /// When; ISO 8601, UTC.
    pub timestamp: String,
    /// Its processors.
    pub cpu: Cpu,
    /// Its memory.
    pub memory: Memory,
    /// Its file systems, by mount point, each device once.
    pub disk: Vec<Disk>,
    /// Its network interfaces, by name, the loopback too.
    pub network: Vec<Network>,
}

/// The processors, since the sample before.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// All of them together, 0 to 100.
    pub usage_percent: f64,
    /// How many there are (logical ones).
    pub cores: usize,
    /// Each of them, 0 to 100.
    pub per_core: Vec<f64>,
    /// Mean length of the run queue over 1, 5 and 15 minutes.
    pub load_average: [f64; 3],
}

/// The memory. `used` is what is not available: caches that can be dropped are not used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    /// All there is.
    pub total: u64,
    /// `total` − `available`.
    pub used: u64,
    /// Holding nothing at all.
    pub free: u64,
    /// What programs could still get without swapping.
    pub available: u64,
    /// `used` of `total`.
    pub used_percent: f64,
    /// All swap space.
    pub swap_total: u64,
    /// Swap space that holds something.
    pub swap_used: u64,
}

/// A file system, with the figures of `df`: what is reserved for the superuser is neither used nor free.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Disk {
    /// What is mounted, as in `/dev/sda1`.
    pub device: String,
    /// Where; the shortest path, if in several places.
    pub mountpoint: String,
    /// As in `ext4`.
    pub fstype: String,
    /// All space.
    pub total: u64,
    /// Space that holds something.
    pub used: u64,
    /// What programs may still fill.
    pub free: u64,
    /// `used` of what is used or free.
    pub used_percent: f64,
    /// Read from the device each second since the sample before; 0 where the system does not count it.
    pub read_bytes_per_sec: u64,
    /// Written likewise.
    pub write_bytes_per_sec: u64,
}

/// A network interface, since the sample before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Network {
    /// As in `eth0`.
    pub interface: String,
    /// Received each second.
    pub rx_bytes_per_sec: u64,
    /// Sent each second.
    pub tx_bytes_per_sec: u64,
}

/// Reads the machine it runs on.
///
/// Rates and processor usage are means over the time since the sample before, the first since [`Collector::new`]. So
/// one that is to rest, as while nobody subscribes, is better dropped and made anew: its first sample would be the
/// mean of all that time. Sampled sooner than [`SETTLE`] after it was made, it shows processors at 0 or since boot.
/// On an operating system of which nothing is known, all figures are 0 and all lists empty.
#[derive(Debug)]
pub struct Collector {
    host_id: String,
    system: Option<System>,
    disks: Option<Disks>,
    networks: Option<Networks>,
    disk_rates: Rates,
    network_rates: Rates,
}

impl Collector {
    /// Takes the first readings, from which the first sample counts.
    pub fn new(host_id: impl Into<String>) -> Self {
        let mut collector = Self {
            host_id: host_id.into(),
            system: System::new().ok(),
            disks: Disks::new().ok(),
            networks: Networks::new().ok(),
            disk_rates: Rates::default(),
            network_rates: Rates::default(),
        };
        collector.sample();
        collector
    }

    /// The figures now.
    pub fn sample(&mut self) -> HostMetrics {
        HostMetrics {
            host_id: self.host_id.clone(),
            timestamp: iso(Timestamp::now()),
            cpu: self.cpu(),
            memory: self.memory(),
            disk: self.disk(),
            network: self.network(),
        }
    }

    fn cpu(&mut self) -> Cpu {
        let Some(system) = &mut self.system else {
            return Cpu::default();
        };
        system.refresh_cpu_usage();
        let per_core: Vec<_> = system.cpus().iter().map(|core| hundredths(core.usage().into())).collect();
        let load = System::load_average().unwrap_or_default();
        Cpu {
            usage_percent: hundredths(system.global_cpu_usage().into()),
            cores: per_core.len(),
            per_core,
            load_average: [load.one, load.five, load.fifteen],
        }
    }

    fn memory(&mut self) -> Memory {
        let Some(system) = &mut self.system else {
            return Memory::default();
        };
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram().with_swap());
        let total = system.total_memory();
        let available = system.available_memory();
        let used = total.saturating_sub(available);
        Memory {
            total,
            used,
            free: system.free_memory(),
            available,
            used_percent: percent(used, total),
            swap_total: system.total_swap(),
            swap_used: system.used_swap(),
        }
    }

    fn disk(&mut self) -> Vec<Disk> {
        let wanted = DiskRefreshKind::nothing().with_storage().with_io_usage();
        let Some(disks) = &mut self.disks else {
            return Vec::new();
        };
        disks.refresh_specifics(true, wanted);
        let mounts = mounts::worth_showing(disks.iter().map(Mount::from).collect());
        let counters = mounts.iter().map(|mount| (mount.device.clone(), mount.counters)).collect();
        let rates = self.disk_rates.since_before(Instant::now(), counters);
        mounts
            .into_iter()
            .map(|mount| {
                let [read, written] = rates.get(&mount.device).copied().unwrap_or_default();
                disk(mount, read, written)
            })
            .collect()
    }

    fn network(&mut self) -> Vec<Network> {
        let Some(networks) = &mut self.networks else {
            return Vec::new();
        };
        networks.refresh(true);
        let counters = networks
            .iter()
            .map(|(name, data)| {
                (name.to_string_lossy().into_owned(), [data.total_received(), data.total_transmitted()])
            })
            .collect();
        let rates = self.network_rates.since_before(Instant::now(), counters);
        let mut networks: Vec<_> = rates
            .into_iter()
            .map(|(interface, [received, sent])| Network {
                interface,
                rx_bytes_per_sec: received,
                tx_bytes_per_sec: sent,
            })
            .collect();
        networks.sort_by(|a, b| a.interface.cmp(&b.interface));
        networks
    }
}

fn disk(mount: Mount, read: u64, written: u64) -> Disk {
    let Space { total, used, free } = mount.space;
    Disk {
        device: mount.device,
        mountpoint: mount.mountpoint,
        fstype: mount.fstype,
        total,
        used,
        free,
        used_percent: percent(used, used.saturating_add(free)),
        read_bytes_per_sec: read,
        write_bytes_per_sec: written,
    }
}

/// Name → what was counted in either direction, or what that is for each second.
type Counters = HashMap<String, [u64; 2]>;

/// Counters that only rise, and what they were before.
#[derive(Debug, Default)]
struct Rates {
    before: Option<(Instant, Counters)>,
}

impl Rates {
    /// How much each counter rises in a second, since the last call. What is new, or was set back, counts as 0.
    fn since_before(&mut self, now: Instant, counters: Counters) -> Counters {
        let (then, before) = self.before.take().unwrap_or_else(|| (now, Counters::new()));
        let seconds = now.saturating_duration_since(then).as_secs_f64();
        let rates = counters
            .iter()
            .map(|(name, &[first, second])| {
                let [first_before, second_before] = before.get(name).copied().unwrap_or([first, second]);
                let rates = [
                    per_second(first.saturating_sub(first_before), seconds),
                    per_second(second.saturating_sub(second_before), seconds),
                ];
                (name.clone(), rates)
            })
            .collect();
        self.before = Some((now, counters));
        rates
    }
}

fn per_second(count: u64, seconds: f64) -> u64 {
    if seconds > 0.0 { (count as f64 / seconds).round() as u64 } else { 0 }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { hundredths(part as f64 * 100.0 / whole as f64) }
}

/// Rounded to two places: what is beyond is noise, and would double the size of the message.
fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
