//! Tests of buckets.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::runtime::clock::{Clock, Timestamp};
use crate::runtime::entropy::Entropy;

const BUCKET: &str = "uploads";
const LARGE: usize = 700_000;

async fn open(folder: &Path) -> Buckets {
    open_at(folder, Clock::system()).await
}

async fn open_at(folder: &Path, clock: Clock) -> Buckets {
    let (index, root) = (folder.join("buckets.db"), folder.join("objects/buckets"));
    std::fs::create_dir_all(&root).unwrap();
    Buckets::open(&index, &root, clock, Entropy::seeded(1)).await.unwrap()
}

async fn fresh() -> (TempDir, Buckets) {
    let folder = tempfile::tempdir().unwrap();
    let buckets = open(folder.path()).await;
    buckets.create(BUCKET).await.unwrap();
    (folder, buckets)
}

fn bytes(size: usize, seed: u8) -> Bytes {
    (0..size).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)).collect::<Vec<_>>().into()
}

async fn receive(mut incoming: Incoming, content: &Bytes) -> Received {
    for at in (0..content.len()).step_by(100_000) {
        incoming.write(content.slice(at..content.len().min(at + 100_000))).await.unwrap();
    }
    incoming.finish().await.unwrap()
}

async fn put(buckets: &Buckets, key: &str, content: &Bytes) -> Object {
    let received = receive(buckets.incoming(&[], PUT_BYTES_MAX), content).await;
    buckets.put((BUCKET, key), received, Head::default(), Condition::None).await.unwrap()
}

async fn read(contents: Contents) -> Vec<u8> {
    let size = contents.object.size;
    let chunks: Vec<Bytes> = contents.stream(0..size).try_collect().await.unwrap();
    chunks.concat()
}

async fn get(buckets: &Buckets, key: &str) -> Vec<u8> {
    read(buckets.get(BUCKET, key).await.unwrap()).await
}

fn files(folder: &Path) -> usize {
    let places = std::fs::read_dir(folder.join("objects/buckets")).unwrap();
    places.map(|place| std::fs::read_dir(place.unwrap().path()).unwrap().count()).sum()
}

