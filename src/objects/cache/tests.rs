//! Tests of the cache: hits, damaged and stale copies, eviction, and removal.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, path,
};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use super::{Cache, Limits};
use crate::model::{ProjectId, RunId};
use crate::objects::{Error, Key, ObjectFile, Objects, keys};

const PROJECT: ProjectId = ProjectId::from_bytes([1; 24]);
const OTHER: ProjectId = ProjectId::from_bytes([9; 24]);
const RUN: RunId = RunId::from_bytes([2; 24]);
/// More bytes than a cached file has in addition to its object.
const AROUND: u64 = 300;

/// A store in memory that counts its calls, and answers slowly.
#[derive(Debug, Default)]
struct Counting {
    inner: InMemory,
    gets: AtomicUsize,
    heads: AtomicUsize,
}

impl std::fmt::Display for Counting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Counting {
    async fn put_opts(
        &self,
        location: &path::Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &path::Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &path::Path, options: GetOptions) -> object_store::Result<GetResult> {
        let count = if options.head { &self.heads } else { &self.gets };
        count.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<path::Path>>,
    ) -> BoxStream<'static, object_store::Result<path::Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&path::Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&path::Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &path::Path,
        to: &path::Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A store, and the directories of a worker.
struct Place {
    dir: TempDir,
    store: Arc<Counting>,
}

impl Place {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), store: Arc::default() }
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// Starts a worker whose copies may take this many bytes.
    fn start(&self, bytes_max: u64) -> Objects {
        self.start_within(Limits { bytes_max, disk_free_min: 0 })
    }

    fn start_within(&self, limits: Limits) -> Objects {
        let cache = Cache::open(&self.cache(), limits).unwrap();
        Objects::over(self.store.clone(), &self.dir.path().join("staging"), Some(cache)).unwrap()
    }

    async fn put(&self, key: &Key, bytes: &[u8]) {
        self.store.inner.put(&key.path(), PutPayload::from(bytes.to_vec())).await.unwrap();
    }

    /// Returns the files of the cache, with the length of each.
    fn files(&self) -> Vec<(PathBuf, u64)> {
        let entries = fs::read_dir(self.cache()).unwrap().map(Result::unwrap);
        entries.map(|entry| (entry.path(), entry.metadata().unwrap().len())).collect()
    }

    fn bytes(&self) -> u64 {
        self.files().iter().map(|(_, bytes)| bytes).sum()
    }

    fn gets(&self) -> usize {
        self.store.gets.swap(0, Ordering::SeqCst)
    }
}

async fn open(objects: &Objects, key: &Key) -> Result<ObjectFile, Error> {
    let (objects, key) = (objects.clone(), key.clone());
    spawn_blocking(move || objects.read(&key)).await.unwrap()
}

