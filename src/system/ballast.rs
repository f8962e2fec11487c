//! The ballast: a file that takes disk space while there is plenty. It is deleted when the disk is full, so that the
//! server can still start and delete data.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use super::disk;

/// The size of the ballast: as much as a start may write, which is the queue's commit log and a few pages of metadata.
const BYTES: u64 = 24 << 20;
/// The number of free bytes below which a start deletes the ballast.
const FREE_MIN: u64 = 8 << 20;
/// The number of free bytes above which the ballast is created.
const FREE_PLENTY: u64 = 4 * BYTES;

/// The ballast, a file whose content is never read. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ballast {
    path: PathBuf,
}

impl Ballast {
    /// Returns the ballast of a data directory, whether or not the file exists.
    pub fn of(data_dir: &Path) -> Self {
        Self { path: data_dir.join("reserve") }
    }

    /// Deletes the ballast if the disk is almost full; returns true if it was deleted.
    pub fn release_if_needed(&self) -> bool {
        self.free_bytes().is_ok_and(|free| free < FREE_MIN) && self.release()
    }

    /// Deletes the ballast; returns true if it existed.
    pub fn release(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }

    /// Creates the ballast if it is absent and the disk has plenty of free space.
    ///
    /// # Errors
    /// The operating system's error: not every file system can allocate space.
    pub fn create(&self) -> io::Result<()> {
        if self.path.try_exists()? || self.free_bytes()? < FREE_PLENTY {
            return Ok(());
        }
        let file = File::create(&self.path)?;
        fallocate(&file, FallocateFlags::empty(), 0, BYTES).map_err(|error| {
            // An empty file would look like ballast.
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
    fn the_ballast_takes_space_until_it_is_released() {
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
