//! A backend with a read-through cache.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tempfile::NamedTempFile;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::read_through::Cache;
use crate::objects::backend::{Backend, Chunks, Found};
use crate::objects::{Blob, Error, Key, ObjectFile, Prefix, Removed, Usage};

/// A remote backend, and the cached copies of its objects.
#[derive(Debug)]
pub(in crate::objects) struct Cached<B> {
    store: B,
    cache: Arc<Cache>,
    runtime: Handle,
    /// The directory of downloads for which the cache has no room.
    staging: PathBuf,
}

impl<B: Backend> Cached<B> {
    /// Returns a backend that reads `store` through `cache`. Blocking threads use `runtime` to call the store.
    pub(in crate::objects) fn new(store: B, cache: Cache, runtime: Handle, staging: &Path) -> Self {
        Self { store, cache: Arc::new(cache), runtime, staging: staging.to_owned() }
    }

    /// Drops the copies of objects that are to be removed. They stay dropped even if the store then fails.
    async fn forget(&self, these: impl Fn(&Key) -> bool + Send + 'static) -> Result<(), Error> {
        let cache = Arc::clone(&self.cache);
        Ok(spawn_blocking(move || cache.forget(these)).await?)
    }
}

#[async_trait]
impl<B: Backend> Backend for Cached<B> {
    async fn publish(&self, file: NamedTempFile, key: &Key) -> Result<(), Error> {
        self.store.publish(file, key).await
    }

    async fn head(&self, key: &Key) -> Result<Found, Error> {
        self.store.head(key).await
    }

    async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<(Found, Chunks), Error> {
        self.store.get(key, range).await
    }

    fn read(&self, key: &Key) -> Result<ObjectFile, Error> {
        self.runtime.block_on(self.cache.read(&self.store, key, &self.staging))
    }

    async fn is_untouched(&self, blob: &Blob) -> Result<bool, Error> {
        self.store.is_untouched(blob).await
    }

    async fn delete(&self, key: &Key) -> Result<bool, Error> {
        let deleted = self.store.delete(key).await;
        let key = key.clone();
        self.forget(move |kept| *kept == key).await?;
        deleted
    }

    async fn delete_prefix(&self, prefix: &Prefix) -> Result<Removed, Error> {
        let deleted = self.store.delete_prefix(prefix).await;
        let prefix = prefix.clone();
        self.forget(move |kept| prefix.holds(kept)).await?;
        deleted
    }

    async fn children(&self, prefix: &Prefix) -> Result<Vec<String>, Error> {
        self.store.children(prefix).await
    }

    async fn probe(&self) -> Result<(), Error> {
        self.store.probe().await
    }

    fn cache_use(&self) -> Option<Usage> {
        Some(self.cache.usage())
    }

    async fn sweep_copies(&self) -> Vec<Key> {
        self.cache.sweep(&self.store).await
    }
}
