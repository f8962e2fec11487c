//! `entityd check`: examines the machine, the data directory and the settings before a server uses them.

mod finding;
mod data;
mod machine;
mod network;
mod schema;

use clap::Args;
use serde_json::{Value, json};

use self::finding::{Finding, State};
use super::columns::aligned;
use super::context::runtime;
use super::interrupt::unless_stopped;
use super::{Failure, output};
use crate::config::{self, Flags, Settings};

/// Checks the machine, the data directory and the settings
///
/// Uses the same flags, environment and file as `serve`. Needs no server, and does not disturb one that uses the same
/// data directory: it only writes a temporary file there, to measure how long a sync takes. A warning reports something
/// that works but may cause trouble; a failure would prevent a server from starting or from keeping data.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  nothing has failed
  1  a check has failed, or with --strict has warned
  2  the command line or a setting is wrong")]
pub(super) struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Count warnings as failures
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    flags: Flags,
}

/// All findings.
pub(super) struct Report(Vec<Finding>);

impl Report {
    /// Runs the checks for a server with these settings.
    pub(super) async fn make(settings: &Settings) -> Self {
        let mut findings = data::check(settings);
        findings.extend(machine::check(settings));
        findings.extend(network::check(settings).await);
        Self(findings)
    }

    fn count(&self, state: State) -> usize {
        self.0.iter().filter(|finding| finding.state == state).count()
    }

    /// Returns the report as a JSON object.
    pub(super) fn json(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"), "checks": self.0,
            "warnings": self.count(State::Warning), "failed": self.count(State::Failed),
        })
    }

    fn table(&self) -> String {
        let state = |state| match state {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Failed => "FAILED",
        };
        let row = |finding: &Finding| {
            vec![finding.check.to_owned(), state(finding.state).to_owned(), finding.detail.clone()]
        };
        aligned(&["check", "state", "detail"], self.0.iter().map(row).collect())
    }
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let settings = config::load(&self.flags.with_environment())?.settings;
        let made = async { Ok(Report::make(&settings).await) };
        let report = runtime()?.block_on(unless_stopped(made))?;
        output::print(&if self.json { format!("{}\n", report.json()) } else { report.table() })?;
        let (failed, warnings) = (report.count(State::Failed), report.count(State::Warning));
        match (failed, warnings) {
            (0, 0) => Ok(()),
            (0, _) if !self.strict => Ok(()),
            _ => Err(Failure::Failed(format!("{failed} checks failed, and {warnings} warned"))),
        }
    }
}
