//! A read-through cache of remote objects.

use std::fs;
use std::future::ready;
use std::io::{self, BufWriter, Seek};
use std::path::Path;

use futures::{StreamExt, stream};
use tempfile::NamedTempFile;

use super::file::{Head, Writer};
use super::index::{CacheIndex, FetchLock, Limits, Room, is_copy};
use crate::objects::backend::directory::make_private_directory;
use crate::objects::backend::{Backend, Chunks, Found, receive, save};
use crate::objects::{Error, Key, ObjectFile, Usage};
use crate::system::data_dir::PARTIAL;
use crate::system::open_files::patiently_async;
use crate::telemetry::{chain, metrics};

const BUFFER_BYTES: usize = 256 << 10;
/// The maximum number of concurrent requests when all copies are checked.
const ASKED_AT_ONCE: usize = 8;

/// Copies of remote objects in a local directory. They survive a restart.
#[derive(Debug)]
pub struct Cache {
    index: CacheIndex,
    directory: Box<Path>,
}

impl Cache {
    /// Opens the cache in `directory`, which is created if it is missing. Reads the end of each file.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn open(directory: &Path, limits: Limits) -> Result<Self, Error> {
        make_private_directory(directory)?;
        Ok(Self { index: CacheIndex::open(directory, limits)?, directory: directory.into() })
    }

    /// Returns the total size of all copies, and its limit.
    pub(in crate::objects) fn usage(&self) -> Usage {
        self.index.usage()
    }

    /// Removes all copies in a directory, and the directory if nothing else is in it; no error if it does not exist.
    /// Called when the cache is disabled.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn discard(directory: &Path) -> Result<(), Error> {
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if is_copy(&path) {
                fs::remove_file(&path)?;
            }
        }
        // Fails, and thereby keeps the directory, if it is a mount point, a link, or has other files.
        let _ = fs::remove_dir(directory);
        Ok(())
    }

    /// Returns the object `key` of `store` as a file: its copy if there is a valid one, otherwise a download. The
    /// download is cached if there is room; otherwise it is a file without a name in `staging`. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Damaged`], [`Error::Full`] and [`Error::Storage`].
    pub(in crate::objects) async fn read(
        &self,
        store: &dyn Backend,
        key: &Key,
        staging: &Path,
    ) -> Result<ObjectFile, Error> {
        if let Some(found) = self.kept(store, key).await? {
            return Ok(found);
        }
        let slot = self.index.queue(key);
        let _fetch = slot.fetch.lock.lock().await;
        // Another reader may have downloaded the object during the wait.
        if let Some(found) = self.kept(store, key).await? {
            return Ok(found);
        }
        metrics::cache_missed();
        self.fetch(store, key, &slot.fetch, staging).await
    }

    /// Returns the copy of `key`, if there is one, its checksum is right, and the store still has the same content.
    async fn kept(&self, store: &dyn Backend, key: &Key) -> Result<Option<ObjectFile>, Error> {
        let Some(kept) = self.index.find(key) else { return Ok(None) };
        let found = store.head(key).await;
        match found {
            Ok(found) if is_same(&kept.head, &found) => {}
            Ok(_) | Err(Error::Missing { .. }) => {
                self.index.drop_copy(&kept);
                return found.map(|_| None);
            }
            Err(error) => return Err(error),
        }
        match kept.open() {
            Ok(Some(file)) => {
                metrics::cache_hit();
                return Ok(Some(ObjectFile::of_copy(file, kept)));
            }
            Ok(None) => tracing::warn!(%key, "a cached object is damaged; fetching it again"),
            Err(error) => {
                tracing::warn!(%key, "a cached object cannot be read; fetching it again: {error}");
            }
        }
        self.index.drop_copy(&kept);
        Ok(None)
    }

    async fn fetch(
        &self,
        store: &dyn Backend,
        key: &Key,
        fetch: &FetchLock,
        staging: &Path,
    ) -> Result<ObjectFile, Error> {
        let without_name = || patiently_async(|| ready(tempfile::tempfile_in(staging)));
        let got = store.get(key, None).await?;
        let Some((partial, head, room)) = self.place(key, &got.0) else {
            return save(got, key, without_name().await?).await;
        };
        match self.save(got, partial, head, room, fetch).await {
            Err(error @ Error::Full(_)) => {
                tracing::warn!("the disk is full; emptying the object cache: {}", chain(&error));
                self.index.clear();
                save(store.get(key, None).await?, key, without_name().await?).await
            }
            saved => saved,
        }
    }

    /// Returns a file and the room for a copy; `None` if there is no room, or the store sends no ETag.
    fn place(&self, key: &Key, found: &Found) -> Option<(NamedTempFile, Head, Room)> {
        let head = Head { key: key.clone(), etag: found.etag.clone(), size: found.size };
        if head.etag.is_empty() {
            return None;
        }
        let room = self.index.reserve(key, head.bytes())?;
        match tempfile::Builder::new().prefix(PARTIAL).tempfile_in(&self.directory) {
            Ok(partial) => Some((partial, head, room)),
            Err(error) => {
                tracing::warn!("cannot write to the object cache: {error}");
                None
            }
        }
    }

    /// Writes the download to a file, which becomes a copy when it is complete.
    async fn save(
        &self,
        got: (Found, Chunks),
        partial: NamedTempFile,
        head: Head,
        room: Room,
        fetch: &FetchLock,
    ) -> Result<ObjectFile, Error> {
        let mut writer = Writer::new(BufWriter::with_capacity(BUFFER_BYTES, partial));
        receive(got, &head.key, &mut writer).await?;
        let partial = writer.finish(&head)?.into_inner().map_err(io::IntoInnerError::into_error)?;
        let (mut file, kept) = self.index.keep(partial, head, room, fetch)?;
        file.rewind()?;
        Ok(ObjectFile::of_copy(file, kept))
    }

    /// Drops the copies of these objects; copies that are being made will not be kept. The files of the dropped copies
    /// are removed when this returns. Blocks.
    pub(in crate::objects) fn forget(&self, these: impl Fn(&Key) -> bool) {
        self.index.forget(these);
    }

    /// Drops the copies of objects that the store no longer has, and returns their keys. Also drops copies beyond the
    /// limits. If the store does not answer, keeps the copies.
    pub(in crate::objects) async fn sweep(&self, store: &dyn Backend) -> Vec<Key> {
        self.index.make_room();
        let asked = stream::iter(self.index.keys()).map(|key| async move {
            let kept = self.index.peek(&key)?;
            Some((store.head(&key).await, kept))
        });
        let mut answers = asked.buffer_unordered(ASKED_AT_ONCE);
        let mut gone = Vec::new();
        while let Some(answer) = answers.next().await {
            match answer {
                Some((Ok(found), kept)) if is_same(&kept.head, &found) => {}
                Some((Ok(_) | Err(Error::Missing { .. }), kept)) => {
                    self.index.drop_copy(&kept);
                    gone.push(kept.head.key.clone());
                }
                Some((Err(error), _)) => {
                    // Requests for all others would fail too.
                    tracing::debug!("cannot check the object cache: {}", chain(&error));
                    break;
                }
                None => {}
            }
        }
        gone
    }
}

fn is_same(head: &Head, found: &Found) -> bool {
    found.etag == head.etag && found.size == head.size
}
