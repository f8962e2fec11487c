//! How much memory this process may use.

use std::fs;
use std::path::Path;

/// What this process may use at most: what its control group says, or else what the machine has. Nothing, where
/// neither can be read.
pub fn available() -> Option<u64> {
    let group = group_limit(Path::new("/sys/fs/cgroup"));
    let machine = fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(machine_total);
    match (group, machine) {
        (Some(group), Some(machine)) => Some(group.min(machine)),
        (group, machine) => group.or(machine),
    }
}

/// The limit of the control group that a container sees at `root`: version 2, or else 1.
fn group_limit(root: &Path) -> Option<u64> {
    ["memory.max", "memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|file| fs::read_to_string(root.join(file)).ok()?.trim().parse().ok())
}

/// `MemTotal` of `/proc/meminfo`, which is in kibibytes.
fn machine_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_the_control_group_is_found_in_either_version() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(group_limit(root.path()), None);
        fs::create_dir(root.path().join("memory")).unwrap();
        fs::write(root.path().join("memory/memory.limit_in_bytes"), "1048576\n").unwrap();
        assert_eq!(group_limit(root.path()), Some(1 << 20));
        fs::write(root.path().join("memory.max"), "max\n").unwrap();
        assert_eq!(group_limit(root.path()), Some(1 << 20), "no limit is no number");
        fs::write(root.path().join("memory.max"), "2097152\n").unwrap();
        assert_eq!(group_limit(root.path()), Some(2 << 20));
    }

    #[test]
    fn the_memory_of_the_machine_is_read() {
        assert_eq!(machine_total("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16 << 20));
        assert_eq!(machine_total("nothing"), None);
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
