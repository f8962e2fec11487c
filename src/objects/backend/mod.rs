//! The stores that can contain objects, with one trait for all.
//!
//! [`Local`] has objects in files of this machine, [`Remote`] in a bucket. [`Metered`] and
//! [`Cached`](super::cache::Cached) are decorators of another backend. Every combination must pass the conformance
//! tests.

#[cfg(test)]
pub(super) mod conformance;
mod client;
pub(super) mod directory;
mod local;
mod metered;
mod remote;

use std::fmt;
use std::ops::Range;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use tempfile::NamedTempFile;

pub(super) use local::Local;
pub(super) use metered::Metered;
pub(super) use remote::{Remote, receive, save};

use super::{Blob, Error, Key, ObjectFile, Prefix, Removed, Usage};
use crate::runtime::clock::Timestamp;

/// An object's bytes in chunks.
pub type Chunks = BoxStream<'static, Result<Bytes, Error>>;

/// Attributes of an object.
#[derive(Clone, Debug)]
pub struct Found {
    /// The number of bytes.
    pub size: u64,
    /// The time of creation.
    pub modified: Timestamp,
    /// The store's identifier of this content; empty if it has none.
    pub etag: String,
}

/// A store of immutable objects.
#[async_trait]
pub(super) trait Backend: fmt::Debug + Send + Sync {
    /// Turns a complete file into the object `key` and returns once it is on stable storage. An existing object is
    /// not replaced.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Storage`]. After an error the file is removed.
    async fn publish(&self, file: NamedTempFile, key: &Key) -> Result<(), Error>;

    /// Returns the attributes of an object without reading it.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Storage`].
    async fn head(&self, key: &Key) -> Result<Found, Error>;

    /// Returns the attributes of an object, and its bytes or a range of them as a stream that holds one chunk at a
    /// time.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Storage`]; the stream may return the latter, too.
    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<(Found, Chunks), Error>;

    /// Opens an object as a file. Blocks.
    ///
    /// # Errors
    /// [`Error::Missing`]; for a download also [`Error::Full`], [`Error::Damaged`] and [`Error::Storage`].
    fn read(&self, key: &Key) -> Result<ObjectFile, Error>;

    /// Returns true if the mapped file still has the attributes that it had when it was mapped.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Storage`].
    async fn is_untouched(&self, blob: &Blob) -> Result<bool, Error>;

    /// Removes an object permanently; returns false if there was none.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn delete(&self, key: &Key) -> Result<bool, Error>;

    /// Removes every object below `prefix` permanently, and checks that none is left.
    ///
    /// # Errors
    /// [`Error::Storage`], also if objects were added in the meantime.
    async fn delete_prefix(&self, prefix: &Prefix) -> Result<Removed, Error>;

    /// Lists the "directories" directly below a prefix: names that have further names below them. In no particular
    /// order.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn children(&self, prefix: &Prefix) -> Result<Vec<String>, Error>;

    /// Checks that the store answers and is the one that was opened. Cheap.
    ///
    /// # Errors
    /// [`Error::Storage`].
    async fn probe(&self) -> Result<(), Error>;

    /// Returns the directory of the objects, if they are files of this machine.
    fn directory(&self) -> Option<&Path> {
        None
    }

    /// Checks that the disk accepts writes, if objects are files of this machine.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Storage`].
    async fn check_writable(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Returns the usage of the cache, if there is one.
    fn cache_use(&self) -> Option<Usage> {
        None
    }

    /// Drops the cached copies of objects that the store no longer has; returns their keys.
    async fn sweep_copies(&self) -> Vec<Key> {
        Vec::new()
    }
}
