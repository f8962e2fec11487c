//! The memory that this process may use.

use std::fmt;
use std::fs;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

/// The directory of the control groups.
const GROUPS: &str = "/sys/fs/cgroup";

/// A limit on memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Available {
    /// The bytes that may be used.
    pub bytes: u64,
    /// The origin of the limit.
    pub bound: Bound,
}

/// The origin of a limit on memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The control group of the process or of a parent, such as a container or a systemd unit.
    ControlGroup,
    /// The limit on the address space of the process.
    AddressSpace,
    /// The memory of the machine.
    Machine,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ControlGroup => "control group",
            Self::AddressSpace => "limit on address space",
            Self::Machine => "machine",
        })
    }
}

/// Returns the lowest of the limits of the control group, the address space and the machine; `None` if none of them
/// can be read.
pub fn available() -> Option<Available> {
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(machine_total);
    let bounds = [
        (machine.or_else(machine_of_kernel), Bound::Machine),
        (group_limit(Path::new(GROUPS), &membership), Bound::ControlGroup),
        (address_space(), Bound::AddressSpace),
    ];
    let bounds = bounds.into_iter().filter_map(|(bytes, bound)| Some(Available { bytes: bytes?, bound }));
    bounds.min_by_key(|available| available.bytes)
}

/// Returns the limit on address space, if there is one.
pub fn address_space() -> Option<u64> {
    getrlimit(Resource::As).current
}

/// Returns the lowest limit of the control groups that `membership` names, and of their parents. In a container,
/// `membership` may contain paths that exist only outside. Such a path is skipped, and the limit of the container is at
/// the root.
fn group_limit(root: &Path, membership: &str) -> Option<u64> {
    let limits = membership.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let path = path.trim_start_matches('/');
        match controllers {
            "" => {
                let unified = root.join("unified");
                let files = ["memory.max", "memory.high"];
                least(root, path, &files).into_iter().chain(least(&unified, path, &files)).min()
            }
            _ if controllers.split(',').any(|name| name == "memory") => {
                least(&root.join("memory"), path, &["memory.limit_in_bytes"])
            }
            _ => None,
        }
    });
    limits.min()
}

/// Returns the lowest number in these files of the group at `path` and of its parents up to `root`.
fn least(root: &Path, path: &str, files: &[&str]) -> Option<u64> {
    let groups = Path::new(path).ancestors().map(|group| root.join(group));
    let numbers = groups.flat_map(|group| {
        files.iter().filter_map(move |file| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok())
    });
    numbers.min()
}

/// Parses `MemTotal` of `/proc/meminfo`, which is in kibibytes.
fn machine_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Returns the memory of the machine, if /proc/meminfo is hidden: in a chroot, or by `ProcSubset=pid` of systemd.
fn machine_of_kernel() -> Option<u64> {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).checked_mul(info.mem_unit.into()).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_least_limit_of_the_groups_above_the_process_counts() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let unit = "0::/system.slice/entityd.service\n";
        assert_eq!(group_limit(root, unit), None);
        write(root, "system.slice/entityd.service/memory.max", "max\n");
        assert_eq!(group_limit(root, unit), None, "no limit is no number");
        write(root, "system.slice/memory.max", "4194304\n");
        assert_eq!(group_limit(root, unit), Some(4 << 20));
        write(root, "system.slice/entityd.service/memory.max", "3145728\n");
        assert_eq!(group_limit(root, unit), Some(3 << 20));
        write(root, "system.slice/entityd.service/memory.high", "2097152\n");
        assert_eq!(group_limit(root, unit), Some(2 << 20));
        write(root, "other.slice/memory.max", "1\n");
        assert_eq!(group_limit(root, unit), Some(2 << 20), "others do not count");
    }

    #[test]
    fn the_first_version_and_both_together_are_read() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let membership = "5:cpu,memory:/a/b\n0::/\n";
        write(root, "memory/memory.limit_in_bytes", "9223372036854771712\n");
        write(root, "memory/a/b/memory.limit_in_bytes", "1048576\n");
        assert_eq!(group_limit(root, membership), Some(1 << 20));
        write(root, "unified/memory.max", "1000\n");
        assert_eq!(group_limit(root, membership), Some(1000));
        let of_the_machine = "0::/docker/0123\n";
        write(root, "memory.max", "500\n");
        assert_eq!(
            group_limit(root, of_the_machine),
            Some(500),
            "a container sees its own group at the root"
        );
    }

    #[test]
    fn the_memory_of_the_machine_is_read() {
        assert_eq!(machine_total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(machine_total("nothing"), None);
        assert!(available().is_some_and(|available| available.bytes > 1 << 20));
    }
}
