//! The thread that makes all changes of a database.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::owner::Ledger;
use super::{BUSY, Error, Shared, connect_writer, make_synced};
use crate::system::disk;

/// The maximum wait for current reads when the log is emptied.
const READERS_MAX: Duration = Duration::from_millis(50);
/// The maximum number of changes in one transaction.
const SHARED_MAX: usize = 128;

/// A handle on the writing thread, which ends once the handle is dropped and its work is done.
#[derive(Debug)]
pub(super) struct Writer(mpsc::UnboundedSender<Box<dyn Request>>);

impl Writer {
    pub(super) fn start(connection: Connection, shared: Arc<Shared>, name: &str) -> io::Result<Self> {
        let (requests, queue) = mpsc::unbounded_channel();
        thread::Builder::new().name(name.to_owned()).spawn(move || serve(connection, &shared, queue))?;
        Ok(Self(requests))
    }

    /// Makes a change. If `waits`, it may reach the disk as late as the next change that does not wait.
    pub(super) async fn change<T, E>(
        &self,
        waits: bool,
        change: impl FnOnce(&Change<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.ask(|answer| Wanted { waits, change: Some(change), outcome: None, after: Vec::new(), answer })
            .await
    }

    pub(super) async fn compact(&self) -> Result<(), Error> {
        self.ask(|answer| Order { kind: Kind::Compact, answer }).await
    }

    /// Closes the connection after all earlier requests, and ends the thread.
    pub(super) async fn close(&self) -> Result<(), Error> {
        self.ask(|answer| Order { kind: Kind::Close, answer }).await
    }

    async fn ask<T, E: From<Error>, R: Request + 'static>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, E>>) -> R,
    ) -> Result<T, E> {
        let (answer, answered) = oneshot::channel();
        let gone = || Error::Unavailable("the writing thread has stopped".into());
        self.0.send(Box::new(request(answer))).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// A change in progress: the connection, and the work to do after the commit.
pub struct Change<'a> {
    connection: &'a Connection,
    erases: Cell<bool>,
    after: RefCell<Vec<After>>,
}

type After = Box<dyn FnOnce() + Send>;

impl Change<'_> {
    /// Declares that the change deletes data that must not remain in the write-ahead log either. The log is then
    /// emptied before the change is answered, unless a reader still needs it.
    pub fn erases(&self) {
        self.erases.set(true);
    }

    /// Runs `work` on the writing thread once the change is on the disk. `work` must be short.
    pub fn after(&self, work: impl FnOnce() + Send + 'static) {
        self.after.borrow_mut().push(Box::new(work));
    }
}

impl Deref for Change<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

/// A request for the writing thread: a change with a result of any type, or other work.
trait Request: Send {
    /// Returns the kind of work outside of a transaction; `None` for a change.
    fn kind(&self) -> Option<Kind> {
        None
    }

    /// Returns true if the change may be answered before it is on the disk.
    fn waits(&self) -> bool {
        false
    }

    /// Makes the change; returns false if it must be undone.
    fn perform(&mut self, connection: &Connection, erases: &mut bool) -> bool;
    /// Answers the caller after the commit or its failure.
    fn answer(self: Box<Self>, committed: Result<(), Error>);
}

struct Wanted<T, E, F> {
    waits: bool,
    change: Option<F>,
    outcome: Option<Result<T, E>>,
    after: Vec<After>,
    answer: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> Request for Wanted<T, E, F>
where
    T: Send,
    E: From<Error> + Send,
    F: FnOnce(&Change<'_>) -> Result<T, E> + Send,
{
    fn waits(&self) -> bool {
        self.waits
    }

    fn perform(&mut self, connection: &Connection, erases: &mut bool) -> bool {
        let change = self.change.take().expect("a change is made once");
        let under_way = Change { connection, erases: Cell::new(false), after: RefCell::default() };
        let outcome = change(&under_way);
        let done = outcome.is_ok();
        if done {
            *erases |= under_way.erases.get();
            self.after = under_way.after.into_inner();
        }
        self.outcome = Some(outcome);
        done
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        let answer = match (committed, self.outcome) {
            (Ok(()), Some(outcome)) => {
                self.after.into_iter().for_each(|work| work());
                outcome
            }
            (_, Some(Err(refused))) => Err(refused),
            (Err(error), _) => Err(error.into()),
            (Ok(()), None) => unreachable!("what is committed was performed"),
        };
        // The caller may no longer wait.
        let _ = self.answer.send(answer);
    }
}

/// Work that is not in a transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Compacts the file, before the transaction.
    Compact,
    /// Closes the connection after all earlier requests.
    Close,
}

/// A request for work outside of a transaction.
struct Order {
    kind: Kind,
    answer: oneshot::Sender<Result<(), Error>>,
}

impl Request for Order {
    fn kind(&self) -> Option<Kind> {
        Some(self.kind)
    }

