//! An object's bytes as one slice.

use std::fmt;
use std::fs::Metadata;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::cache::CachedFile;
use super::mapping::Mapping;
use super::{Error, Key, ObjectFile};

/// The bytes of an object as a mapped file, which the system reads when they are accessed. They stay readable after the
/// object is removed. If the file is truncated, or the disk cannot read it, zeros replace the bytes. Call
/// [`check`](Self::check) after the last access to detect that.
pub struct Blob {
    key: Key,
    bytes: Mapping,
    stamp: Stamp,
    kept: Option<Arc<CachedFile>>,
}

/// Attributes that reveal a change of a file: device, inode, size, and time of the last write.
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
        Ok(Self { key: key.clone(), stamp, bytes: Mapping::of(&file, size)?, kept })
    }

    pub(super) const fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Returns the path of the cached copy that is mapped; `None` if no cached copy is.
    pub(super) fn copy(&self) -> Option<&Path> {
        self.kept.as_deref().map(CachedFile::path)
    }

    /// Returns the key of the object.
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// Fails if accessed bytes could not be read and were replaced with zeros.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn check(&self) -> Result<(), Error> {
        if self.bytes.is_whole() {
            Ok(())
        } else {
            Err(self.damaged("it was cut off while it was read, or the disk cannot read it"))
        }
    }

    /// Returns the error for bytes that are not those of the object.
    pub fn damaged(&self, reason: impl Into<String>) -> Error {
        Error::Damaged { key: self.key.clone(), reason: reason.into() }
    }
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
