//! Rewrites the store: a successor is written beside it and replaces it.
//!
//! The successor is completed before the old directory is renamed, and the old directory is removed last. At any moment
//! one of the two is complete, and the queue makes no change during the replacement. Files in the old directory that do
//! not belong to the store are moved to the successor.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::create::is_of_store;
use super::tree::{storage, sync_all_of};
use crate::queue::Error;
use crate::system::file_system::is_mount_point;
use crate::system::identity;
use crate::system::permission::explained;

/// The suffix of the successor's directory, which is beside the store's. A left-over directory of this name is removed,
/// so an operator must not choose it for a copy of the queue.
const SUCCESSOR: &str = ".being-written";
/// The suffix of the old store's directory during the replacement. A left-over directory is removed, too.
const PREDECESSOR: &str = ".being-replaced";

/// Completes or undoes a replacement that a crash interrupted. Restores the old store only if the successor is still
/// beside it. Otherwise the successor had already replaced the old store, which may lack later changes.
pub(in crate::queue::sled) fn settle(directory: &Path) -> io::Result<()> {
    let (predecessor, successor) = (beside(directory, PREDECESSOR), beside(directory, SUCCESSOR));
    if is_there(&predecessor)? && is_there(&successor)? && !is_there(directory)? {
        fs::rename(&predecessor, directory)?;
        sync_parent(directory)?;
    }
    carry_over(&predecessor, directory)?;
    remove(&predecessor)?;
    remove(&successor)
}

/// Returns the path of the old store's directory during a replacement.
pub(super) fn predecessor(directory: &Path) -> PathBuf {
    beside(directory, PREDECESSOR)
}

/// Creates a successor, which `fill` fills, with the identity of the store. Removes it if that fails.
pub(in crate::queue::sled) fn prepare(
    directory: &Path,
    fill: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    if is_mount_point(directory) {
        return Err(storage(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!(
                "{0} is a mount point and cannot be replaced; stop the server and move its files into {0}/store",
                directory.display()
            ),
        )));
    }
    let successor = beside(directory, SUCCESSOR);
    let prepared = remove(&successor)
        .and_then(|()| fs::create_dir(&successor))
        .map_err(storage)
        .and_then(|()| fill(&successor))
        .and_then(|()| identity::copy(directory, &successor).map_err(storage))
        .and_then(|()| sync_all_of(&successor).map_err(storage));
    prepared.inspect_err(|_| {
        // Remaining files are removed at the next replacement or start.
        let _ = remove(&successor);
    })
}

/// Replaces the store, which must be closed, with the successor.
pub(in crate::queue::sled) fn replace(directory: &Path) -> io::Result<()> {
    let predecessor = beside(directory, PREDECESSOR);
    remove(&predecessor)?;
    fs::rename(directory, &predecessor)?;
    fs::rename(beside(directory, SUCCESSOR), directory)?;
    sync_parent(directory)?;
    carry_over(&predecessor, directory)?;
    remove(&predecessor)?;
    sync_parent(directory)
}

/// Moves the entries of `predecessor` that do not belong to the store to `directory`. Does nothing if there is no
/// predecessor.
fn carry_over(predecessor: &Path, directory: &Path) -> io::Result<()> {
    if !directory.is_dir() {
        return Ok(());
    }
    let entries = match fs::read_dir(predecessor) {
        // A file in place of the directory has no entries.
        Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => {
            return Ok(());
        }
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if !is_of_store(&entry.file_name()) {
            fs::rename(entry.path(), directory.join(entry.file_name()))?;
        }
    }
    File::open(directory)?.sync_all()
}

fn beside(directory: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = directory.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Returns true if the path exists, even as a dangling link.
fn is_there(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a file or directory, if it exists.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|error| explained(path, error)),
    }
}

fn sync_parent(directory: &Path) -> io::Result<()> {
    match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_the_two_is_whole_at_any_moment() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("queue");
        let fill = |path: &Path, word: &str| fs::write(path.join("db"), word).map_err(storage);
        let content = || fs::read_to_string(directory.join("db")).unwrap();
        fs::create_dir(&directory).unwrap();
        fill(&directory, "first").unwrap();
        // Interrupted before the old store was moved, and after.
        prepare(&directory, |successor| fill(successor, "second")).unwrap();
        settle(&directory).unwrap();
        assert_eq!(content(), "first");
        prepare(&directory, |successor| fill(successor, "second")).unwrap();
        fs::rename(&directory, beside(&directory, PREDECESSOR)).unwrap();
        settle(&directory).unwrap();
        assert_eq!(content(), "first");
        // Interrupted before the old store was removed.
        prepare(&directory, |successor| fill(successor, "second")).unwrap();
        fs::write(directory.join("note"), "not of the store").unwrap();
        replace(&directory).unwrap();
        assert!(directory.join("note").exists());
        fs::create_dir(beside(&directory, PREDECESSOR)).unwrap();
        settle(&directory).unwrap();
        assert_eq!(content(), "second");
        assert!(prepare(&directory, |_| Err(Error::Closed)).is_err());
        // The successor is missing, so the old store is outdated and is not restored.
        fs::remove_dir_all(&directory).unwrap();
        fs::create_dir(beside(&directory, PREDECESSOR)).unwrap();
        settle(&directory).unwrap();
        assert!(!directory.exists() && !beside(&directory, PREDECESSOR).exists());
        fs::create_dir(&directory).unwrap();
        fs::write(beside(&directory, PREDECESSOR), "no directory").unwrap();
        settle(&directory).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
