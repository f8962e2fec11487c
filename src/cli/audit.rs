//! `entityd audit`: checks the record of administrative actions.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Failure;
use super::output;
use crate::system::audit::{self, Error};

/// Checks the record of administrative actions
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Verify(Verify),
}

/// Checks that no line of audit.log was altered, removed or inserted
///
/// Prints the number of lines and the hash of the last line. Keep this hash elsewhere: it shows whether the end of
/// the file was cut off later. A server may run at the same time.
#[derive(Debug, Args)]
struct Verify {
    /// Data directory
    #[arg(long, value_name = "DIRECTORY", default_value = "entityd-data", env = "ENTITYD_DATA_DIR")]
    data_dir: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Command::Verify(Verify { data_dir, json }) = self.command;
        if !data_dir.is_dir() {
            return Err(Failure::Input(format!(
                "there is no directory {}; give --data-dir",
                data_dir.display()
            )));
        }
        let is_absent = |name| matches!(data_dir.join(name).try_exists(), Ok(false));
        if is_absent("format") && is_absent(audit::FILE) {
            return Err(Failure::Input(format!(
                "{} is not a data directory: it has no file `format`; give --data-dir",
                data_dir.display()
            )));
        }
        let end = audit::verify(&data_dir).map_err(|error| match error {
            Error::Broken { .. } => Failure::Input(error.to_string()),
            Error::File { .. } => Failure::because(&error),
        })?;
        let text = if json {
            serde_json::to_string(&end).map_err(|error| Failure::because(&error))?
        } else {
            format!("{} lines, the last with hash {}", end.lines, end.hash)
        };
        output::print(&format!("{text}\n"))
    }
}
