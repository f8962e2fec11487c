//! Tests of `Objects` over every backend, and of the special behaviour of files.

use std::fs;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use linkage::scratch::Scratch;
use object_store::memory::InMemory;
use tempfile::TempDir;

use super::*;
use crate::model::{ProjectId, RunId};
use crate::runtime::clock::Timestamp;

const PROJECT: ProjectId = ProjectId::from_bytes([1; 24]);
const RUN: RunId = RunId::from_bytes([2; 24]);

fn open(dir: &Path) -> Objects {
    Objects::open(&dir.join("objects"), &dir.join("spool")).unwrap()
}

fn forms(dir: &TempDir) -> [Objects; 3] {
    let limits = CacheLimits { bytes_max: 1 << 30, disk_free_min: 0 };
    let cache = Cache::open(&dir.path().join("cache"), limits).unwrap();
    let over = |cache| Objects::over(Arc::new(InMemory::new()), &dir.path().join("staging"), cache).unwrap();
    [open(dir.path()), over(None), over(Some(cache))]
}

async fn put(objects: &Objects, key: &Key, bytes: &[u8]) {
    let mut staged = objects.stage();
    staged.write_all(bytes).unwrap();
    assert_eq!(staged.publish(key).await.unwrap(), bytes.len() as u64);
}

async fn streamed(objects: &Objects, key: &Key) -> Vec<u8> {
    let (size, chunks) = objects.stream(key).await.unwrap();
    let bytes = chunks.try_concat_bytes().await;
    assert_eq!(bytes.len() as u64, size);
    bytes
}

trait Concat {
    async fn try_concat_bytes(self) -> Vec<u8>;
}

