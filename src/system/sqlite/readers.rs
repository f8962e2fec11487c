//! Readers: a fixed number of connections, opened at the start.
//!
//! `SQLite` cannot close a file while another connection of the process holds a lock on it. With a connection for each
//! request, the number of open files would grow without limit, so requests wait for one of the readers.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{Error, connect};
use crate::system::{open_files, threads};

/// The minimum and the maximum number of readers of a database.
const COUNT: (usize, usize) = (4, 16);
/// The limit on open files below which a database has the minimum number of readers.
const FILES_FEW: u64 = 512;
/// The maximum time that a read waits for a reader.
pub(super) const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the number of readers of a database: two for each core, or fewer if the limit on open files is
/// low.
pub(super) fn count() -> usize {
    if open_files::max() < FILES_FEW { COUNT.0 } else { (2 * threads::cores()).clamp(COUNT.0, COUNT.1) }
}

/// The readers.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    /// The number of times that the readers were reopened.
    renewals: AtomicU64,
    turns: Arc<Semaphore>,
    turn_timeout: Duration,
}

impl Readers {
    /// Opens `count` readers and all their files. A read waits up to `turn_timeout` for one of them.
    pub(super) fn open(path: &Path, count: usize, turn_timeout: Duration) -> Result<Arc<Self>, Error> {
        let readers: Result<Vec<Connection>, Error> = (0..count).map(|_| reader(path)).collect();
        let (idle, turns) = (Mutex::new(readers?), Arc::new(Semaphore::new(count)));
        Ok(Arc::new(Self { path: path.to_owned(), idle, renewals: AtomicU64::new(0), turns, turn_timeout }))
    }

    /// Reopens idle readers at once, and all other readers once they are idle.
    pub(super) fn renew(&self) {
        self.renewals.fetch_add(1, Ordering::AcqRel);
        self.idle.lock().iter_mut().for_each(|connection| renew(connection, &self.path));
    }

    /// Closes idle readers at once, and all other readers once they are idle.
    pub(super) fn close(&self) {
        self.turns.close();
        self.idle.lock().clear();
    }

    /// Waits for a reader.
    ///
    /// # Errors
    /// [`Error::Busy`], if none becomes idle in time.
    pub(super) async fn wait(self: &Arc<Self>) -> Result<Reader, Error> {
        let turn = timeout(self.turn_timeout, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| Error::Busy)?.map_err(|_| Error::Busy)?;
        self.lend(turn)
    }

    /// Takes a reader that is idle now.
    ///
    /// # Errors
    /// [`Error::Busy`], if no reader is idle.
    pub(super) fn take(self: &Arc<Self>) -> Result<Reader, Error> {
        let turn = Arc::clone(&self.turns).try_acquire_owned().map_err(|_| Error::Busy)?;
        self.lend(turn)
    }

    fn lend(self: &Arc<Self>, turn: OwnedSemaphorePermit) -> Result<Reader, Error> {
        let renewals = self.renewals.load(Ordering::Acquire);
        let connection = self.idle.lock().pop();
        let connection = Some(connection.ok_or(Error::Busy)?);
        Ok(Reader { connection, renewals, home: Arc::clone(self), _turn: turn })
    }
}

/// Opens a reader. Makes a first read, which opens the log of the database.
fn reader(path: &Path) -> Result<Connection, Error> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// Reopens a reader. A reader that cannot be reopened is kept: it may work again.
fn renew(connection: &mut Connection, path: &Path) {
    if let Ok(renewed) = reader(path) {
        *connection = renewed;
    }
}

/// A reader in use, until this is dropped.
#[derive(Debug)]
pub(super) struct Reader {
    connection: Option<Connection>,
    /// The number of renewals when the reader was taken.
    renewals: u64,
    home: Arc<Readers>,
    /// The reader; `None` once it has been returned.
    _turn: OwnedSemaphorePermit,
}

impl Deref for Reader {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("a reader has its connection until it is dropped")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection
            && self.renewals != self.home.renewals.load(Ordering::Acquire)
        {
            renew(connection, &self.home.path);
        }
        let mut idle = self.home.idle.lock();
        idle.extend(self.connection.take());
        if self.home.turns.is_closed() {
            idle.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_waits_for_a_reader_and_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        drop(super::super::Database::open(&path, "a", &["CREATE TABLE a (a TEXT) STRICT;"]).unwrap());
        let readers = Readers::open(&path, 2, Duration::from_millis(50)).unwrap();
        let (first, _second) = (readers.wait().await.unwrap(), readers.take().unwrap());
        assert!(matches!(readers.take(), Err(Error::Busy)));
        assert!(matches!(readers.wait().await, Err(Error::Busy)));
        let (third, ()) = tokio::join!(readers.wait(), async { drop(first) });
        let tables: i64 =
            third.unwrap().query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 1);
    }
}
