//! Wraps sled, and adds the fsync calls that sled leaves out.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use ::sled::{Batch, Config, Db, Error as SledError, IVec};
use bytes::Bytes;

use super::batch::Change;
use super::chunks::{ChunkBytes, chunk_key};
use super::layout::{APPLIED_KEY, damaged};
use super::memtable::Memtable;
use crate::queue::Error;
use crate::runtime::compute::panic_text;
use crate::system::{disk, regular};

/// The size of sled's page cache.
const CACHE_BYTES: u64 = 16 << 20;
/// The size of sled's segments before values were stored in chunks.
const SEGMENT_BYTES_BEFORE: usize = 8 << 20;
/// A batch is a segment divided by this number, and a sync follows each batch. sled reuses a segment of its file once a
/// whole segment of other writes has followed the data that replaces its content. Syncs at intervals of less than a
/// segment ensure that the replacement is on the disk by then.
const BATCHES_A_SEGMENT: usize = 4;
/// The maximum number of attempts to open a store, since its lock may be held for a moment after it was closed.
const LOCK_TRIES: usize = 100;
/// The pause between two attempts.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// sled's tree. Each write waits until it is on the disk.
#[derive(Debug)]
pub(in crate::queue::sled) struct Tree {
    /// The open database. It is `None` only while this value is dropped.
    db: Option<Db>,
    log: File,
    batch_bytes: usize,
    chunk_bytes: ChunkBytes,
}

impl Tree {
    /// Opens the tree of a directory; creates it if it does not exist.
    pub(in crate::queue::sled) fn open(directory: &Path, segment_bytes: usize) -> Result<Self, Error> {
        all_are_files(directory).map_err(of_io)?;
        sync_before_open(directory).map_err(of_io)?;
        remove_unfinished_snapshots(directory).map_err(of_io)?;
        let (db, segment_bytes) = match open_db(directory, segment_bytes) {
            // An older store has segments of another size, which it keeps.
            Err(SledError::Unsupported(_)) => {
                (open_db(directory, SEGMENT_BYTES_BEFORE).map_err(of_sled)?, SEGMENT_BYTES_BEFORE)
            }
            opened => (opened.map_err(of_sled)?, segment_bytes),
        };
        // sled has written a snapshot that refers to its log, so both must survive a power cut.
        sync_all_of(directory).map_err(of_io)?;
        let log = File::open(directory.join(LOG)).map_err(of_io)?;
        let chunk_bytes = ChunkBytes::for_segments(segment_bytes);
        Ok(Self { db: Some(db), log, batch_bytes: segment_bytes / BATCHES_A_SEGMENT, chunk_bytes })
    }

    fn db(&self) -> &Db {
        self.db.as_ref().expect("present until this is dropped")
    }

    pub(in crate::queue::sled) fn get(&self, key: &[u8]) -> Result<Option<IVec>, Error> {
        let Some(first) = self.chunk(key, 0)? else { return Ok(None) };
        let value = self.chunk_bytes.join(first, |number| self.chunk(key, number))?;
        // The chunks may be those of a value that is just being removed.
        if value.is_none() && self.chunk(key, 0)?.is_some() {
            return Err(damaged());
        }
        Ok(value)
    }

    fn chunk(&self, key: &[u8], number: u32) -> Result<Option<IVec>, Error> {
        self.db().get(chunk_key(key, number)).map_err(of_sled)
    }

    pub(in crate::queue::sled) fn is_empty(&self) -> bool {
        self.db().is_empty()
    }

