//! The store: a commit log in front of sled.
//!
//! A commit is appended to the [`Journal`] with one fdatasync, and applied to a memtable. When the journal's file is
//! full, another thread writes the memtable into sled while the next file and the next memtable are filled. A job
//! that is finished before that is never written to sled, which saves most of the work as long as workers keep up.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use ::sled::{Batch, IVec};
use bytes::Bytes;

use super::super::settings::Settings;
use super::batch::{Change, WriteBatch};
use super::create;
use super::journal::{Journal, NAMES};
use super::layout::{
    self, APPLIED_KEY, BOUND_KEY, Body, FORMAT, FORMAT_KEY, FORMAT_WITHOUT_JOURNAL, Marks, Tag, damaged,
};
use super::memtable::Memtable;
use super::residue;
use super::succession;
use super::tree::{LOG, Tree, of_io, storage};
use crate::queue::Error;
use crate::runtime::compute::panic_text;
use crate::system::place::{self, Place};

/// The store. A commit is atomic, and on the disk when [`Store::commit`] returns.
#[derive(Debug)]
pub(in crate::queue::sled) struct Store {
    tree: Arc<Tree>,
    /// The store's files as they were when they were opened.
    places: [Place; 3],
    tables: Arc<Mutex<Tables>>,
    log: Mutex<Log>,
    /// Makes the next commit fail: before it is written, or after.
    #[cfg(test)]
    pub(in crate::queue::sled) failing: Mutex<Option<Failing>>,
}

/// The point at which a test makes a commit fail.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::queue::sled) enum Failing {
    Before,
    After,
}

/// The commits that sled does not have yet.
#[derive(Debug, Default)]
struct Tables {
    active: Memtable,
    /// The memtable that is being written into sled.
    frozen: Option<Arc<Memtable>>,
}

#[derive(Debug)]
struct Log {
    journal: Journal,
    checkpoint: Option<JoinHandle<Result<(), Error>>>,
}

impl Store {
    /// Opens the store of a directory; creates it if it does not exist.
    pub(in crate::queue::sled) fn open(directory: &Path, settings: &Settings) -> Result<Self, Error> {
        // Files that do not belong to the store are ignored.
        succession::settle(directory).map_err(storage)?;
        let new = create::begin(directory, settings.expected)?;
        let tree = Tree::open(directory, settings.segment_bytes)?;
        let incomplete = lacks_journal(&tree, new)?;
        let mut journal = Journal::open(directory, settings.journal_bytes, incomplete)?;
        if incomplete {
            write_format(&tree)?;
        }
        let epoch = recover(&tree, &journal)?;
        journal.begin(epoch + 1).map_err(storage)?;
        if new {
            create::finish(directory)?;
        }
        let [log, first, second] =
            [LOG, NAMES[0], NAMES[1]].map(|name| Place::of(&directory.join(name)).map_err(of_io));
        let places = [log?, first?, second?];
        let log = Mutex::new(Log { journal, checkpoint: None });
        Ok(Self {
            tree: Arc::new(tree),
            places,
            tables: Arc::default(),
            log,
            #[cfg(test)]
            failing: Mutex::default(),
        })
    }

    /// Checks that the files of the store are still the files that were opened.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a file was removed or replaced; [`Error::Storage`] if that cannot be determined.
    pub(in crate::queue::sled) fn in_place(&self) -> Result<(), Error> {
        place::check_all(&self.places).map_err(|error| {
            if place::is_displaced(&error) { Error::Damaged(error.into()) } else { storage(error) }
        })
    }

    /// Makes the changes atomically, and waits until they are on the disk.
    pub(in crate::queue::sled) fn commit(&self, writes: WriteBatch) -> Result<(), Error> {
        let mut log = self.log();
        if log.checkpoint.as_ref().is_some_and(JoinHandle::is_finished) {
            log.join()?;
        }
        if log.journal.is_full_for(&writes) {
            self.rotate(&mut log)?;
        }
        #[cfg(test)]
        let failing = self.failing.lock().expect("no test panics with it").take();
        #[cfg(test)]
        if failing == Some(Failing::Before) {
            return Err(Error::Storage("no space left".into()));
        }
        log.journal.append(&writes).map_err(storage)?;
        #[cfg(test)]
        if failing == Some(Failing::After) {
            return Err(Error::Storage("the drive is gone".into()));
        }
        tables(&self.tables).active.apply(writes);
        Ok(())
    }

    /// Switches to the journal's other file, once sled has the commits of that file. Starts a thread that writes the
    /// commits of the present file into sled.
    fn rotate(&self, log: &mut Log) -> Result<(), Error> {
        log.join()?;
        let epoch = log.journal.epoch();
        let frozen = {
            let mut tables = tables(&self.tables);
            let frozen = Arc::new(std::mem::take(&mut tables.active));
            tables.frozen = Some(Arc::clone(&frozen));
            frozen
        };
        let (tree, theirs) = (Arc::clone(&self.tree), Arc::clone(&self.tables));
        let checkpoint = std::thread::Builder::new().name("queue-checkpoint".to_owned());
        let checkpoint = checkpoint.spawn(move || {
            tree.accept(&frozen, epoch)?;
            tables(&theirs).frozen = None;
            Ok(())
        });
        log.checkpoint = Some(checkpoint.map_err(storage)?);
        log.journal.begin(epoch + 1).map_err(storage)
    }

