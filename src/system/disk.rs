//! A file system: how much room it has, and whether it takes what is written.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Bytes written to find out whether writing works.
const PROBE_BYTES: usize = 4096;

/// The room of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The bytes that this process may still write.
    pub free_bytes: u64,
    /// The size of the file system.
    pub total_bytes: u64,
}

/// The room of the file system that holds `path`. One call of the operating system, which does not wait for the disk.
///
/// # Errors
/// What the operating system says, when the path is not there for instance.
pub fn room(path: &Path) -> io::Result<Room> {
    let found = rustix::fs::statvfs(path)?;
    Ok(Room {
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
    })
}

/// Writes a few bytes into the folder at `path` and waits until they are on the disk. Blocks.
///
/// # Errors
/// The reason why they are not.
pub fn takes_writes(path: &Path) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix("probe-").tempfile_in(path)?;
    file.write_all(&[0; PROBE_BYTES])?;
    file.as_file().sync_all()
}

/// Drops what memory holds of a file and the disk may not, as far as the system does that: a write that has failed may
/// stay in memory as if it had not.
pub fn forget_cached(path: &Path) {
    if let Ok(file) = File::open(path) {
        // What was not written is unknown either way; this only makes sure that nobody builds on it.
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
