//! The one thread that writes.

use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::rows;
use super::{BUSY, immediate, unavailable};
use crate::metadata::Error;
use crate::metadata::store::{Change, Commit};
use crate::model::{ProjectId, ProjectState};

/// How long the readers of a moment are waited for when the log is emptied.
const READERS_MAX: Duration = Duration::from_millis(50);
/// Free pages that are not worth the trouble.
const FREE_PAGES_MAX: i64 = 1_000;
/// Changes that may share a transaction.
const SHARED_MAX: usize = 128;

/// A handle on the writing thread, which ends once the handle is dropped and its work is done.
pub(super) struct Writer {
    requests: mpsc::UnboundedSender<Request>,
}

struct Request {
    work: Work,
    answer: oneshot::Sender<Result<(), Error>>,
}

enum Work {
    Update { project: ProjectId, change: Change },
    Forget { sequence: i64 },
    Compact,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> std::io::Result<Self> {
        let (requests, queue) = mpsc::unbounded_channel();
        thread::Builder::new().name("metadata".to_owned()).spawn(move || serve(connection, queue))?;
        Ok(Self { requests })
    }

    pub(super) async fn update(&self, project: ProjectId, change: Change) -> Result<(), Error> {
        self.ask(Work::Update { project, change }).await
    }

    pub(super) async fn forget(&self, sequence: i64) -> Result<(), Error> {
        self.ask(Work::Forget { sequence }).await
    }

    pub(super) async fn compact(&self) -> Result<(), Error> {
        self.ask(Work::Compact).await
    }

    async fn ask(&self, work: Work) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        let gone = || Error::Unavailable("the writing thread has stopped".into());
        self.requests.send(Request { work, answer }).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn serve(mut connection: Connection, mut queue: mpsc::UnboundedReceiver<Request>) {
    let mut waiting = Vec::new();
    let mut erased = false;
    while queue.blocking_recv_many(&mut waiting, SHARED_MAX) > 0 {
        let asked = waiting.iter().any(|request| matches!(request.work, Work::Compact));
        if asked && let Err(error) = compact(&connection) {
            tracing::warn!("cannot compact the metadata: {error}");
        }
        let results = commit(&mut connection, &mut waiting);
        erased |= results.iter().any(|result| matches!(result, Ok(Effaced(true))));
        if erased {
            erased = !empty_the_log(&connection);
        }
        for (request, result) in waiting.drain(..).zip(results) {
            // Whoever asked may have stopped waiting; the change stands all the same.
            let _ = request.answer.send(result.map(drop));
        }
    }
}

/// Whether a change has erased something that must not be read again: a seed, a run, a project.
#[derive(Clone, Copy)]
struct Effaced(bool);

/// What was erased still stands in the write-ahead log. Empties that before whoever erased it is answered,
/// unless a reader goes on needing it; says whether it is empty now.
fn empty_the_log(connection: &Connection) -> bool {
    let emptied = connection.busy_timeout(READERS_MAX).and_then(|()| {
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
    });
    connection.busy_timeout(BUSY).is_ok() && matches!(emptied, Ok(0))
}

/// Writes the file anew if much of it is free, and has the planner learn from what is in it.
fn compact(connection: &Connection) -> Result<(), Error> {
    let count = |pragma: &str| {
        connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(unavailable)
    };
    let (free, all) = (count("freelist_count")?, count("page_count")?);
    if free > FREE_PAGES_MAX && free * 4 > all {
        connection.execute_batch("VACUUM").map_err(unavailable)?;
    }
    connection.execute_batch("PRAGMA optimize").map_err(unavailable)?;
    empty_the_log(connection);
    Ok(())
}

/// Does the work of all requests in one transaction; a request that fails is undone alone.
fn commit(connection: &mut Connection, requests: &mut [Request]) -> Vec<Result<Effaced, Error>> {
    match attempt(connection, requests) {
        Ok(results) => results,
        Err(error) => {
            let text = error.to_string();
            let repeat = |_: &Request| Err(Error::Unavailable(text.clone().into()));
            let mut results: Vec<_> = requests.iter().map(repeat).collect();
            if let Some(first) = results.first_mut() {
                *first = Err(error);
            }
            results
        }
    }
}

fn attempt(
    connection: &mut Connection,
    requests: &mut [Request],
) -> Result<Vec<Result<Effaced, Error>>, Error> {
    let mut transaction = immediate(connection)?;
    let mut results = Vec::with_capacity(requests.len());
    for request in requests {
        let savepoint = transaction.savepoint().map_err(unavailable)?;
        let result = perform(&savepoint, &mut request.work);
        if result.is_ok() {
            savepoint.commit().map_err(unavailable)?;
        }
        results.push(result);
    }
    transaction.commit().map_err(unavailable)?;
    Ok(results)
}

fn perform(connection: &Connection, work: &mut Work) -> Result<Effaced, Error> {
    match work {
        Work::Update { project, change } => update(connection, *project, change),
        // Done before the transaction, in which it could not be.
        Work::Compact => Ok(Effaced(false)),
        Work::Forget { sequence } => connection
            .prepare_cached("DELETE FROM outbox WHERE sequence <= ?1")
            .and_then(|mut delete| delete.execute([*sequence]))
            .map(|_| Effaced(false))
            .map_err(unavailable),
    }
}

fn update(connection: &Connection, id: ProjectId, change: &mut Change) -> Result<Effaced, Error> {
    let before = rows::load(connection, id)?;
    let Some(Commit { state, outbox }) = change(before.clone()) else {
        return Ok(Effaced(false));
    };
    rows::store(connection, id, before.as_ref(), state.as_ref())?;
    let mut insert =
        connection.prepare_cached("INSERT INTO outbox (body) VALUES (?1)").map_err(unavailable)?;
    for body in outbox {
        insert.execute([body]).map_err(unavailable)?;
    }
    Ok(Effaced(effaces(before.as_ref(), state.as_ref())))
}

fn effaces(before: Option<&ProjectState>, after: Option<&ProjectState>) -> bool {
    let Some(before) = before else { return false };
    let Some(after) = after else { return true };
    before.runs.iter().any(|old| {
        let kept = after.run(old.id);
        kept.is_none_or(|run| old.seed.is_some() && run.seed.is_none())
    })
}
