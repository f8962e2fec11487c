//! An object as a file that is read from the start.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::sync::Arc;

use super::cache::CachedFile;

/// An open object. It stays readable after the object is removed.
#[derive(Debug)]
pub struct ObjectFile {
    file: io::Take<File>,
    size: u64,
    /// The cached file that this reads. It is not evicted while it has a reader.
    kept: Option<Arc<CachedFile>>,
}

impl ObjectFile {
    /// Returns a file that contains nothing but the object.
    pub(super) fn whole(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { file: file.take(size), size, kept: None })
    }

    /// Returns a cached copy, in which the attributes follow the object.
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