    fn perform(&mut self, _connection: &Connection, _erases: &mut bool) -> bool {
        true
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        let _ = self.answer.send(committed);
    }
}

/// Makes an empty change, to test whether writing works.
pub(super) fn touch(change: &Change<'_>) -> Result<(), Error> {
    let version: u32 = change.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(change.pragma_update(None, "user_version", version)?)
}

fn serve(connection: Connection, shared: &Shared, mut queue: mpsc::UnboundedReceiver<Box<dyn Request>>) {
    let connection = Some(connection);
    let compacted = Compacted::default();
    let mut state = WriterState { connection, erased: false, unnoted: None, compacted, shared };
    let mut waiting = Vec::new();
    while queue.blocking_recv_many(&mut waiting, SHARED_MAX) > 0 {
        let committed = state.carry_out(&mut waiting);
        let closes = has(&waiting, Kind::Close);
        if closes {
            state.close();
        }
        for request in waiting.drain(..) {
            request.answer(committed.as_ref().map_or_else(|error| Err(error.again()), |()| Ok(())));
        }
        if closes {
            return;
        }
    }
}

fn has(requests: &[Box<dyn Request>], kind: Kind) -> bool {
    requests.iter().any(|request| request.kind() == Some(kind))
}

/// The state of the writer thread.
struct WriterState<'a> {
    /// `None` after a failure: its cached state is not trusted.
    connection: Option<Connection>,
    /// True while erased data may still be in the log.
    erased: bool,
    /// The count of a commit that may not be on the disk yet.
    unnoted: Option<i64>,
    compacted: Compacted,
    shared: &'a Shared,
}

