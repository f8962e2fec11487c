//! Objects as files in one directory.
//!
//! Unlike the `object_store` crate, it turns a complete file into an object without copying, unless the file is on
//! another file system; and a removal is durable when it returns.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tempfile::{NamedTempFile, TempPath};

use crate::objects::blob::Stamp;
use crate::objects::{Error, Key, Prefix, Removed, keys};
use crate::system::data_dir::is_temporary;
use crate::system::disk;
use crate::system::open_files::patiently;
use crate::system::place::{self, Place};
use crate::system::{folder, regular, removals};

/// The maximum number of attempts to place a file in a directory that concurrent removals delete.
const PLACE_ATTEMPTS: usize = 16;
/// The maximum number of directories in [`Durable`]. Beyond it, the set is cleared.
const DURABLE_MAX: usize = 10_000;

/// The prefix of the names of incomplete copies; no object has such a name.
const COPY: &str = "copy-";

#[derive(Debug)]
pub(in crate::objects) struct Directory {
    root: PathBuf,
    /// The root, and the file system of the projects' directory.
    places: [Place; 2],
    /// Directories are created and removed under this lock.
    durable: Mutex<Durable>,
}

/// The directories below the root that are known to be durable, with all their parents.
#[derive(Debug, Default)]
struct Durable {
    known: HashSet<PathBuf>,
    /// The number of removals so far.
    removals: u64,
}

impl Durable {
    fn remove(&mut self, directory: &Path) {
        self.removals += 1;
        self.known.remove(directory);
    }
}

/// Directories that exist, and may not be durable.
#[derive(Debug)]
struct Made {
    /// The directories, each after its parent.
    directories: Vec<PathBuf>,
    /// The number of removals before they were made.
    removals: u64,
}

