//! The index of the cached copies: their order of last use, and the space that they take.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use parking_lot::Mutex;
use tempfile::NamedTempFile;

use super::file::Head;
use crate::objects::{Key, Usage};
use crate::runtime::clock::Clock;
use crate::system::data_dir::is_cached;
use crate::system::{disk, regular};
use crate::telemetry::metrics;

/// Limits on the space of the cache.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The maximum total size of all copies.
    pub bytes_max: u64,
    /// The minimum free space of the disk. If less is free, copies are evicted and none are made.
    pub disk_free_min: u64,
}

/// All copies, by key.
#[derive(Debug)]
pub(super) struct CacheIndex {
    directory: PathBuf,
    limits: Limits,
    taken: Arc<AtomicU64>,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    kept: HashMap<Key, (Use, Arc<CachedFile>)>,
    /// The copies in the order of eviction.
    order: BTreeMap<Use, Key>,
    uses: u64,
    /// The number of the next file.
    next: u64,
    /// The downloads in progress. The reference count of each shows how many readers use it.
    fetches: HashMap<Key, Arc<FetchLock>>,
}

/// A position in the order of eviction: false for an object that is usually read once, then the number of the last use.
type Use = (bool, u64);

/// The file of a copy. Its bytes count until it is removed from the cache and its last reader has closed it.
#[derive(Debug)]
pub(in crate::objects) struct CachedFile {
    pub(super) head: Head,
    path: PathBuf,
    _room: Room,
}

/// Reserved space for a copy. Dropping it returns the space.
#[derive(Debug)]
pub(super) struct Room {
    taken: Arc<AtomicU64>,
    bytes: u64,
}

impl Room {
    fn take(taken: &Arc<AtomicU64>, bytes: u64) -> Self {
        metrics::cache_bytes(taken.fetch_add(bytes, Ordering::Relaxed) + bytes);
        Self { taken: Arc::clone(taken), bytes }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        metrics::cache_bytes(self.taken.fetch_sub(self.bytes, Ordering::Relaxed) - self.bytes);
    }
}

impl CachedFile {
    /// Returns the path as long as the file is cached.
    pub(in crate::objects) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the size of the object.
    pub(in crate::objects) const fn size(&self) -> u64 {
        self.head.size
    }

    /// Opens the copy if all its bytes have the checksum, and records the use.
    pub(super) fn open(&self) -> io::Result<Option<File>> {
        let file = match regular::open(&self.path) {
            // Another process has removed the file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let now = Clock::system().now().as_micros();
        let now = UNIX_EPOCH + Duration::from_micros(u64::try_from(now).unwrap_or(0));
        // A failure only affects the order of eviction after a restart.
        let _ = file.set_times(FileTimes::new().set_accessed(now));
        Ok(self.head.is_of(&file)?.then_some(file))
    }

    fn remove(&self) {
        if let Err(error) = regular::remove(&self.path) {
            tracing::error!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Held by the reader that downloads an object. Other readers wait for it, and then find the copy.
#[derive(Debug, Default)]
pub(super) struct FetchLock {
    pub(super) lock: tokio::sync::Mutex<()>,
    /// True if the object was removed in the meantime: the copy must not be kept.
    void: AtomicBool,
}

/// A reader that downloads an object, or waits for the download of another reader.
pub(super) struct FetchSlot<'a> {
    index: &'a CacheIndex,
    key: &'a Key,
    pub(super) fetch: Arc<FetchLock>,
}

impl Drop for FetchSlot<'_> {
    fn drop(&mut self) {
        let mut places = self.index.places.lock();
        // Two references are those of the map and of this reader: no other reader is left.
        if Arc::strong_count(&self.fetch) <= 2 {
            places.fetches.remove(self.key);
        }
    }
}

impl CacheIndex {
    /// Indexes the copies in `directory`, in the order of their last use. Removes truncated and unfinished copies, and
    /// copies beyond the limits. Keeps other files.
    pub(super) fn open(directory: &Path, limits: Limits) -> io::Result<Self> {
        let index =
            Self { directory: directory.to_owned(), limits, taken: Arc::default(), places: Mutex::default() };
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            match recognised(&path) {
                Some((used, number, head)) => found.push((used, number, path, head)),
                None if is_copy(&path) => fs::remove_file(&path)?,
                // An empty directory with the name of a copy is removed.
                None if has_number(&path) && fs::remove_dir(&path).is_ok() => {}
                None => tracing::warn!(path = %path.display(), "an unknown file in the cache is kept"),
            }
        }
        found.sort_unstable_by_key(|(used, number, ..)| (*used, *number));
        let mut places = index.places.lock();
        for (_, number, path, head) in found {
            places.next = places.next.max(number + 1);
            let room = Room::take(&index.taken, head.bytes());
            places.put(&Arc::new(CachedFile { head, path, _room: room }));
        }
        drop(places);
        index.make_room();
        Ok(index)
    }

    /// Returns the copy of `key`, and records the use.
    pub(super) fn find(&self, key: &Key) -> Option<Arc<CachedFile>> {
        let mut places = self.places.lock();
        let kept = Arc::clone(&places.kept.get(key)?.1);
        places.put(&kept);
        Some(kept)
    }

    /// Returns the copy of `key` without recording a use.
    pub(super) fn peek(&self, key: &Key) -> Option<Arc<CachedFile>> {
        self.places.lock().kept.get(key).map(|(_, kept)| Arc::clone(kept))
    }

    /// Returns the keys of the objects that have copies.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.places.lock().kept.keys().cloned().collect()
    }

