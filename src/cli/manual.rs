//! `entityd manual`: writes manual pages for `man`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};

use super::Failure;
use crate::system::folder;

/// Writes the manual pages, one for each command
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Directory for the pages, such as /usr/local/share/man/man1
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Arguments {
    pub(super) fn run(self, command: Command) -> Result<(), Failure> {
        write(command, &self.folder)
            .map_err(|error| Failure::Failed(format!("cannot write to {}: {error}", self.folder.display())))
    }
}

/// Writes the pages to a temporary folder in `pages`. They are moved to `pages` when all are complete.
fn write(command: Command, pages: &Path) -> io::Result<()> {
    folder::create(pages, folder::SHARED)?;
    let unfinished = tempfile::tempdir_in(pages)?;
    clap_mangen::generate_to(command, unfinished.path())?;
    for page in fs::read_dir(unfinished.path())? {
        let page = page?;
        fs::rename(page.path(), pages.join(page.file_name()))?;
    }
    unfinished.close()
}
