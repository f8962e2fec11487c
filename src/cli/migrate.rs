//! `entityd migrate`: the versions of the database.

use clap::{Args, Subcommand};

use super::context::runtime;
use super::exit::OrFail;
use super::{Failure, output};
use crate::app::{self, Versions};
use crate::config::{self, Flags, Loaded};
use crate::telemetry;

/// Shows the version of the database, and brings it up to date
///
/// Reads the settings of `serve` with the same flags, environment and file. `serve` brings the database up to date by
/// itself unless it is started with `--migrate never`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Prints the version of the database and the version that this program makes
    Status {
        #[command(flatten)]
        flags: Flags,
    },
    /// Brings the database up to date; one in the data directory must not be in use
    Apply {
        #[command(flatten)]
        flags: Flags,
    },
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Status { flags } => {
                let loaded = load(flags)?;
                let versions = runtime()?.block_on(app::versions(&loaded.settings)).or_fail()?;
                output::print(&status(&versions))
            }
            Action::Apply { flags } => {
                let loaded = load(flags)?;
                let before = runtime()?.block_on(app::migrate(&loaded.settings)).or_fail()?;
                output::print(&applied(&before))
            }
        }
    }
}

fn load(flags: Flags) -> Result<Loaded, Failure> {
    let loaded = config::load(&flags.with_environment())?;
    telemetry::log::start(&loaded.settings.log());
    loaded.check_secrecy().or_fail()?;
    Ok(loaded)
}

fn status(versions: &Versions) -> String {
    let Versions { place, found, known } = versions;
    let verdict = match found.cmp(known) {
        std::cmp::Ordering::Less if *found == 0 => "there are no tables yet",
        std::cmp::Ordering::Less => "behind; `entityd migrate apply` brings it up to date",
        std::cmp::Ordering::Equal => "up to date",
        std::cmp::Ordering::Greater => "a newer entityd made it",
    };
    format!("database  {place}\nversion   {found}\nknown     {known}\nstate     {verdict}\n")
}

fn applied(before: &Versions) -> String {
    let Versions { place, found, known } = before;
    if found < known {
        format!("{place}: brought from version {found} to {known}\n")
    } else {
        format!("{place}: nothing to do at version {found}\n")
    }
}
