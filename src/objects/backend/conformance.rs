//! The conformance tests of backends, and of the decorators around a backend.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use tempfile::{NamedTempFile, TempDir};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::{Backend, Chunks, Local, Metered, Remote};
use crate::model::{ProjectId, RunId};
use crate::objects::cache::Cached;
use crate::objects::{Blob, Cache, CacheLimits, Error, Key, keys};

const PROJECT: ProjectId = ProjectId::from_bytes([1; 24]);
const RUN: RunId = RunId::from_bytes([2; 24]);

/// Returns every backend and every combination with decorators that must pass the tests, with its name.
fn backends(dir: &Path) -> Vec<(&'static str, Box<dyn Backend>)> {
    let local = |name: &str| Local::open(&dir.join(name)).unwrap();
    let remote = || Remote::new(Arc::new(InMemory::new()), Handle::current(), dir);
    let cached = |name: &str| {
        let limits = CacheLimits { bytes_max: 1 << 30, disk_free_min: 0 };
        Cached::new(remote(), Cache::open(&dir.join(name), limits).unwrap(), Handle::current(), dir)
    };
    vec![
        ("local", Box::new(local("files"))),
        ("remote", Box::new(remote())),
        ("cached", Box::new(cached("cache"))),
        ("metered local", Box::new(Metered(local("metered files")))),
        ("metered remote", Box::new(Metered(remote()))),
        ("metered cached", Box::new(Metered(cached("metered cache")))),
    ]
}

fn staged(dir: &Path, bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new_in(dir).unwrap();
    file.write_all(bytes).unwrap();
    file
}

async fn collect(chunks: Chunks) -> Vec<u8> {
    let chunks: Vec<_> = chunks.try_collect().await.unwrap();
    chunks.concat()
}

fn read(backend: &dyn Backend, key: &Key) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    backend.read(key)?.read_to_end(&mut bytes).unwrap();
    Ok(bytes)
}

/// Calls every operation that has a metric once.
pub(super) fn each_operation_once(backend: &dyn Backend, runtime: &Handle, dir: &Path) {
    let (key, prefix) = (keys::plan(PROJECT, RUN), keys::project(PROJECT));
    runtime.block_on(async {
        backend.publish(staged(dir, b"plan"), &key).await.unwrap();
        backend.head(&key).await.unwrap();
        drop(backend.get(&key, None).await.unwrap());
        drop(backend.get(&key, Some(1..3)).await.unwrap());
    });
    assert_eq!(read(backend, &key).unwrap(), b"plan");
    runtime.block_on(async {
        backend.children(&prefix).await.unwrap();
        backend.probe().await.unwrap();
        backend.delete(&key).await.unwrap();
        backend.delete_prefix(&prefix).await.unwrap();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_object_is_read_by_every_operation() {
    let dir = TempDir::new().unwrap();
    for (name, backend) in backends(dir.path()) {
        let (key, bytes) = (keys::matrix(PROJECT, 0, 1), b"zero one two three".as_slice());
        backend.publish(staged(dir.path(), bytes), &key).await.unwrap();
        let found = backend.head(&key).await.unwrap();
        assert!(found.size == 18 && !found.etag.is_empty(), "{name}: {found:?}");
        let (got, chunks) = backend.get(&key, None).await.unwrap();
        assert_eq!((got.size, &got.etag), (18, &found.etag), "{name}");
        assert_eq!(collect(chunks).await, bytes, "{name}");
        for range in [0..18, 5..8, 17..18] {
            let (got, chunks) = backend.get(&key, Some(range.clone())).await.unwrap();
            assert_eq!(got.size, 18, "{name}");
            assert_eq!(collect(chunks).await, bytes[range.start as usize..range.end as usize], "{name}");
        }
        for _ in 0..2 {
            let file = block_in_place(|| backend.read(&key)).unwrap();
            let blob = Blob::map(&key, file).unwrap();
            assert_eq!(&*blob, bytes, "{name}");
            assert!(backend.is_untouched(&blob).await.unwrap(), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_object_is_missing_to_every_operation() {
    let dir = TempDir::new().unwrap();
    for (name, backend) in backends(dir.path()) {
        let key = keys::plan(PROJECT, RUN);
        // Before anything was published, and after the object was removed.
        for published in [false, true] {
            if published {
                backend.publish(staged(dir.path(), b"plan"), &key).await.unwrap();
                assert_eq!(block_in_place(|| read(&*backend, &key)).unwrap(), b"plan", "{name}");
                assert!(backend.delete(&key).await.unwrap(), "{name}");
            }
            assert!(matches!(backend.head(&key).await, Err(Error::Missing { .. })), "{name}");
            assert!(matches!(backend.get(&key, None).await, Err(Error::Missing { .. })), "{name}");
            assert!(matches!(backend.get(&key, Some(0..1)).await, Err(Error::Missing { .. })), "{name}");
            let read = block_in_place(|| backend.read(&key));
            assert!(matches!(read, Err(Error::Missing { .. })), "{name}");
            assert!(!backend.delete(&key).await.unwrap(), "{name}");
            assert_eq!(backend.delete_prefix(&keys::project(PROJECT)).await.unwrap().objects, 0, "{name}");
            assert!(backend.children(&keys::runs(PROJECT)).await.unwrap().is_empty(), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_two_publications_stays() {
    let dir = TempDir::new().unwrap();
    for (name, backend) in backends(dir.path()) {
        let key = keys::pairs(PROJECT, RUN, 0);
        for bytes in [b"first", b"later"] {
            backend.publish(staged(dir.path(), bytes), &key).await.unwrap();
            assert_eq!(block_in_place(|| read(&*backend, &key)).unwrap(), b"first", "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_is_listed_and_removed_and_its_neighbours_stay() {
    let dir = TempDir::new().unwrap();
    for (name, backend) in backends(dir.path()) {
        for upload in [1, 10] {
            let key = keys::matrix(PROJECT, 3, upload);
            backend.publish(staged(dir.path(), b"rows"), &key).await.unwrap();
            assert_eq!(block_in_place(|| read(&*backend, &key)).unwrap(), b"rows", "{name}");
        }
        let mut children = backend.children(&keys::party(PROJECT, 3)).await.unwrap();
        children.sort_unstable();
        assert_eq!(children, ["1", "10"], "{name}");
        let removed = backend.delete_prefix(&keys::upload(PROJECT, 3, 1)).await.unwrap();
        assert_eq!((removed.objects, removed.bytes), (1, 4), "{name}");
        let gone = block_in_place(|| backend.read(&keys::matrix(PROJECT, 3, 1)));
        assert!(matches!(gone, Err(Error::Missing { .. })), "{name}");
        assert_eq!(
            block_in_place(|| read(&*backend, &keys::matrix(PROJECT, 3, 10))).unwrap(),
            b"rows",
            "{name}"
        );
        assert_eq!(backend.children(&keys::party(PROJECT, 3)).await.unwrap(), ["10"], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_answers_passes_its_probe() {
    let dir = TempDir::new().unwrap();
    for (name, backend) in backends(dir.path()) {
        backend.probe().await.unwrap();
        backend.check_writable().await.unwrap();
        assert!(backend.sweep_copies().await.is_empty(), "{name}");
        assert_eq!(backend.directory().is_some(), name.ends_with("local"));
    }
}