impl WriterState<'_> {
    /// Makes all changes in one transaction. After a failure the file is reopened before the next ones.
    fn carry_out(&mut self, waiting: &mut [Box<dyn Request>]) -> Result<(), Error> {
        match self.try_to(waiting) {
            Ok(()) => {
                if self.shared.outage.record_success() {
                    tracing::warn!(path = %self.shared.path.display(), "the database is writable again");
                }
                Ok(())
            }
            Err(error) => {
                let error = self.explain(error);
                if !self.shared.outage.is_failing() {
                    tracing::error!(path = %self.shared.path.display(), "the database is not writable: {error}");
                }
                self.shared.outage.record_failure();
                self.connection = None;
                Err(error)
            }
        }
    }

    /// Closes the connection. The last commit is on the disk then, so that it is noted, unless a read is in progress.
    fn close(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if let (Some(count), Some(ledger)) = (self.unnoted, &self.shared.ledger)
            && empty_the_log(&connection)
        {
            ledger.note(count);
        }
    }

    /// Reopens the file with a new connection.
    fn reopen(&mut self) -> Result<Connection, Error> {
        self.compacted = Compacted::default();
        reopen(self.shared)
    }

    fn try_to(&mut self, waiting: &mut [Box<dyn Request>]) -> Result<(), Error> {
        let mut connection = self.connection.take().map_or_else(|| self.reopen(), Ok)?;
        if has(waiting, Kind::Compact) {
            match self.compacted.compact(&connection) {
                // The log still contains the data that was removed from the file.
                Ok(()) => self.erased = true,
                Err(error) => tracing::warn!(path = connection.path(), "cannot compact a database: {error}"),
            }
        }
        self.commit(&mut connection, waiting)?;
        if let Err(displaced) = self.shared.files.check() {
            self.save(&connection);
            return Err(Error::Unavailable(displaced.into()));
        }
        if self.erased {
            self.erased = !empty_the_log(&connection);
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Makes all changes in one transaction. If all of them may wait, the transaction is not synced: the log is one file,
    /// so that the sync of a later transaction includes it.
    fn commit(
        &mut self,
        connection: &mut Connection,
        requests: &mut [Box<dyn Request>],
    ) -> Result<(), Error> {
        let ledger = self.shared.ledger.as_ref();
        let waits = requests.iter().all(|request| request.waits());
        if waits {
            connection.pragma_update(None, "synchronous", "normal")?;
        }
        let count = transact(connection, ledger.is_some(), requests, &mut self.erased)?;
        if waits {
            make_synced(connection)?;
            self.unnoted = count.or(self.unnoted);
        } else if let (Some(ledger), Some(count)) = (ledger, count) {
            ledger.note(count);
            self.unnoted = None;
        }
        Ok(())
    }

    /// Saves the commits of a connection whose file or log was removed or replaced. If only the log was, merges it into
    /// the file. If the file was, keeps its log, so that both can still be copied.
    fn save(&self, connection: &Connection) {
        let kept = if self.shared.files.check_file().is_ok() {
            empty_the_log(connection)
        } else {
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).is_ok()
        };
        if !kept {
            tracing::warn!(path = %self.shared.path.display(), "changes in the log of the database may be lost");
        }
    }

    /// Returns the error with its real cause: SQLite does not recognise an exhausted quota as a full disk.
    fn explain(&self, error: Error) -> Error {
        let folder = self.shared.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let refused = folder.and_then(|folder| disk::takes_writes(folder).err());
        match (error, refused) {
            (Error::Unavailable(_), Some(refused)) if is_full(&refused) => Error::Full(refused.into()),
            (error, _) => error,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Reopens the file after a failed write. Drops cached pages of the log, which may contain data that is not on the
/// disk. Then empties the log into the file, so that later commits do not follow data that the disk may lack.
fn reopen(shared: &Shared) -> Result<Connection, Error> {
    shared.files.check().map_err(|displaced| Error::Unavailable(displaced.into()))?;
    let mut log = shared.path.clone().into_os_string();
    log.push("-wal");
    disk::forget_cached(Path::new(&log));
    let connection = connect_writer(&shared.path, OpenFlags::empty())?;
    empty_the_log(&connection);
    shared.readers.renew();
    Ok(connection)
}

/// Makes all changes in one transaction; returns its count. If a change fails, only that change is undone.
fn transact(
    connection: &mut Connection,
    is_counted: bool,
    requests: &mut [Box<dyn Request>],
    erased: &mut bool,
) -> Result<Option<i64>, Error> {
    let changes = connection.total_changes();
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for request in requests {
        let savepoint = transaction.savepoint()?;
        if request.perform(&savepoint, erased) {
            savepoint.commit()?;
        }
    }
    // A transaction without changes needs no sync, and is not counted.
    let is_counted = is_counted && transaction.total_changes() > changes;
    let count = is_counted.then(|| Ledger::count(&transaction)).transpose()?;
    transaction.commit()?;
    Ok(count)
}

/// The number of changed rows when the file was last compacted; unknown before the start.
#[derive(Debug, Default)]
struct Compacted(Option<u64>);

impl Compacted {
    /// Compacts the file if it has changed, and updates the planner's statistics. This is needed in spite of
    /// `secure_delete`: copies of rows that moved between pages remain in unused parts of pages.
    fn compact(&mut self, connection: &Connection) -> Result<(), Error> {
        if self.0 != Some(connection.total_changes()) {
            vacuum(connection)?;
        }
        connection.execute_batch("PRAGMA optimize")?;
        self.0 = Some(connection.total_changes());
        Ok(())
    }
}

/// Held while a database is compacted: SQLite has one temporary directory for the whole process.
static TEMPORARY_DIRECTORY: Mutex<()> = Mutex::new(());

/// Compacts the database with an unnamed temporary file in the same folder, since it may be too large for memory.
fn vacuum(connection: &Connection) -> Result<(), Error> {
    let _alone = TEMPORARY_DIRECTORY.lock();
    connection.pragma_update(None, "temp_store_directory", folder_of(connection).unwrap_or(""))?;
    connection.pragma_update(None, "temp_store", "file")?;
    let written = connection.execute_batch("VACUUM");
    connection.pragma_update(None, "temp_store", "memory")?;
    Ok(written?)
}

/// Returns the folder of the database file.
pub(super) fn folder_of(connection: &Connection) -> Option<&str> {
    Path::new(connection.path()?).parent()?.to_str()
}

/// Empties the write-ahead log, unless a reader still needs it; returns true if it is empty now.
fn empty_the_log(connection: &Connection) -> bool {
    let emptied = connection.busy_timeout(READERS_MAX).and_then(|()| {
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
    });
    connection.busy_timeout(BUSY).is_ok() && matches!(emptied, Ok(0))
}
