//! Makes changes of projects: for each project one transaction at a time, with all its waiting changes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::batch::{self, Pending};
use super::error::{Fault, Kind};
use super::link::{Connection, Link};
use super::owner::{self, Ledger};
use super::rows::{self, Needed};
use super::statement::{Statement, run_all};
use crate::metadata::store::{Change, Error, Runs};
use crate::model::{ProjectId, ProjectState};
use crate::runtime::clock::Stopwatch;
use crate::runtime::entropy::Entropy;

/// The maximum number of changes in one transaction.
const BATCH_MAX: usize = 1_000;
/// The maximum number of attempts of a transaction.
const TRIES: u32 = 8;
/// The pause before a transaction is repeated, which is multiplied by the number of the attempt.
const PAUSE: Duration = Duration::from_millis(10);

/// Makes the changes of all projects.
pub(super) struct Writer {
    link: Arc<Link>,
    /// The identity of the data directory.
    identity: String,
    ledger: Ledger,
    entropy: Entropy,
    /// The waiting changes of each project. A project has an entry as long as its task runs.
    waiting: Mutex<HashMap<ProjectId, Vec<Pending>>>,
    /// The rows of the table `commits` that no transaction uses now.
    idle: Mutex<Vec<Row>>,
}

/// A row of the table `commits`, in which a transaction stores its number.
#[derive(Debug)]
struct Row {
    writer: [u8; 16],
    latest: i64,
}

/// The reason why a transaction failed.
enum Failure {
    /// Nothing was changed.
    Undone(Fault),
    /// The connection was lost before the answer arrived.
    Unanswered(Fault),
}

impl Writer {
    pub(super) fn new(link: Arc<Link>, identity: String, ledger: Ledger) -> Arc<Self> {
        let (waiting, idle) = (Mutex::default(), Mutex::default());
        Arc::new(Self { link, identity, ledger, entropy: Entropy::system(), waiting, idle })
    }

    /// Makes a change. Dropping the future does not stop it.
    pub(super) async fn change(
        self: &Arc<Self>,
        id: ProjectId,
        runs: Runs,
        change: Change,
    ) -> Result<(), Error> {
        let (done, answer) = oneshot::channel();
        let pending = Pending { runs, change, done };
        match self.waiting.lock().entry(id) {
            Entry::Occupied(mut waiting) => waiting.get_mut().push(pending),
            Entry::Vacant(place) => {
                place.insert(vec![pending]);
                tokio::spawn(Turn { writer: Arc::clone(self), id, is_over: false }.take());
            }
        }
        answer
            .await
            .unwrap_or_else(|_| Err(Error::Unavailable("the change was given up; see the log".into())))
    }

    /// Makes the changes of one project, and answers their callers.
    async fn make(&self, id: ProjectId, mut batch: Vec<Pending>) {
        let made = self.make_all(id, &mut batch).await;
        if batch.len() > 1 && made.as_ref().is_err_and(|fault| fault.kind == Kind::Damaged) {
            // One of the changes has a statement that the server rejects: makes each in a transaction of its own.
            for pending in batch {
                let mut alone = [pending];
                let made = self.make_all(id, &mut alone).await.map_err(Error::from);
                let [pending] = alone;
                // The caller may no longer wait.
                let _ = pending.done.send(made);
            }
            return;
        }
        for pending in batch {
            let _ = pending.done.send(made.clone().map_err(Error::from));
        }
    }

    async fn make_all(&self, id: ProjectId, batch: &mut [Pending]) -> Result<(), Fault> {
        let started = Stopwatch::start();
        let mut tries = 0;
        loop {
            tries += 1;
            let mut row = self.row();
            row.latest += 1;
            let fault = match self.try_once(id, batch, &row).await {
                Ok(()) => {
                    self.idle.lock().push(row);
                    return Ok(());
                }
                Err(Failure::Undone(fault)) => {
                    self.idle.lock().push(row);
                    fault
                }
                Err(Failure::Unanswered(fault)) => match self.find_out(id, &row, started).await {
                    Some(true) => {
                        tracing::info!("a commit succeeded although its answer was lost: {}", fault.message);
                        self.idle.lock().push(row);
                        return Ok(());
                    }
                    Some(false) => {
                        self.idle.lock().push(row);
                        fault
                    }
                    None => {
                        let said = "; whether the last change was made is not known";
                        return Err(Fault::new(Kind::Unavailable, fault.message + said));
                    }
                },
            };
            // A connection may have been cut while it was idle, so the change is tried up to three times.
            let again = match fault.kind {
                Kind::Conflict => tries < TRIES,
                Kind::Unavailable => tries < 3,
                _ => false,
            };
            if !again || started.elapsed() >= self.link.timeout() {
                return Err(fault);
            }
            tracing::debug!(project.id = %id, tries, "repeating a transaction: {}", fault.message);
            sleep(PAUSE * tries).await;
        }
    }

    fn row(&self) -> Row {
        let idle = self.idle.lock().pop();
        idle.unwrap_or_else(|| Row { writer: self.entropy.bytes(), latest: 0 })
    }