    /// Returns every value whose key has this prefix, by key.
    pub(in crate::queue::sled) fn scan(
        &self,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<(IVec, IVec), Error>> + use<> {
        let mut chunks = self.db().scan_prefix(prefix).map(|entry| entry.map_err(of_sled));
        let chunk_bytes = self.chunk_bytes;
        std::iter::from_fn(move || {
            let (key, first) = match chunks.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            let next = |number| {
                let chunk = chunks.next().transpose()?;
                Ok(chunk.filter(|(found, _)| *found == chunk_key(&key, number)).map(|(_, chunk)| chunk))
            };
            let value = chunk_bytes.join(first, next).and_then(|value| value.ok_or_else(damaged));
            Some(value.map(|value| (key, value)))
        })
    }

    /// Makes the changes of an epoch in several steps, and waits until they are on the disk. After an interruption all
    /// of them must be made again.
    pub(in crate::queue::sled) fn accept(&self, table: &Memtable, epoch: u64) -> Result<(), Error> {
        let (mut batch, mut bytes) = (Batch::default(), 0);
        for (key, change) in table.sorted() {
            if !matches!(change, Change::Put { fresh: true, .. }) {
                self.remove(key, &mut batch)?;
            }
            if let Change::Put { value, .. } = change {
                self.chunk_bytes.cut(key, value).for_each(|(key, chunk)| batch.insert(key, chunk));
            }
            bytes += key.len() + if let Change::Put { value, .. } = change { value.len() } else { 0 };
            if bytes > self.batch_bytes {
                self.commit(std::mem::take(&mut batch))?;
                bytes = 0;
            }
        }
        batch.insert(APPLIED_KEY, &epoch.to_le_bytes());
        self.commit(batch)
    }

    /// Writes every value into a new tree in another directory. `other` may return a replacement of a value.
    pub(in crate::queue::sled) fn copy_to(
        &self,
        directory: &Path,
        segment_bytes: usize,
        other: impl Fn(&[u8], &[u8]) -> Result<Option<Bytes>, Error>,
    ) -> Result<(), Error> {
        let copy = Self::open(directory, segment_bytes)?;
        let (mut batch, mut bytes) = (Batch::default(), 0);
        for entry in self.scan(&[]) {
            let (key, value) = entry?;
            let other = other(&key, &value)?;
            let value = other.as_deref().unwrap_or(&value);
            bytes += key.len() + value.len();
            copy.chunk_bytes.cut(&key, value).for_each(|(key, chunk)| batch.insert(key, chunk));
            if bytes > copy.batch_bytes {
                copy.commit(std::mem::take(&mut batch))?;
                bytes = 0;
            }
        }
        copy.commit(batch)
    }

    /// Removes every chunk of a value.
    fn remove(&self, key: &[u8], batch: &mut Batch) -> Result<(), Error> {
        for number in 0.. {
            let Some(chunk) = self.chunk(key, number)? else { break };
            batch.remove(chunk_key(key, number));
            if !self.chunk_bytes.is_followed(&chunk) {
                break;
            }
        }
        Ok(())
    }

    /// Makes a few changes atomically, and waits until they are on the disk.
    pub(in crate::queue::sled) fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.db().apply_batch(batch).map_err(of_sled)?;
        self.db().flush().map_err(of_sled)?;
        // sled's flush calls sync_file_range(2), which syncs neither the file's size nor the drive's cache.
        self.log.sync_data().map_err(storage)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let db = self.db.take();
        // sled writes and syncs its remaining data, and panics if the disk fails. Acknowledged changes are in the
        // commit log.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(db))) {
            tracing::warn!(
                "the queue's store was closed before all writes were on the disk: {}",
                panic_text(panic.as_ref())
            );
        }
    }
}

/// The name of sled's file.
pub(in crate::queue::sled) const LOG: &str = "db";

pub(in crate::queue::sled) fn storage(error: impl Into<crate::queue::BoxError>) -> Error {
    Error::Storage(error.into())
}

fn open_db(directory: &Path, segment_bytes: usize) -> ::sled::Result<Db> {
    let config = Config::new()
        .path(directory)
        .cache_capacity(CACHE_BYTES)
        .segment_size(segment_bytes)
        .flush_every_ms(None);
    let mut attempts = 0;
    loop {
        match config.clone().open() {
            Err(SledError::Io(error)) if attempts < LOCK_TRIES && is_lock(&error) => {
                attempts += 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            opened => return opened,
        }
    }
}

/// Converts an error of sled: an I/O error of the system, or corruption that sled has detected.
fn of_sled(error: SledError) -> Error {
    match error {
        SledError::Io(error) => of_io(error),
        error => Error::Damaged(error.into()),
    }
}

/// Converts an I/O error. An error that would recur, such as a file in place of a directory, counts as damage.
pub(in crate::queue::sled) fn of_io(error: io::Error) -> Error {
    match error.kind() {
        _ if regular::is_no_file(&error) => Error::Damaged(error.into()),
        io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::InvalidData
        | io::ErrorKind::UnexpectedEof => Error::Damaged(error.into()),
        _ => storage(error),
    }
}

fn is_lock(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.to_string().contains("could not acquire lock")
}

/// Checks that all files are regular, except one directory, because opening other kinds could block sled.
fn all_are_files(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { all_are_files(&path)? } else { regular::check(&path)? }
    }
    Ok(())
}

/// Syncs the files before sled makes a snapshot that relies on them: writes of a killed process may be in the page
/// cache only.
fn sync_before_open(directory: &Path) -> io::Result<()> {
    match regular::open(&directory.join(LOG)) {
        Ok(log) => log.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes snapshots that were not completed because of a full disk or a kill: sled would treat them as damage. The
/// previous snapshot is still there, since sled removes it only after the next is complete.
fn remove_unfinished_snapshots(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Asks the system to drop the cached pages of the files: after a failed write they may differ from the disk.
pub(in crate::queue::sled) fn forget_cached(directory: &Path) {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    files.for_each(|entry| disk::forget_cached(&entry.path()));
}

/// Syncs the files of the directory, its entries, and its own entry.
pub(in crate::queue::sled) fn sync_all_of(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(directory)?.sync_all()?;
    match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}
