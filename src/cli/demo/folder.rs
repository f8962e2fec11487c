//! The directory of a demo: a temporary one, or one that the user named.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::people::Register;
use crate::cli::Failure;
use crate::system::folder;

/// The demo's directory. A temporary one is removed when this value is dropped.
pub(super) struct Folder {
    path: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

impl Folder {
    /// Makes a temporary directory.
    pub(super) fn temporary() -> Result<Self, Failure> {
        let temporary = tempfile::tempdir().map_err(|error| failed("a temporary directory", &error))?;
        Ok(Self { path: temporary.path().to_owned(), temporary: Some(temporary) })
    }

    /// Uses the directory `path`, which must be new or empty.
    pub(super) fn keeping(path: &Path) -> Result<Self, Failure> {
        let unusable = |error: io::Error| failed(&path.display().to_string(), &error);
        let refused = || {
            Failure::Usage(format!(
                "--keep {}: it is not empty; give a new or an empty directory",
                path.display()
            ))
        };
        if let Some(obstacle) = folder::obstacle(path) {
            return Err(Failure::Usage(format!("--keep {}: {obstacle}", path.display())));
        }
        folder::create(path, folder::SHARED).map_err(unusable)?;
        if fs::read_dir(path).map_err(unusable)?.next().is_some() {
            return Err(refused());
        }
        Ok(Self { path: path.to_owned(), temporary: None })
    }

    /// Returns the path of the server's data directory.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Returns the directory, if it is not temporary.
    pub(super) fn kept(&self) -> Option<&Path> {
        self.temporary.is_none().then_some(self.path.as_path())
    }

    /// Writes the people and the encodings of each party, unless the directory is temporary.
    pub(super) fn keep(&self, registers: &[Register], rows: &[Vec<u8>]) -> Result<(), Failure> {
        for (party, (register, rows)) in registers.iter().zip(rows).enumerate() {
            self.write(&format!("party-{party}.csv"), spreadsheet(register).as_bytes())?;
            self.write(&format!("party-{party}.bin"), rows)?;
        }
        Ok(())
    }

    /// Writes a file, unless the directory is temporary.
    pub(super) fn write(&self, name: &str, contents: &[u8]) -> Result<(), Failure> {
        let Some(folder) = self.kept() else { return Ok(()) };
        let path = folder.join(name);
        fs::write(&path, contents).map_err(|error| failed(&path.display().to_string(), &error))
    }
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::Failed(format!("cannot write {what}: {error}"))
}

/// Formats the people as CSV. The last column is the ground truth: the number of the real person.
fn spreadsheet(register: &Register) -> String {
    let mut text = String::from("record,given,family,born,place,person\n");
    for (record, (who, person)) in register.people.iter().zip(&register.truth).enumerate() {
        // Writing to a string cannot fail; no name contains a comma or a quote.
        let _ = writeln!(text, "{record},{},{},{},{},{person}", who.given, who.family, who.born, who.place);
    }
    text
}