impl Concat for Chunks {
    async fn try_concat_bytes(self) -> Vec<u8> {
        self.try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        })
        .await
        .unwrap()
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_object_is_read_back_by_every_method() {
    let dir = TempDir::new().unwrap();
    for objects in forms(&dir) {
        for (key, bytes) in [
            (keys::plan(PROJECT, RUN), Vec::new()),
            (keys::pairs(PROJECT, RUN, 7), b"pairs".to_vec()),
            (keys::matrix(PROJECT, 0, 1), (0..20_000_000_u32).map(|byte| byte as u8).collect()),
        ] {
            put(&objects, &key, &bytes).await;
            assert_eq!(objects.size(&key).await.unwrap(), bytes.len() as u64);
            let blob = objects.blob(&key).await.unwrap();
            assert!(*blob == bytes[..], "{key}");
            assert!(streamed(&objects, &key).await == bytes, "{key}");
            let (reader, same) = (objects.clone(), key.clone());
            let mut file = tokio::task::spawn_blocking(move || reader.read(&same)).await.unwrap().unwrap();
            let mut read = Vec::new();
            file.read_to_end(&mut read).unwrap();
            assert!(read == bytes, "{key}");
            assert!(objects.delete(&key).await.unwrap());
            assert!(*blob == bytes[..], "a blob outlives its object");
        }
        assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_object_is_not_a_broken_store() {
    let dir = TempDir::new().unwrap();
    for objects in forms(&dir) {
        let key = keys::groups(PROJECT, RUN);
        assert!(matches!(objects.blob(&key).await, Err(Error::Missing { .. })));
        assert!(matches!(objects.size(&key).await, Err(Error::Missing { .. })));
        assert!(matches!(objects.stream(&key).await, Err(Error::Missing { .. })));
        assert!(!objects.exists(&key).await.unwrap());
        assert!(!objects.delete(&key).await.unwrap());
        assert_eq!(objects.delete_prefix(&keys::project(PROJECT)).await.unwrap().objects, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_of_several_publications_of_a_key_stays() {
    let dir = TempDir::new().unwrap();
    for objects in forms(&dir) {
        let key = keys::pairs(PROJECT, RUN, 0);
        put(&objects, &key, b"first").await;
        let late = (0..16).map(|_| async {
            let mut staged = objects.stage();
            staged.write_all(b"later").unwrap();
            staged.publish(&key).await.unwrap()
        });
        futures::future::join_all(late).await;
        assert_eq!(&*objects.blob(&key).await.unwrap(), b"first");
    }
    assert_eq!(files(&dir.path().join("spool")), Vec::<PathBuf>::new());
    assert_eq!(files(&dir.path().join("objects")).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_is_removed_with_its_directories_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    for objects in forms(&dir) {
        for part in 0..5 {
            put(&objects, &keys::pairs(PROJECT, RUN, part), b"pairs").await;
        }
        put(&objects, &keys::plan(PROJECT, RUN), b"plan").await;
        put(&objects, &keys::matrix(PROJECT, 1, 10), b"ten").await;
        put(&objects, &keys::matrix(PROJECT, 1, 1), b"one").await;
        assert_eq!(objects.delete_prefix(&keys::upload(PROJECT, 1, 1)).await.unwrap().objects, 1);
        assert!(objects.exists(&keys::matrix(PROJECT, 1, 10)).await.unwrap());
        assert_eq!(objects.delete_prefix(&keys::run(PROJECT, RUN)).await.unwrap().objects, 6);
        assert_eq!(objects.delete_prefix(&keys::project(PROJECT)).await.unwrap().objects, 1);
    }
    assert_eq!(fs::read_dir(dir.path().join("objects")).unwrap().count(), 0, "no directory is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_untouched_until_its_file_is() {
    let dir = TempDir::new().unwrap();
    for objects in forms(&dir) {
        let key = keys::plan(PROJECT, RUN);
        put(&objects, &key, b"plan").await;
        let blob = objects.blob(&key).await.unwrap();
        assert!(objects.is_untouched(&blob).await.unwrap());
    }
    let (objects, key) = (open(dir.path()), keys::plan(PROJECT, RUN));
    let blob = objects.blob(&key).await.unwrap();
    let path = dir.path().join("objects").join(key.as_str());
    fs::write(&path, b"another plan").unwrap();
    assert!(!objects.is_untouched(&blob).await.unwrap());
    fs::remove_file(&path).unwrap();
    assert!(matches!(objects.is_untouched(&blob).await, Err(Error::Missing { .. })));
}

/// Removes and publishes objects concurrently. Every published object must exist.
#[tokio::test(flavor = "multi_thread")]
async fn directories_may_vanish_under_a_publication() {
    let dir = TempDir::new().unwrap();
    let objects = open(dir.path());
    let churn = |run: u8| {
        let objects = objects.clone();
        tokio::spawn(async move {
            let (run, plan) =
                (RunId::from_bytes([run; 24]), keys::plan(PROJECT, RunId::from_bytes([run; 24])));
            for _ in 0..50 {
                put(&objects, &plan, b"plan").await;
                assert!(objects.exists(&plan).await.unwrap());
                assert_eq!(objects.delete_prefix(&keys::run(PROJECT, run)).await.unwrap().objects, 1);
            }
        })
    };
    futures::future::try_join_all((0..4).map(churn)).await.unwrap();
    assert_eq!(fs::read_dir(dir.path().join("objects")).unwrap().count(), 0);
}

#[tokio::test]
async fn directories_that_somebody_removed_are_made_again() {
    let dir = TempDir::new().unwrap();
    let objects = open(dir.path());
    put(&objects, &keys::pairs(PROJECT, RUN, 0), b"first").await;
    fs::remove_dir_all(dir.path().join("objects/projects")).unwrap();
    put(&objects, &keys::pairs(PROJECT, RUN, 1), b"second").await;
    assert_eq!(&*objects.blob(&keys::pairs(PROJECT, RUN, 1)).await.unwrap(), b"second");
}

#[tokio::test]
async fn content_has_a_file_only_once_it_is_large() {
    let dir = TempDir::new().unwrap();
    let objects = open(dir.path());
    let piece: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    let mut staged = objects.stage();
    for count in 1..=9 {
        staged.write_all(&piece).unwrap();
        staged.flush().unwrap();
        assert_eq!(files(&dir.path().join("spool")).len(), usize::from(count > 2));
        assert_eq!(staged.read_back().unwrap(), piece.repeat(count));
        assert_eq!(staged.size(), (count * piece.len()) as u64);
    }
    let key = keys::matrix(PROJECT, 0, 1);
    staged.publish(&key).await.unwrap();
    assert_eq!(*objects.blob(&key).await.unwrap(), piece.repeat(9));
    put(&objects, &keys::matrix(PROJECT, 0, 2), b"").await;
}

#[tokio::test]
async fn staged_files_go_when_dropped_and_at_the_next_start() {
    let dir = TempDir::new().unwrap();
    let objects = open(dir.path());
    let spool = dir.path().join("spool");
    drop(objects.stage());
    assert_eq!(files(&spool), Vec::<PathBuf>::new());
    let mut left_by_crash = objects.stage();
    left_by_crash.write_all(&vec![0; 1 << 20]).unwrap();
    fs::create_dir(spool.join("stranger")).unwrap();
    fs::write(spool.join("stranger/file"), b"x").unwrap();
    open(dir.path());
    // Files of other programs are kept.
    assert_eq!(files(&spool), [spool.join("stranger/file")]);
}

#[tokio::test]
async fn a_clock_that_is_ahead_of_the_file_system_makes_nothing_stale() {
    let dir = TempDir::new().unwrap();
    let objects = open(dir.path());
    let mut under_way = objects.stage();
    under_way.write_all(&vec![0; 1 << 20]).unwrap();
    let (ahead, age) = (Timestamp::from_micros(i64::MAX), Duration::from_hours(1));
    assert_eq!(objects.remove_stale(ahead, age).await.unwrap(), 0);
    let spool = dir.path().join("spool");
    let [old]: [PathBuf; 1] = files(&spool).try_into().unwrap();
    let before = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    fs::File::options().write(true).open(&old).unwrap().set_modified(before).unwrap();
    assert_eq!(objects.remove_stale(ahead, age).await.unwrap(), 1);
    assert_eq!(files(&spool), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn objects_are_private_to_this_user() {
    let dir = TempDir::new().unwrap();
    let objects = open(dir.path());
    put(&objects, &keys::matrix(PROJECT, 0, 1), b"rows").await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let file = dir.path().join("objects").join(keys::matrix(PROJECT, 0, 1).as_str());
    assert_eq!(mode(&file), 0o600);
    let inside = file.ancestors().skip(1).take_while(|directory| *directory != dir.path());
    inside.chain([&*dir.path().join("spool")]).for_each(|directory| assert_eq!(mode(directory), 0o700));
}

#[test]
fn temporary_files_have_no_name() {
    let dir = TempDir::new().unwrap();
    let objects = open(dir.path());
    let mut file = Scratch::file(&objects).unwrap();
    file.write_all(b"pairs").unwrap();
    assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
    file.rewind().unwrap();
    assert_eq!(std::io::read_to_string(file).unwrap(), "pairs");
}

#[test]
fn a_prefix_ends_where_a_part_of_the_key_ends() {
    assert!(keys::upload(PROJECT, 0, 1).holds(&keys::matrix(PROJECT, 0, 1)));
    assert!(!keys::upload(PROJECT, 0, 1).holds(&keys::matrix(PROJECT, 0, 10)));
    assert!(keys::project(PROJECT).holds(&keys::plan(PROJECT, RUN)));
}
