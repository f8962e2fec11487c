//! Rewrites the store: a successor is written beside it and replaces it.
//!
//! The successor is complete before the old directory is renamed, and the old directory is removed after that. At any
//! moment one of the two is complete, and no change is made in between. Files in the old directory that do not belong
//! to the store move to the successor.

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

/// The suffix of the successor's directory, beside the store's. It is removed, so no operator may choose this name
/// for a copy of the queue.
const SUCCESSOR: &str = ".being-written";
/// The suffix of the predecessor's directory, which is removed as well.
const PREDECESSOR: &str = ".being-replaced";

/// Completes or undoes a replacement that a crash interrupted. The old store is restored only if the successor had
/// not taken its place: if there is no successor, it had taken the place of the old store, which lacks the changes
/// made since.
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

/// Returns the path of the predecessor while it is being replaced.
pub(super) fn predecessor(directory: &Path) -> PathBuf {
    beside(directory, PREDECESSOR)
}

/// Lets `fill` create a successor, with the identity of the store. If that fails, nothing of it is left.
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
        // The next replacement, or the next start, removes the remaining files.
        let _ = remove(&successor);
    })
}

/// Puts the successor in the place of the store, which must be closed.
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

/// Moves entries that do not belong to the store from a directory that will be removed, if there is one, into
/// `directory`.
fn carry_over(predecessor: &Path, directory: &Path) -> io::Result<()> {
    if !directory.is_dir() {
        return Ok(());
    }
    let entries = match fs::read_dir(predecessor) {
        // A file cannot hold anything.
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
        // The newer store is missing: the older one is not restored in any case.
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
