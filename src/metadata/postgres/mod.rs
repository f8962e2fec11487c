//! The metadata store in `PostgreSQL` 13 and later, for several nodes or an existing database server. Works directly or
//! through a connection pooler.
//!
//! For a pooler, statements have no names, and settings and locks end with their transaction. A change of a project
//! takes an advisory lock of the project; waiting changes of one project share a transaction. A transaction stores its
//! number in a row of the table `commits` that no other uses meanwhile. If the answer to a commit is lost, that row
//! shows whether the commit succeeded.

mod batch;
mod commons;
mod connect;
mod error;
mod link;
mod owner;
mod rows;
mod schema;
mod statement;
#[cfg(test)]
mod tests;
mod text;
mod tls;
mod writer;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::sleep;
use tokio_postgres::Row;

use self::error::{Fault, Kind};
use self::link::{Connection, Link};
use self::owner::Ledger;
use self::rows::get;
use self::schema::Found;
use self::statement::Statement;
use self::writer::Writer;
use super::columns::{self, fixed};
use super::commons::SILENCE_MAX;
use super::counted::counted;
use super::store::{
    Change, Deleted, Duty, Error, FAILED_AMONG, Listed, ListedRun, Mark, Message, Runs, Status, Store,
};
use crate::model::{ProjectId, ProjectState, RunId, Tombstone};
use crate::runtime::clock::{Stopwatch, Timestamp};
use crate::system::engine;
use crate::system::sqlite::{Owner, Standing};

pub use commons::{Entrant, PostgresCommons};
pub use link::Settings;
pub use owner::NAME;
pub use schema::MIGRATIONS;

/// The maximum wait for a database server that does not answer at the start.
const START_WAIT: Duration = Duration::from_mins(1);
/// The pause before a step of the start is repeated after its connection was cut.
const START_PAUSE: Duration = Duration::from_millis(200);
/// The oldest supported server, in the form of `server_version_num`.
const OLDEST_SERVER: i32 = 130_000;
/// The age after which a summary of all projects is computed again, since another node may have made changes.
const STATUS_AGE: Duration = Duration::from_secs(1);
/// The time limit for vacuuming the tables.
const VACUUM: Duration = Duration::from_mins(10);
/// The tables whose rows change, which are vacuumed.
const TABLES: [&str; 10] =
    ["projects", "parties", "runs", "outbox", "duties", "attempts", "deleted", "commits", "nodes", "words"];

/// The metadata in `PostgreSQL`. Cheap to clone.
#[derive(Clone)]
pub struct Postgres(Arc<Inner>);

struct Inner {
    link: Arc<Link>,
    writer: Arc<Writer>,
    standing: Standing,
    /// The name of this node, if several share the database.
    node: Option<String>,
    /// The messages that this node has read and not deleted. Only these are deleted: numbers become visible out of
    /// order, so a smaller number may belong to a message that has not been read.
    handed_out: Mutex<BTreeSet<i64>>,
    /// The number of changes made by this process.
    changes: AtomicU64,
    /// The latest summary, with the number of changes before its query, and its age.
    status: Mutex<Option<(u64, Stopwatch, Status)>>,
}

/// The versions of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The version in the database; 0 if there are no tables.
    pub found: u32,
    /// The version of this program.
    pub known: u32,
}

impl Postgres {
    /// Connects, upgrades the tables if `migrates`, and checks that the database belongs to `owner` and is complete.
    /// The files with its marks are beside `file`. Waits up to a minute for a server that does not answer.
    ///
    /// # Errors
    /// [`Error::TooNew`] if a newer version made the tables; [`Error::Unfit`]; [`Error::Unavailable`].
    pub async fn open(
        settings: &Settings,
        owner: &Owner,
        file: &Path,
        migrates: bool,
    ) -> Result<Self, Error> {
        Self::open_as(settings, owner, file, migrates, None).await
    }

