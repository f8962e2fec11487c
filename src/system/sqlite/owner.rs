//! Checks that a database belongs to this data directory, and has all commits.
//!
//! The table `store` has the identity of the data directory and the count of commits. The count is also in the
//! [marks](crate::system::mark) of the database. A database that is behind a mark has lost commits: its write-ahead log
//! is missing, truncated or damaged, or it is an older copy.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, OptionalExtension};
use serde::{Serialize, Serializer};

use super::Error;
use crate::runtime::clock::Clock;
use crate::system::identity::Identity;
use crate::system::mark::{Expected, Marks, Reading, Unusable};
use crate::system::regular;

const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS store (
        only     INTEGER PRIMARY KEY CHECK (only = 1),
        identity TEXT    NOT NULL,     -- of the data directory
        commits  INTEGER NOT NULL      -- counted since the store was made
    ) STRICT";

/// The losses that the operator accepts: for each the name of a database, and the last commit that was made to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses(Vec<(String, u64)>);

impl Losses {
    /// Parses `metadata.db:1234,buckets.db:5`.
    pub fn parse(text: &str) -> Option<Self> {
        let losses = text.split(',').map(str::trim).filter(|text| !text.is_empty());
        let loss = |text: &str| {
            let (file, commit) = text.split_once(':')?;
            Some((file.to_owned(), commit.parse().ok()?))
        };
        losses.map(loss).collect::<Option<_>>().map(Self)
    }

    /// Returns true if each loss is of one of these files.
    pub fn are_of(&self, files: &[&str]) -> bool {
        self.0.iter().all(|(file, _)| files.contains(&file.as_str()))
    }

    /// Returns true if the loss of commits of `file` up to `written` is accepted.
    pub fn accept(&self, file: &str, written: u64) -> bool {
        self.0.iter().any(|(name, commit)| name == file && *commit == written)
    }
}

impl Serialize for Losses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let losses: Vec<String> = self.0.iter().map(|(file, commit)| format!("{file}:{commit}")).collect();
        serializer.collect_str(&losses.join(","))
    }
}

/// The data directory to which a database must belong.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The identity of the data directory.
    pub identity: Identity,
    /// True if the database existed before, so that its absence is a loss.
    pub made: bool,
    /// Losses that are accepted.
    pub accepted: Losses,
    /// The path of a second mark, which is among the files to which the database refers. It reveals that the files and
    /// the database were restored from different backups.
    pub companion: Option<PathBuf>,
    /// The count of commits that is also stored elsewhere, such as with the objects. Each commit raises it.
    pub known: Arc<AtomicU64>,
    /// An identity whose database and marks may be taken over.
    pub take_over: Option<Identity>,
}

/// The completeness of a database when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The database has every commit that was made to it, or is new.
    Complete,
    /// There is no mark to compare the database with.
    Unknown,
    /// Commits are lost, and the operator accepts that.
    Lossy,
}

/// The marks of an open database.
#[derive(Debug)]
pub(super) struct Ledger {
    marks: Marks,
    known: Arc<AtomicU64>,
}

impl Owner {
    /// Returns true if the database at `path` existed before and is missing.
    pub fn misses(&self, path: &Path) -> bool {
        self.made || self.marks(path).iter().any(|mark| mark.exists())
    }

    /// Returns the paths of the marks of the database at `path`. The mark beside the database is the last, and is
    /// written last: if it exists, the others must, too.
    pub(crate) fn marks(&self, path: &Path) -> Vec<PathBuf> {
        self.companion.iter().cloned().chain([path.with_extension("mark")]).collect()
    }

