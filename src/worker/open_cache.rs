//! A bounded cache of values made from mapped and checked objects.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use futures::future::try_join_all;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::Error;
use crate::objects::{self, Blob, Key, Objects};

/// A value that reads mapped objects.
pub(super) trait Mapped {
    /// Returns the objects that the value reads.
    fn blobs(&self) -> Vec<&Blob>;
}

/// The most recently used values, by the key of an object.
pub(super) struct OpenCache<T> {
    objects: Objects,
    capacity: usize,
    entries: Mutex<Entries<T>>,
}

struct Entries<T> {
    by_key: HashMap<Key, Entry<T>>,
    /// The number of requests, which `last_used` records.
    requests: u64,
}

struct Entry<T> {
    value: Arc<OnceCell<Arc<T>>>,
    last_used: u64,
}

impl<T: Mapped> OpenCache<T> {
    /// Creates a cache that keeps up to `capacity` values.
    pub(super) fn new(objects: Objects, capacity: usize) -> Self {
        let entries = Entries { by_key: HashMap::new(), requests: 0 };
        Self { objects, capacity, entries: Mutex::new(entries) }
    }

    /// Returns the value of `key`, and opens it if it is not in the cache. Concurrent requests open it only once. If
    /// its files were changed or could not be read, opens it again.
    pub(super) async fn get_or_open(
        &self,
        key: &Key,
        open: impl Future<Output = Result<T, Error>>,
    ) -> Result<Arc<T>, Error> {
        self.forget_changed(key).await?;
        let value = self.entries.lock().entry(key, self.capacity);
        value.get_or_try_init(|| async { open.await.map(Arc::new) }).await.cloned()
    }

    async fn forget_changed(&self, key: &Key) -> Result<(), Error> {
        let kept = self.entries.lock().by_key.get(key).and_then(|entry| entry.value.get().cloned());
        let Some(value) = kept else { return Ok(()) };
        let blobs = value.blobs();
        let untouched = try_join_all(blobs.iter().map(|blob| self.objects.is_untouched(blob))).await;
        let is_untouched = untouched.as_ref().is_ok_and(|untouched| untouched.iter().all(|same| *same));
        if !is_untouched || blobs.iter().any(|blob| blob.check().is_err()) {
            self.forget(|kept| kept == key);
        }
        untouched?;
        Ok(())
    }

    /// Drops the values whose keys match. The disk space of removed objects is freed once no job reads them.
    pub(super) fn forget(&self, matches: impl Fn(&Key) -> bool) {
        self.entries.lock().by_key.retain(|key, _| !matches(key));
    }
}

impl<T> OpenCache<T> {}

/// Fails if the bytes that were read through `value` may differ from the stored ones.
pub(super) async fn confirm(objects: &Objects, value: &impl Mapped) -> Result<(), objects::Error> {
    try_join_all(value.blobs().into_iter().map(|blob| objects.confirm(blob))).await.map(drop)
}

impl<T> Entries<T> {
    fn entry(&mut self, key: &Key, capacity: usize) -> Arc<OnceCell<Arc<T>>> {
        self.requests += 1;
        let last_used = self.requests;
        if let Some(entry) = self.by_key.get_mut(key) {
            entry.last_used = last_used;
            return Arc::clone(&entry.value);
        }
        if self.by_key.len() >= capacity {
            let oldest =
                self.by_key.iter().min_by_key(|(_, entry)| entry.last_used).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.by_key.remove(&oldest));
        }
        let value = Arc::default();
        self.by_key.insert(key.clone(), Entry { value: Arc::clone(&value), last_used });
        value
    }
}

impl<T> fmt::Debug for OpenCache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenCache").field("open", &self.entries.lock().by_key.len()).finish_non_exhaustive()
    }
}
