//! Which of the mounted file systems are worth showing: each device once, nothing that holds no files of its own, and
//! the root in any case.

use std::collections::{HashMap, HashSet};
use std::path::Path;

/// File systems that sysinfo lists, which hold settings of the firmware or views of other things.
const PSEUDO: [&str; 5] = ["efivarfs", "fuse.lxcfs", "fuse.portal", "fuse.gvfsd-fuse", "nsfs"];
const ROOT: &str = "/";
/// The layers of a container's root, or of another container's.
const OVERLAY: &str = "overlay";

/// A mounted file system as the system lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) device: String,
    pub(super) mountpoint: String,
    pub(super) fstype: String,
    pub(super) space: Space,
    /// Octets ever read from, and written to, the device.
    pub(super) counters: [u64; 2],
    /// A container gets single files mounted over its own, as `/etc/hosts`.
    pub(super) is_directory: bool,
}

/// The space of a file system in octets. What is reserved for the superuser is neither used nor free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) total: u64,
    pub(super) used: u64,
    /// What programs may still fill.
    pub(super) free: u64,
}

impl Space {
    /// As `df` has it. sysinfo does not tell what is reserved from what is used, which may be most of a disk.
    #[cfg(unix)]
    fn of(disk: &sysinfo::Disk) -> Self {
        let Ok(found) = rustix::fs::statvfs(disk.mount_point()) else {
            return Self::default();
        };
        let octets = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Self {
            total: octets(found.f_blocks),
            used: octets(found.f_blocks.saturating_sub(found.f_bfree)),
            free: octets(found.f_bavail),
        }
    }

    #[cfg(not(unix))]
    fn of(disk: &sysinfo::Disk) -> Self {
        let (total, free) = (disk.total_space(), disk.available_space());
        Self { total, used: total.saturating_sub(free), free }
    }
}

impl From<&sysinfo::Disk> for Mount {
    fn from(disk: &sysinfo::Disk) -> Self {
        let usage = disk.usage();
        Self {
            device: disk.name().to_string_lossy().into_owned(),
            mountpoint: disk.mount_point().to_string_lossy().into_owned(),
            fstype: disk.file_system().to_string_lossy().into_owned(),
            space: Space::of(disk),
            counters: [usage.total_read_bytes, usage.total_written_bytes],
            is_directory: Path::is_dir(disk.mount_point()),
        }
    }
}

impl Mount {
    fn is_root(&self) -> bool {
        self.mountpoint == ROOT
    }

    fn is_worth_showing(&self) -> bool {
        let holds_files = self.space.total > 0 && self.is_directory;
        let is_its_own = self.fstype != OVERLAY && !PSEUDO.contains(&self.fstype.as_str());
        self.is_root() || holds_files && is_its_own
    }
}

/// Those of `mounts`, in the order of the system's list, that are worth showing; by mount point.
pub(super) fn worth_showing(mounts: Vec<Mount>) -> Vec<Mount> {
    let behind_overlay = counters_behind_overlay(&mounts);
    // Of several mounts at one place only the last can be seen.
    let visible: HashMap<_, _> = mounts.into_iter().map(|mount| (mount.mountpoint.clone(), mount)).collect();
    let mut shown: Vec<_> = visible.into_values().filter(Mount::is_worth_showing).collect();
    shown.sort_by(|a, b| by_length(&a.mountpoint).cmp(&by_length(&b.mountpoint)));
    let mut devices = HashSet::new();
    shown.retain(|mount| devices.insert(mount.device.clone()));
    shown.sort_by(|a, b| a.mountpoint.cmp(&b.mountpoint));
    for mount in &mut shown {
        if mount.is_root() && mount.fstype == OVERLAY {
            mount.counters = behind_overlay.unwrap_or(mount.counters);
        }
    }
    shown
}

/// Nothing is counted of an overlay. But a container runtime keeps the files that it mounts singly beside the layers
/// of the root, so that their device is the one the root is on.
fn counters_behind_overlay(mounts: &[Mount]) -> Option<[u64; 2]> {
    let single_file = mounts.iter().find(|mount| !mount.is_directory)?;
    Some(single_file.counters)
}

fn by_length(path: &str) -> (usize, &str) {
    (path.len(), path)
}