async fn read(objects: &Objects, key: &Key) -> Vec<u8> {
    let mut bytes = Vec::new();
    open(objects, key).await.unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn matrix(party: u32) -> Key {
    keys::matrix(PROJECT, party, 1)
}

fn damage(path: &Path) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 3).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 3).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_object_is_not_downloaded_again_even_after_a_restart() {
    let place = Place::new();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|byte| byte as u8).collect();
    place.put(&matrix(0), &bytes).await;
    let objects = place.start(10_000_000);
    assert!(read(&objects, &matrix(0)).await == bytes);
    assert!(read(&objects, &matrix(0)).await == bytes);
    let blob = objects.blob(&matrix(0)).await.unwrap();
    assert!(*blob == bytes[..] && objects.is_untouched(&blob).await.unwrap());
    assert_eq!(place.gets(), 1);
    drop(objects);
    fs::write(place.cache().join("partial-aB3xYz"), b"cut off").unwrap();
    fs::write(place.cache().join("7"), b"no copy").unwrap();
    fs::create_dir(place.cache().join("8")).unwrap();
    let objects = place.start(10_000_000);
    assert_eq!(place.files().len(), 1, "what is no copy is removed");
    assert!(read(&objects, &matrix(0)).await == bytes);
    assert_eq!(place.gets(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_copies_are_private_to_this_user() {
    let place = Place::new();
    place.put(&matrix(0), b"rows").await;
    read(&place.start(1_000), &matrix(0)).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.cache()), 0o700);
    assert_eq!(mode(&place.files()[0].0), 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_changed_or_went_is_noticed() {
    let place = Place::new();
    let objects = place.start(10_000);
    place.put(&matrix(0), b"first").await;
    assert_eq!(read(&objects, &matrix(0)).await, b"first");
    place.put(&matrix(0), b"other").await;
    assert_eq!(read(&objects, &matrix(0)).await, b"other");
    assert_eq!((place.gets(), place.files().len()), (2, 1));
    place.store.inner.delete(&matrix(0).path()).await.unwrap();
    assert!(matches!(open(&objects, &matrix(0)).await, Err(Error::Missing { .. })));
    assert_eq!(place.files(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_copy_is_noticed_and_fetched_again() {
    let place = Place::new();
    let objects = place.start(10_000);
    place.put(&matrix(0), b"encodings").await;
    let blob = objects.blob(&matrix(0)).await.unwrap();
    let length = place.files()[0].1;
    for spoil in [
        |path: &Path, _| damage(path),
        |path: &Path, length: u64| {
            OpenOptions::new().write(true).open(path).unwrap().set_len(length - 1).unwrap();
        },
        |path: &Path, _| fs::write(path, b"").unwrap(),
        |path: &Path, _| fs::remove_file(path).unwrap(),
    ] {
        spoil(&place.files()[0].0, length);
        assert_eq!(read(&objects, &matrix(0)).await, b"encodings");
        assert_eq!(place.files().iter().map(|(_, length)| *length).collect::<Vec<_>>(), [length]);
    }
    assert_eq!(place.gets(), 5);
    drop(blob);
    let blob = objects.blob(&matrix(0)).await.unwrap();
    damage(&place.files()[0].0);
    assert!(!objects.is_untouched(&blob).await.unwrap(), "who has it mapped can ask");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bound_is_kept_and_what_was_used_longest_ago_goes() {
    let place = Place::new();
    for party in 0..4 {
        place.put(&matrix(party), &[0; 1_000]).await;
    }
    let bytes_max = 3 * (1_000 + AROUND);
    let objects = place.start(bytes_max);
    for party in [0, 1, 2, 0, 3] {
        read(&objects, &matrix(party)).await;
        assert!(place.bytes() <= bytes_max);
    }
    place.gets();
    for party in [2, 0, 3] {
        read(&objects, &matrix(party)).await;
    }
    assert_eq!(place.gets(), 0);
    drop(objects);
    // The order of eviction survives a restart; a smaller limit takes effect.
    let objects = place.start(2 * (1_000 + AROUND));
    assert!(place.bytes() <= 2 * (1_000 + AROUND));
    for party in [0, 3] {
        read(&objects, &matrix(party)).await;
    }
    assert_eq!(place.gets(), 0);
    read(&objects, &matrix(2)).await;
    assert_eq!(place.gets(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_without_room_in_the_cache_is_read_nevertheless() {
    let place = Place::new();
    place.put(&matrix(0), &[7; 5_000]).await;
    place.put(&matrix(1), &[8; 1_000]).await;
    let objects = place.start(2_000);
    let copy = open(&objects, &matrix(1)).await.unwrap();
    assert_eq!(read(&objects, &matrix(0)).await, [7; 5_000]);
    assert_eq!(place.gets(), 2);
    assert_eq!(place.files().len(), 1, "what is larger than the bound takes nothing from others");
    place.put(&matrix(2), &[9; 1_000]).await;
    assert_eq!(read(&objects, &matrix(2)).await, [9; 1_000]);
    read(&objects, &matrix(1)).await;
    assert_eq!(place.gets(), 1, "what is in use stays");
    assert_eq!(io::read_to_string(copy).unwrap(), "\u{8}".repeat(1_000));
    read(&objects, &matrix(2)).await;
    read(&objects, &matrix(2)).await;
    assert_eq!(place.gets(), 1, "and goes once it is not");
    let full = place.start_within(Limits { bytes_max: 10_000, disk_free_min: u64::MAX });
    assert_eq!(place.files(), [], "a disk that is too full gets its room back");
    assert_eq!(read(&full, &matrix(0)).await, [7; 5_000]);
    assert_eq!(place.files(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_read_once_evicts_none_that_is_read_again() {
    let place = Place::new();
    place.put(&matrix(0), &[0; 1_000]).await;
    for part in 0..4 {
        place.put(&keys::pairs(PROJECT, RUN, part), &[0; 1_000]).await;
    }
    let objects = place.start(2 * (1_000 + AROUND));
    read(&objects, &matrix(0)).await;
    for part in 0..4 {
        read(&objects, &keys::pairs(PROJECT, RUN, part)).await;
    }
    assert_eq!((place.gets(), place.files().len()), (5, 2));
    read(&objects, &keys::pairs(PROJECT, RUN, 3)).await;
    read(&objects, &matrix(0)).await;
    assert_eq!(place.gets(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_readers_of_an_object_share_one_download() {
    let place = Place::new();
    place.put(&matrix(0), b"rows").await;
    let objects = place.start(10_000);
    let readers = (0..8).map(|_| read_matrix(&objects));
    assert!(futures::future::join_all(readers).await.iter().all(|bytes| bytes == b"rows"));
    assert_eq!((place.gets(), place.files().len()), (1, 1));
}

async fn read_matrix(objects: &Objects) -> Vec<u8> {
    read(objects, &matrix(0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_go_with_their_objects() {
    let place = Place::new();
    let objects = place.start(100_000);
    let plan = keys::plan(PROJECT, RUN);
    for key in [&plan, &matrix(0), &matrix(1), &keys::matrix(OTHER, 0, 1)] {
        place.put(key, b"bytes").await;
        read(&objects, key).await;
    }
    assert_eq!(place.files().len(), 4);
    assert!(objects.delete(&plan).await.unwrap());
    assert_eq!(place.files().len(), 3);
    let mapped = objects.blob(&matrix(0)).await.unwrap();
    assert_eq!(objects.delete_prefix(&keys::project(PROJECT)).await.unwrap().objects, 2);
    assert_eq!(place.files().len(), 1, "a name goes at once, also that of an open file");
    assert_eq!((&*mapped, objects.is_untouched(&mapped).await.unwrap()), (&b"bytes"[..], true));
    // Another process has removed the object.
    place.store.inner.delete(&keys::matrix(OTHER, 0, 1).path()).await.unwrap();
    place.put(&matrix(2), b"bytes").await;
    read(&objects, &matrix(2)).await;
    assert_eq!(objects.sweep_copies().await, [keys::matrix(OTHER, 0, 1)]);
    assert_eq!(place.files().len(), 1);
    assert_eq!(read(&objects, &matrix(2)).await, b"bytes");
    drop(objects);
    Cache::discard(&place.cache()).unwrap();
    Cache::discard(&place.cache()).unwrap();
    assert!(!place.cache().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_goes_while_it_comes_leaves_no_copy() {
    let place = Place::new();
    place.put(&matrix(0), b"rows").await;
    let objects = place.start(10_000);
    let (reader, deleter) = (objects.clone(), objects.clone());
    let read = tokio::spawn(async move { open(&reader, &matrix(0)).await.map(|file| file.size()) });
    tokio::time::sleep(Duration::from_millis(5)).await;
    deleter.delete_prefix(&keys::project(PROJECT)).await.unwrap();
    // The read either succeeds or finds the object removed.
    assert!(matches!(read.await.unwrap(), Ok(4) | Err(Error::Missing { .. })));
    assert_eq!(place.files(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_are_read_count_until_they_are_let_go() {
    let place = Place::new();
    place.put(&matrix(0), &[1; 1_000]).await;
    place.put(&matrix(1), &[2; 1_000]).await;
    let objects = place.start(1_000 + AROUND);
    let held = open(&objects, &matrix(0)).await.unwrap();
    objects.delete(&matrix(0)).await.unwrap();
    read(&objects, &matrix(1)).await;
    assert_eq!(place.files(), [], "its bytes are still on the disk");
    drop(held);
    read(&objects, &matrix(1)).await;
    assert_eq!(place.files().len(), 1);
}