    /// Registers a reader for the download of `key`.
    pub(super) fn queue<'a>(&'a self, key: &'a Key) -> FetchSlot<'a> {
        let fetch = Arc::clone(self.places.lock().fetches.entry(key.clone()).or_default());
        FetchSlot { index: self, key, fetch }
    }

    /// Returns the total size of all copies, and its limit.
    pub(super) fn usage(&self) -> Usage {
        Usage { bytes: self.taken.load(Ordering::Relaxed), bytes_max: self.limits.bytes_max }
    }

    /// Reserves `bytes` for a copy of `key`. Evicts other copies if necessary, least recently used first, but none that
    /// is open, and none of a repeatedly read object for one that is read once. Returns `None` if that cannot free
    /// enough.
    pub(super) fn reserve(&self, key: &Key, bytes: u64) -> Option<Room> {
        if bytes > self.limits.bytes_max {
            return None;
        }
        let mut places = self.places.lock();
        let missing = self.missing(bytes);
        let victims = places.victims(missing, key.is_read_again())?;
        evict(&mut places, &victims);
        Some(Room::take(&self.taken, bytes))
    }

    /// Evicts copies until the limits are met.
    pub(super) fn make_room(&self) {
        let mut places = self.places.lock();
        let missing = self.missing(0);
        let victims = places.victims(missing, true).unwrap_or_else(|| places.idle());
        evict(&mut places, &victims);
    }

    /// Removes all cached files that have no reader.
    pub(super) fn clear(&self) {
        let mut places = self.places.lock();
        let idle = places.idle();
        evict(&mut places, &idle);
    }

    /// Returns the number of bytes that must be evicted before there is room for `bytes` more.
    fn missing(&self, bytes: u64) -> u64 {
        let Limits { bytes_max, disk_free_min } = self.limits;
        let over_bound = (self.taken.load(Ordering::Relaxed).saturating_add(bytes)).saturating_sub(bytes_max);
        // If the free space of the disk cannot be determined, the write itself will fail.
        let free = disk::room(&self.directory).map_or(u64::MAX, |room| room.free_bytes);
        over_bound.max(disk_free_min.saturating_add(bytes).saturating_sub(free))
    }

