//! Snapshots of a database, which are made before a migration: files beside it, named after its version.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::system::regular;

/// The text between the name of the database and the version in the name of a snapshot.
const INFIX: &str = ".version-";
/// The suffix of a snapshot that is not complete.
const INCOMPLETE: &str = ".incomplete";

/// An error in making a snapshot.
#[derive(Debug)]
pub(super) enum Fault {
    /// The database cannot be copied.
    Database(rusqlite::Error),
    /// The copy cannot be renamed to the snapshot.
    File(io::Error),
}

/// Returns the path of the snapshot of the database at `path` with this version of its tables.
pub fn path_of(path: &Path, version: u32) -> PathBuf {
    named(path, &format!("{INFIX}{version}"))
}

/// Returns the snapshots of the database at `path`, in the order of their versions.
///
/// # Errors
/// The errors of reading its folder.
pub fn all(path: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let file = entry.file_name();
        let version =
            file.to_str().and_then(|file| file.strip_prefix(name)?.strip_prefix(INFIX)?.parse().ok());
        found.extend(version.map(|version| (version, entry.path())));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Makes a snapshot of the database at `path`, which `connection` has open, and returns its path. Replaces an earlier
/// snapshot of the same version. The snapshot is on the disk when this returns.
///
/// # Errors
/// [`Fault`]. After an error, an earlier snapshot still exists.
pub(super) fn take(connection: &Connection, path: &Path, version: u32) -> Result<PathBuf, Fault> {
    let (snapshot, incomplete) =
        (path_of(path, version), named(path, &format!("{INFIX}{version}{INCOMPLETE}")));
    let made = make(connection, &incomplete, &snapshot);
    if made.is_err() {
        // Ignores this error, since the first one is reported.
        let _ = fs::remove_file(&incomplete);
    }
    made.map(|()| snapshot)
}

fn make(connection: &Connection, incomplete: &Path, snapshot: &Path) -> Result<(), Fault> {
    regular::remove(incomplete).map_err(Fault::File)?;
    // SQLite accepts an empty file. A file that SQLite creates could be read by other users.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(incomplete).map_err(Fault::File)?;
    connection.execute("VACUUM INTO ?1", [incomplete.to_string_lossy()]).map_err(Fault::Database)?;
    let sync = |path: &Path| File::open(path)?.sync_all();
    let placed = sync(incomplete).and_then(|()| fs::rename(incomplete, snapshot));
    placed.and_then(|()| snapshot.parent().map_or(Ok(()), sync)).map_err(Fault::File)
}

fn named(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