    /// Opens the database for the node `node`, which shares it with others.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open).
    pub async fn open_as(
        settings: &Settings,
        owner: &Owner,
        file: &Path,
        migrates: bool,
        node: Option<String>,
    ) -> Result<Self, Error> {
        let link = Arc::new(Link::new(settings).map_err(Fault::at_start)?);
        let waiting = Stopwatch::start();
        let (ledger, standing) = loop {
            match prepare(&link, owner, file, migrates).await {
                // Each step may be repeated.
                Err(Error::Unavailable(cause)) if waiting.elapsed() < START_WAIT => {
                    tracing::warn!("preparing the database again: {cause}");
                    sleep(START_PAUSE).await;
                }
                prepared => break prepared?,
            }
        };
        let writer = Writer::new(Arc::clone(&link), owner.identity.to_string(), ledger);
        Ok(Self(Arc::new(Inner {
            link,
            writer,
            standing,
            node,
            handed_out: Mutex::default(),
            changes: AtomicU64::new(0),
            status: Mutex::default(),
        })))
    }

    /// Returns the versions of the tables. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Unfit`], [`Error::Unavailable`].
    pub async fn versions(settings: &Settings) -> Result<Versions, Error> {
        let link = Link::new(settings).map_err(Fault::at_start)?;
        let connection = link.connection().await.map_err(Fault::at_start)?;
        let found = schema::find(&connection).await.map_err(|error| link.explain(error).at_start())?;
        Ok(Versions { found: found.version, known: schema::KNOWN })
    }

    /// Connects once, and returns a report on the server. Changes nothing.
    ///
    /// # Errors
    /// [`Error::TooNew`] if a newer version made the tables; [`Error::Unfit`], [`Error::Unavailable`].
    pub async fn inspect(settings: &Settings) -> Result<engine::Report, Error> {
        let link = Link::new(settings).map_err(Fault::at_start)?;
        let connection = link.connection().await.map_err(Fault::at_start)?;
        let (version, mut warnings) = look(&connection, link.place()).await?;
        warnings.extend(link.unverified());
        let Found { version: tables, .. } = found(&link, &connection).await?;
        let tables =
            if tables == 0 { "no tables yet".to_owned() } else { format!("tables of version {tables}") };
        Ok(engine::Report {
            description: format!("PostgreSQL {version} at {}, {tables}", link.place()),
            warnings,
        })
    }

    /// Upgrades the tables to the schema of this program; returns the previous versions.
    ///
    /// # Errors
    /// [`Error::TooNew`], [`Error::Unfit`], [`Error::Unavailable`]. After an error nothing is changed.
    pub async fn migrate(settings: &Settings) -> Result<Versions, Error> {
        let link = Link::new(settings).map_err(Fault::at_start)?;
        let connection = reach(&link).await?;
        check(&link, &connection).await?;
        let mut found = found(&link, &connection).await?;
        if found.is_behind() {
            found = apply(&link, &connection).await?;
        }
        Ok(Versions { found: found.version, known: schema::KNOWN })
    }

    /// Returns the result of the check of completeness when the database was opened.
    pub fn standing(&self) -> Standing {
        self.0.standing
    }

    /// Runs statements that only read, in one snapshot.
    async fn read<const N: usize>(
        &self,
        operation: &'static str,
        statements: [Statement; N],
    ) -> Result<[Vec<Row>; N], Error> {
        let rows = counted(operation, self.0.link.read(&statements)).await?;
        rows.try_into().map_err(|_| Error::Unavailable("the answer is incomplete".into()))
    }

    /// Runs statements in one transaction, which may be repeated without harm.
    async fn write(&self, operation: &'static str, statements: &[Statement]) -> Result<(), Error> {
        counted(operation, self.0.link.write(statements)).await
    }
}

/// Connects, upgrades the tables if `migrates`, and claims the database for `owner`.
async fn prepare(
    link: &Link,
    owner: &Owner,
    file: &Path,
    migrates: bool,
) -> Result<(Ledger, Standing), Error> {
    let connection = reach_current(link, migrates).await?;
    let claimed = owner::claim(&connection, owner, file, link.begin()).await?;
    connection.keep();
    Ok(claimed)
}

/// Waits until the server answers, and upgrades the tables if `migrates`.
async fn reach_current(link: &Link, migrates: bool) -> Result<Connection, Error> {
    let connection = reach(link).await?;
    check(link, &connection).await?;
    let found = found(link, &connection).await?;
    if found.is_behind() && !migrates {
        return Err(Error::Unfit(format!(
            "the tables have version {}, and this program needs {}; run `entityd migrate apply`, or start with --migrate auto",
            found.version,
            schema::KNOWN
        )));
    }
    if found.is_behind() {
        apply(link, &connection).await?;
    }
    Ok(connection)
}

