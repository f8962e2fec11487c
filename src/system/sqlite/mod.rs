//! One `SQLite` file in WAL mode, `synchronous=FULL`, with one thread that writes.
//!
//! The thread makes all waiting changes in one transaction, each in a separate savepoint, so that they share a sync of
//! the disk. A transaction of changes that may wait is synced with the next one. A fixed number of other connections
//! read, and see the latest commit.

pub mod copy;
mod files;
mod owner;
mod readers;
pub mod snapshot;
mod writer;

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::identity::Identity;
use files::Files;
pub use files::log_of;
use owner::Ledger;
pub use owner::{Losses, Owner, Standing, identity_of, version_of};
use readers::Readers;
pub use writer::Change;
use writer::Writer;

use super::file_size;
use crate::runtime::outage::OutageTimer;

/// The maximum time that a statement waits for a lock of another connection.
const BUSY: Duration = Duration::from_secs(10);
/// The number of pages at which the log is merged into the file.
const LOG_PAGES: u32 = 4_000;

/// SQLite's VFS for a file that only one process uses: the index of the log is in memory, which the connections of this
/// process share. With another VFS the index would be a mapped file, `*-shm`, and truncating that file would kill the
/// process.
const ONE_PROCESS: &CStr = c"unix-excl";

/// An error of the database file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A newer version of this program wrote it.
    #[error(
        "its schema has version {found}, and this program knows versions up to {known}; use a newer entityd"
    )]
    TooNew {
        /// The version found.
        found: u32,
        /// The newest version known.
        known: u32,
    },
    /// The database belongs to another data directory.
    #[error(
        "it belongs to the data directory with the identity {found}, and this one has {expected}; \
         restore all files of a data directory from the same backup"
    )]
    Foreign {
        /// The identity in the database.
        found: Identity,
        /// The identity of this data directory.
        expected: Identity,
    },
    /// A mark of the database belongs to another data directory.
    #[error(
        "{} belongs to the data directory with the identity {found}, and this one has {expected}; \
         restore all files of a data directory from the same backup",
        path.display()
    )]
    ForeignMark {
        /// The path of the mark.
        path: PathBuf,
        /// The identity in the mark.
        found: Identity,
        /// The identity of this data directory.
        expected: Identity,
    },
    /// The database, or its latest commits, are missing.
    #[error(
        "{}; restore it with its -wal, or restore the whole data directory from one backup, or start once with --accept-loss {file}:{written} to continue without the lost commits; objects that it does not name are kept",
        lost(*found, *written)
    )]
    Lost {
        /// The name of the database file.
        file: String,
        /// The latest commit in the database; `None` if it is missing or empty.
        found: Option<u64>,
        /// The latest commit that was made to the database; 0 if it is unknown.
        written: u64,
    },
    /// The stored data is invalid. A retry does not help.
    #[error("it is damaged: {0}; restore it from a backup")]
    Damaged(String),
    /// The disk is full. Try again when there is space.
    #[error("there is no space left")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// All readers are in use. Try again after a pause.
    #[error("all its readers are in use")]
    Busy,
    /// The file is unavailable. Try again after a pause.
    #[error("it is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn lost(found: Option<u64>, written: u64) -> String {
    match (found, written) {
        (None, 0) => "it is missing or empty, and was there before".to_owned(),
        (None, _) => format!("it is missing or empty, and {written} commits were made to it"),
        (Some(found), _) => format!(
            "it has {found} of the {written} commits that were made to it: \
             its -wal is missing, cut or damaged, or it is an older copy"
        ),
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Self::Damaged(error.to_string())
            }
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full(Box::new(error)),
            Some(rusqlite::ErrorCode::SystemIoFailure) if is_beyond_limit(&error) => {
                Self::Full(Box::new(error))
            }
            _ => Self::Unavailable(Box::new(error)),
        }
    }
}

impl Error {
    /// Returns a copy of the error, since several callers may get it.
    fn again(&self) -> Self {
        match self {
            Self::TooNew { found, known } => Self::TooNew { found: *found, known: *known },
            Self::Damaged(what) => Self::Damaged(what.clone()),
            Self::Foreign { found, expected } => Self::Foreign { found: *found, expected: *expected },
            Self::ForeignMark { path, found, expected } => {
                Self::ForeignMark { path: path.clone(), found: *found, expected: *expected }
            }
            Self::Lost { file, found, written } => {
                Self::Lost { file: file.clone(), found: *found, written: *written }
            }
            Self::Busy => Self::Busy,
            Self::Full(cause) => Self::Full(cause.to_string().into()),
            Self::Unavailable(cause) => Self::Unavailable(cause.to_string().into()),
        }
    }
}

/// A file and the thread that writes it. Cheap to clone; the thread ends with the last clone.
#[derive(Clone, Debug)]
pub struct Database(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    writer: Writer,
    shared: Arc<Shared>,
}