    /// Checks that the database at `path` may be opened, or created if there is none; returns the count in its mark.
    ///
    /// # Errors
    /// [`Error::Lost`], if it existed before and is missing or empty; [`Error::ForeignMark`].
    pub(super) fn admit(&self, path: &Path) -> Result<(Option<u64>, Standing), Error> {
        are_files(path)?;
        let expected = Expected { identity: self.identity, take_over: self.take_over };
        let Reading { written, is_whole } =
            Reading::of(&self.marks(path), expected).map_err(|cause| self.refuse(cause))?;
        let known = Some(self.known.load(Ordering::Acquire)).filter(|known| *known > 0);
        let written = written.max(known);
        if fs::metadata(path).is_ok_and(|found| found.len() > 0) {
            return Ok((written, if is_whole { Standing::Complete } else { Standing::Unknown }));
        }
        if !self.made && written.is_none() {
            return Ok((None, Standing::Complete));
        }
        let lost = written.unwrap_or(0);
        if !self.accepts(path, lost) {
            return Err(error(path, None, lost));
        }
        set_aside(path).map_err(unavailable)?;
        Ok((written, Standing::Lossy))
    }

    fn accepts(&self, path: &Path, written: u64) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.accepted.accept(&name, written)
    }

    fn refuse(&self, cause: Unusable) -> Error {
        match cause {
            Unusable::Foreign { path, found } => Error::ForeignMark { path, found, expected: self.identity },
            Unusable::Unread(error) => unavailable(error),
        }
    }

    /// Compares the owner in the database with the expected one. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::Lost`].
    pub(super) fn check(
        &self,
        connection: &Connection,
        path: &Path,
        (written, standing): (Option<u64>, Standing),
    ) -> Result<Standing, Error> {
        if standing == Standing::Lossy {
            return Ok(standing);
        }
        let stored = stored(connection)?;
        if let Some((identity, _)) = stored.filter(|(identity, _)| *identity != self.identity) {
            return Err(Error::Foreign { found: identity, expected: self.identity });
        }
        let (found, written) = (stored.map_or(0, |(_, commits)| commits), written.unwrap_or(0));
        if found >= written && !(self.made && stored.is_none()) {
            Ok(standing)
        } else if self.accepts(path, written) {
            Ok(Standing::Lossy)
        } else {
            Err(error(path, Some(found), written))
        }
    }

    /// Writes the owner into the database. If its count of commits is below `written`, raises it above.
    pub(super) fn take(
        &self,
        connection: &Connection,
        path: &Path,
        written: Option<u64>,
    ) -> Result<Ledger, Error> {
        connection.execute_batch(TABLE)?;
        let claim = "INSERT INTO store VALUES (1, ?1, ?2)
                     ON CONFLICT DO UPDATE SET commits = excluded.commits + 1 WHERE commits < excluded.commits";
        connection.execute(claim, (self.identity.to_string(), written.unwrap_or(0).cast_signed()))?;
        let commits = connection.query_row("SELECT commits FROM store", [], |row| row.get(0))?;
        let marks = Marks::open(&self.marks(path), self.identity);
        let ledger = Ledger { marks, known: Arc::clone(&self.known) };
        ledger.note(commits);
        Ok(ledger)
    }
}

impl Ledger {
    /// Increments the count of commits in the present transaction, and returns it.
    pub(super) fn count(connection: &Connection) -> Result<i64, Error> {
        let mut count =
            connection.prepare_cached("UPDATE store SET commits = commits + 1 RETURNING commits")?;
        Ok(count.query_row([], |row| row.get(0))?)
    }

    /// Records a commit that is on the disk. A mark that cannot be written is behind, which is harmless.
    pub(super) fn note(&self, commits: i64) {
        self.marks.write(commits.cast_unsigned());
        self.known.store(commits.cast_unsigned(), Ordering::Release);
    }
}

