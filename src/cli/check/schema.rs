//! The version of a database, read from its files while a server may use it.

use std::io::{self, BufReader, Read};
use std::path::Path;

use crate::system::{regular, sqlite};

/// The offset of `user_version` in the first page of a database.
const VERSION_AT: usize = 60;
/// The size of the header of a database.
const HEADER_BYTES: u64 = 100;
/// The first bytes of a database.
const MAGIC: &[u8] = b"SQLite format 3\0";
/// The size of the header of a log.
const LOG_HEADER_BYTES: usize = 32;
/// The size of the header of a page in a log.
const FRAME_HEADER_BYTES: usize = 24;
/// The maximum size of a page.
const PAGE_BYTES_MAX: u32 = 1 << 16;

/// Reads the version of a database from the header of its file and from its log, since a server may have locked the
/// database. Returns `None` if the file does not begin like one.
pub(super) fn read(path: &Path) -> io::Result<Option<u32>> {
    let mut header = Vec::new();
    regular::open(path)?.take(HEADER_BYTES).read_to_end(&mut header)?;
    if !header.starts_with(MAGIC) {
        return Ok(None);
    }
    let in_file = version(&header);
    match regular::open(&sqlite::log_of(path)?) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(in_file),
        log => Ok(version_in_log(BufReader::new(log?))?.or(in_file)),
    }
}

/// Returns the version in the first page of a database.
fn version(page: &[u8]) -> Option<u32> {
    page.get(VERSION_AT..VERSION_AT + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes)
}

/// Returns the version in the latest first page of a log: <https://sqlite.org/fileformat2.html#the_write_ahead_log>. `None`
/// if the log does not have that page.
fn version_in_log(mut log: impl Read) -> io::Result<Option<u32>> {
    let (mut header, mut frame) = ([0; LOG_HEADER_BYTES], [0; FRAME_HEADER_BYTES]);
    let number = |bytes: &[u8]| bytes.first_chunk().map_or(0, |four| u32::from_be_bytes(*four));
    let mut latest = None;
    if is_read(&mut log, &mut header)? {
        let mut page = vec![0; number(&header[8..]).min(PAGE_BYTES_MAX) as usize];
        // The frames of an earlier use of the log have other salts.
        while is_read(&mut log, &mut frame)?
            && frame[8..16] == header[16..24]
            && is_read(&mut log, &mut page)?
        {
            if number(&frame) == 1 {
                latest = version(&page).or(latest);
            }
        }
    }
    Ok(latest)
}

/// Fills `bytes`, and returns true, unless the file ends before.
fn is_read(file: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rusqlite::Connection;

    use super::*;

    #[test]
    fn the_version_is_found_in_the_file_and_in_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.db");
        let database = Connection::open(&path).unwrap();
        database.pragma_update(None, "user_version", 3).unwrap();
        assert_eq!(read(&path).unwrap(), Some(3));
        database.pragma_update(None, "journal_mode", "wal").unwrap();
        database
            .execute_batch("CREATE TABLE t (n); PRAGMA user_version = 4; INSERT INTO t VALUES (1)")
            .unwrap();
        assert_eq!(version(&fs::read(&path).unwrap()), Some(3), "the file has the version before");
        assert_eq!(read(&path).unwrap(), Some(4));
        let link = folder.path().join("link.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(read(&link).unwrap(), Some(4), "the log is beside the file itself");
        // The log begins anew, in front of frames of its earlier use.
        database.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
        assert_eq!(read(&path).unwrap(), Some(4));
        database.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        assert_eq!(read(&path).unwrap(), Some(4));
        drop(database);
        assert_eq!(read(&path).unwrap(), Some(4));
        fs::write(&path, "no database").unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }

    #[test]
    fn a_log_that_ends_early_has_no_version() {
        for bytes in [0, 31, 32, 40, 60, 200] {
            assert_eq!(version_in_log(&vec![0; bytes][..]).unwrap(), None, "{bytes}");
        }
    }
}