/// The state that the writing thread shares with the readers.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    readers: Arc<Readers>,
    /// The file and its log, as they were when they were opened.
    files: Files,
    /// Measures how long writes have been failing.
    outage: OutageTimer,
    /// The completeness of the file at the time of opening.
    standing: Standing,
    /// The count of commits, if the file has an owner.
    ledger: Option<Ledger>,
}

impl Database {
    /// Opens the file at `path`, creates it if it does not exist, and runs the `migrations` that it lacks. Its version
    /// is the number of migrations. `thread` is the name of the writing thread.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(path: &Path, thread: &str, migrations: &[&str]) -> Result<Self, Error> {
        let mut connection = connect_writer(path, OpenFlags::SQLITE_OPEN_CREATE)?;
        migrate(&mut connection, path, migrations)?;
        Self::start(path, thread, connection, None, Standing::Complete)
    }

    /// Opens the file like [`Self::open`], if it has every commit that was made to it, and no owner other than `owner`,
    /// who becomes its owner. If commits are lost and the operator accepts that, first executes `amends`, which keeps
    /// later commits from reusing numbers of lost ones.
    ///
    /// # Errors
    /// [`Error`]. After [`Error::Foreign`], [`Error::ForeignMark`] and [`Error::Lost`] nothing is changed.
    pub fn open_owned(
        path: &Path,
        thread: &str,
        migrations: &[&str],
        owner: &Owner,
        amends: &str,
    ) -> Result<Self, Error> {
        let admitted = owner.admit(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut connection = connect(path, flags)?;
        // Closing a rejected database must not change its log, which may be needed for a repair.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let standing = owner.check(&connection, path, admitted)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        make_durable(&connection)?;
        migrate(&mut connection, path, migrations)?;
        if standing == Standing::Lossy {
            connection.execute_batch(amends)?;
        }
        let ledger = owner.take(&connection, path, admitted.0)?;
        Self::start(path, thread, connection, Some(ledger), standing)
    }

    fn start(
        path: &Path,
        thread: &str,
        connection: Connection,
        ledger: Option<Ledger>,
        standing: Standing,
    ) -> Result<Self, Error> {
        let readers = Readers::open(path, readers::count(), readers::TURN_TIMEOUT)?;
        let (files, outage) =
            (Files::of(path).map_err(|error| Error::Unavailable(error.into()))?, OutageTimer::default());
        let shared = Arc::new(Shared { path: path.to_owned(), readers, files, outage, standing, ledger });
        let writer = Writer::start(connection, Arc::clone(&shared), thread);
        let writer = writer.map_err(|error| Error::Unavailable(Box::new(error)))?;
        Ok(Self(Arc::new(Inner { writer, shared })))
    }

    /// Returns the completeness of the file at the time of opening.
    pub fn standing(&self) -> Standing {
        self.0.shared.standing
    }

    /// Runs `query` on this thread, with an idle reader. For the start, when there are no other reads.
    ///
    /// # Errors
    /// The errors of `query`; [`Error::Busy`].
    pub fn query<T, E: From<Error>>(&self, query: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        query(&*self.0.shared.readers.take()?)
    }

    /// Runs `query` with a reader on a blocking thread. Waits up to a few seconds for a reader, without occupying a
    /// thread.
    ///
    /// # Errors
    /// The errors of `query`; [`Error::Busy`] if no reader became idle.
    pub async fn read<T, E>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let reader = self.0.shared.readers.wait().await?;
        let task = tokio::task::spawn_blocking(move || query(&reader));
        task.await.map_err(|error| Error::Unavailable(Box::new(error)))?
    }

    /// Makes a change, which is on the disk when this returns. If it fails, only this change is undone. Dropping the
    /// future does not stop the change.
    ///
    /// # Errors
    /// The errors of `change`, or the reason why it was not committed.
    pub async fn write<T, E>(
        &self,
        change: impl FnOnce(&Change<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.0.writer.change(false, change).await
    }

    /// Makes a change like [`write`](Self::write), but may return before the change is on the disk. Later changes made by
    /// `write` are on the disk only together with this one. A power cut before them undoes it.
    ///
    /// # Errors
    /// The errors of `change`, or the reason why it was not committed.
    pub async fn write_unsynced<T, E>(
        &self,
        change: impl FnOnce(&Change<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.0.writer.change(true, change).await
    }

    /// Checks that changes are accepted: that the file is still the one that was opened, and, if the last change could
    /// not be written, that an empty change can.
    ///
    /// # Errors
    /// The reason why changes are rejected.
    pub async fn check(&self) -> Result<(), Error> {
        let shared = Arc::clone(&self.0.shared);
        let looked = tokio::task::spawn_blocking(move || shared.files.check()).await;
        let is_displaced = looked.map_err(|error| Error::Unavailable(Box::new(error)))?.is_err();
        if is_displaced || self.0.shared.outage.is_failing() {
            self.write(writer::touch).await
        } else {
            Ok(())
        }
    }

    /// Closes the file: merges its log into it and removes the log, unless a read is in progress. Later reads and
    /// changes fail.
    ///
    /// # Errors
    /// [`Error`]. After an error the log still exists, and is read at the next start.
    pub async fn close(&self) -> Result<(), Error> {
        self.0.shared.readers.close();
        self.0.writer.close().await
    }

    /// Compacts the file if it has changed, so that neither the file nor its log contains deleted data, and updates the
    /// planner's statistics. Changes wait until it is done. A failure is only logged.
    ///
    /// # Errors
    /// [`Error::Unavailable`], if nothing can be written at all.
    pub async fn compact(&self) -> Result<(), Error> {
        self.0.writer.compact().await
    }
}

/// Returns true if a write failed at the limit on file sizes, which `SQLite` does not distinguish from a failing disk.
fn is_beyond_limit(error: &rusqlite::Error) -> bool {
    let failed = error.sqlite_error().map(|error| error.extended_code);
    failed == Some(rusqlite::ffi::SQLITE_IOERR_WRITE) && file_size::max().is_some()
}

/// Returns the maximum number of concurrent reads of a database.
pub fn readers() -> usize {
    readers::count()
}

/// Returns the maximum number of open files that a database needs: the file and its log for each connection, and the
/// index of the log.
pub fn files() -> usize {
    2 * (readers() + 1) + 1
}

fn connect_writer(path: &Path, flags: OpenFlags) -> Result<Connection, Error> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | flags)?;
    make_durable(&connection)?;
    Ok(connection)
}

