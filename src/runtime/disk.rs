//! How much room a file system has.

use std::io;
use std::path::Path;

/// The room of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What this process may still write.
    pub free_bytes: u64,
    /// What the file system holds in all.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_no_more_room_than_it_is_large() {
        let folder = tempfile::tempdir().unwrap();
        let room = room(folder.path()).unwrap();
        assert!(room.free_bytes <= room.total_bytes && room.total_bytes > 0);
        assert!(super::room(&folder.path().join("missing")).is_err());
    }
}
