//! An object as an open file, read from its start.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::sync::Arc;

use super::cache::CachedFile;

/// An open object. It stays readable after the object is removed.
#[derive(Debug)]
pub struct ObjectFile {
    file: io::Take<File>,
    size: u64,
    /// The cached copy to which the file belongs: it is not evicted while this exists.
    kept: Option<Arc<CachedFile>>,
}

impl ObjectFile {
    /// Returns the object that is the whole content of `file`.
    pub(super) fn whole(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { file: file.take(size), size, kept: None })
    }

    /// Returns the object in a cached copy, in whose file attributes follow the object.
    pub(super) fn of_copy(file: File, kept: Arc<CachedFile>) -> Self {
        Self { file: file.take(kept.size()), size: kept.size(), kept: Some(kept) }
    }

    /// Returns the size of the object.
    pub const fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.get_ref().metadata()
    }

    pub(super) fn into_parts(self) -> (File, Option<Arc<CachedFile>>) {
        (self.file.into_inner(), self.kept)
    }
}

impl Read for ObjectFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read(bytes)
    }
}

impl Seek for ObjectFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let at = match position {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => (self.size - self.file.limit()).checked_add_signed(by),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
        };
        let at = at.ok_or(ErrorKind::InvalidInput)?.min(self.size);
        self.file.get_mut().seek(SeekFrom::Start(at))?;
        self.file.set_limit(self.size - at);
        Ok(at)
    }
}