/// Makes commits survive a power cut.
fn make_durable(connection: &Connection) -> Result<(), Error> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    make_synced(connection)?;
    Ok(connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?)
}

/// Makes each commit wait until it is on the disk.
fn make_synced(connection: &Connection) -> Result<(), Error> {
    Ok(connection.pragma_update(None, "synchronous", "full")?)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, Error> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags_and_vfs(path, flags, ONE_PROCESS)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "secure_delete", true)?;
    // Statement journals must not be in a temporary directory, which may be missing or belong to other users.
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Runs the migrations that the database lacks, all in one transaction: after a failure the older version of this
/// program can still open the file. First makes a snapshot of the old version.
fn migrate(connection: &mut Connection, path: &Path, migrations: &[&str]) -> Result<(), Error> {
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = migrations.len() as u32;
    if found > known {
        return Err(Error::TooNew { found, known });
    }
    if found == known {
        return Ok(());
    }
    let snapshot = (found > 0).then(|| snapshot::take(connection, path, found)).transpose();
    let snapshot = snapshot.map_err(|fault| match fault {
        snapshot::Fault::Database(error) => Error::from(error),
        snapshot::Fault::File(error) => Error::Unavailable(error.into()),
    })?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for migration in &migrations[found as usize..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    if let Some(snapshot) = snapshot {
        tracing::info!(
            from = found,
            to = known,
            "{} was brought up to date; {} is the database as it was: remove it once the older version is not needed",
            path.display(),
            snapshot.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    const SCHEMA: &[&str] = &["CREATE TABLE words (word TEXT PRIMARY KEY) STRICT;"];

    fn open() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("words.db"), "words", SCHEMA).unwrap();
        (folder, database)
    }

    async fn add(database: &Database, word: &'static str) -> Result<usize, Error> {
        let insert = move |change: &Change<'_>| Ok(change.execute("INSERT INTO words VALUES (?1)", [word])?);
        database.write(insert).await
    }

    async fn count(database: &Database) -> i64 {
        let count = |reader: &Connection| {
            Ok::<_, Error>(reader.query_row("SELECT count(*) FROM words", [], |r| r.get(0))?)
        };
        database.read(count).await.unwrap()
    }

    #[tokio::test]
    async fn a_change_that_fails_is_undone_alone() {
        let (_folder, database) = open();
        let changes = [add(&database, "one"), add(&database, "one"), add(&database, "two")];
        let done = futures::future::join_all(changes).await;
        assert_eq!(done.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(count(&database).await, 2);
    }

    #[tokio::test]
    async fn a_file_that_was_closed_is_whole_without_its_log() {
        let (folder, database) = open();
        add(&database, "one").await.unwrap();
        count(&database).await;
        database.close().await.unwrap();
        let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), ["words.db"]);
        assert!(add(&database, "two").await.is_err());
        let again = Database::open(&folder.path().join("words.db"), "words", SCHEMA).unwrap();
        assert_eq!(count(&again).await, 1);
    }

    #[tokio::test]
    async fn a_callback_runs_after_the_commit_of_its_change() {
        let (_folder, database) = open();
        let (tell, mut told) = mpsc::unbounded_channel();
        let fails = tell.clone();
        let refused: Result<(), Error> = database
            .write(move |change| {
                change.after(move || assert!(fails.send("refused").is_ok()));
                Err(Error::Damaged("no".into()))
            })
            .await;
        assert!(refused.is_err());
        database
            .write(move |change| {
                change.execute("INSERT INTO words VALUES ('x')", [])?;
                change.after(move || assert!(tell.send("done").is_ok()));
                Ok::<_, Error>(())
            })
            .await
            .unwrap();
        assert_eq!(told.recv().await, Some("done"));
    }

    #[tokio::test]
    async fn erased_bytes_are_in_no_file() {
        let (folder, database) = open();
        add(&database, "a-long-secret-word").await.unwrap();
        let found = || {
            let files =
                ["words.db", "words.db-wal"].map(|name| std::fs::read(folder.path().join(name)).unwrap());
            files.iter().any(|file| file.windows(18).any(|bytes| bytes == b"a-long-secret-word"))
        };
        assert!(found());
        let erase = |change: &Change<'_>| {
            change.erases();
            Ok::<_, Error>(change.execute("DELETE FROM words", [])?)
        };
        database.write(erase).await.unwrap();
        assert!(!found());
    }

    #[tokio::test]
    async fn compacting_works_beside_the_file_and_leaves_nothing_there() {
        let (folder, database) = open();
        let fill = |change: &Change<'_>| {
            let words = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
                         INSERT INTO words SELECT printf('%0999d', i) FROM n";
            change.execute(words, [])?;
            Ok::<_, Error>(change.execute("DELETE FROM words", [])?)
        };
        database.write(fill).await.unwrap();
        let size = || std::fs::metadata(folder.path().join("words.db")).unwrap().len();
        add(&database, "one").await.unwrap();
        database.compact().await.unwrap();
        assert!(size() < 1 << 20, "{}", size());
        let temporary =
            database.query(|reader| Ok::<_, Error>(writer::folder_of(reader).map(str::to_owned))).unwrap();
        assert_eq!(temporary.as_deref().map(Path::new), Some(folder.path()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "the file and its log");
    }

    #[tokio::test]
    async fn rows_that_moved_before_they_were_deleted_are_gone_after_compaction() {
        let (folder, database) = open();
        let entropy = crate::runtime::entropy::Entropy::seeded(1);
        let words: Vec<String> = (0..1_000).map(|_| hex::encode(entropy.bytes::<200>())).collect();
        let gone = words[..900].to_vec();
        let remove = gone.clone();
        let fill = move |change: &Change<'_>| {
            for word in words {
                change.execute("INSERT INTO words VALUES (?1)", [word])?;
            }
            for word in remove {
                change.execute("DELETE FROM words WHERE word = ?1", [word])?;
            }
            Ok::<_, Error>(())
        };
        database.write(fill).await.unwrap();
        database.compact().await.unwrap();
        let files = ["words.db", "words.db-wal"].map(|name| std::fs::read(folder.path().join(name)).unwrap());
        for word in gone {
            let found =
                files.iter().any(|file| file.windows(word.len()).any(|bytes| bytes == word.as_bytes()));
            assert!(!found, "{word}");
        }
        assert_eq!(count(&database).await, 100);
    }

    #[test]
    fn a_failed_migration_leaves_the_older_schema() {
        let (folder, database) = open();
        drop(database);
        let path = folder.path().join("words.db");
        let next = [SCHEMA[0], "CREATE TABLE numbers (number INTEGER) STRICT;", "no SQL"];
        assert!(Database::open(&path, "words", &next).is_err());
        let tables = |connection: &Connection| -> u32 {
            connection
                .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'numbers'", [], |row| row.get(0))
                .unwrap()
        };
        assert_eq!(tables(&Connection::open(&path).unwrap()), 0);
        drop(Database::open(&path, "words", SCHEMA).unwrap());
        drop(Database::open(&path, "words", &next[..2]).unwrap());
        assert_eq!(tables(&Connection::open(&path).unwrap()), 1);
        let snapshots = snapshot::all(&path).unwrap();
        assert_eq!(snapshots, [folder.path().join("words.db.version-1")]);
        assert_eq!(tables(&Connection::open(&snapshots[0]).unwrap()), 0);
        drop(Database::open(&snapshots[0], "words", SCHEMA).unwrap());
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let (folder, database) = open();
        drop(database);
        let path = folder.path().join("words.db");
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 9).unwrap();
        assert!(matches!(Database::open(&path, "words", SCHEMA), Err(Error::TooNew { found: 9, known: 1 })));
    }
}