impl Directory {
    /// Opens the objects in `root`, which is created if it is missing. Removes unfinished copies of score files that a
    /// crash has left. Others are removed with the directory of their run or upload.
    pub(in crate::objects) fn open(root: &Path) -> io::Result<Self> {
        make_private_directory(root)?;
        remove_unfinished_copies(&root.join(keys::score_files().as_str()))?;
        if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_directory(parent)?;
        }
        let places = [Place::of(root)?, Place::on_file_system(&root.join(keys::projects().as_str()))?];
        Ok(Self { root: root.to_owned(), places, durable: Mutex::default() })
    }

    /// Returns the root directory.
    pub(in crate::objects) fn root(&self) -> &Path {
        &self.root
    }

    /// Checks that the directory is still the one that was opened. In another directory, existing objects would seem to
    /// be missing, and new objects would be lost.
    pub(in crate::objects) fn is_in_place(&self) -> io::Result<()> {
        place::check_all(&self.places)
    }

    /// Returns an error if the disk refuses writes.
    pub(in crate::objects) fn takes_writes(&self) -> io::Result<()> {
        self.is_in_place()?;
        disk::takes_writes(&self.root)
    }

    /// Checks that the file of `key`, if it exists, is a regular file: opening another kind could block.
    pub(in crate::objects) fn can_open(&self, key: &Key) -> Result<(), Error> {
        regular::check(&self.root.join(key.as_str())).map_err(|error| Error::opening(key, error))
    }

    /// Turns a complete file into the object `key`, and returns once the object is durable. If the object exists, it is
    /// kept and the file is removed.
    pub(in crate::objects) fn place(&self, file: NamedTempFile, key: &Key) -> Result<(), Error> {
        self.is_in_place()?;
        self.publish(file, key)?;
        // The file may be in a file system that was mounted over the directory in the meantime.
        Ok(self.is_in_place()?)
    }

    fn publish(&self, file: NamedTempFile, key: &Key) -> Result<(), Error> {
        let target = self.root.join(key.as_str());
        let directory = target.parent().expect("a key has a parent: the root at least");
        file.as_file().sync_all()?;
        let mut file = file.into_temp_path();
        for _ in 0..PLACE_ATTEMPTS {
            let made = self.make_directories(directory)?;
            match file.persist_noclobber(&target) {
                Ok(()) => return Ok(self.sync(directory, made)?),
                Err(taken) if taken.error.kind() == io::ErrorKind::AlreadyExists => {
                    // The writer of the existing object may not have synced the directory yet.
                    return Ok(self.sync(directory, made)?);
                }
                Err(gone) if gone.error.kind() == io::ErrorKind::NotFound => {
                    self.forget(directory);
                    file = gone.path;
                }
                Err(beyond) if beyond.error.kind() == io::ErrorKind::CrossesDevices => {
                    file = copy_into(directory, &beyond.path)?;
                }
                Err(failed) => return Err(failed.error.into()),
            }
        }
        Err(io::Error::other(format!("directory {} keeps vanishing", directory.display())).into())
    }

    pub(in crate::objects) fn file(&self, key: &Key) -> Result<File, Error> {
        let path = self.root.join(key.as_str());
        patiently(|| regular::open(&path)).map_err(|error| self.opening(key, error))
    }

    /// Converts an error of opening `key`. If the directory is no longer the same, the object is not called missing.
    fn opening(&self, key: &Key, error: io::Error) -> Error {
        let error = Error::opening(key, error);
        let away = matches!(error, Error::Missing { .. }).then(|| self.is_in_place().err()).flatten();
        away.map_or(error, Error::from)
    }

    pub(in crate::objects) fn stamp(&self, key: &Key) -> Result<Stamp, Error> {
        let found = fs::metadata(self.root.join(key.as_str()));
        found.map(|file| Stamp::of(&file)).map_err(|error| self.opening(key, error))
    }

    /// Removes an object and the directories that become empty; returns false if there was none.
    pub(in crate::objects) fn remove(&self, key: &Key) -> Result<bool, Error> {
        let _allowed = removals::allowed();
        self.is_in_place()?;
        let path = self.root.join(key.as_str());
        let is_removed = regular::remove(&path)?;
        if is_removed {
            self.prune(path.parent().unwrap_or(&self.root))?;
        }
        Ok(is_removed)
    }

    /// Removes every file below `prefix` and the directories that become empty.
    pub(in crate::objects) fn remove_all(&self, prefix: &Prefix) -> Result<Removed, Error> {
        let _allowed = removals::allowed();
        self.is_in_place()?;
        let top = self.root.join(prefix.as_str());
        let mut directories = Vec::new();
        let mut removed = Removed::default();
        remove_files(&top, &mut directories, &mut removed)?;
        let mut durable = self.durable.lock();
        for directory in directories.iter().rev() {
            durable.remove(directory);
            remove_directory(directory)?;
        }
        drop(durable);
        self.prune(top.parent().unwrap_or(&self.root))?;
        Ok(removed)
    }

    /// Removes `directory` and its parents as far as they are empty. The removal is durable when this returns.
    fn prune(&self, directory: &Path) -> io::Result<()> {
        let mut durable = self.durable.lock();
        let mut left = directory;
        while left != self.root && remove_directory(left)? {
            durable.remove(left);
            left = left.parent().unwrap_or(&self.root);
        }
        drop(durable);
        match sync_directory(left) {
            // A concurrent removal has removed the directory, and will sync its parent.
            Err(error) if error.kind() == io::ErrorKind::NotFound => sync_directory(&self.root),
            done => done,
        }
    }

    /// Creates `directory` with its parents. Returns those that may not be durable yet.
    fn make_directories(&self, directory: &Path) -> io::Result<Made> {
        let durable = self.durable.lock();
        let below = directory.ancestors().take_while(|ancestor| *ancestor != self.root);
        let missing = below.take_while(|ancestor| !durable.known.contains(*ancestor));
        let mut directories: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        directories.reverse();
        for directory in &directories {
            make_below(directory)?;
        }
        Ok(Made { directories, removals: durable.removals })
    }

    /// Makes an object in `directory` durable, with the directories that were made for it. The first sync usually writes
    /// them all, since a file system collects changes; the others then find nothing to do.
    fn sync(&self, directory: &Path, made: Made) -> io::Result<()> {
        sync_directory(directory)?;
        for made in made.directories.iter().rev() {
            sync_directory(made.parent().unwrap_or(&self.root))?;
        }
        let mut durable = self.durable.lock();
        if durable.removals == made.removals {
            if durable.known.len() + made.directories.len() > DURABLE_MAX {
                durable.known.clear();
            }
            durable.known.extend(made.directories);
        } else {
            // A directory that was removed meanwhile may have been made again by someone who has not synced it.
            let below = directory.ancestors().take_while(|ancestor| *ancestor != self.root);
            for ancestor in below {
                sync_directory(ancestor.parent().unwrap_or(&self.root))?;
            }
        }
        Ok(())
    }

    fn forget(&self, directory: &Path) {
        let mut durable = self.durable.lock();
        for ancestor in directory.ancestors() {
            durable.known.remove(ancestor);
        }
    }
}

