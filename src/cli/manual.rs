//! `entityd manual`: writes manual pages for `man`.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command};

use super::Failure;

/// Writes the manual pages, one for each command
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Directory for the pages, such as /usr/local/share/man/man1
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Arguments {
    pub(super) fn run(self, command: Command) -> Result<(), Failure> {
        let written =
            fs::create_dir_all(&self.folder).and_then(|()| clap_mangen::generate_to(command, &self.folder));
        written
            .map_err(|error| Failure::Failed(format!("cannot write to {}: {error}", self.folder.display())))
    }
}
