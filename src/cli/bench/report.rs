//! Prints the report of a benchmark.

use serde::Serialize;

use crate::cli::{Failure, output};

/// Prints the report as one line of JSON, after `sentence` unless `json_alone` is set.
pub(super) fn print(report: &impl Serialize, json_alone: bool, sentence: &str) -> Result<(), Failure> {
    let line = serde_json::to_string(report).expect("a report has plain fields");
    output::print(&if json_alone { format!("{line}\n") } else { format!("{sentence}\n{line}\n") })
}

/// Returns the peak resident memory of this process in bytes, if the system reports it.
pub(super) fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = peak.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kib)
}
