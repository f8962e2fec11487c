//! The one thread that writes.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::{BUSY, Error};

/// How long the readers of a moment are waited for when the log is emptied.
const READERS_MAX: Duration = Duration::from_millis(50);
/// Free pages that are not worth the trouble.
const FREE_PAGES_MAX: i64 = 1_000;
/// Changes that may share a transaction.
const SHARED_MAX: usize = 128;

/// A handle on the writing thread, which ends once the handle is dropped and its work is done.
#[derive(Debug)]
pub(super) struct Writer(mpsc::UnboundedSender<Box<dyn Request>>);

impl Writer {
    pub(super) fn start(connection: Connection, name: &str) -> std::io::Result<Self> {
        let (requests, queue) = mpsc::unbounded_channel();
        thread::Builder::new().name(name.to_owned()).spawn(move || serve(connection, queue))?;
        Ok(Self(requests))
    }

    pub(super) async fn change<T, E>(
        &self,
        change: impl FnOnce(&Change<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        self.ask(|answer| Wanted { change: Some(change), outcome: None, after: Vec::new(), answer }).await
    }

    pub(super) async fn compact(&self) -> Result<(), Error> {
        self.ask(|answer| Compaction { answer }).await
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

/// A change under way: the connection, and what is to follow from the commit.
pub struct Change<'a> {
    connection: &'a Connection,
    erases: Cell<bool>,
    after: RefCell<Vec<After>>,
}

type After = Box<dyn FnOnce() + Send>;

impl Change<'_> {
    /// Says that what this change removes must not be read again: not from the write-ahead log either, which is
    /// emptied before the change is answered, unless a reader goes on needing it.
    pub fn erases(&self) {
        self.erases.set(true);
    }

    /// Has `work` done on the writing thread once the change is on the disk, and not at all if it fails. It must
    /// be short.
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

/// Something to be written, whatever its type.
trait Request: Send {
    /// Whether the file is to be compacted.
    fn compacts(&self) -> bool {
        false
    }

    /// Makes the change; false if it is to be undone.
    fn perform(&mut self, connection: &Connection, erases: &mut bool) -> bool;
    /// Tells whoever asked, now that all is committed or not.
    fn answer(self: Box<Self>, committed: Result<(), Error>);
}

struct Wanted<T, E, F> {
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
        // Whoever asked may have stopped waiting; the change stands all the same.
        let _ = self.answer.send(answer);
    }
}

/// Asks for the file to be compacted, which is done in front of the transaction: it cannot be in one.
struct Compaction {
    answer: oneshot::Sender<Result<(), Error>>,
}

impl Request for Compaction {
    fn compacts(&self) -> bool {
        true
    }

    fn perform(&mut self, _connection: &Connection, _erases: &mut bool) -> bool {
        true
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        let _ = self.answer.send(committed);
    }
}

fn serve(mut connection: Connection, mut queue: mpsc::UnboundedReceiver<Box<dyn Request>>) {
    let mut waiting = Vec::new();
    let mut erased = false;
    while queue.blocking_recv_many(&mut waiting, SHARED_MAX) > 0 {
        if waiting.iter().any(|request| request.compacts())
            && let Err(error) = compact(&connection)
        {
            tracing::warn!(path = connection.path(), "cannot compact a database: {error}");
        }
        let committed = commit(&mut connection, &mut waiting, &mut erased);
        if erased {
            erased = !empty_the_log(&connection);
        }
        let text = committed.as_ref().err().map(ToString::to_string);
        let mut first = committed.err();
        for request in waiting.drain(..) {
            let again = || text.clone().map(|text| Error::Unavailable(text.into()));
            request.answer(first.take().or_else(again).map_or(Ok(()), Err));
        }
    }
}

/// Makes all changes in one transaction; one that fails is undone alone.
fn commit(
    connection: &mut Connection,
    requests: &mut [Box<dyn Request>],
    erased: &mut bool,
) -> Result<(), Error> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for request in requests {
        let savepoint = transaction.savepoint()?;
        if request.perform(&savepoint, erased) {
            savepoint.commit()?;
        }
    }
    Ok(transaction.commit()?)
}

/// Writes the file anew if much of it is free, and has the planner learn from what is in it.
fn compact(connection: &Connection) -> Result<(), Error> {
    let count = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (free, all) = (count("freelist_count")?, count("page_count")?);
    if free > FREE_PAGES_MAX && free * 4 > all {
        vacuum(connection)?;
    }
    connection.execute_batch("PRAGMA optimize")?;
    empty_the_log(connection);
    Ok(())
}

/// Writes the file anew through a nameless one in the same folder: it may be too large for the memory.
fn vacuum(connection: &Connection) -> Result<(), Error> {
    let folder = connection.path().and_then(|path| Path::new(path).parent()?.to_str());
    connection.pragma_update(None, "temp_store_directory", folder.unwrap_or(""))?;
    connection.pragma_update(None, "temp_store", "file")?;
    let written = connection.execute_batch("VACUUM");
    connection.pragma_update(None, "temp_store", "memory")?;
    Ok(written?)
}

/// Empties the write-ahead log, unless a reader goes on needing it; says whether it is empty now.
fn empty_the_log(connection: &Connection) -> bool {
    let emptied = connection.busy_timeout(READERS_MAX).and_then(|()| {
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
    });
    connection.busy_timeout(BUSY).is_ok() && matches!(emptied, Ok(0))
}
