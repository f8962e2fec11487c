//! Copies of a database, for backups.
//!
//! `VACUUM INTO` makes a copy in one read transaction, which blocks no change. The copy has the latest commit, and no
//! free pages, which may still contain deleted rows.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{Error, connect, owner};
use crate::system::identity::Identity;
use crate::system::mark::Marks;

/// The owner of a copy, and the count of the latest commit in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The identity of the data directory.
    pub identity: Identity,
    /// The count of the latest commit.
    pub commits: u64,
    /// The version of the schema.
    pub version: u32,
}

/// Copies the database at `from` into the new file `to`. This process may have it open, but no other process. Blocks.
///
/// # Errors
/// [`Error`]; [`Error::Damaged`] also if it has no owner.
pub fn copy(from: &Path, to: &Path) -> Result<Copied, Error> {
    let source = connect(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    source.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    describe(to)
}

/// Describes the copy at `path`.
///
/// # Errors
/// [`Error`]; [`Error::Damaged`] also if it has no owner.
pub fn describe(path: &Path) -> Result<Copied, Error> {
    read(path, |copy| {
        let version = copy.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let (identity, commits) =
            owner::stored(copy)?.ok_or_else(|| Error::Damaged("it has no identity".to_owned()))?;
        Ok(Copied { identity, commits, version })
    })
}

/// Writes the marks of a copy.
pub fn mark(copied: Copied, marks: &[std::path::PathBuf]) {
    Marks::open(marks, copied.identity).write(copied.commits);
}

/// Checks every page and every reference of the database at `path`. Blocks.
///
/// # Errors
/// [`Error::Damaged`], with the first fault.
pub fn check(path: &Path) -> Result<(), Error> {
    read(path, |database| {
        let found: String = database.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if found != "ok" {
            return Err(Error::Damaged(found));
        }
        let mut broken = database.prepare("PRAGMA foreign_key_check")?;
        if broken.exists([])? {
            return Err(Error::Damaged("a row refers to one that is missing".to_owned()));
        }
        Ok(())
    })
}

/// Runs a read-only `query` on the database at `path`.
///
/// # Errors
/// The errors of `query`; [`Error`] if it cannot be opened.
pub fn read<T>(path: &Path, query: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
    query(&connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?)
}
