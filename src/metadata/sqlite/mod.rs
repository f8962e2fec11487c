//! The embedded metadata store: one `SQLite` file, managed by [`system::sqlite`](crate::system::sqlite).

pub mod copied;
mod deleted;
mod error;
mod ledger;
mod rows;
mod update;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension};

use self::error::unavailable;
use super::counted::counted;
use super::store::{Change, Deleted, Duty, Error, Listed, ListedRun, Mark, Message, Runs, Status, Store};
use crate::model::{ProjectId, ProjectState, RunId, Tombstone};
use crate::runtime::clock::Timestamp;
use crate::system::sqlite::{self, Database};

/// The version of the schema that this program writes.
pub const SCHEMA: u32 = MIGRATIONS.len() as u32;

/// The migration from each version of the file to the next.
pub const MIGRATIONS: [&str; 12] = [
    include_str!("../migrations/0001.sql"),
    include_str!("../migrations/0002.sql"),
    include_str!("../migrations/0003.sql"),
    include_str!("../migrations/0004.sql"),
    include_str!("../migrations/0005.sql"),
    include_str!("../migrations/0006.sql"),
    include_str!("../migrations/0007.sql"),
    include_str!("../migrations/0008.sql"),
    include_str!("../migrations/0009.sql"),
    include_str!("../migrations/0010.sql"),
    include_str!("../migrations/0011.sql"),
    include_str!("../migrations/0012.sql"),
];

/// The metadata in one `SQLite` file. Cheap to clone.
#[derive(Clone)]
pub struct Sqlite(Database, Arc<Said>);

impl Sqlite {
    /// Opens the file at `path`, creates it if it does not exist, and upgrades it to the schema of this program.
    ///
    /// # Errors
    /// [`Error::TooNew`] if a newer version wrote it; [`Error::Damaged`], [`Error::Full`], [`Error::Unavailable`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self(Database::open(path, "metadata", &MIGRATIONS)?, Arc::default()))
    }

    /// Opens the file, if it belongs to `owner` and has every commit that was made to it.
    ///
    /// # Errors
    /// Like [`open`](Self::open); [`Error::Unfit`].
    pub fn open_owned(path: &Path, owner: &sqlite::Owner) -> Result<Self, Error> {
        let settle = include_str!("lost.sql");
        Ok(Self(Database::open_owned(path, "metadata", &MIGRATIONS, owner, settle)?, Arc::default()))
    }

    /// Returns the schema version of the file at `path`; 0 if there is no file.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Unavailable`].
    pub fn version(path: &Path) -> Result<u32, Error> {
        Ok(sqlite::version_of(path)?)
    }

    /// Returns the result of the check of completeness when the file was opened.
    pub fn standing(&self) -> sqlite::Standing {
        self.0.standing()
    }

    /// Runs `query` on a reader, on a blocking thread.
    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        query: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        counted(operation, self.0.read(query)).await
    }
}

/// A cache of the summary of all projects: counting is slow with many projects, and load balancers request the summary
/// all the time.
#[derive(Debug, Default)]
struct Said {
    /// The number of changes that were committed.
    changes: AtomicU64,
    /// The number of changes before the latest query, and its result.
    latest: Mutex<Option<(u64, Status)>>,
}

impl Said {
    /// Returns the summary if nothing has changed since.
    fn recall(&self, changes: u64) -> Option<Status> {
        let latest = *self.latest.lock();
        latest.filter(|(then, _)| *then == changes).map(|(_, status)| status)
    }

    fn keep(&self, changes: u64, status: Status) {
        *self.latest.lock() = Some((changes, status));
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn update(&self, project: ProjectId, runs: Runs, change: Change) -> Result<(), Error> {
        let said = Arc::clone(&self.1);
        let write = move |writer: &sqlite::Change<'_>| {
            writer.after(move || {
                said.changes.fetch_add(1, Ordering::AcqRel);
            });
            update::update(writer, project, runs, change)
        };
        counted("update", self.0.write(write)).await
    }

    async fn project(&self, id: ProjectId, runs: Runs) -> Result<Option<ProjectState>, Error> {
        self.read("project", move |reader| {
            // One transaction, so that project, parties and runs are from the same snapshot.
            let snapshot = reader.unchecked_transaction().map_err(unavailable)?;
            rows::load(&snapshot, id, runs)
        })
        .await
    }

    async fn runs(&self, project: ProjectId) -> Result<Vec<ListedRun>, Error> {
        self.read("runs", move |reader| rows::list_runs(reader, project)).await
    }