/// Returns the identity in the database at `path`, if there is one.
///
/// # Errors
/// [`Error::Damaged`], [`Error::Unavailable`].
pub fn identity_of(path: &Path) -> Result<Option<Identity>, Error> {
    are_files(path)?;
    if fs::metadata(path).map_or(0, |found| found.len()) == 0 {
        return Ok(None);
    }
    let connection = super::connect(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    Ok(stored(&connection)?.map(|(identity, _)| identity))
}

/// Returns the version of the schema of the database at `path`; 0 if there is no database.
///
/// # Errors
/// [`Error::Damaged`], [`Error::Unavailable`].
pub fn version_of(path: &Path) -> Result<u32, Error> {
    are_files(path)?;
    if fs::metadata(path).map_or(0, |found| found.len()) == 0 {
        return Ok(0);
    }
    let connection = super::connect(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

pub(super) fn stored(connection: &Connection) -> Result<Option<(Identity, u64)>, Error> {
    let table = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'store'";
    if connection.query_row(table, [], |_| Ok(())).optional()?.is_none() {
        return Ok(None);
    }
    let select = "SELECT identity, commits FROM store";
    let found = connection.query_row(select, [], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)));
    let Some((identity, commits)) = found.optional()? else { return Ok(None) };
    let identity = Identity::parse(&identity).ok_or_else(|| Error::Damaged("its identity".to_owned()))?;
    Ok(Some((identity, commits.cast_unsigned())))
}

/// Checks that a database and its log are regular files, if they exist. If the path is a link, the log is beside the
/// file to which it leads.
fn are_files(path: &Path) -> Result<(), Error> {
    let log = |path: &Path| {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        PathBuf::from(log)
    };
    for file in [path, &log(path)] {
        regular::check(file).map_err(|cause| Error::Unavailable(cause.into()))?;
    }
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Ok(elsewhere) = fs::read_link(log(&target)) {
        let [log, elsewhere] = [log(&target), elsewhere].map(|path| path.display().to_string());
        let advice = format!(
            "{log} is a link to {elsewhere}, and logs are not opened through links; move that file here"
        );
        return Err(Error::Unavailable(advice.into()));
    }
    let moved = fs::read_link(path).is_ok() && !log(&target).exists() && log(path).exists();
    if moved {
        let [target, log] = [target, log(path)].map(|path| path.display().to_string());
        let advice = format!("it is a link to {target}, and {log} belongs beside that; move it there");
        return Err(Error::Unavailable(advice.into()));
    }
    Ok(())
}

/// Renames the remaining files of a lost database, so that they are not overwritten.
fn set_aside(path: &Path) -> io::Result<()> {
    let now = Clock::system().now().compact();
    for end in ["", "-wal", "-shm"] {
        let mut left = path.as_os_str().to_owned();
        left.push(end);
        let mut aside = left.clone();
        aside.push(format!(".lost-{now}"));
        match fs::rename(&left, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
    }
    Ok(())
}

fn error(path: &Path, found: Option<u64>, written: u64) -> Error {
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Error::Lost { file, found, written }
}

fn unavailable(error: io::Error) -> Error {
    Error::Unavailable(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::super::{Change, Database};
    use super::*;
    use crate::runtime::entropy::Entropy;

    const SCHEMA: &[&str] = &["CREATE TABLE words (word TEXT PRIMARY KEY) STRICT;"];

    fn owner() -> Owner {
        Owner {
            identity: Identity::random(&Entropy::seeded(1)),
            made: false,
            accepted: Losses::default(),
            companion: None,
            known: Arc::default(),
            take_over: None,
        }
    }

    fn open(path: &Path, owner: &Owner) -> Result<Database, Error> {
        Database::open_owned(path, "words", SCHEMA, owner, "INSERT INTO words VALUES ('amended')")
    }

    async fn add(database: &Database, word: &'static str) {
        let insert = move |change: &Change<'_>| {
            Ok::<_, Error>(change.execute("INSERT INTO words VALUES (?1)", [word])?)
        };
        database.write(insert).await.unwrap();
    }

    /// Copies an open database, as after a kill of the process, except the files `without`.
    fn killed(from: &Path, to: &Path, without: &[&str]) -> PathBuf {
        for name in ["words.db", "words.db-wal", "words.mark"] {
            if !without.contains(&name) {
                fs::copy(from.join(name), to.join(name)).unwrap();
            }
        }
        to.join("words.db")
    }

    #[tokio::test]
    async fn commits_that_are_lost_are_told_and_refused_until_they_are_accepted() {
        let (folder, owner) = (tempfile::tempdir().unwrap(), owner());
        let database = open(&folder.path().join("words.db"), &owner).unwrap();
        add(&database, "one").await;
        add(&database, "two").await;
        let copy = || tempfile::tempdir().unwrap();
        let whole = copy();
        let opened = open(&killed(folder.path(), whole.path(), &[]), &owner).unwrap();
        assert_eq!(opened.standing(), Standing::Complete);
        let unmarked = copy();
        let opened = open(&killed(folder.path(), unmarked.path(), &["words.mark"]), &owner).unwrap();
        assert_eq!(opened.standing(), Standing::Unknown);

        let cut = copy();
        let path = killed(folder.path(), cut.path(), &["words.db-wal"]);
        let Err(Error::Lost { found: Some(found), written, .. }) = open(&path, &owner) else { panic!() };
        assert!(found < written, "{found} {written}");
        let accepting = |commit| Owner {
            accepted: Losses::parse(&format!("words.db:{commit}")).unwrap(),
            ..owner.clone()
        };
        assert!(matches!(open(&path, &accepting(written - 1)), Err(Error::Lost { .. })));
        assert_eq!(open(&path, &accepting(written)).unwrap().standing(), Standing::Lossy);
        assert_eq!(open(&path, &owner).unwrap().standing(), Standing::Complete);

        let gone = copy();
        let path = killed(folder.path(), gone.path(), &["words.db"]);
        for _ in 0..2 {
            assert!(matches!(open(&path, &owner), Err(Error::Lost { found: None, .. })));
            // An empty file counts as a missing one.
            fs::write(&path, "").unwrap();
        }
        assert_eq!(open(&path, &accepting(written)).unwrap().standing(), Standing::Lossy);
        let aside = fs::read_dir(gone.path()).unwrap().filter(|entry| {
            entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("words.db-wal.lost-")
        });
        assert_eq!(aside.count(), 1);
    }

    #[tokio::test]
    async fn the_log_that_is_too_short_is_left_as_it_is() {
        let (folder, owner) = (tempfile::tempdir().unwrap(), owner());
        let database = open(&folder.path().join("words.db"), &owner).unwrap();
        add(&database, "one").await;
        add(&database, "two").await;
        let copy = tempfile::tempdir().unwrap();
        let path = killed(folder.path(), copy.path(), &[]);
        let log = copy.path().join("words.db-wal");
        let cut = fs::read(&log).unwrap()[..9_000].to_vec();
        fs::write(&log, &cut).unwrap();
        assert!(matches!(open(&path, &owner), Err(Error::Lost { .. })));
        assert_eq!(fs::read(&log).unwrap(), cut);
    }

    #[tokio::test]
    async fn a_change_that_is_not_synced_may_be_lost_until_the_next_one() {
        let (folder, owner) = (tempfile::tempdir().unwrap(), owner());
        let database = open(&folder.path().join("words.db"), &owner).unwrap();
        add(&database, "one").await;
        let synced = fs::read(folder.path().join("words.db-wal")).unwrap();
        let insert =
            |change: &Change<'_>| Ok::<_, Error>(change.execute("INSERT INTO words VALUES ('two')", [])?);
        database.write_unsynced(insert).await.unwrap();
        // As after a power cut: the log is as it was when it was last synced.
        let cut = || {
            let copy = tempfile::tempdir().unwrap();
            let path = killed(folder.path(), copy.path(), &["words.db-wal"]);
            fs::write(copy.path().join("words.db-wal"), &synced).unwrap();
            (copy, path)
        };
        let (_copy, path) = cut();
        assert_eq!(open(&path, &owner).unwrap().standing(), Standing::Complete);
        add(&database, "three").await;
        let (_copy, path) = cut();
        assert!(matches!(open(&path, &owner), Err(Error::Lost { .. })));
        // A file that is closed needs no further change.
        let delete = |change: &Change<'_>| Ok::<_, Error>(change.execute("DELETE FROM words", [])?);
        database.write_unsynced(delete).await.unwrap();
        let known = owner.known.load(Ordering::Acquire);
        database.close().await.unwrap();
        assert_eq!(owner.known.load(Ordering::Acquire), known + 1);
    }

    #[tokio::test]
    async fn a_log_behind_a_link_is_named() {
        let (folder, owner) = (tempfile::tempdir().unwrap(), owner());
        let database = open(&folder.path().join("words.db"), &owner).unwrap();
        add(&database, "one").await;
        let copy = tempfile::tempdir().unwrap();
        let path = killed(folder.path(), copy.path(), &[]);
        let [log, aside] = ["words.db-wal", "aside"].map(|name| copy.path().join(name));
        fs::rename(&log, &aside).unwrap();
        std::os::unix::fs::symlink(&aside, &log).unwrap();
        let refused = open(&path, &owner).unwrap_err();
        let said = std::error::Error::source(&refused).unwrap().to_string();
        assert!(said.contains("words.db-wal is a link to") && said.contains("move that file here"), "{said}");
        fs::remove_file(&log).unwrap();
        fs::rename(&aside, &log).unwrap();
        open(&path, &owner).unwrap();
    }

    #[tokio::test]
    async fn a_database_of_another_data_directory_is_refused() {
        let (folder, owner) = (tempfile::tempdir().unwrap(), owner());
        let path = folder.path().join("words.db");
        drop(open(&path, &owner).unwrap());
        assert_eq!(identity_of(&path).unwrap(), Some(owner.identity));
        let other = Owner { identity: Identity::random(&Entropy::seeded(2)), ..owner };
        assert!(matches!(open(&path, &other), Err(Error::ForeignMark { .. })));
        fs::remove_file(folder.path().join("words.mark")).unwrap();
        assert!(matches!(open(&path, &other), Err(Error::Foreign { .. })));
    }

    #[tokio::test]
    async fn a_copy_that_is_older_than_the_files_it_knows_is_refused_though_its_own_mark_is_as_old() {
        let (folder, files, older) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let owner = Owner { companion: Some(files.path().join("mark")), ..owner() };
        let database = open(&folder.path().join("words.db"), &owner).unwrap();
        add(&database, "one").await;
        let path = killed(folder.path(), older.path(), &[]);
        add(&database, "two").await;
        drop(database);
        let Err(Error::Lost { found: Some(found), written, .. }) = open(&path, &owner) else { panic!() };
        assert!(found < written, "{found} {written}");
        let accepted = Losses::parse(&format!("words.db:{written}")).unwrap();
        let accepting = Owner { accepted, ..owner.clone() };
        assert_eq!(open(&path, &accepting).unwrap().standing(), Standing::Lossy);
        assert_eq!(open(&path, &owner).unwrap().standing(), Standing::Complete);
        fs::remove_file(files.path().join("mark")).unwrap();
        assert_eq!(open(&path, &owner).unwrap().standing(), Standing::Unknown);
        let other = Identity::random(&Entropy::seeded(2));
        let foreign = Owner { identity: other, ..owner.clone() };
        assert!(matches!(open(&path, &foreign), Err(Error::ForeignMark { .. })));
    }

    #[test]
    fn a_database_that_was_made_and_is_gone_with_its_mark_is_missed() {
        let (folder, owner) = (tempfile::tempdir().unwrap(), owner());
        let path = folder.path().join("words.db");
        let made = Owner { made: true, ..owner };
        assert!(matches!(open(&path, &made), Err(Error::Lost { found: None, written: 0, .. })));
        assert!(!path.exists());
    }
}
