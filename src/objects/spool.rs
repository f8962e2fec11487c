//! The room that uploads have on their way in.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::runtime::disk;
use crate::telemetry::metrics;

/// Bytes that are asked for at a time.
const GRANT_BYTES: u64 = 64 << 10;

/// How much uploads may take on their way in.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all uploads under way together.
    pub bytes_max: u64,
    /// Bytes that stay free on the disk, for what has been accepted already and is still to be done.
    pub disk_free_min: u64,
}

/// Why an upload gets no room. Another try may find some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The uploads under way take all there is for them.
    #[error("the uploads under way would take more than {bytes_max} bytes (--spool-bytes-max)")]
    Spool {
        /// What they may take.
        bytes_max: u64,
    },
    /// The disk would be too full.
    #[error("less than {disk_free_min} bytes would stay free on the disk (--disk-free-min)")]
    Disk {
        /// What is to stay free.
        disk_free_min: u64,
    },
}

impl From<NoRoom> for io::Error {
    fn from(why: NoRoom) -> Self {
        Self::new(io::ErrorKind::StorageFull, why)
    }
}

/// The room that uploads have on their way in, counted. Cheap to clone: all clones are the same.
#[derive(Clone, Debug)]
pub struct Spool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Where the files are written.
    directory: PathBuf,
    limits: Limits,
    taken: AtomicU64,
}

impl Spool {
    /// The room on the disk of `directory`.
    pub fn new(directory: PathBuf, limits: Limits) -> Self {
        Self(Arc::new(Inner { directory, limits, taken: AtomicU64::new(0) }))
    }

    /// Whether `bytes` more would find room now. Takes none.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn admits(&self, bytes: u64) -> Result<(), NoRoom> {
        let bytes_max = self.0.limits.bytes_max;
        if self.0.taken.load(Ordering::Relaxed).saturating_add(bytes) > bytes_max {
            return Err(NoRoom::Spool { bytes_max });
        }
        self.leaves_free(bytes)
    }

    /// Whether enough of the disk would stay free beside `bytes` more, wherever they go on it. Takes none.
    ///
    /// # Errors
    /// [`NoRoom::Disk`].
    pub fn leaves_free(&self, bytes: u64) -> Result<(), NoRoom> {
        let disk_free_min = self.0.limits.disk_free_min;
        // Where the disk does not say how full it is, writing to it will.
        let room = disk::room(&self.0.directory).map_or(u64::MAX, |room| room.free_bytes);
        if room < disk_free_min.saturating_add(bytes) { Err(NoRoom::Disk { disk_free_min }) } else { Ok(()) }
    }

    /// A share for one file, with nothing in it yet.
    pub fn share(&self) -> Share {
        Share { spool: self.clone(), used: 0, taken: 0 }
    }

    fn add(&self, bytes: u64) {
        let taken = self.0.taken.fetch_add(bytes, Ordering::Relaxed) + bytes;
        metrics::spool(taken);
    }
}

/// What one file takes of the room; given back when dropped.
#[derive(Debug)]
pub struct Share {
    spool: Spool,
    used: u64,
    taken: u64,
}

impl Share {
    /// Makes room for `bytes` more. Looks at the disk every now and then, not every time.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn grow(&mut self, bytes: u64) -> Result<(), NoRoom> {
        let used = self.used.saturating_add(bytes);
        if used > self.taken {
            let more = (used - self.taken).next_multiple_of(GRANT_BYTES);
            self.spool.admits(more)?;
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
        Spool::new(std::env::temp_dir(), Limits { bytes_max, disk_free_min })
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
        assert_eq!(spool.admits(1), Err(NoRoom::Spool { bytes_max }));
        drop(first);
        second.grow(GRANT_BYTES).unwrap();
        drop(second);
        assert_eq!(spool.admits(bytes_max), Ok(()));
    }

    #[test]
    fn some_of_the_disk_stays_free() {
        let full = spool(u64::MAX, u64::MAX);
        assert_eq!(full.share().grow(1), Err(NoRoom::Disk { disk_free_min: u64::MAX }));
        let error = io::Error::from(NoRoom::Disk { disk_free_min: 5 });
        assert!(matches!(crate::objects::Error::from(error), crate::objects::Error::Full(_)));
    }
}