/// Creates a directory in an existing one; no error if it exists. Does not create parents: if the root is missing, it
/// may have been unmounted or moved since it was checked.
fn make_below(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        created => created,
    }
}

/// Creates a directory that only this user may read; no error if it exists.
pub(in crate::objects) fn make_private_directory(path: &Path) -> io::Result<()> {
    folder::create(path, folder::PRIVATE)
}

pub(in crate::objects) fn sync_directory(path: &Path) -> io::Result<()> {
    patiently(|| File::open(path))?.sync_all()
}

/// Makes a durable copy of `file` in a directory on another file system, to which a rename is impossible.
fn copy_into(directory: &Path, file: &Path) -> io::Result<TempPath> {
    let mut copy = patiently(|| tempfile::Builder::new().prefix(COPY).tempfile_in(directory))?;
    io::copy(&mut patiently(|| File::open(file))?, &mut copy)?;
    copy.as_file().sync_all()?;
    Ok(copy.into_temp_path())
}

fn remove_unfinished_copies(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let is_ours = entry.file_name().to_str().is_some_and(|name| is_temporary(name, COPY));
        if is_ours && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Unlinks all files below `directory`, and appends its directories to `directories`, each before those in it.
fn remove_files(directory: &Path, directories: &mut Vec<PathBuf>, removed: &mut Removed) -> io::Result<()> {
    let entries = match patiently(|| fs::read_dir(directory)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    directories.push(directory.to_owned());
    for entry in entries {
        let entry = entry?;
        let found = entry.metadata()?;
        if found.is_dir() {
            remove_files(&entry.path(), directories, removed)?;
        } else {
            fs::remove_file(entry.path())?;
            removed.add(found.len());
        }
    }
    Ok(())
}

/// Removes an empty directory; returns true if it no longer exists.
fn remove_directory(path: &Path) -> io::Result<bool> {
    match fs::remove_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_was_moved_away_is_not_created_again() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("objects");
        let directory = Directory::open(&root).unwrap();
        directory.make_directories(&root.join("projects/1")).unwrap();
        fs::rename(&root, folder.path().join("moved")).unwrap();
        let refused = directory.make_directories(&root.join("projects/2/results")).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
        assert!(!root.exists());
    }

    #[test]
    fn a_directory_is_known_to_be_durable_unless_it_may_have_been_removed_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("objects");
        let directory = Directory::open(&root).unwrap();
        let path = root.join("projects/1");
        let known = || directory.durable.lock().known.contains(&path);
        let first = directory.make_directories(&path).unwrap();
        assert_eq!(first.directories, [root.join("projects"), path.clone()]);
        let second = directory.make_directories(&path).unwrap();
        assert_eq!(second.directories, first.directories, "nothing is synced yet");
        directory.prune(&path).unwrap();
        assert!(!path.exists());
        let third = directory.make_directories(&path).unwrap();
        directory.sync(&path, first).unwrap();
        assert!(!known(), "the third may not be synced");
        directory.sync(&path, third).unwrap();
        assert!(known() && directory.make_directories(&path).unwrap().directories.is_empty());
    }
}