/// Waits until the server answers.
async fn reach(link: &Link) -> Result<Connection, Error> {
    let waiting = Stopwatch::start();
    let mut pause = Duration::from_millis(100);
    loop {
        match link.connection().await {
            Ok(connection) => return Ok(connection),
            Err(fault) if fault.may_pass() && waiting.elapsed() + pause < START_WAIT => {
                tracing::warn!("waiting for the database: {}", fault.message);
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            Err(fault) => return Err(fault.at_start()),
        }
    }
}

/// Checks the settings of the server, and logs warnings.
async fn check(link: &Link, connection: &Connection) -> Result<(), Error> {
    let (_, warnings) = look(connection, link.place()).await?;
    warnings.into_iter().chain(link.unverified()).for_each(|warning| warn_once(&warning));
    Ok(())
}

/// Checks the settings of the server. Returns its version, and a warning for each setting that may lose commits.
async fn look(connection: &Connection, place: &str) -> Result<(String, Vec<String>), Error> {
    let ask = "SELECT current_setting('server_version_num')::int, current_setting('server_version'),
                      current_setting('fsync'), current_setting('full_page_writes'),
                      current_setting('synchronous_standby_names') = '' AND EXISTS (SELECT FROM pg_stat_replication)";
    let asked = connection.query_typed_one(ask, &[]).await;
    let row = asked.map_err(|error| Fault::from(error).at(place).at_start())?;
    let version: String = row.get(1);
    if row.get::<_, i32>(0) < OLDEST_SERVER {
        return Err(Error::Unfit(format!(
            "PostgreSQL at {place} has version {version}, and entityd needs 13 or later"
        )));
    }
    let off = [(2, "fsync"), (3, "full_page_writes")]
        .into_iter()
        .filter(|(index, _)| row.get::<_, &str>(*index) == "off");
    let warning = |(_, setting)| {
        format!("{setting} is off in PostgreSQL at {place}: a power cut may damage the metadata")
    };
    let asynchronous = row.get::<_, bool>(4).then(|| {
        format!(
            "synchronous_standby_names is empty in PostgreSQL at {place}: a fail-over loses the changes that no standby has"
        )
    });
    Ok((version, off.map(warning).chain(asynchronous).collect()))
}

/// Logs a warning, unless it was logged before. Several parts of this program check the same database.
fn warn_once(warning: &str) {
    static LOGGED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if LOGGED.lock().insert(warning.to_owned()) {
        tracing::warn!("{warning}");
    }
}

async fn found(link: &Link, connection: &Connection) -> Result<Found, Error> {
    let found = schema::find(connection).await.map_err(|error| link.explain(error).at_start())?;
    found.check()?;
    Ok(found)
}

async fn apply(link: &Link, connection: &Connection) -> Result<Found, Error> {
    schema::apply(connection).await.map_err(|fault| fault.at(link.place()).at_start())
}

fn bytes_of(project: ProjectId) -> statement::Value {
    project.as_bytes().as_slice().into()
}

fn project_ids(rows: &[Row]) -> Result<Vec<ProjectId>, Error> {
    rows.iter().map(|row| Ok(ProjectId::from_bytes(fixed(row, "project")?))).collect()
}

fn moment(row: &Row, column: &'static str) -> Result<Timestamp, Error> {
    Ok(Timestamp::from_micros(get(row, column)?))
}

#[async_trait]
impl Store for Postgres {
    async fn update(&self, project: ProjectId, runs: Runs, change: Change) -> Result<(), Error> {
        let done = counted("update", self.0.writer.change(project, runs, change)).await;
        self.0.changes.fetch_add(1, Ordering::AcqRel);
        done
    }

    async fn project(&self, id: ProjectId, runs: Runs) -> Result<Option<ProjectState>, Error> {
        let statements = rows::load(id, &runs.into());
        let read = counted("project", self.0.link.read(&statements)).await?;
        rows::loaded(id, &read)
    }

    async fn runs(&self, project: ProjectId) -> Result<Vec<ListedRun>, Error> {
        let list = "SELECT id, added, state FROM entityd.runs WHERE project = $1 ORDER BY sequence";
        let [rows] = self.read("runs", [Statement::new(list, [bytes_of(project)])]).await?;
        rows.iter().map(columns::listed_run).collect()
    }

    async fn projects(&self) -> Result<Vec<Listed>, Error> {
        let list = "SELECT id, added FROM entityd.projects ORDER BY sequence";
        let [rows] = self.read("projects", [Statement::new(list, [])]).await?;
        let listed = |row: &Row| {
            Ok(Listed { id: ProjectId::from_bytes(fixed(row, "id")?), added: moment(row, "added")? })
        };
        rows.iter().map(listed).collect()
    }

    async fn unsettled(&self) -> Result<Vec<ProjectId>, Error> {
        let find = "SELECT project FROM entityd.runs WHERE state IN ('queued', 'comparing', 'finalizing')
                    UNION SELECT project FROM entityd.parties
                    WHERE uploading OR contents IN ('fetching', 'ingesting')";
        let [rows] = self.read("unsettled", [Statement::new(find, [])]).await?;
        project_ids(&rows)
    }

    async fn failed_runs(&self, count: u32) -> Result<Vec<(ProjectId, RunId)>, Error> {
        let find = "SELECT project, id FROM entityd.runs AS runs
                    WHERE state = 'failed' AND sequence > (SELECT coalesce(max(sequence), 0) FROM entityd.runs) - $1
                      AND NOT EXISTS (SELECT 1 FROM entityd.runs AS later WHERE later.project = runs.project
                                      AND later.sequence > runs.sequence AND later.threshold = runs.threshold)
                    ORDER BY sequence DESC LIMIT $2";
        let values = [FAILED_AMONG.into(), i64::from(count).into()];
        let [rows] = self.read("failed runs", [Statement::new(find, values)]).await?;
        rows.iter().map(columns::run_id).collect()
    }

    async fn settled_before(&self, moment: Timestamp) -> Result<Vec<ProjectId>, Error> {
        let find = "SELECT project FROM entityd.runs GROUP BY project
                    HAVING count(ended) = count(*) AND max(coalesce(settled, ended)) < $1";
        let [rows] = self.read("settled", [Statement::new(find, [moment.as_micros().into()])]).await?;
        project_ids(&rows)
    }

    async fn mark(&self) -> Result<Option<Mark>, Error> {
        let [rows] = self.read("mark", [Statement::new("SELECT passed, wall FROM entityd.mark", [])]).await?;
        let mark = |row| Ok(Mark { passed: moment(row, "passed")?, wall: moment(row, "wall")? });
        rows.first().map(mark).transpose()
    }

    async fn keep_mark(&self, mark: Mark) -> Result<(), Error> {
        let keep = "INSERT INTO entityd.mark (passed, wall) VALUES ($1, $2)
                    ON CONFLICT (single) DO UPDATE SET passed = excluded.passed, wall = excluded.wall
                    WHERE excluded.passed >= mark.passed";
        let values = [mark.passed.as_micros().into(), mark.wall.as_micros().into()];
        self.write("mark", &[Statement::new(keep, values)]).await
    }

    async fn latest(&self) -> Result<Option<Timestamp>, Error> {
        let find = "SELECT max(moment) AS moment FROM (SELECT max(added) AS moment FROM entityd.projects
                    UNION ALL SELECT max(coalesce(ended, started, added)) FROM entityd.runs) AS moments";
        let [rows] = self.read("latest", [Statement::new(find, [])]).await?;
        let latest = rows.first().map(|row| get::<Option<i64>>(row, "moment")).transpose()?;
        Ok(latest.flatten().map(Timestamp::from_micros))
    }

    async fn status(&self) -> Result<Status, Error> {
        // The counter is read before the query, so that the next call queries again if there was a change in between.
        let changes = self.0.changes.load(Ordering::Acquire);
        let recent = *self.0.status.lock();
        if let Some((_, _, status)) = recent
            .filter(|(then, age, _)| *then == changes && age.elapsed() < STATUS_AGE && self.0.node.is_none())
        {
            return Ok(status);
        }
        let age = Stopwatch::start();
        let count = "SELECT (SELECT count(*) FROM entityd.projects) AS projects,
                            (SELECT comparisons_per_second FROM entityd.rate) AS rate";
        let [rows] = self.read("status", [Statement::new(count, [])]).await?;
        let row = rows.first().ok_or_else(|| Error::Unavailable("the answer is empty".into()))?;
        let rate = get::<Option<i64>>(row, "rate")?.map(i64::cast_unsigned);
        let status = Status { projects: get::<i64>(row, "projects")?.cast_unsigned(), rate };
        *self.0.status.lock() = Some((changes, age, status));
        Ok(status)
    }

    async fn outbox(&self, count: u32) -> Result<Vec<Message>, Error> {
        let rows = match &self.0.node {
            None => {
                let oldest = "SELECT sequence, body FROM entityd.outbox ORDER BY sequence LIMIT $1";
                self.read("outbox", [Statement::new(oldest, [i64::from(count).into()])]).await?
            }
            // Another node takes over the messages of a node that has ended.
            Some(node) => {
                let oldest = "UPDATE entityd.outbox SET taker = $2, taken = now() WHERE sequence IN (
                                  SELECT sequence FROM entityd.outbox
                                  WHERE taker IS NULL OR taker = $2 OR taken < now() - $3 * interval '1 microsecond'
                                  ORDER BY sequence LIMIT $1 FOR UPDATE SKIP LOCKED)
                              RETURNING sequence, body";
                let silence = SILENCE_MAX.as_micros() as i64;
                let values = [i64::from(count).into(), node.as_str().into(), silence.into()];
                let take = [Statement::new(oldest, values)];
                let rows = counted("outbox", self.0.link.write_and_read(&take)).await?;
                [rows.into_iter().next().unwrap_or_default()]
            }
        };
        let [rows] = rows;
        let message = |row| Ok(Message { sequence: get(row, "sequence")?, body: get(row, "body")? });
        let mut messages = rows.iter().map(message).collect::<Result<Vec<_>, Error>>()?;
        messages.sort_unstable_by_key(|message| message.sequence);
        self.0.handed_out.lock().extend(messages.iter().map(|message| message.sequence));
        Ok(messages)
    }

    async fn has_messages(&self) -> Result<bool, Error> {
        let ask = "SELECT EXISTS (SELECT FROM entityd.outbox) AS waits";
        let [rows] = self.read("outbox", [Statement::new(ask, [])]).await?;
        rows.first().map_or(Ok(false), |row| get(row, "waits"))
    }

    fn node(&self) -> Option<&str> {
        self.0.node.as_deref()
    }

    async fn serving(&self) -> Result<HashSet<String>, Error> {
        let Some(own) = &self.0.node else { return Ok(HashSet::new()) };
        let list = "SELECT node FROM entityd.nodes
                    WHERE role <> 'worker' AND heard > now() - $1 * interval '1 microsecond'";
        let silence = SILENCE_MAX.as_micros() as i64;
        let [rows] = self.read("serving", [Statement::new(list, [silence.into()])]).await?;
        let mut serving =
            rows.iter().map(|row| get(row, "node")).collect::<Result<HashSet<String>, Error>>()?;
        serving.insert(own.clone());
        Ok(serving)
    }

    async fn forget(&self, sequence: i64) -> Result<(), Error> {
        let these: Vec<i64> = self.0.handed_out.lock().range(..=sequence).copied().collect();
        if these.is_empty() {
            return Ok(());
        }
        let delete = "DELETE FROM entityd.outbox WHERE sequence = ANY($1)";
        self.write("forget", &[Statement::new(delete, [these.clone().into()])]).await?;
        let mut handed_out = self.0.handed_out.lock();
        these.iter().for_each(|sequence| {
            handed_out.remove(sequence);
        });
        Ok(())
    }

    async fn deleted(&self) -> Result<Vec<Deleted>, Error> {
        let list = "SELECT digest, late FROM entityd.deleted";
        let [rows] = self.read("deleted", [Statement::new(list, [])]).await?;
        let deleted = |row| {
            Ok(Deleted { tombstone: Tombstone::from_bytes(fixed(row, "digest")?), late: get(row, "late")? })
        };
        rows.iter().map(deleted).collect()
    }

    async fn note_deleted(&self, these: Vec<Deleted>) -> Result<(), Error> {
        let these = these.iter().map(|Deleted { tombstone, late }| (*tombstone.as_bytes(), *late));
        self.write("note_deleted", &[batch::tombstones_to_add(these)]).await
    }

    async fn forget_deleted(&self, these: Vec<Tombstone>, is_over: bool) -> Result<(), Error> {
        if these.is_empty() {
            return Ok(());
        }
        let digests: Vec<Vec<u8>> = these.iter().map(|tombstone| tombstone.as_bytes().to_vec()).collect();
        let delete = "DELETE FROM entityd.deleted WHERE digest = ANY($1) AND late <= $2";
        let values = [digests.into(), is_over.into()];
        self.write("forget_deleted", &[Statement::new(delete, values)]).await
    }

    async fn duties(&self) -> Result<Vec<Duty>, Error> {
        let list = "SELECT name, body FROM entityd.duties ORDER BY name";
        let [rows] = self.read("duties", [Statement::new(list, [])]).await?;
        rows.iter().map(|row| Ok(Duty { name: get(row, "name")?, body: get(row, "body")? })).collect()
    }

    async fn settle(&self, job: &str) -> Result<(), Error> {
        let statements = [
            Statement::new("DELETE FROM entityd.duties WHERE name = $1", [job.into()]),
            Statement::new("DELETE FROM entityd.attempts WHERE job = $1", [job.into()]),
        ];
        self.write("settle", &statements).await
    }

    async fn note_attempts(&self, project: ProjectId, job: &str, attempts: u8) -> Result<(), Error> {
        // Records nothing for a deleted project, and waits for a deletion in progress.
        let note = "INSERT INTO entityd.attempts (job, project, attempts)
                    SELECT $1, id, $3 FROM entityd.projects WHERE id = $2 FOR KEY SHARE
                    ON CONFLICT (job) DO UPDATE SET attempts = greatest(attempts.attempts, excluded.attempts)";
        let values = [job.into(), bytes_of(project), i64::from(attempts).into()];
        self.write("note_attempts", &[Statement::new(note, values)]).await
    }

    async fn attempts(&self) -> Result<HashMap<String, u8>, Error> {
        let list = "SELECT job, attempts FROM entityd.attempts";
        let [rows] = self.read("attempts", [Statement::new(list, [])]).await?;
        let noted = |row| {
            let attempts: i64 = get(row, "attempts")?;
            Ok((get(row, "job")?, u8::try_from(attempts).unwrap_or(u8::MAX)))
        };
        rows.iter().map(noted).collect()
    }

    async fn check(&self) -> Result<(), Error> {
        let ask =
            "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only";
        let [rows] = self.read("check", [Statement::new(ask, [])]).await?;
        if rows.first().is_some_and(|row| row.get::<_, bool>("read_only")) {
            let said = "it is read-only; name the primary in --database, or several hosts";
            return Err(Fault::new(Kind::Unavailable, said).at(self.0.link.place()).into());
        }
        Ok(())
    }

    fn server(&self) -> Option<String> {
        Some(format!("PostgreSQL at {}", self.0.link.place()))
    }

    async fn describe(&self) -> Option<String> {
        // Only a role with monitoring rights can see the lag of replicas.
        let ask = "SELECT current_setting('server_version') AS version, pg_is_in_recovery() AS is_standby,
                          (SELECT count(*) FROM pg_stat_replication) AS replicas,
                          (SELECT max(pg_wal_lsn_diff(
                              CASE WHEN pg_is_in_recovery() THEN sent_lsn ELSE pg_current_wal_lsn() END, replay_lsn))::bigint
                           FROM pg_stat_replication) AS behind";
        let rows = self.0.link.read(&[Statement::new(ask, [])]).await.ok()?;
        let row = rows.first()?.first()?;
        let version: String = get(row, "version").ok()?;
        let version = version.split(' ').next().unwrap_or_default();
        let role = if get(row, "is_standby").ok()? { "standby" } else { "primary" };
        let behind: Option<i64> = get(row, "behind").ok()?;
        let behind = behind.map_or(String::new(), |bytes| format!(", the slowest {bytes} bytes behind"));
        let replicas: i64 = get(row, "replicas").ok()?;
        Some(format!(
            "PostgreSQL {version}, {role}, replicas: {replicas}{behind} at {}",
            self.0.link.in_use()
        ))
    }

    async fn compact(&self) -> Result<(), Error> {
        let connection = self.0.link.connection().await?;
        let clean = async {
            for table in TABLES {
                // A statement for each table, because VACUUM cannot run in a transaction.
                connection.batch_execute(&format!("VACUUM (ANALYZE) entityd.{table}")).await?;
            }
            Ok(())
        };
        let cleaned = tokio::time::timeout(VACUUM, clean).await;
        cleaned
            .unwrap_or_else(|_| Err(self.0.link.silent()))
            .map_err(|fault| fault.at(self.0.link.place()))?;
        connection.keep();
        Ok(())
    }

    async fn close(&self) -> Result<(), Error> {
        self.0.link.close();
        Ok(())
    }
}
