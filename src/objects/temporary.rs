//! Temporary files that are in memory while they are small.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use tempfile::{SpooledTempFile, spooled_tempfile_in};

use crate::system::open_files::patiently;

/// The maximum number of bytes in memory. A merge has up to some hundred temporary files.
const MEMORY_BYTES: usize = 64 << 10;

/// A temporary file without a name, which is created once its content exceeds some size: to create a file and remove it
/// takes longer than to use it.
#[derive(Debug)]
pub(super) struct Temporary(SpooledTempFile);

impl Temporary {
    /// Returns an empty file. If it grows, it will be in `directory`.
    pub(super) fn in_directory(directory: &Path) -> Self {
        Self(spooled_tempfile_in(MEMORY_BYTES, directory))
    }
}

impl Read for Temporary {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Write for Temporary {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.0.is_rolled() && self.0.stream_position()? + bytes.len() as u64 > MEMORY_BYTES as u64 {
            patiently(|| self.0.roll())?;
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Seek for Temporary {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_the_same_in_memory_and_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = Temporary::in_directory(folder.path());
        let pieces: Vec<Vec<u8>> = (0..5_u8).map(|n| vec![n; MEMORY_BYTES / 3]).collect();
        for (at, piece) in pieces.iter().enumerate() {
            file.write_all(piece).unwrap();
            assert_eq!(file.0.is_rolled(), at >= 3);
            let mut content = Vec::new();
            file.rewind().unwrap();
            file.read_to_end(&mut content).unwrap();
            assert_eq!(content, pieces[..=at].concat());
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), 0, "it has no name");
    }

    #[test]
    fn a_missing_directory_is_an_error_of_the_write_that_needs_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = Temporary::in_directory(&folder.path().join("missing"));
        file.write_all(&vec![1; MEMORY_BYTES]).unwrap();
        assert_eq!(file.write_all(&[1]).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
