//! The files: sled, and the fsync that sled leaves out.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use ::sled::{Batch, Config, Db, IVec};

use super::layout::{self, BOUND_KEY, Body, FORMAT, FORMAT_KEY, Tag, damaged};
use crate::queue::Error;

/// What sled may keep in memory of what it has written.
const CACHE_BYTES: u64 = 16 << 20;
/// sled puts what exceeds a quarter of this into files of their own, without any sync. A leaf has at most
/// twenty values (it splits beyond sixteen), so with values of 64 KiB none comes near.
const SLED_SEGMENT_BYTES: usize = 8 << 20;
/// A store that was closed a moment ago may still hold its lock.
const LOCK_TRIES: usize = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The store: changes go in whole, and are on the disk when [`Store::commit`] returns.
#[derive(Debug)]
pub(super) struct Store {
    tree: Db,
    log: File,
}

/// Changes that belong together.
#[derive(Debug, Default)]
pub(super) struct Writes {
    batch: Batch,
    count: usize,
}

impl Writes {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn put(&mut self, tag: Tag, number: u64, value: &impl serde::Serialize) {
        self.insert(&tag.key(number), &layout::encode(value));
    }

    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) {
        self.batch.insert(key, value);
        self.count += 1;
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        self.batch.remove(key);
        self.count += 1;
    }
}

impl Store {
    /// Opens the store of a directory, which is created if need be.
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        sync_before_open(directory).map_err(storage)?;
        let tree = open_tree(directory)?;
        // sled has written a snapshot that refers to the log; both must be there after a power cut.
        sync_all_of(directory).map_err(storage)?;
        let log = File::open(directory.join("db")).map_err(storage)?;
        let store = Self { tree, log };
        store.check_format()?;
        Ok(store)
    }

    fn check_format(&self) -> Result<(), Error> {
        match self.get(FORMAT_KEY)? {
            None if self.tree.is_empty() => {
                let mut writes = Writes::default();
                writes.insert(FORMAT_KEY, &FORMAT.to_le_bytes());
                self.commit(writes)
            }
            Some(format) if *format == FORMAT.to_le_bytes() => Ok(()),
            _ => Err(Error::Damaged("another version of the program wrote this queue".into())),
        }
    }

    /// Makes the changes, all or none, and waits until they are on the disk.
    pub(super) fn commit(&self, writes: Writes) -> Result<(), Error> {
        self.tree.apply_batch(writes.batch).map_err(storage)?;
        self.tree.flush().map_err(storage)?;
        // sled's flush ends in sync_file_range(2), which reaches neither the file's size nor the drive's cache.
        self.log.sync_data().map_err(storage)
    }

    pub(super) fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<IVec>, Error> {
        self.tree.get(key).map_err(storage)
    }

    /// Names and payloads of a segment, if it is still there.
    pub(super) fn body(&self, segment: u64) -> Result<Option<Body>, Error> {
        Ok(self.get(Tag::Body.key(segment))?.map(Body::from_stored))
    }

    /// Every value under a tag, by key.
    pub(super) fn scan(&self, tag: Tag) -> impl Iterator<Item = Result<(IVec, IVec), Error>> {
        self.tree.scan_prefix([tag.byte()]).map(|entry| entry.map_err(storage))
    }

    /// The number below which segments and sequences have been given out.
    pub(super) fn bound(&self) -> Result<u64, Error> {
        let Some(bound) = self.get(BOUND_KEY)? else { return Ok(1) };
        bound.as_ref().try_into().map(u64::from_le_bytes).map_err(|_| damaged())
    }
}

fn storage(error: impl Into<crate::queue::BoxError>) -> Error {
    Error::Storage(error.into())
}

fn open_tree(directory: &Path) -> Result<Db, Error> {
    let config = Config::new()
        .path(directory)
        .cache_capacity(CACHE_BYTES)
        .segment_size(SLED_SEGMENT_BYTES)
        .flush_every_ms(None);
    let mut tries = 0;
    loop {
        match config.clone().open() {
            Ok(tree) => return Ok(tree),
            Err(::sled::Error::Io(error)) if tries < LOCK_TRIES && is_lock(&error) => {
                tries += 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            Err(error @ ::sled::Error::Corruption { .. }) => return Err(Error::Damaged(error.into())),
            Err(error) => return Err(storage(error)),
        }
    }
}

fn is_lock(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.to_string().contains("could not acquire lock")
}

/// A process that was killed may have left writes that only the page cache knows; sled is about to build a
/// snapshot on them.
fn sync_before_open(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    match File::open(directory.join("db")) {
        Ok(log) => log.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Syncs the files of the directory, its entries, and its own entry.
fn sync_all_of(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(directory)?.sync_all()?;
    match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}
