//! `entityd bench`: how fast this machine is.

mod ingest;
mod objects;
mod people;
mod queue;
mod similarity;
mod solve;

use serde::Serialize;

use super::{Failure, output};

/// Measures how fast this machine is
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Debug, clap::Subcommand)]
enum Subject {
    Ingest(ingest::Arguments),
    Objects(objects::Arguments),
    Queue(queue::Arguments),
    Similarity(similarity::Arguments),
    Solve(solve::Arguments),
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.subject {
            Subject::Ingest(arguments) => arguments.run(),
            Subject::Objects(arguments) => arguments.run(),
            Subject::Queue(arguments) => arguments.run(),
            Subject::Similarity(arguments) => arguments.run(),
            Subject::Solve(arguments) => arguments.run(),
        }
    }
}

/// Prints a sentence, unless it is not wanted, and the report as one line of JSON.
fn print(report: &impl Serialize, json_alone: bool, sentence: &str) -> Result<(), Failure> {
    let line = serde_json::to_string(report).expect("a report has plain fields");
    output::print(&if json_alone { format!("{line}\n") } else { format!("{sentence}\n{line}\n") })
}

/// The most memory that this process has had, where the system says so.
fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = peak.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(1024 * kib)
}