    /// Adds a complete copy to the cache, unless the object was removed in the meantime; then the file gets no name. In
    /// both cases returns the open file.
    pub(super) fn keep(
        &self,
        file: NamedTempFile,
        head: Head,
        room: Room,
        fetch: &FetchLock,
    ) -> io::Result<(File, Arc<CachedFile>)> {
        let mut places = self.places.lock();
        let path = self.directory.join(places.next.to_string());
        places.next += 1;
        let kept = Arc::new(CachedFile { head, path, _room: room });
        let file = if fetch.void.load(Ordering::Relaxed) {
            file.into_file()
        } else {
            let file = file.persist(&kept.path).map_err(|failed| failed.error)?;
            places.put(&kept);
            file
        };
        Ok((file, kept))
    }

    /// Drops a copy, if it is still the current one.
    pub(super) fn drop_copy(&self, kept: &Arc<CachedFile>) {
        let mut places = self.places.lock();
        let same = |(_, found): &(Use, Arc<CachedFile>)| Arc::ptr_eq(found, kept);
        if places.kept.get(&kept.head.key).is_some_and(same) {
            places.remove(&kept.head.key);
        }
    }

    /// Drops all copies of these objects; copies that are being made will not be kept. The files of the dropped copies
    /// are removed when this returns.
    pub(super) fn forget(&self, these: impl Fn(&Key) -> bool) {
        let mut places = self.places.lock();
        for (_, fetch) in places.fetches.iter().filter(|(key, _)| these(key)) {
            fetch.void.store(true, Ordering::Relaxed);
        }
        let gone: Vec<Key> = places.kept.keys().filter(|key| these(key)).cloned().collect();
        gone.iter().for_each(|key| places.remove(key));
    }
}

impl Places {
    /// Adds a copy at the end of the order of eviction, or moves it there. Replaces an older copy of the same object.
    fn put(&mut self, kept: &Arc<CachedFile>) {
        self.uses += 1;
        let (key, used) = (kept.head.key.clone(), (kept.head.key.is_read_again(), self.uses));
        self.order.insert(used, key.clone());
        if let Some((before, other)) = self.kept.insert(key, (used, Arc::clone(kept))) {
            self.order.remove(&before);
            if !Arc::ptr_eq(&other, kept) {
                other.remove();
            }
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some((used, kept)) = self.kept.remove(key) {
            self.order.remove(&used);
            kept.remove();
        }
    }

    /// Returns the copies without readers, in the order of eviction. A new reader would need the lock that the caller
    /// holds.
    fn going(&self) -> impl Iterator<Item = (&Use, &Key, u64)> {
        self.order.iter().filter_map(|(used, key)| {
            let (_, kept) = self.kept.get(key)?;
            (Arc::strong_count(kept) == 1).then(|| (used, key, kept.head.bytes()))
        })
    }

    fn idle(&self) -> Vec<Key> {
        self.going().map(|(_, key, _)| key.clone()).collect()
    }

    /// Returns copies whose eviction frees at least `missing` bytes; `None` if there are not enough. Copies of
    /// repeatedly read objects are evicted only for another such object (`read_again`).
    fn victims(&self, missing: u64, read_again: bool) -> Option<Vec<Key>> {
        let (mut victims, mut freed) = (Vec::new(), 0);
        let going = self.going().take_while(|((used_again, _), ..)| read_again || !used_again);
        for (_, key, bytes) in going {
            if freed >= missing {
                break;
            }
            freed += bytes;
            victims.push(key.clone());
        }
        (freed >= missing).then_some(victims)
    }
}

fn evict(places: &mut Places, victims: &[Key]) {
    metrics::cache_evicted(victims.len());
    victims.iter().for_each(|key| places.remove(key));
}

/// Returns true if `path` is a file with the name of a copy, complete or not.
pub(super) fn is_copy(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str);
    name.is_some_and(is_cached) && fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
}

fn has_number(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str);
    name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Returns the time of a copy's last use, the number of its file, and its attributes; `None` if the file is not a copy.
fn recognised(path: &Path) -> Option<((i64, i64), u64, Head)> {
    let number = path.file_name()?.to_str()?.parse().ok()?;
    let found = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
    let head = Head::of(&regular::open(path).ok()?).ok()??;
    Some(((found.atime(), found.atime_nsec()), number, head))
}
