//! Metrics of the operating system about this process.

use std::fs;

/// The unit in which Linux reports CPU time to programs, on every machine.
pub const TICKS_PER_SECOND: f64 = 100.0;

/// Metrics of the operating system about this process; `None` for each that it does not provide.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// The memory in RAM, in bytes.
    pub resident_bytes: Option<u64>,
    /// The address space, in bytes.
    pub virtual_bytes: Option<u64>,
    /// The number of threads.
    pub threads: Option<u64>,
    /// The number of open file descriptors.
    pub open_files: Option<u64>,
    /// The limit on open file descriptors.
    pub open_files_max: Option<u64>,
    /// The CPU time used, in seconds.
    pub cpu_seconds: Option<f64>,
}

impl Process {
    /// Reads the metrics from the operating system.
    pub fn look() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        // The count includes the directory that is being read.
        let open_files = fs::read_dir("/proc/self/fd").map(|entries| entries.count().saturating_sub(1));
        Self {
            resident_bytes: kilobytes(&status, "VmRSS:"),
            virtual_bytes: kilobytes(&status, "VmSize:"),
            threads: number(&status, "Threads:"),
            open_files: open_files.ok().map(|count| count as u64),
            open_files_max: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            cpu_seconds: fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_seconds(&stat)),
        }
    }
}

impl Process {
    /// Returns the text of the counter of CPU time in fractions of a second, which the crate `metrics` does not
    /// support.
    pub fn cpu_text(&self) -> String {
        let Some(seconds) = self.cpu_seconds else { return String::new() };
        format!(
            "# HELP process_cpu_seconds_total CPU time used, by the program and for it by the system.\n\
             # TYPE process_cpu_seconds_total counter\n\
             process_cpu_seconds_total {seconds}\n\n"
        )
    }
}

/// Returns the sum of user and system time, fields 14 and 15 of /proc/self/stat, in seconds. The name of the program in
/// field 2 may contain spaces; the last parenthesis ends it.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut ticks = after_name.split_whitespace().skip(11);
    let mut next = || ticks.next()?.parse::<u64>().ok();
    Some((next()? + next()?) as f64 / TICKS_PER_SECOND)
}

fn kilobytes(status: &str, label: &str) -> Option<u64> {
    number(status, label).map(|kilobytes| kilobytes * 1024)
}

fn number(status: &str, label: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_their_label() {
        let status = "Name:\tentityd\nVmSize:\t  2048 kB\nVmRSS:\t 12 kB\nThreads:\t7\n";
        assert_eq!(kilobytes(status, "VmRSS:"), Some(12 << 10));
        assert_eq!(number(status, "Threads:"), Some(7));
        assert_eq!(number(status, "VmSwap:"), None);
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("42 (a) S 1"), None);
    }
}
