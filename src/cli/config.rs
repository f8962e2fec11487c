//! `entityd config`: shows the settings.

use clap::{Args, Subcommand};

use super::{Failure, output};
use crate::config::{self, Flags, show};

/// Shows the settings and where each came from
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Prints every setting, its value and its source, as `serve` with the same flags would see them
    Show {
        /// Print a JSON array
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        flags: Flags,
    },
}

impl Arguments {
    pub(super) fn run(self) -> Result<(), Failure> {
        let Action::Show { json, flags } = self.action;
        let loaded = config::load(&flags.with_environment())?;
        output::print(&if json { show::json(&loaded) } else { show::table(&loaded) })
    }
}