/// Waits until another thread has removed all but `count` files.
async fn wait_for_files(folder: &Path, count: usize) {
    for _ in 0..6_000 {
        if files(folder) == count {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{} files are left, not {count}", files(folder));
}

#[tokio::test]
async fn objects_are_there_after_reopening() {
    let (folder, buckets) = fresh().await;
    for (key, size) in [("empty", 0), ("small", 4_096), ("large", LARGE), ("a/../b//", 5)] {
        let object = put(&buckets, key, &bytes(size, 3)).await;
        assert_eq!(object.size, size as u64);
    }
    drop(buckets);
    let buckets = open(folder.path()).await;
    assert_eq!(files(folder.path()), 1);
    for (key, size) in [("empty", 0), ("small", 4_096), ("large", LARGE), ("a/../b//", 5)] {
        assert_eq!(get(&buckets, key).await, bytes(size, 3), "{key}");
    }
    let contents = buckets.get(BUCKET, "large").await.unwrap();
    let part: Vec<Bytes> = contents.stream(600_000..600_010).try_collect().await.unwrap();
    assert_eq!(part.concat(), bytes(LARGE, 3)[600_000..600_010]);
}

#[tokio::test]
async fn every_key_below_a_prefix_is_removed() {
    let (folder, buckets) = fresh().await;
    for key in ["p/1", "p/a//b", "p/../c", "p", "p1/x", "q/p/x"] {
        put(&buckets, key, &bytes(LARGE, 1)).await;
    }
    for key in ["p/parts", "q/parts"] {
        let token = buckets.start_upload((BUCKET, key), Head::default(), None).await.unwrap();
        let name = UploadName { bucket: BUCKET.to_owned(), key: key.to_owned(), token };
        let received = receive(buckets.incoming_part(&[], PUT_BYTES_MAX), &bytes(9, 1)).await;
        buckets.put_part(name, 1, received).await.unwrap();
    }
    let store = BucketStore::new(buckets.clone(), BUCKET);
    assert_eq!(store.remove_below("p/").await.unwrap(), 3);
    let query = Query { max: 100, ..Query::default() };
    let page = buckets.page(BUCKET, query).await.unwrap();
    let left: Vec<_> = page.entries.iter().map(Entry::name).collect();
    assert_eq!(left, ["p", "p1/x", "q/p/x"]);
    let under_way =
        buckets.uploads(BUCKET, UploadsQuery { max: 9, ..UploadsQuery::default() }).await.unwrap();
    assert_eq!(under_way.uploads.iter().map(|upload| &*upload.key).collect::<Vec<_>>(), ["q/parts"]);
    wait_for_files(folder.path(), 4).await;
}

#[tokio::test]
async fn a_lost_index_does_not_take_the_files_with_it() {
    let (folder, buckets) = fresh().await;
    put(&buckets, "large", &bytes(LARGE, 1)).await;
    drop(buckets);
    let (index, root) = (folder.path().join("buckets.db"), folder.path().join("objects/buckets"));
    let kept = tempfile::tempdir().unwrap();
    move_index(folder.path(), kept.path());
    // No file, an empty file, and an index that was created and never used.
    for lost in [None, Some(Vec::new()), Some(unused_index().await)] {
        if let Some(lost) = lost {
            std::fs::write(&index, lost).unwrap();
        }
        for _ in 0..2 {
            let refused = Buckets::open(&index, &root, Clock::system(), Entropy::seeded(1)).await;
            assert!(matches!(refused, Err(Error::Lost { files: 1 })));
        }
        assert_eq!(files(folder.path()), 1);
    }
    move_index(folder.path(), tempfile::tempdir().unwrap().path());
    move_index(kept.path(), folder.path());
    assert_eq!(get(&open(folder.path()).await, "large").await, bytes(LARGE, 1));
}

#[tokio::test]
async fn an_older_copy_of_the_index_takes_no_file_that_it_never_knew() {
    let (folder, buckets) = fresh().await;
    put(&buckets, "before", &bytes(LARGE, 1)).await;
    drop(buckets);
    let (backup, newer) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for name in ["buckets.db", "buckets.db-wal"] {
        if folder.path().join(name).exists() {
            std::fs::copy(folder.path().join(name), backup.path().join(name)).unwrap();
        }
    }
    put(&open(folder.path()).await, "after", &bytes(LARGE, 2)).await;
    move_index(folder.path(), newer.path());
    move_index(backup.path(), folder.path());
    for _ in 0..3 {
        let buckets = open(folder.path()).await;
        put(&buckets, "small", &bytes(9, 3)).await;
        assert_eq!(files(folder.path()), 2);
    }
    assert_eq!(get(&open(folder.path()).await, "before").await, bytes(LARGE, 1));
}

/// Moves the index with its log, which alone may have the latest changes.
fn move_index(from: &Path, to: &Path) {
    for name in ["buckets.db", "buckets.db-wal", "buckets.db-shm"] {
        if from.join(name).exists() {
            std::fs::rename(from.join(name), to.join(name)).unwrap();
        }
    }
}

async fn unused_index() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("buckets.db");
    drop(open(folder.path()).await);
    let index = rusqlite::Connection::open(&path).unwrap();
    index.execute_batch("UPDATE opened SET times = 0; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    std::fs::read(path).unwrap()
}

#[tokio::test]
async fn no_file_goes_while_others_are_missing() {
    let (folder, buckets) = fresh().await;
    put(&buckets, "key", &bytes(LARGE, 1)).await;
    drop(buckets);
    let place = folder.path().join("objects/buckets/ff");
    std::fs::write(place.join("0000000000abcdff"), "a file that nothing refers to").unwrap();
    let of_key = std::fs::read_dir(folder.path().join("objects/buckets")).unwrap();
    let of_key = of_key.flat_map(|place| std::fs::read_dir(place.unwrap().path()).unwrap());
    let of_key: Vec<_> =
        of_key.map(|file| file.unwrap().path()).filter(|file| !file.starts_with(&place)).collect();
    let kept = folder.path().join("kept");
    std::fs::rename(&of_key[0], &kept).unwrap();
    drop(open(folder.path()).await);
    assert_eq!(files(folder.path()), 1);
    std::fs::rename(&kept, &of_key[0]).unwrap();
    let buckets = open(folder.path()).await;
    assert_eq!(files(folder.path()), 1);
    assert_eq!(get(&buckets, "key").await, bytes(LARGE, 1));
}

#[tokio::test]
async fn keys_are_told_apart_to_the_byte() {
    let (_folder, buckets) = fresh().await;
    let long = "ü".repeat(512);
    let keys = ["a", "A", "a/", "a/b", "a//b", "..", "../..", "%2e", "é", "e\u{301}", " ", "\u{7f}", &long];
    for (seed, key) in (0..).zip(keys) {
        put(&buckets, key, &bytes(9, seed)).await;
    }
    for (seed, key) in (0..).zip(keys) {
        assert_eq!(get(&buckets, key).await, bytes(9, seed), "{key:?}");
    }
    for key in [String::new(), "x".repeat(1_025)] {
        let received = receive(buckets.incoming(&[], 10), &bytes(1, 1)).await;
        let refused = buckets.put((BUCKET, &key), received, Head::default(), Condition::None).await;
        assert!(matches!(refused, Err(Error::Key)));
        let refused = buckets.delete(BUCKET, &key, Condition::None).await;
        assert!(matches!(refused, Err(Error::Key)));
    }
    for key in ["\u{1}", "a\0", "\u{fffe}"] {
        let received = receive(buckets.incoming(&[], 10), &bytes(1, 1)).await;
        let refused = buckets.put((BUCKET, key), received, Head::default(), Condition::None).await;
        assert!(matches!(refused, Err(Error::KeyCharacter { .. })));
        assert!(!buckets.delete(BUCKET, key, Condition::None).await.unwrap());
    }
}

#[tokio::test]
async fn a_reader_under_way_ends_well_though_the_object_is_replaced_and_deleted() {
    let (folder, buckets) = fresh().await;
    put(&buckets, "key", &bytes(LARGE, 1)).await;
    let first = buckets.get(BUCKET, "key").await.unwrap();
    put(&buckets, "key", &bytes(LARGE, 2)).await;
    let second = buckets.get(BUCKET, "key").await.unwrap();
    assert!(buckets.delete(BUCKET, "key", Condition::None).await.unwrap());
    assert!(!buckets.delete(BUCKET, "key", Condition::None).await.unwrap());
    assert_eq!(files(folder.path()), 2);
    assert_eq!(read(first).await, bytes(LARGE, 1));
    assert_eq!(read(second).await, bytes(LARGE, 2));
    wait_for_files(folder.path(), 0).await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let (folder, buckets) = fresh().await;
    let mut broken = buckets.incoming(&[], PUT_BYTES_MAX);
    broken.write(bytes(LARGE, 1)).await.unwrap();
    drop(broken);
    let mut too_large = buckets.incoming(&[], 10);
    assert!(matches!(too_large.write(bytes(11, 1)).await, Err(Error::TooLarge { max: 10 })));
    drop(receive(buckets.incoming(&[], PUT_BYTES_MAX), &bytes(LARGE, 1)).await);
    wait_for_files(folder.path(), 0).await;
}

#[tokio::test]
async fn files_that_a_crash_left_are_removed_and_files_in_the_index_stay() {
    let (folder, buckets) = fresh().await;
    put(&buckets, "key", &bytes(LARGE, 1)).await;
    let leaked = receive(buckets.incoming(&[], PUT_BYTES_MAX), &bytes(LARGE, 2)).await;
    std::mem::forget(leaked);
    assert_eq!(files(folder.path()), 2);
    drop(buckets);
    let buckets = open(folder.path()).await;
    assert_eq!(files(folder.path()), 1);
    assert_eq!(get(&buckets, "key").await, bytes(LARGE, 1));
}

#[tokio::test]
async fn conditions_are_decided_with_the_change() {
    let (_folder, buckets) = fresh().await;
    let attempt = async |condition| {
        let received = receive(buckets.incoming(&[], 100), &bytes(3, 1)).await;
        buckets.put((BUCKET, "key"), received, Head::default(), condition).await
    };
    assert!(matches!(attempt(Condition::Present).await, Err(Error::NoSuchKey)));
    assert!(matches!(attempt(Condition::Etag("0".into())).await, Err(Error::NoSuchKey)));
    assert!(!buckets.delete(BUCKET, "key", Condition::Present).await.unwrap());
    let etag = attempt(Condition::Absent).await.unwrap().etag;
    assert!(matches!(attempt(Condition::Absent).await, Err(Error::Precondition)));
    assert!(attempt(Condition::Etag(etag)).await.is_ok());
    assert!(matches!(attempt(Condition::Etag("0".into())).await, Err(Error::Precondition)));
}

#[tokio::test]
async fn a_copy_shares_bytes_and_nothing_else() {
    let (folder, buckets) = fresh().await;
    for size in [100, LARGE] {
        put(&buckets, "from", &bytes(size, 1)).await;
        let from = buckets.get(BUCKET, "from").await.unwrap();
        let head = Head { content_type: Some("text/plain".into()), ..Head::default() };
        buckets.copy(from, (BUCKET, "to"), head.clone(), Condition::None).await.unwrap();
        buckets.delete(BUCKET, "from", Condition::None).await.unwrap();
        assert_eq!(get(&buckets, "to").await, bytes(size, 1));
        assert_eq!(buckets.head(BUCKET, "to").await.unwrap().head, head);
    }
    wait_for_files(folder.path(), 1).await;
}

async fn start(buckets: &Buckets, key: &str, checksum: Option<(Algorithm, bool)>) -> UploadName {
    let head = Head { content_type: Some("a/b".into()), ..Head::default() };
    let token = buckets.start_upload((BUCKET, key), head, checksum).await.unwrap();
    UploadName { bucket: BUCKET.into(), key: key.into(), token }
}

fn completion(parts: Vec<Asked>) -> Completion {
    Completion { parts, ..Completion::default() }
}

async fn part(buckets: &Buckets, name: &UploadName, number: u32, content: &Bytes) -> Asked {
    let received = receive(buckets.incoming_part(&[Algorithm::Crc32], PUT_BYTES_MAX), content).await;
    let part = buckets.put_part(name.clone(), number, received).await.unwrap();
    Asked { number, etag: hex::encode(part.md5), checksum: part.checksum.map(|sum| sum.text()) }
}

#[tokio::test]
async fn parts_arrive_in_any_order_survive_a_restart_and_become_one_object() {
    let (folder, buckets) = fresh().await;
    let name = start(&buckets, "key", Some((Algorithm::Crc32, true))).await;
    let (one, two, last) =
        (bytes(PART_BYTES_MIN as usize, 1), bytes(PART_BYTES_MIN as usize + 1, 2), bytes(7, 3));
    let third = part(&buckets, &name, 9, &last).await;
    part(&buckets, &name, 1, &last).await;
    let first = part(&buckets, &name, 1, &one).await;
    drop(buckets);
    let buckets = open(folder.path()).await;
    let second = part(&buckets, &name, 4, &two).await;
    part(&buckets, &name, 5, &last).await;
    wait_for_files(folder.path(), 4).await;
    let asked = vec![first, second, third];
    let object = buckets.complete_upload(name.clone(), completion(asked.clone())).await.unwrap();
    let whole = [one, two, last].concat();
    assert_eq!(object.size, whole.len() as u64);
    assert!(object.etag.ends_with("-3"));
    assert_eq!(object.head.checksum.as_ref().unwrap().value, crc32fast::hash(&whole).to_be_bytes());
    assert_eq!(get(&buckets, "key").await, whole);
    let contents = buckets.get(BUCKET, "key").await.unwrap();
    assert_eq!(contents.part(2), Some((PART_BYTES_MIN..2 * PART_BYTES_MIN + 1, 3)));
    wait_for_files(folder.path(), 3).await;
    let again = buckets.complete_upload(name.clone(), completion(asked)).await.unwrap();
    assert_eq!(again.etag, object.etag);
    buckets.delete(BUCKET, "key", Condition::None).await.unwrap();
    assert!(matches!(buckets.complete_upload(name, completion(Vec::new())).await, Err(Error::NoSuchUpload)));
}

#[tokio::test]
async fn parts_that_do_not_fit_are_refused_and_nothing_is_lost() {
    let (folder, buckets) = fresh().await;
    let name = start(&buckets, "key", None).await;
    let small = part(&buckets, &name, 1, &bytes(10, 1)).await;
    let other = part(&buckets, &name, 2, &bytes(10, 2)).await;
    let complete = |asked: &[&Asked]| {
        let asked = asked.iter().map(|&asked| asked.clone()).collect();
        buckets.complete_upload(name.clone(), completion(asked))
    };
    assert!(matches!(complete(&[&small, &other]).await, Err(Error::PartTooSmall { number: 1, size: 10 })));
    assert!(matches!(complete(&[&other, &small]).await, Err(Error::PartOrder)));
    assert!(matches!(complete(&[&small, &small]).await, Err(Error::PartOrder)));
    assert!(matches!(complete(&[]).await, Err(Error::InvalidPart { .. })));
    let wrong = Asked { etag: other.etag.clone(), ..small.clone() };
    assert!(matches!(complete(&[&wrong]).await, Err(Error::InvalidPart { number: 1 })));
    let wrong = Asked { checksum: other.checksum.clone(), ..small.clone() };
    assert!(matches!(complete(&[&wrong]).await, Err(Error::InvalidPart { number: 1 })));
    let said = Completion { size: Some(9), ..completion(vec![small.clone()]) };
    let refused = buckets.complete_upload(name.clone(), said).await;
    assert!(matches!(refused, Err(Error::Mismatch { what: "size" })));
    let elsewhere = UploadName { key: "other".into(), ..name.clone() };
    assert!(matches!(buckets.abort_upload(elsewhere).await, Err(Error::NoSuchUpload)));
    assert_eq!(buckets.parts(name.clone(), 0, 10).await.unwrap().1.len(), 2);
    buckets.abort_upload(name.clone()).await.unwrap();
    assert!(matches!(complete(&[&small]).await, Err(Error::NoSuchUpload)));
    wait_for_files(folder.path(), 0).await;
}

#[tokio::test]
async fn abandoned_uploads_are_swept_by_age_and_go_with_their_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Timestamp::from_micros(1_000_000_000_000));
    let buckets = open_at(folder.path(), clock.clone()).await;
    buckets.create(BUCKET).await.unwrap();
    let day = std::time::Duration::from_hours(24);
    let old = start(&buckets, "old", None).await;
    part(&buckets, &old, 1, &bytes(10, 1)).await;
    assert_eq!(buckets.sweep(day, day * 2).await.unwrap(), 0);
    let young = start(&buckets, "young", None).await;
    part(&buckets, &young, 1, &bytes(10, 1)).await;
    clock.set(clock.now().after(day * 365));
    assert_eq!(
        buckets.sweep(day, day * 2).await.unwrap(),
        0,
        "it has waited for a day, whatever the clock says"
    );
    assert_eq!(buckets.sweep(day, day * 2).await.unwrap(), 1);
    let left = buckets.uploads(BUCKET, UploadsQuery { max: 10, ..UploadsQuery::default() }).await.unwrap();
    assert_eq!((left.uploads[0].key.as_str(), left.uploads.len(), left.more), ("young", 1, false));
    buckets.remove(BUCKET).await.unwrap();
    wait_for_files(folder.path(), 0).await;
    assert!(matches!(buckets.bucket(BUCKET).await, Err(Error::NoSuchBucket)));
}