    /// Writes all values into a new store in another directory, without any data of removed jobs.
    pub(in crate::queue::sled) fn copy_to(&self, directory: &Path, settings: &Settings) -> Result<(), Error> {
        let mut log = self.log();
        self.rotate(&mut log)?;
        log.join()?;
        let strip = |key: &[u8], value: &[u8]| residue::without(key, value, self.marks_of(key)?.as_ref());
        self.tree.copy_to(directory, settings.segment_bytes, strip)?;
        // Begins an epoch in each file of the journal, so that both are valid.
        let mut journal = Journal::open(directory, settings.journal_bytes, true)?;
        let epoch = log.journal.epoch();
        journal.begin(epoch - 1).and_then(|()| journal.begin(epoch)).map_err(storage)
    }

    /// Returns the marks of the segment that a value belongs to, if there are any. sled must have all commits.
    fn marks_of(&self, key: &[u8]) -> Result<Option<Marks>, Error> {
        if ![Tag::Head, Tag::Body].map(Tag::byte).contains(&key[0]) {
            return Ok(None);
        }
        let marks = self.tree.get(&Tag::Marks.key(layout::number(key)?))?;
        marks.map(|marks| layout::decode(&marks)).transpose()
    }

    /// Writes all commits into sled. Nothing may be committed afterwards.
    pub(in crate::queue::sled) fn close(&self) -> Result<(), Error> {
        let mut log = self.log();
        log.join()?;
        if log.journal.is_empty() {
            return Ok(());
        }
        let table = std::mem::take(&mut tables(&self.tables).active);
        self.tree.accept(&table, log.journal.epoch())
    }

    pub(in crate::queue::sled) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let known = {
            let tables = tables(&self.tables);
            tables.active.get(key).or_else(|| tables.frozen.as_ref()?.get(key)).cloned()
        };
        match known {
            Some(Change::Put { value, .. }) => Ok(Some(value)),
            Some(Change::Remove) => Ok(None),
            None => Ok(self.tree.get(key)?.map(Bytes::from_owner)),
        }
    }

    /// Returns the names and payloads of a segment, if it still exists.
    pub(in crate::queue::sled) fn body(&self, segment: u64) -> Result<Option<Body>, Error> {
        Ok(self.get(&Tag::Body.key(segment))?.map(Body::from_stored))
    }

    /// Returns every value that sled has under a tag, by key. Complete only right after the store is opened.
    pub(in crate::queue::sled) fn scan(&self, tag: Tag) -> impl Iterator<Item = Result<(IVec, IVec), Error>> {
        self.tree.scan(&[tag.byte()])
    }

    /// Returns the exclusive upper bound of the numbers that segments and dead letters may have.
    pub(in crate::queue::sled) fn bound(&self) -> Result<u64, Error> {
        Ok(number(&self.tree, BOUND_KEY)?.unwrap_or(1))
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("no caller panics with the log")
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The thread uses sled, which must not outlive the store. Its errors were reported before.
        let _ = self.log().join();
    }
}

impl Log {
    /// Waits until sled has the frozen memtable.
    fn join(&mut self) -> Result<(), Error> {
        let Some(checkpoint) = self.checkpoint.take() else { return Ok(()) };
        checkpoint.join().unwrap_or_else(|panic| Err(Error::Storage(panic_text(panic.as_ref()).into())))
    }
}

fn tables(tables: &Mutex<Tables>) -> MutexGuard<'_, Tables> {
    tables.lock().expect("no caller panics with the tables")
}

/// Returns true if the commit log must be created and the format written.
fn lacks_journal(tree: &Tree, new: bool) -> Result<bool, Error> {
    match tree.get(FORMAT_KEY)? {
        None if new && tree.is_empty() => Ok(true),
        None => Err(Error::damaged("it does not hold what a queue holds")),
        Some(format) if *format == FORMAT.to_le_bytes() => Ok(false),
        Some(format) if *format == FORMAT_WITHOUT_JOURNAL.to_le_bytes() => Ok(true),
        Some(_) => Err(storage("another version of the program wrote it")),
    }
}

fn write_format(tree: &Tree) -> Result<(), Error> {
    let mut batch = Batch::default();
    batch.insert(FORMAT_KEY, &FORMAT.to_le_bytes());
    tree.commit(batch)
}

/// Writes the commits into sled that only the commit log has; returns the last epoch.
fn recover(tree: &Tree, journal: &Journal) -> Result<u64, Error> {
    let applied = number(tree, APPLIED_KEY)?.unwrap_or(0);
    let mut last = applied;
    let mut table = Memtable::default();
    for epoch in journal.epochs_after(applied)? {
        last = epoch.number;
        epoch.commits.into_iter().for_each(|writes| table.apply(writes));
    }
    if last > applied {
        tree.accept(&table, last)?;
    }
    Ok(last)
}

fn number(tree: &Tree, key: &[u8]) -> Result<Option<u64>, Error> {
    let Some(stored) = tree.get(key)? else { return Ok(None) };
    stored.as_ref().try_into().map(|bytes| Some(u64::from_le_bytes(bytes))).map_err(|_| damaged())
}
