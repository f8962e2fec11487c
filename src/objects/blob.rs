//! An object's bytes as one slice.

use std::fmt;
use std::fs::{File, Metadata};
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};

use super::cache::Kept;
use super::{Error, Key, ObjectFile};

/// An object's bytes, mapped: they are read from disk when they are looked at, and do not count as
/// this process's own memory. The bytes stay readable after the object is removed.
pub struct Blob {
    key: Key,
    bytes: Mmap,
    stamp: Stamp,
    kept: Option<Arc<Kept>>,
}

/// What changes when somebody tampers with a file: device, inode, size, and when it was last written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp([i128; 4]);

impl Stamp {
    pub(super) fn of(file: &Metadata) -> Self {
        let written = i128::from(file.mtime()) * 1_000_000_000 + i128::from(file.mtime_nsec());
        Self([file.dev().into(), file.ino().into(), file.size().into(), written])
    }
}

impl Blob {
    pub(super) fn map(key: &Key, file: ObjectFile) -> Result<Self, Error> {
        let (stamp, size) = (Stamp::of(&file.metadata()?), file.size());
        let (file, kept) = file.into_parts();
        Ok(Self { key: key.clone(), stamp, bytes: map(&file, size)?, kept })
    }

    pub(super) const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Where the bytes lie as a copy that is kept, if they do.
    pub(super) fn copy(&self) -> Option<&Path> {
        self.kept.as_deref().map(Kept::path)
    }

    /// The object they are from.
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// What to say when the bytes are not what they should be.
    pub fn damaged(&self, reason: impl Into<String>) -> Error {
        Error::Damaged { key: self.key.clone(), reason: reason.into() }
    }
}

#[expect(unsafe_code, reason = "mapping a file is unsafe, because somebody may shorten it")]
fn map(file: &File, size: u64) -> std::io::Result<Mmap> {
    let size = usize::try_from(size).map_err(std::io::Error::other)?;
    // SAFETY: the file is an object, a copy of one that is kept, or a private temporary file, and `size` is not more
    // than is in it. Objects and copies are complete before they have a name, are never written to again and are only
    // ever unlinked, not shortened; a temporary file has no name at all. So the mapped bytes neither change nor vanish.
    unsafe { MmapOptions::new().len(size).map(file) }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blob")
            .field("key", &self.key)
            .field("size", &self.bytes.len())
            .finish_non_exhaustive()
    }
}