#[tokio::test]
async fn compaction_erases_the_keys_of_removed_objects() {
    let (folder, buckets) = fresh().await;
    let keys: Vec<String> =
        (0..40).map(|number| format!("{number:02}-{}", "of-a-project/".repeat(8))).collect();
    for key in &keys {
        put(&buckets, key, &bytes(10, 1)).await;
    }
    let abandoned = start(&buckets, "of-a-project/in-parts", None).await;
    for key in &keys {
        assert!(buckets.delete(BUCKET, key, Condition::None).await.unwrap());
    }
    buckets.abort_upload(abandoned).await.unwrap();
    put(&buckets, "stays", &bytes(10, 2)).await;
    buckets.compact().await.unwrap();
    for file in ["buckets.db", "buckets.db-wal"] {
        let content = std::fs::read(folder.path().join(file)).unwrap();
        assert!(!content.windows(12).any(|found| found == b"of-a-project"), "{file}");
    }
    assert_eq!(get(&buckets, "stays").await, bytes(10, 2));
}

#[tokio::test]
async fn a_bucket_is_removed_only_when_empty() {
    let (_folder, buckets) = fresh().await;
    assert!(matches!(buckets.create(BUCKET).await, Err(Error::BucketExists)));
    put(&buckets, "key", &bytes(1, 1)).await;
    assert!(matches!(buckets.remove(BUCKET).await, Err(Error::BucketNotEmpty)));
    assert!(matches!(buckets.get("none", "key").await, Err(Error::NoSuchBucket)));
    assert!(matches!(buckets.get(BUCKET, "none").await, Err(Error::NoSuchKey)));
    assert_eq!(buckets.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn deleting_a_small_object_erases_its_bytes() {
    let (folder, buckets) = fresh().await;
    let secret = Bytes::from_static(b"a secret of twenty-nine bytes");
    put(&buckets, "key", &secret).await;
    let found = || {
        let files =
            ["buckets.db", "buckets.db-wal"].map(|name| std::fs::read(folder.path().join(name)).unwrap());
        files.iter().any(|file| file.windows(secret.len()).any(|bytes| bytes == secret))
    };
    assert!(found());
    buckets.delete(BUCKET, "key", Condition::None).await.unwrap();
    assert!(!found());
}

#[tokio::test]
async fn jobs_read_a_bucket_as_an_object_store() {
    let (_folder, buckets) = fresh().await;
    let received = receive(buckets.incoming(&[], PUT_BYTES_MAX), &bytes(LARGE, 1)).await;
    let metadata = [("hash-count".to_owned(), "5".to_owned())].into();
    let head = Head { metadata, ..Head::default() };
    buckets.put((BUCKET, "project/party"), received, head, Condition::None).await.unwrap();
    put(&buckets, "project/other", &bytes(9, 2)).await;
    put(&buckets, "projects", &bytes(9, 2)).await;
    let store = BucketStore::new(buckets, BUCKET);
    let path = object_store::path::Path::from("project/party");
    let found = store.get(&path).await.unwrap();
    let name = object_store::Attribute::Metadata("hash-count".into());
    assert_eq!(found.attributes.get(&name).map(AsRef::as_ref), Some("5"));
    assert_eq!(found.bytes().await.unwrap(), bytes(LARGE, 1));
    assert_eq!(store.get_range(&path, 3..7).await.unwrap(), bytes(LARGE, 1).slice(3..7));
    assert_eq!(store.head(&path).await.unwrap().size, LARGE as u64);
    let below = object_store::path::Path::from("project");
    let listed: Vec<_> =
        store.list(Some(&below)).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap();
    assert_eq!(listed, ["project/other", "project/party"]);
    assert_eq!(store.list_with_delimiter(None).await.unwrap().common_prefixes, [below]);
    store.delete(&path).await.unwrap();
    assert!(matches!(store.get(&path).await, Err(object_store::Error::NotFound { .. })));
}

/// Returns a page of a listing in the simplest way: makes all entries, then takes those of the page.
fn by_definition(keys: &BTreeSet<String>, query: &Query) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for key in keys.iter().filter(|key| key.starts_with(&query.prefix)) {
        let rest = &key[query.prefix.len()..];
        let cut = query.delimiter.as_deref().and_then(|by| rest.find(by).map(|at| at + by.len()));
        let name = cut.map_or(key.clone(), |cut| key[..query.prefix.len() + cut].to_owned());
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    names
}

fn key() -> impl Strategy<Value = String> {
    "[ab/é\u{10FFFF}]{1,6}"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn pages_put_together_are_the_listing(
        keys in prop::collection::btree_set(key(), 0..40),
        prefix in "[ab/é]{0,2}",
        delimiter in prop::option::of("/|a/|é"),
        max in 1_u32..7,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let query = Query { prefix, delimiter, max, ..Query::default() };
        let found = runtime.block_on(async {
            let (_folder, buckets) = fresh().await;
            for key in &keys {
                put(&buckets, key, &Bytes::new()).await;
            }
            let (mut names, mut next) = (Vec::new(), query.clone());
            loop {
                let page = buckets.page(BUCKET, next.clone()).await.unwrap();
                assert!(page.entries.len() <= max as usize);
                names.extend(page.entries.iter().map(|entry| entry.name().to_owned()));
                let Some(last) = page.entries.last().filter(|_| page.more) else { break names };
                let past_prefix = matches!(last, Entry::Prefix(_));
                next = Query { after: Some(last.name().to_owned()), past_prefix, ..query.clone() };
            }
        });
        prop_assert_eq!(found, by_definition(&keys, &query));
    }
}
