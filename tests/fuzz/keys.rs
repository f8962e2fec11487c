//! Fuzzes keys: each line of a text is stored under itself, read back, listed in byte order, and deleted; nothing is
//! written outside the folder. The corpus is replayed by `tests/appliance/fuzz.rs`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use entityd::buckets::{
    Buckets, Condition, Entry, Error, Head, KEY_BYTES_MAX, PUT_BYTES_MAX, Query, is_in_xml,
};
use entityd::runtime::clock::Clock;
use entityd::runtime::entropy::Entropy;
use futures::TryStreamExt;

const BUCKET: &str = "fuzz";

/// Panics if the lines of `data` are not stored as keys.
pub(super) fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let above = tempfile::tempdir().expect("a folder");
    runtime.block_on(keep(above.path(), &text));
}

async fn keep(above: &Path, text: &str) {
    let folder = above.join("data");
    std::fs::create_dir(&folder).expect("a folder");
    let (index, files) = (folder.join("buckets.db"), folder.join("files"));
    std::fs::create_dir(&files).expect("a folder");
    let buckets = Buckets::open(&index, &files, Clock::system(), Entropy::seeded(1)).await.expect("it opens");
    buckets.create(BUCKET).await.expect("a bucket");
    let mut keys = BTreeSet::new();
    for key in text.split('\n') {
        match put(&buckets, key).await {
            Ok(()) => drop(keys.insert(key.to_owned())),
            Err(Error::Key) => assert!(key.is_empty() || key.len() > KEY_BYTES_MAX),
            Err(Error::KeyCharacter { character }) => {
                assert!(key.contains(character) && !is_in_xml(character));
            }
            Err(error) => panic!("{key:?} is refused: {error}"),
        }
    }
    let query = Query { max: u32::MAX - 1, ..Query::default() };
    let page = buckets.page(BUCKET, query).await.expect("a page");
    assert!(page.entries.iter().map(Entry::name).eq(keys.iter().map(String::as_str)));
    for key in &keys {
        let found = buckets.get(BUCKET, key).await.expect("a stored object exists");
        let size = found.object.size;
        let chunks: Vec<Bytes> = found.stream(0..size).try_collect().await.expect("it can be read");
        assert_eq!(chunks.concat(), key.as_bytes());
        assert!(buckets.delete(BUCKET, key, Condition::None).await.expect("it can be deleted"));
    }
    assert_eq!(entries(above), [folder]);
}

async fn put(buckets: &Buckets, key: &str) -> Result<(), Error> {
    let mut incoming = buckets.incoming(&[], PUT_BYTES_MAX);
    incoming.write(Bytes::copy_from_slice(key.as_bytes())).await?;
    let received = incoming.finish().await?;
    buckets.put((BUCKET, key), received, Head::default(), Condition::None).await.map(drop)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}
