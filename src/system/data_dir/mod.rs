//! The data directory, in which everything is stored: its lock, and the version of its layout.

mod entries;
mod error;
mod fresh;
mod lock;
mod parts;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use entries::{check as check_entries, check_folder};
pub use error::{Error, FORMAT};
pub use fresh::stranger;
pub use parts::{MOMENTARY, PARTIAL, RECORD, STAGED, check_part, is_cached, is_spooled, is_temporary};

use super::permission::other_owner;
use super::{file_system, folder, regular};
use error::unusable;
use lock::private;

/// A data directory, locked by this process until it is dropped. The operating system releases the lock of a killed
/// process.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Locks the directory at `path`, creates it if it does not exist (mode 0700), and checks its format.
    ///
    /// # Errors
    /// [`Error`]. After an error nothing is changed, except that the directory and its lock may have been created.
    pub fn open(path: &Path) -> Result<Self, Error> {
        make(path)?;
        let path = path.canonicalize().map_err(unusable(path))?;
        entries::check(&path)?;
        let format = path.join("format");
        regular::check(&format).map_err(unusable(&format))?;
        if !format.exists()
            && let Some(stranger) = stranger(&path).map_err(unusable(&path))?
        {
            return Err(Error::Foreign { path, stranger });
        }
        let lock = lock::take(&path)?;
        check_format(&path)?;
        warn(&path);
        Ok(Self { path, _lock: lock })
    }

    /// Returns the path of the data directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a subdirectory of the data directory, and creates it if it is absent.
    ///
    /// # Errors
    /// [`Error::Unusable`].
    pub fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let folder = self.path.join(name);
        make(&folder)?;
        Ok(folder)
    }
}

/// Creates a directory and its parents.
fn make(path: &Path) -> Result<(), Error> {
    folder::create(path, folder::PRIVATE).map_err(unusable(path))
}

/// Warns of a directory that works now and may cause problems later.
fn warn(path: &Path) {
    if let Some(name) = file_system::distant(path) {
        tracing::warn!(
            "the data directory {} is on {name}: its locks may not exclude a second server, and writes may not survive a power cut; use a local disk, and --objects if the objects need more space",
            path.display()
        );
    }
    if let Some((owner, own)) = other_owner(&path.join("format")) {
        tracing::warn!(
            "the data directory {} belongs to user {owner}, and this process runs as user {own}: that user may not be able to use files written now; run as user {owner}, or give everything to user {own} with chown -R",
            path.display()
        );
    }
}

/// Reads the format; writes it if there is none yet.
fn check_format(folder: &Path) -> Result<(), Error> {
    let path = folder.join("format");
    match regular::read(&path) {
        Ok(bytes) => match String::from_utf8_lossy(&bytes).trim().parse::<u32>() {
            Ok(found) if found > FORMAT => Err(Error::TooNew { path: folder.to_owned(), found }),
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Damaged { file: path }),
        },
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            write_durably(folder, "format", &format!("{FORMAT}\n")).map_err(unusable(&path))
        }
        Err(cause) => Err(unusable(&path)(cause)),
    }
}

/// Writes a small file atomically and durably: after a power cut it is complete or absent.
///
/// # Errors
/// The operating system's error.
pub fn write_durably(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let partial = folder.join(format!("{name}.new"));
    let mut file = regular::open_with(&partial, private().truncate(true))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, folder.join(name))?;
    File::open(folder)?.sync_all()
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
        let holder = format!("in use by process {} on host ", std::process::id());
        assert!(
            second.to_string().contains(&holder) && second.to_string().contains(", started at 20"),
            "{second}"
        );
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
        for damaged in [&b"what\n"[..], b"", b"\xff\xfe"] {
            fs::write(path.join("format"), damaged).unwrap();
            let refused = DataDir::open(&path).unwrap_err().to_string();
            assert!(refused.contains("data/format is damaged"), "{refused}");
        }
        let foreign = folder.path().join("home");
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("letter.txt"), "dear").unwrap();
        let refused = DataDir::open(&foreign).unwrap_err();
        assert!(refused.to_string().contains("it holds \"letter.txt\""), "{refused}");
        assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
    }

    #[test]
    fn files_that_systems_put_into_a_fresh_volume_are_allowed() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "lost+found",
            ".snapshot",
            ".Trash-1000",
            "System Volume Information",
            "#recycle",
            "@eaDir",
            "..data",
        ] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join(".DS_Store"), "").unwrap();
        assert!(DataDir::open(folder.path()).is_ok());
    }

    #[test]
    fn a_lock_that_says_nothing_still_holds() {
        let folder = tempfile::tempdir().unwrap();
        let _first = DataDir::open(folder.path()).unwrap();
        for (word, said) in
            [(&b""[..], "process of unknown id"), (b"\xff\xff", "process \u{fffd}"), (b"7\n", "process 7;")]
        {
            fs::write(folder.path().join("lock"), word).unwrap();
            let refused = DataDir::open(folder.path()).unwrap_err().to_string();
            assert!(refused.contains(said), "{refused}");
        }
    }
}
