//! Made-up mounts and counters, and the real machine as far as it can be known.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use serde_json::Value;

use super::mounts::worth_showing;
use super::*;

fn mount(device: &str, mountpoint: &str, fstype: &str) -> Mount {
    Mount {
        device: device.to_owned(),
        mountpoint: mountpoint.to_owned(),
        fstype: fstype.to_owned(),
        space: Space { total: 1_000, used: 600, free: 200 },
        counters: [10, 20],
        is_directory: true,
    }
}

fn shown(mounts: Vec<Mount>) -> Vec<(String, String)> {
    let shown = worth_showing(mounts).into_iter();
    shown.map(|mount| (mount.device, mount.mountpoint)).collect()
}

fn pairs<const N: usize>(expected: [(&str, &str); N]) -> Vec<(String, String)> {
    expected.map(|(device, path)| (device.to_owned(), path.to_owned())).into()
}

#[test]
fn a_device_is_shown_once_at_its_shortest_path() {
    let found = shown(vec![
        mount("/dev/sda2", "/var/lib/docker/volumes/x", "ext4"),
        mount("/dev/sda2", "/home", "ext4"),
        mount("/dev/sda1", "/", "ext4"),
        mount("/dev/sda1", "/srv", "ext4"),
        mount("overlay", "/var/lib/docker/overlay2/1/merged", "overlay"),
        mount("efivarfs", "/firmware/efivars", "efivarfs"),
    ]);
    assert_eq!(found, pairs([("/dev/sda1", "/"), ("/dev/sda2", "/home")]));
}

#[test]
fn what_holds_nothing_is_left_out() {
    let mut empty = mount("debugfs", "/debug", "debugfs");
    empty.space = Space::default();
    let found = shown(vec![empty, mount("/dev/vda", "/", "ext4")]);
    assert_eq!(found, pairs([("/dev/vda", "/")]));
}

#[test]
fn of_mounts_over_each_other_the_last_is_shown() {
    let found = shown(vec![mount("/dev/root", "/", "ext4"), mount("overlay", "/", "overlay")]);
    assert_eq!(found, pairs([("overlay", "/")]));
}

#[test]
fn the_root_of_a_container_is_shown_with_the_traffic_of_its_device() {
    let file =
        |path| Mount { is_directory: false, counters: [7, 8], ..mount("/dev/nvme0n1p2", path, "ext4") };
    let mounts = vec![
        mount("overlay", "/", "overlay"),
        file("/etc/hosts"),
        file("/etc/resolv.conf"),
        mount("/dev/nvme1n1", "/data", "xfs"),
    ];
    let found = worth_showing(mounts.clone());
    assert_eq!(shown(mounts), pairs([("overlay", "/"), ("/dev/nvme1n1", "/data")]));
    assert_eq!(found[0].counters, [7, 8]);
    assert_eq!(found[1].counters, [10, 20]);
}

#[test]
fn the_root_is_shown_even_if_nothing_is_known_of_it() {
    let mut root = mount("none", "/", "9p");
    root.space = Space::default();
    assert_eq!(shown(vec![root]), pairs([("none", "/")]));
    assert!(shown(Vec::new()).is_empty());
}

#[test]
fn rates_are_over_the_measured_time() {
    let mut rates = Rates::default();
    let start = Instant::now();
    let counters = |first, second| Counters::from([("eth0".to_owned(), [first, second])]);
    let after = |ms| start + Duration::from_millis(ms);
    assert_eq!(rates.since_before(start, counters(1_000, 50))["eth0"], [0, 0]);
    let found = rates.since_before(after(500), counters(2_000, 50));
    assert_eq!(found["eth0"], [2_000, 0]);
    let found = rates.since_before(after(2_500), counters(2_000, 4_050));
    assert_eq!(found["eth0"], [0, 2_000]);
    // Set back, as when an interface is made anew.
    assert_eq!(rates.since_before(after(3_000), counters(10, 10))["eth0"], [0, 0]);
    let mut both = counters(20, 10);
    both.insert("new".to_owned(), [1 << 40, 1 << 40]);
    let found = rates.since_before(after(4_000), both);
    assert_eq!((found["eth0"], found["new"]), ([10, 0], [0, 0]));
    assert_eq!(rates.since_before(after(4_000), counters(90, 90))["eth0"], [0, 0]);
}

#[test]
fn this_machine_is_read() {
    let mut collector = Collector::new("here");
    let sample = collector.sample();
    assert_eq!(sample.host_id, "here");
    assert!(sample.timestamp.ends_with('Z'));
    assert!(sample.cpu.cores > 0 && sample.cpu.cores == sample.cpu.per_core.len());
    let percents = [&[sample.cpu.usage_percent], &sample.cpu.per_core[..]].concat();
    assert!(percents.iter().all(|usage| (0.0..=100.0).contains(usage)));
    let memory = sample.memory;
    assert!(memory.total > 0 && memory.used + memory.available == memory.total);
    assert!((0.0..=100.0).contains(&memory.used_percent));
    assert!(memory.swap_used <= memory.swap_total);
    for disk in &sample.disk {
        assert!(disk.used + disk.free <= disk.total, "{disk:?}");
        assert!((0.0..=100.0).contains(&disk.used_percent), "{disk:?}");
    }
    let devices: std::collections::HashSet<_> = sample.disk.iter().map(|disk| &disk.device).collect();
    assert_eq!(devices.len(), sample.disk.len());
}

#[test]
fn the_form_is_the_documented_one() {
    let sample = Collector::new("h").sample();
    let value = serde_json::to_value(HostMetrics {
        disk: vec![disk(mount("/dev/sda1", "/", "ext4"), 1, 2)],
        network: vec![Network { interface: "eth0".to_owned(), rx_bytes_per_sec: 3, tx_bytes_per_sec: 4 }],
        ..sample
    })
    .unwrap();
    let fields = |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(fields(&value), ["cpu", "disk", "host_id", "memory", "network", "timestamp"]);
    assert_eq!(fields(&value["cpu"]), ["cores", "load_average", "per_core", "usage_percent"]);
    assert_eq!(value["cpu"]["load_average"].as_array().unwrap().len(), 3);
    assert_eq!(
        fields(&value["memory"]),
        ["available", "free", "swap_total", "swap_used", "total", "used", "used_percent"]
    );
    assert_eq!(
        value["disk"][0],
        serde_json::json!({
            "device": "/dev/sda1", "mountpoint": "/", "fstype": "ext4", "total": 1_000, "used": 600, "free": 200,
            "used_percent": 75.0, "read_bytes_per_sec": 1, "write_bytes_per_sec": 2,
        })
    );
    assert_eq!(
        value["network"][0],
        serde_json::json!({"interface": "eth0", "rx_bytes_per_sec": 3, "tx_bytes_per_sec": 4})
    );
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_sent_over_the_loopback_shows() {
    if !std::path::Path::new("/sys/class/net/lo").exists() {
        return;
    }
    let mut collector = Collector::new("here");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = socket.local_addr().unwrap();
    for _ in 0..100 {
        socket.send_to(&[0; 1_000], target).unwrap();
    }
    let sample = collector.sample();
    let loopback = sample.network.iter().find(|network| network.interface == "lo").unwrap();
    assert!(loopback.tx_bytes_per_sec > 0, "{loopback:?}");
}
