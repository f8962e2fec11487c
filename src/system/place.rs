//! Detects that a path no longer leads to the file that was opened: the file was removed or replaced, another file
//! system was mounted over it, or its own was unmounted. Open files still work then, but writes to them are lost.

use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::io::Errno;

use super::permission::explained;

/// The error for a path that leads to another file than before, or to none.
#[derive(Debug)]
struct Displaced {
    path: PathBuf,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Gone,
    Replaced,
    Unmounted,
}

impl fmt::Display for Displaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.how {
            How::Gone => write!(f, "{path} was removed or moved while the server runs; put it back"),
            How::Replaced => {
                write!(f, "{path} was replaced while the server runs; put back what was there, or restart")
            }
            How::Unmounted => write!(
                f,
                "another file system is at {path} than before: is the volume unmounted, or another mounted over it? Mount \
                 it again"
            ),
        }
    }
}

impl std::error::Error for Displaced {}

/// A path, and the file that was there when it was opened.
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
    device: u64,
    /// The file; `None` if only its file system is checked.
    thing: Option<Thing>,
}

/// The attributes of a file or directory. The time of its creation, if the file system records it, recognises a file
/// system that is mounted again with another number.
#[derive(Clone, Debug)]
struct Thing {
    inode: u64,
    made: Option<SystemTime>,
}

impl Place {
    /// Records the file at `path`, after following links.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn of(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        let thing = Thing { inode: found.ino(), made: found.created().ok() };
        Ok(Self { path: path.to_owned(), device: found.dev(), thing: Some(thing) })
    }

    /// Records only the file system of `path`, or of its parent if `path` does not exist. The file itself may later be
    /// removed and created again.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn on_file_system(path: &Path) -> io::Result<Self> {
        let found = match fs::metadata(path) {
            Err(error) if is_gone(&error) => fs::metadata(path.parent().unwrap_or(path))?,
            found => found?,
        };
        Ok(Self { path: path.to_owned(), device: found.dev(), thing: None })
    }

    /// Checks that the same file is still there. One system call, which usually does not read the disk.
    ///
    /// # Errors
    /// The reason: the path leads to another file or to none, or the operating system's error.
    pub fn check(&self) -> io::Result<()> {
        let how = match fs::metadata(&self.path) {
            Ok(found) if self.is(&found) => return Ok(()),
            Ok(found) if found.dev() == self.device => How::Replaced,
            Ok(_) => How::Unmounted,
            Err(error) if is_gone(&error) && self.thing.is_none() => return Ok(()),
            Err(error) if is_gone(&error) => How::Gone,
            // The path is a link that leads to itself.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => How::Replaced,
            Err(error) => return Err(explained(&self.path, error)),
        };
        Err(io::Error::other(Displaced { path: self.path.clone(), how }))
    }

    fn is(&self, found: &Metadata) -> bool {
        let is_here = found.dev() == self.device;
        let Some(Thing { inode, made }) = &self.thing else { return is_here };
        found.ino() == *inode && (is_here || (made.is_some() && found.created().ok() == *made))
    }
}

/// Checks all places; returns the error of the first that fails.
///
/// # Errors
/// Like [`Place::check`].
pub fn check_all(places: &[Place]) -> io::Result<()> {
    places.iter().try_for_each(Place::check)
}

/// Returns true if an error means that the file at a path is not the one that was opened.
pub fn is_displaced(error: &io::Error) -> bool {
    error.get_ref().and_then(|cause| cause.downcast_ref::<Displaced>()).is_some()
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_removed_replaced_or_mounted_over_is_noticed_and_its_return_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) = (folder.path().join("file"), folder.path().join("aside"));
        fs::write(&path, "one").unwrap();
        let place = Place::of(&path).unwrap();
        let said = |place: &Place| place.check().unwrap_err().to_string();
        fs::write(&path, "two").unwrap();
        place.check().unwrap();
        fs::rename(&path, &aside).unwrap();
        assert!(said(&place).contains("was removed or moved"), "{}", said(&place));
        fs::write(&path, "one").unwrap();
        assert!(said(&place).contains("was replaced"), "{}", said(&place));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("file", &path).unwrap();
        assert!(said(&place).contains("was replaced"), "{}", said(&place));
        fs::rename(&aside, &path).unwrap();
        place.check().unwrap();
        let mounted_again = Place { device: place.device + 1, ..place.clone() };
        assert_eq!(mounted_again.check().is_ok(), place.thing.as_ref().unwrap().made.is_some());
        let thing = Some(Thing { inode: 0, made: None });
        let elsewhere = Place { device: place.device + 1, thing, ..place };
        assert!(said(&elsewhere).contains("another file system"), "{}", said(&elsewhere));
    }

    #[test]
    fn a_recreated_folder_must_be_on_the_same_file_system() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("folder");
        let place = Place::on_file_system(&path).unwrap();
        place.check().unwrap();
        fs::create_dir(&path).unwrap();
        place.check().unwrap();
        assert!(Place { device: place.device + 1, ..place }.check().is_err());
    }
}