    async fn projects(&self) -> Result<Vec<Listed>, Error> {
        self.read("projects", |reader| {
            let mut select = reader
                .prepare_cached("SELECT id, added FROM projects ORDER BY sequence")
                .map_err(unavailable)?;
            let rows = select
                .query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?)))
                .map_err(unavailable)?;
            rows.map(|row| {
                let (id, added) = row.map_err(unavailable)?;
                Ok(Listed { id: rows::project_id(id)?, added: Timestamp::from_micros(added) })
            })
            .collect()
        })
        .await
    }

    async fn unsettled(&self) -> Result<Vec<ProjectId>, Error> {
        self.read("unsettled", |reader| {
            let mut select = reader
                .prepare_cached(
                    "SELECT project FROM runs WHERE state IN ('queued', 'comparing', 'finalizing')
                     UNION SELECT project FROM parties WHERE uploading = 1 OR contents IN ('fetching', 'ingesting')",
                )
                .map_err(unavailable)?;
            let rows = select.query_map([], |row| row.get::<_, Vec<u8>>(0)).map_err(unavailable)?;
            rows.map(|row| rows::project_id(row.map_err(unavailable)?)).collect()
        })
        .await
    }

    async fn failed_runs(&self, count: u32) -> Result<Vec<(ProjectId, RunId)>, Error> {
        self.read("failed runs", move |reader| rows::list_failed(reader, count)).await
    }

    async fn settled_before(&self, moment: Timestamp) -> Result<Vec<ProjectId>, Error> {
        self.read("settled", move |reader| {
            let mut select = reader
                .prepare_cached(
                    "SELECT project FROM runs GROUP BY project
                     HAVING count(ended) = count(*) AND max(coalesce(settled, ended)) < ?1",
                )
                .map_err(unavailable)?;
            let rows = select
                .query_map([moment.as_micros()], |row| row.get::<_, Vec<u8>>(0))
                .map_err(unavailable)?;
            rows.map(|row| rows::project_id(row.map_err(unavailable)?)).collect()
        })
        .await
    }

    async fn mark(&self) -> Result<Option<Mark>, Error> {
        self.read("mark", |reader| {
            let moment = |row: &rusqlite::Row<'_>, index| row.get(index).map(Timestamp::from_micros);
            let read = |row: &rusqlite::Row<'_>| Ok(Mark { passed: moment(row, 0)?, wall: moment(row, 1)? });
            reader.query_row("SELECT passed, wall FROM mark", [], read).optional().map_err(unavailable)
        })
        .await
    }

    async fn keep_mark(&self, mark: Mark) -> Result<(), Error> {
        let keep = move |writer: &sqlite::Change<'_>| {
            let keep = "INSERT INTO mark (only, passed, wall) VALUES (1, ?1, ?2)
                        ON CONFLICT (only) DO UPDATE SET passed = excluded.passed, wall = excluded.wall
                        WHERE excluded.passed >= mark.passed";
            let mut keep = writer.prepare_cached(keep).map_err(unavailable)?;
            keep.execute([mark.passed.as_micros(), mark.wall.as_micros()]).map(drop).map_err(unavailable)
        };
        counted("mark", self.0.write(keep)).await
    }

    async fn latest(&self) -> Result<Option<Timestamp>, Error> {
        self.read("latest", |reader| {
            let sql = "SELECT max(moment) FROM (SELECT max(added) AS moment FROM projects
                       UNION ALL SELECT max(coalesce(ended, started, added)) FROM runs)";
            let latest: Option<i64> = reader.query_row(sql, [], |row| row.get(0)).map_err(unavailable)?;
            Ok(latest.map(Timestamp::from_micros))
        })
        .await
    }

    async fn status(&self) -> Result<Status, Error> {
        // The counter is read before the query, so that the next call queries again if there was a change in between.
        let changes = self.1.changes.load(Ordering::Acquire);
        if let Some(status) = self.1.recall(changes) {
            return Ok(status);
        }
        let status = self
            .read("status", |reader| {
                let projects: i64 = reader
                    .query_row("SELECT count(*) FROM projects", [], |row| row.get(0))
                    .map_err(unavailable)?;
                let rate: Option<i64> = reader
                    .query_row("SELECT comparisons_per_second FROM rate", [], |row| row.get(0))
                    .optional()
                    .map_err(unavailable)?;
                Ok(Status { projects: projects.cast_unsigned(), rate: rate.map(i64::cast_unsigned) })
            })
            .await?;
        self.1.keep(changes, status);
        Ok(status)
    }

    async fn outbox(&self, count: u32) -> Result<Vec<Message>, Error> {
        self.read("outbox", move |reader| {
            let mut select = reader
                .prepare_cached("SELECT sequence, body FROM outbox ORDER BY sequence LIMIT ?1")
                .map_err(unavailable)?;
            let rows = select
                .query_map([count], |row| Ok(Message { sequence: row.get(0)?, body: row.get(1)? }))
                .map_err(unavailable)?;
            rows.map(|row| row.map_err(unavailable)).collect()
        })
        .await
    }

    async fn check(&self) -> Result<(), Error> {
        counted("check", self.0.check()).await
    }

    async fn duties(&self) -> Result<Vec<Duty>, Error> {
        self.read("duties", ledger::duties).await
    }

    async fn settle(&self, job: &str) -> Result<(), Error> {
        let job = job.to_owned();
        counted("settle", self.0.write(move |writer| ledger::settle(writer, &job))).await
    }

    async fn note_attempts(&self, project: ProjectId, job: &str, attempts: u8) -> Result<(), Error> {
        let job = job.to_owned();
        let note = move |writer: &sqlite::Change<'_>| ledger::note_attempts(writer, project, &job, attempts);
        counted("note_attempts", self.0.write(note)).await
    }

    async fn attempts(&self) -> Result<HashMap<String, u8>, Error> {
        self.read("attempts", ledger::attempts).await
    }

    async fn deleted(&self) -> Result<Vec<Deleted>, Error> {
        self.read("deleted", deleted::all).await
    }

    async fn note_deleted(&self, these: Vec<Deleted>) -> Result<(), Error> {
        let note = move |writer: &sqlite::Change<'_>| deleted::add(writer, &these);
        counted("note_deleted", self.0.write(note)).await
    }

    async fn forget_deleted(&self, these: Vec<Tombstone>, is_over: bool) -> Result<(), Error> {
        if these.is_empty() {
            return Ok(());
        }
        let forget = move |writer: &sqlite::Change<'_>| deleted::forget(writer, &these, is_over);
        counted("forget_deleted", self.0.write(forget)).await
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(self.0.close().await?)
    }

    async fn compact(&self) -> Result<(), Error> {
        Ok(self.0.compact().await?)
    }

    async fn forget(&self, sequence: i64) -> Result<(), Error> {
        let forget = move |writer: &sqlite::Change<'_>| {
            let mut delete =
                writer.prepare_cached("DELETE FROM outbox WHERE sequence <= ?1").map_err(unavailable)?;
            delete.execute([sequence]).map(drop).map_err(unavailable)
        };
        // After a power cut the messages may be carried out again, as after one just before this change.
        counted("forget", self.0.write_unsynced(forget)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::conformance;

    fn run<F: Future<Output = ()>>(story: impl FnOnce(Sqlite) -> F) {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("metadata.db")).unwrap();
        tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap().block_on(story(store));
    }

    #[test]
    fn sqlite_lives_through_every_story() {
        run(async |store| conformance::all(&store).await);
    }

    #[test]
    fn committed_changes_survive_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metadata.db");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
        let project = conformance::project(7);
        let store = Sqlite::open(&path).unwrap();
        runtime.block_on(conformance::put(&store, &project));
        drop(store);
        let store = Sqlite::open(&path).unwrap();
        assert_eq!(runtime.block_on(store.project(project.id, Runs::All)).unwrap(), Some(project));
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metadata.db");
        drop(Sqlite::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(Sqlite::open(&path), Err(Error::TooNew { found: 99, .. })));
    }

    #[test]
    fn a_file_of_the_first_version_opens_and_its_runs_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metadata.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(include_str!("../migrations/0001.sql")).unwrap();
        old.execute_batch(include_str!("first_version.sql")).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        drop(old);
        let store = Sqlite::open(&path).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
        let mut project = runtime
            .block_on(store.project(ProjectId::from_bytes([7; 24]), Runs::All))
            .unwrap()
            .expect("it was there");
        assert_eq!(project.runs[0].times, crate::model::run::Times::default());
        assert_eq!(project.runs[0].progress.as_ref().unwrap().comparisons, 50_000);
        project.runs[0].times.part_reported(Timestamp::from_micros(9));
        runtime.block_on(conformance::put(&store, &project));
        assert_eq!(runtime.block_on(store.project(project.id, Runs::All)).unwrap(), Some(project));
    }

    #[test]
    fn compaction_gives_back_the_room_of_what_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metadata.db");
        let store = Sqlite::open(&path).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
        let mut project = conformance::project(7);
        project.notes = "x".repeat(16 << 20);
        runtime.block_on(conformance::put(&store, &project));
        let change = Box::new(|_| Some(crate::metadata::Commit::default()));
        runtime.block_on(store.update(project.id, Runs::All, change)).unwrap();
        runtime.block_on(store.compact()).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() < 1 << 20);
        project.notes.clear();
        runtime.block_on(conformance::put(&store, &project));
        assert_eq!(runtime.block_on(store.project(project.id, Runs::All)).unwrap(), Some(project));
    }

    #[test]
    fn erased_bytes_are_in_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("metadata.db")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
        let mut project = conformance::project(7);
        let is_stored = |secret: &[u8]| {
            let files = ["metadata.db", "metadata.db-wal"]
                .map(|name| std::fs::read(folder.path().join(name)).unwrap());
            files.iter().any(|file| file.windows(secret.len()).any(|bytes| bytes == secret))
        };
        runtime.block_on(conformance::put(&store, &project));
        let (seed, key) = (conformance::SEED.as_slice(), conformance::SECRET_KEY.as_bytes());
        assert!(is_stored(seed) && is_stored(key));
        project.runs.iter_mut().for_each(|run| run.seed = None);
        runtime.block_on(conformance::put(&store, &project));
        assert!(!is_stored(seed));
        project.parties[1].contents = crate::model::Contents::Missing;
        runtime.block_on(conformance::put(&store, &project));
        assert!(!is_stored(key));
    }
}
