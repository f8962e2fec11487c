//! The one directory that holds everything stored: its lock and the version of its layout.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The version of the layout that this program writes.
const FORMAT: u32 = 1;

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has it.
    #[error(
        "the data directory {} is in use by process {holder}; stop that process, or give another directory with --data-dir",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process, as it named itself.
        holder: String,
    },
    /// A newer version of this program wrote it.
    #[error(
        "the data directory {} has format {found}, and this version knows formats up to {FORMAT}; use a newer entityd",
        path.display()
    )]
    TooNew {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It holds something, and none of it says that it is a data directory.
    #[error(
        "{} is not empty and not a data directory (it has no readable file `format`); give another with --data-dir",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("cannot use the data directory {}: {cause}", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the operating system says.
        cause: io::Error,
    },
}

/// A data directory that belongs to this process until it is dropped. The lock is the operating
/// system's, so that a killed process does not leave it behind.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes the directory at `path`, makes it if it is not there (mode 0700), and checks its format.
    ///
    /// # Errors
    /// [`Error`]; nothing has been changed then, except that the directory and its lock may have been made.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let unusable = |cause| Error::Unusable { path: path.to_owned(), cause };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        if !path.join("format").exists() && !is_fresh(&path).map_err(unusable)? {
            return Err(Error::Foreign { path });
        }
        let lock = lock(&path)?;
        check_format(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory in it, made if it is not there.
    ///
    /// # Errors
    /// [`Error::Unusable`].
    pub fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let folder = self.path.join(name);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|cause| Error::Unusable { path: folder.clone(), cause })?;
        Ok(folder)
    }
}

/// Whether nothing is in a directory but what a first start that was cut off, or a new file system, leaves.
fn is_fresh(path: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        if !["lock", "format.new", "lost+found"]
            .iter()
            .any(|name| entry.as_ref().is_ok_and(|e| e.file_name() == **name))
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes the lock and leaves the number of this process for whoever comes second.
fn lock(path: &Path) -> Result<File, Error> {
    let unusable = |cause| Error::Unusable { path: path.to_owned(), cause };
    let mut file = private().read(true).truncate(false).open(path.join("lock")).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(unusable)?;
            return Err(Error::InUse { path: path.to_owned(), holder: holder.trim().to_owned() });
        }
        Err(TryLockError::Error(cause)) => return Err(unusable(cause)),
    }
    // What is there is written over first: on a full disk there is no room for anything new.
    let holder = format!("{}\n", std::process::id());
    file.rewind().map_err(unusable)?;
    file.write_all(holder.as_bytes()).map_err(unusable)?;
    file.set_len(holder.len() as u64).map_err(unusable)?;
    Ok(file)
}

/// Reads the format, or writes it if there is none yet.
fn check_format(path: &Path) -> Result<(), Error> {
    let unusable = |cause| Error::Unusable { path: path.to_owned(), cause };
    match fs::read_to_string(path.join("format")) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(found) if found > FORMAT => Err(Error::TooNew { path: path.to_owned(), found }),
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Foreign { path: path.to_owned() }),
        },
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            write_durably(path, "format", &format!("{FORMAT}\n")).map_err(unusable)
        }
        Err(cause) => Err(unusable(cause)),
    }
}

/// Writes a small file so that after a power cut it is there in full or not at all.
fn write_durably(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let partial = folder.join(format!("{name}.new"));
    let mut file = private().truncate(true).open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, folder.join(name))?;
    File::open(folder)?.sync_all()
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_belongs_to_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let first = DataDir::open(&path).unwrap();
        let second = DataDir::open(&path).unwrap_err();
        assert!(second.to_string().contains(&std::process::id().to_string()), "{second}");
        drop(first);
        assert!(DataDir::open(&path).is_ok());
    }

    #[test]
    fn a_newer_format_and_a_foreign_directory_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        drop(DataDir::open(&path).unwrap());
        fs::write(path.join("format"), "99\n").unwrap();
        assert!(matches!(DataDir::open(&path), Err(Error::TooNew { found: 99, .. })));
        fs::write(path.join("format"), "what\n").unwrap();
        assert!(matches!(DataDir::open(&path), Err(Error::Foreign { .. })));
        let foreign = folder.path().join("home");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("letter.txt"), "dear").unwrap();
        assert!(matches!(DataDir::open(&foreign), Err(Error::Foreign { .. })));
        assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
    }
}
