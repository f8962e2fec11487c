//! The free space of a file system, and a test whether it accepts writes.

use std::io::{self, Write};
use std::path::Path;

use super::regular;

/// The prefix of the names of files that test whether a disk accepts writes.
pub const PROBE: &str = "probe-";
/// The number of bytes written by the test.
const PROBE_BYTES: usize = 4096;

/// The space of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The bytes that this process may still write.
    pub free_bytes: u64,
    /// The size of the file system.
    pub total_bytes: u64,
}

/// Returns the space of the file system of `path`. One system call, which does not wait for the disk.
///
/// # Errors
/// The operating system's error, for example if the path does not exist.
pub fn room(path: &Path) -> io::Result<Room> {
    let found = rustix::fs::statvfs(path)?;
    Ok(Room {
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
    })
}

/// Tests that the disk accepts writes: writes a few bytes into the folder at `path` and syncs them. Blocks.
///
/// # Errors
/// The operating system's error.
pub fn takes_writes(path: &Path) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(PROBE).tempfile_in(path)?;
    file.write_all(&[0; PROBE_BYTES])?;
    file.as_file().sync_all()
}

/// Asks the system to drop the cached pages of a file: after a failed write, they may contain data that is not on the
/// disk.
pub fn forget_cached(path: &Path) {
    if let Ok(file) = regular::open(path) {
        // An error does not matter: the call is only a precaution.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_no_more_room_than_it_is_large() {
        let folder = tempfile::tempdir().unwrap();
        let room = room(folder.path()).unwrap();
        assert!(room.free_bytes <= room.total_bytes && room.total_bytes > 0);
        assert!(super::room(&folder.path().join("missing")).is_err());
        takes_writes(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
