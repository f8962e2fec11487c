//! Detects that the file of an open database or its log was removed or replaced. `SQLite` would continue to write to
//! the old files, and the commits would be lost when the process ends.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::system::place::Place;

#[derive(Debug)]
pub(super) struct Files {
    file: Place,
    log: Place,
}

/// Returns the path of the log of the database at `path`: it is beside the file itself, not beside a link to it.
///
/// # Errors
/// The error of the file system.
pub fn log_of(path: &Path) -> io::Result<PathBuf> {
    let mut log = fs::canonicalize(path)?.into_os_string();
    log.push("-wal");
    Ok(log.into())
}

impl Files {
    /// Records the files of the database at `path`, which is open.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { file: Place::of(&fs::canonicalize(path)?)?, log: Place::of(&log_of(path)?)? })
    }

    /// Checks that both are still the files that were opened.
    ///
    /// # Errors
    /// The reason, with a remedy.
    pub(super) fn check(&self) -> io::Result<()> {
        self.check_file().map_err(|cause| {
            advised(
                &cause,
                "while the process runs, /proc/{}/fd has its content and that of its \
                 -wal: copy both before the process ends, and end it with SIGKILL",
            )
        })?;
        self.log
            .check()
            .map_err(|cause| advised(&cause, "its content was merged into the database; restart the server"))
    }

    /// Checks that the file is still the one that was opened; ignores the log.
    pub(super) fn check_file(&self) -> io::Result<()> {
        self.file.check()
    }
}

fn advised(cause: &io::Error, advice: &str) -> io::Error {
    let advice = advice.replace("{}", &std::process::id().to_string());
    io::Error::other(format!("{cause}; {advice}"))
}

#[cfg(test)]
mod tests {
    use super::super::{Change, Database, Error};
    use super::*;

    const SCHEMA: &[&str] = &["CREATE TABLE words (word TEXT PRIMARY KEY) STRICT;"];

    async fn add(database: &Database, word: &'static str) -> Result<(), Error> {
        let insert = move |change: &Change<'_>| {
            Ok::<_, Error>(change.execute("INSERT OR IGNORE INTO words VALUES (?1)", [word]).map(drop)?)
        };
        database.write(insert).await
    }

    fn words(database: &Database) -> Vec<String> {
        let read = |reader: &rusqlite::Connection| {
            let mut words = reader.prepare("SELECT word FROM words")?;
            let words = words.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            Ok::<_, Error>(words)
        };
        database.query(read).unwrap()
    }

    #[tokio::test]
    async fn nothing_is_acknowledged_while_the_file_is_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let [path, log, aside] = ["words.db", "words.db-wal", "aside"].map(|name| folder.path().join(name));
        let database = Database::open(&path, "words", SCHEMA).unwrap();
        add(&database, "one").await.unwrap();
        for moved in [&path, &log] {
            fs::rename(moved, &aside).unwrap();
            for _ in 0..2 {
                let said = add(&database, "two").await.unwrap_err();
                assert!(format!("{said:?}").contains("was removed or moved"), "{said:?}");
            }
            fs::write(moved, "another").unwrap();
            let said = format!("{:?}", database.check().await.unwrap_err());
            assert!(said.contains("was replaced"), "{said}");
            fs::rename(&aside, moved).unwrap();
            database.check().await.unwrap();
        }
        add(&database, "three").await.unwrap();
        drop(database);
        let database = Database::open(&path, "words", SCHEMA).unwrap();
        let words = words(&database);
        assert!(words.contains(&"one".to_owned()) && words.contains(&"three".to_owned()), "{words:?}");
    }

    #[tokio::test]
    async fn an_unlinked_log_is_written_into_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words.db");
        let database = Database::open(&path, "words", SCHEMA).unwrap();
        add(&database, "one").await.unwrap();
        fs::remove_file(folder.path().join("words.db-wal")).unwrap();
        assert!(database.check().await.is_err());
        let copy = folder.path().join("copy.db");
        fs::copy(&path, &copy).unwrap();
        assert_eq!(words(&Database::open(&copy, "copy", SCHEMA).unwrap()), ["one"]);
    }
}
