//! `entityd completions`: completion scripts for shells.

use clap::{Args, Command};
use clap_complete::Shell;

use super::{Failure, output};

/// Prints a completion script for a shell
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

impl Arguments {
    pub(super) fn run(self, command: &mut Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "entityd", &mut script);
        output::print(&String::from_utf8_lossy(&script))
    }
}
