//! Room on the disk that is set aside while there is plenty, for the moment in which there is none: then a server can
//! still start, and remove something.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use super::disk;

/// Bytes that a start may write: the queue's commit log into its store, a few pages of metadata.
const BYTES: u64 = 24 << 20;
/// With less than this left, a start gives the reserve up.
const FREE_MIN: u64 = 8 << 20;
/// It is set aside when so much is free.
const FREE_PLENTY: u64 = 4 * BYTES;

/// The room that is set aside: a file of which nobody reads a byte. Cheap to clone: all clones are the same.
#[derive(Clone, Debug)]
pub struct Ballast {
    path: PathBuf,
}

impl Ballast {
    /// The one of a data directory, whether it is there or not.
    pub fn of(data_dir: &Path) -> Self {
        Self { path: data_dir.join("reserve") }
    }

    /// Gives it up if hardly anything is free; says whether it did.
    pub fn release_if_needed(&self) -> bool {
        self.free_bytes().is_ok_and(|free| free < FREE_MIN) && self.release()
    }

    /// Gives it up; says whether there was one.
    pub fn release(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }

    /// Sets it aside if it is not there and plenty is free.
    ///
    /// # Errors
    /// What the operating system says: not every file system can do that.
    pub fn create(&self) -> io::Result<()> {
        if self.path.try_exists()? || self.free_bytes()? < FREE_PLENTY {
            return Ok(());
        }
        let file = File::create(&self.path)?;
        fallocate(&file, FallocateFlags::empty(), 0, BYTES).map_err(|error| {
            // An empty one would be taken for room.
            self.release();
            error.into()
        })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let folder = self.path.parent().unwrap_or(&self.path);
        Ok(disk::room(folder)?.free_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_set_aside_takes_room_until_it_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Ballast::of(folder.path());
        if reserve.free_bytes().unwrap() < FREE_PLENTY {
            return;
        }
        reserve.create().unwrap();
        reserve.create().unwrap();
        assert!(fs::metadata(&reserve.path).unwrap().blocks() * 512 >= BYTES);
        assert!(!reserve.release_if_needed() && reserve.release() && !reserve.release());
    }
}