    /// Makes one transaction, in two round trips.
    async fn try_once(&self, id: ProjectId, batch: &mut [Pending], row: &Row) -> Result<(), Failure> {
        let connection = self.link.connection().await.map_err(Failure::Undone)?;
        let (limit, needed) = (self.link.timeout(), batch::needed(batch));
        let loaded = timeout(limit, self.load(&connection, id, &needed)).await;
        let before = loaded.unwrap_or_else(|_| Err(self.link.silent())).map_err(Failure::Undone)?;
        let mut statements = batch::decide(id, before.as_ref(), batch);
        if statements.is_empty() {
            // A rollback saves the connection for the next caller.
            if let Ok(Ok(())) = timeout(limit, connection.batch_execute("ROLLBACK")).await {
                connection.keep();
            }
            return Ok(());
        }
        let note = "INSERT INTO entityd.commits (writer, latest, numbered, number)
                    VALUES ($1, $2, $2, nextval('entityd.commit_numbers'))
                    ON CONFLICT (writer) DO UPDATE SET
                        latest = excluded.latest, numbered = excluded.latest, number = excluded.number, at = now()
                    RETURNING number";
        statements.push(Statement::new(note, [row.writer.as_slice().into(), row.latest.into()]));
        let commit = async {
            tokio::join!(biased; run_all(&connection, &statements), connection.batch_execute("COMMIT"))
        };
        let (written, committed) =
            timeout(limit, commit).await.map_err(|_| Failure::Unanswered(self.link.silent()))?;
        match (written, committed) {
            (Ok(rows), Ok(())) => {
                connection.keep();
                if let Some(number) = rows.last().and_then(|rows| rows.first()) {
                    let number: i64 = number.get(0);
                    self.link.confirm(number.cast_unsigned());
                    self.ledger.note(number);
                }
                Ok(())
            }
            // If the server has reported an error, the commit was a rollback.
            (Err(error), _) if error.as_db_error().is_some() => {
                Err(Failure::Undone(self.link.explain(error)))
            }
            (Err(error), _) | (Ok(_), Err(error)) => Err(Failure::Unanswered(self.link.explain(error))),
        }
    }

    /// Begins the transaction, waits until no other transaction changes the project, and reads the project.
    async fn load(
        &self,
        connection: &Connection,
        id: ProjectId,
        runs: &Needed,
    ) -> Result<Option<ProjectState>, Fault> {
        let confirmed = self.link.confirmed();
        let store = "SELECT identity, (SELECT max(number) FROM entityd.commits) FROM entityd.store";
        let mut statements = vec![lock(id), Statement::new(store, [])];
        statements.extend(rows::load(id, runs));
        let (begun, rows) = tokio::join!(biased; connection.batch_execute(self.link.begin()),
                                         run_all(connection, &statements));
        let rows = begun.and(rows).map_err(|error| self.link.explain(error))?;
        let store = rows[1].first();
        owner::still_ours(store.map(|row| row.get(0)), &self.identity)?;
        // A pooler may have moved the connection to another server.
        if let Some(lost) = owner::lost(store.and_then(|row| row.get(1)), confirmed) {
            return Err(Fault::new(Kind::Refused, lost).at(&self.link.in_use()));
        }
        rows::loaded(id, &rows[2..]).map_err(|error| Fault::new(Kind::Damaged, error.to_string()))
    }

    /// Returns true if the transaction that wrote `row` was committed; `None` if there is no answer in time. Waits for
    /// the lock of the project, which an open transaction holds: its commit may still be on the way to the server.
    async fn find_out(&self, id: ProjectId, row: &Row, started: Stopwatch) -> Option<bool> {
        let mut pause = PAUSE;
        loop {
            match self.ask(id, row).await {
                Ok(made) => return Some(made),
                Err(fault) => tracing::debug!("checking whether a commit succeeded: {}", fault.message),
            }
            if started.elapsed() + pause > 2 * self.link.timeout() {
                return None;
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    async fn ask(&self, id: ProjectId, row: &Row) -> Result<bool, Fault> {
        let connection = self.link.connection().await?;
        let ask = "SELECT latest FROM entityd.commits WHERE writer = $1";
        let statements = [lock(id), Statement::new(ask, [row.writer.as_slice().into()])];
        let asked = async {
            let begun = connection.batch_execute(self.link.begin());
            tokio::join!(biased; begun, run_all(&connection, &statements), connection.batch_execute("COMMIT"))
        };
        let (begun, rows, ended) =
            timeout(self.link.timeout(), asked).await.map_err(|_| self.link.silent())?;
        let rows = begun.and(rows).and_then(|rows| ended.map(|()| rows));
        let rows = rows.map_err(|error| self.link.explain(error))?;
        connection.keep();
        Ok(rows[1].first().is_some_and(|found| found.get::<_, i64>(0) == row.latest))
    }
}

/// Returns the statement that waits until no other transaction changes the project. It uses an advisory lock, since a
/// project that does not exist has no row to lock. If two projects share a number, they only wait for each other.
fn lock(id: ProjectId) -> Statement {
    let number =
        id.as_bytes().iter().fold(0x656e_i64, |lock, byte| lock.wrapping_mul(0x0100_0193) ^ i64::from(*byte));
    Statement::new("SELECT pg_advisory_xact_lock($1)", [number.into()])
}

/// The task that makes the changes of one project. If it panics, the waiting callers get an error.
struct Turn {
    writer: Arc<Writer>,
    id: ProjectId,
    is_over: bool,
}

impl Turn {
    async fn take(mut self) {
        while let Some(batch) = self.next() {
            self.writer.make(self.id, batch).await;
        }
    }

    /// Returns the waiting changes; if there are none, returns `None` and ends the task.
    fn next(&mut self) -> Option<Vec<Pending>> {
        let mut waiting = self.writer.waiting.lock();
        let all = waiting.get_mut(&self.id)?;
        if all.is_empty() {
            waiting.remove(&self.id);
            self.is_over = true;
            return None;
        }
        let rest = all.split_off(all.len().min(BATCH_MAX));
        Some(std::mem::replace(all, rest))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_over {
            self.writer.waiting.lock().remove(&self.id);
        }
    }
}
