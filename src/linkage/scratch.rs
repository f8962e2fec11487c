//! Temporary files that a step with bounded memory writes, reads back and drops.
//!
//! This module does no I/O of its own: the caller provides the temporary files.

use std::io::{self, Read, Seek, Write};

/// The default number of files that are merged at once.
const MERGED_AT_ONCE: usize = 128;

/// A temporary file: empty at first, removed when dropped.
pub trait ScratchFile: Read + Write + Seek + Send {}

impl<T: Read + Write + Seek + Send> ScratchFile for T {}

/// A source of temporary files.
pub trait Scratch: Sync {
    /// Returns a new, empty temporary file, which is deleted when the returned value is dropped.
    ///
    /// # Errors
    /// The error of the storage, most likely a full disk.
    fn file(&self) -> io::Result<Box<dyn ScratchFile>>;

    /// Returns the number of files that are merged at once.
    fn merged_at_once(&self) -> usize {
        MERGED_AT_ONCE
    }
}

/// Temporary files in memory, for small inputs and tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory;

impl Scratch for Memory {
    fn file(&self) -> io::Result<Box<dyn ScratchFile>> {
        Ok(Box::new(io::Cursor::new(Vec::new())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_file_returns_the_written_bytes() {
        let mut file = Memory.file().unwrap();
        file.write_all(b"pairs").unwrap();
        file.rewind().unwrap();
        assert_eq!(io::read_to_string(file).unwrap(), "pairs");
    }
}
