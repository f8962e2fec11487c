//! Limits the disk space of arriving uploads.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::spawn_blocking;

use crate::system::disk;
use crate::telemetry::metrics;

/// The number of bytes that are reserved at a time.
const GRANT_BYTES: u64 = 64 << 10;

/// Limits on uploads that are arriving.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The maximum total size of all uploads in progress.
    pub bytes_max: u64,
    /// The minimum free space of each disk, which is left for the processing of accepted uploads.
    pub disk_free_min: u64,
}

/// The usage of a limited space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The bytes in use.
    pub bytes: u64,
    /// The limit, in bytes.
    pub bytes_max: u64,
}

/// The reason why an upload gets no space. A retry may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The uploads in progress take all of the space.
    #[error("the uploads under way would take more than {bytes_max} bytes (--spool-bytes-max)")]
    Spool {
        /// The limit, in bytes.
        bytes_max: u64,
    },
    /// The disk would become too full.
    #[error("less than {disk_free_min} bytes would stay free on the disk (--disk-free-min)")]
    Disk {
        /// The bytes that must stay free.
        disk_free_min: u64,
    },
}

impl From<NoRoom> for io::Error {
    fn from(why: NoRoom) -> Self {
        Self::new(io::ErrorKind::StorageFull, why)
    }
}

/// The space of arriving uploads. Cheap to clone; all clones share it.
#[derive(Clone, Debug)]
pub struct Spool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The directories to which files are written, and to which they are moved.
    directories: Vec<PathBuf>,
    limits: Limits,
    taken: AtomicU64,
}

impl Spool {
    /// Returns an account of the space of uploads. Files are written to one of `directories`, and moved to the others.
    pub fn new(directories: Vec<PathBuf>, limits: Limits) -> Self {
        Self(Arc::new(Inner { directories, limits, taken: AtomicU64::new(0) }))
    }

    /// Returns an error if there is no space for `bytes` more now. Reserves nothing. Queries the file systems on a
    /// blocking thread.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub async fn admits(&self, bytes: u64) -> Result<(), NoRoom> {
        let spool = self.clone();
        // If the check itself fails, the first write will report the error.
        spawn_blocking(move || spool.finds_room(bytes)).await.unwrap_or(Ok(()))
    }

    /// Returns an error unless enough of each disk would stay free after `bytes` more. Reserves nothing.
    ///
    /// # Errors
    /// [`NoRoom::Disk`].
    pub async fn leaves_free(&self, bytes: u64) -> Result<(), NoRoom> {
        let spool = self.clone();
        spawn_blocking(move || spool.leaves_disks_free(bytes)).await.unwrap_or(Ok(()))
    }

    fn finds_room(&self, bytes: u64) -> Result<(), NoRoom> {
        let bytes_max = self.0.limits.bytes_max;
        if self.0.taken.load(Ordering::Relaxed).saturating_add(bytes) > bytes_max {
            return Err(NoRoom::Spool { bytes_max });
        }
        self.leaves_disks_free(bytes)
    }

    fn leaves_disks_free(&self, bytes: u64) -> Result<(), NoRoom> {
        let disk_free_min = self.0.limits.disk_free_min;
        // If the free space of a disk cannot be determined, the write itself will fail.
        let rooms = self.0.directories.iter().filter_map(|directory| disk::room(directory).ok());
        let room = rooms.map(|room| room.free_bytes).min().unwrap_or(u64::MAX);
        if room < disk_free_min.saturating_add(bytes) { Err(NoRoom::Disk { disk_free_min }) } else { Ok(()) }
    }

    /// Returns the total size of the uploads in progress, and its limit.
    pub fn usage(&self) -> Usage {
        Usage { bytes: self.0.taken.load(Ordering::Relaxed), bytes_max: self.0.limits.bytes_max }
    }

    /// Returns an empty share for one file.
    pub fn share(&self) -> Share {
        Share { spool: self.clone(), used: 0, taken: 0 }
    }

    fn add(&self, bytes: u64) {
        let taken = self.0.taken.fetch_add(bytes, Ordering::Relaxed) + bytes;
        metrics::spool(taken);
    }
}

/// The space that one file takes. Dropping it returns the space.
#[derive(Debug)]
pub struct Share {
    spool: Spool,
    used: u64,
    taken: u64,
}

impl Share {
    /// Returns the number of bytes in use.
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// Counts `bytes` that an earlier process has stored, even beyond the limits.
    pub fn restore(&mut self, bytes: u64) {
        self.spool.add(bytes);
        self.taken += bytes;
        self.used += bytes;
    }

    /// Reserves `bytes` more. Queries the file systems only from time to time.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn grow(&mut self, bytes: u64) -> Result<(), NoRoom> {
        let used = self.used.saturating_add(bytes);
        if used > self.taken {
            let more = (used - self.taken).next_multiple_of(GRANT_BYTES);
            self.spool.finds_room(more)?;
            self.spool.add(more);
            self.taken += more;
        }
        self.used = used;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let left = self.spool.0.taken.fetch_sub(self.taken, Ordering::Relaxed) - self.taken;
        metrics::spool(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(bytes_max: u64, disk_free_min: u64) -> Spool {
        Spool::new(vec![std::env::temp_dir()], Limits { bytes_max, disk_free_min })
    }

    #[test]
    fn files_share_the_room_and_give_it_back() {
        let bytes_max = 3 * GRANT_BYTES;
        let spool = spool(bytes_max, 0);
        let (mut first, mut second) = (spool.share(), spool.share());
        first.grow(1).unwrap();
        first.grow(GRANT_BYTES).unwrap();
        second.grow(5).unwrap();
        assert_eq!(second.grow(GRANT_BYTES), Err(NoRoom::Spool { bytes_max }));
        assert_eq!(spool.finds_room(1), Err(NoRoom::Spool { bytes_max }));
        drop(first);
        second.grow(GRANT_BYTES).unwrap();
        drop(second);
        assert_eq!(spool.finds_room(bytes_max), Ok(()));
    }

    #[test]
    fn some_of_the_disk_stays_free() {
        let full = spool(u64::MAX, u64::MAX);
        assert_eq!(full.share().grow(1), Err(NoRoom::Disk { disk_free_min: u64::MAX }));
        let error = io::Error::from(NoRoom::Disk { disk_free_min: 5 });
        assert!(matches!(crate::objects::Error::from(error), crate::objects::Error::Full(_)));
    }
}
