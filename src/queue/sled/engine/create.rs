//! Crash-safe creation of a store. An unfinished store is created again; a directory with other content is rejected.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::journal;
use super::tree::{LOG, of_io, storage, sync_all_of};
use crate::queue::Error;

/// The name of a file that exists while a store is being created.
const MARK: &str = "unfinished";

/// Prepares the directory, and returns true if a store must be created in it. If a store is `expected`, its absence
/// is damage.
pub(in crate::queue::sled) fn begin(directory: &Path, expected: bool) -> Result<bool, Error> {
    if let Some(target) = nowhere(directory) {
        return Err(Error::Damaged(
            format!("it is a link to {}, which does not exist", target.display()).into(),
        ));
    }
    if expected && is_missing(directory).map_err(of_io)? {
        return Err(Error::damaged("it is missing"));
    }
    prepare(directory).map_err(of_io)
}

/// Returns the target of a dangling symbolic link, if the directory is one.
fn nowhere(directory: &Path) -> Option<PathBuf> {
    if directory.exists() { None } else { std::fs::read_link(directory).ok() }
}

/// Returns true if there is neither a store nor an unfinished one.
fn is_missing(directory: &Path) -> io::Result<bool> {
    for name in [MARK, LOG, journal::NAMES[0], journal::NAMES[1]] {
        if directory.join(name).try_exists()? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn prepare(directory: &Path) -> io::Result<bool> {
    std::fs::create_dir_all(directory)?;
    let mark = directory.join(MARK);
    if mark.try_exists()? {
        remove_unfinished(directory)?;
    } else if !is_missing(directory)? {
        return Ok(false);
    } else {
        File::create(&mark)?;
    }
    sync_all_of(directory)?;
    Ok(true)
}

/// Marks the store as complete.
pub(in crate::queue::sled) fn finish(directory: &Path) -> Result<(), Error> {
    // The store must be on the disk before the mark is removed.
    sync_all_of(directory).map_err(storage)?;
    std::fs::remove_file(directory.join(MARK)).map_err(storage)?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(storage)
}

/// Returns true if an entry with this name belongs to a store.
pub(super) fn is_of_store(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    [MARK, LOG, "conf", "blobs", "identity", "identity.new"].contains(&name.as_ref())
        || journal::NAMES.contains(&name.as_ref())
        || name.starts_with("snap.")
}

/// Removes the files of an unfinished store, and keeps other files.
fn remove_unfinished(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() == MARK || !is_of_store(&entry.file_name()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
