//! The index: the SQLite database `buckets.db` in the data directory.

pub(super) mod copied;
mod names;
mod objects;
mod page;
mod uploads;

use std::path::Path;

use rusqlite::Connection;

pub(super) use names::{bucket, buckets, create, remove};
pub(super) use objects::{New, Stored, delete, find, pieces, put, small};
pub(super) use page::page;
pub use page::{Entry, Page, Query};
pub use uploads::{Asked, Completion, Part, Upload, UploadsPage, UploadsQuery};
pub(super) use uploads::{
    NewPart, NewUpload, abandoned, abort, complete, count_parts, page_of_parts, part, parts, start, uploads,
};

use super::Error;
use super::files::{Number, PLACES, SERIES, numbers, opening_of};
use crate::system::sqlite::{self, Change, Database, Owner, Standing};

/// The version of the schema that this program writes.
pub const SCHEMA: u32 = MIGRATIONS.len() as u32;

/// The migration from each version to the next.
pub const MIGRATIONS: [&str; 2] = [include_str!("0001.sql"), include_str!("0002.sql")];

/// Opens the index, and checks that it belongs to the owner if one is given.
pub(super) fn open(path: &Path, owner: Option<&Owner>) -> Result<Database, sqlite::Error> {
    let thread = "bucket index";
    match owner {
        Some(owner) => Database::open_owned(path, thread, &MIGRATIONS, owner, ""),
        None => Database::open(path, thread, &MIGRATIONS),
    }
}

/// Returns the number of openings of the index.
pub(super) fn openings(connection: &Connection) -> Result<i64, Error> {
    Ok(connection.query_row("SELECT times FROM opened", [], |row| row.get(0))?)
}

/// Counts an opening of the index and returns the count. `latest` is the latest opening in which a file got its number.
/// The next series begins if the index lacks commits, or its count is below `latest`: such an index may not know all
/// files of earlier openings.
pub(super) fn count_opening(change: &Change<'_>, standing: Standing, latest: i64) -> Result<i64, Error> {
    let is_in_doubt = standing != Standing::Complete;
    let count = "UPDATE opened SET
                     times = iif(?3 OR times < ?1, (max(times, ?1) / ?2 + 1) * ?2, times + 1) RETURNING times";
    Ok(change.query_row(count, (latest, SERIES, is_in_doubt), |row| row.get(0))?)
}

/// The result of comparing the index with the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// The number of files.
    pub(super) all: u64,
    /// The latest opening of the index that assigned a number to one of the files; 0 if there are no files.
    pub(super) latest: i64,
    /// The files to which the index does not refer.
    pub(super) strays: Vec<Number>,
    /// The number of missing files to which the index refers.
    pub(super) missing: u64,
}

/// Compares the index with the files below `root`, in both directions.
pub(super) fn compare(connection: &Connection, root: &Path) -> Result<Compared, Error> {
    let mut found = Compared::default();
    let mut select = connection.prepare("SELECT file FROM pieces WHERE file & 255 = ?1 ORDER BY file")?;
    for place in 0..PLACES {
        let known: Vec<Number> = select.query_map([place], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut there = numbers(root, place)?;
        there.sort_unstable();
        found.all += there.len() as u64;
        found.latest = there.iter().copied().map(opening_of).chain([found.latest]).max().unwrap_or(0);
        found.strays.extend(there.iter().filter(|number| known.binary_search(number).is_err()));
        found.missing += known.iter().filter(|number| there.binary_search(number).is_err()).count() as u64;
    }
    Ok(found)
}

/// Parses a value that is stored as JSON.
fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::Damaged(format!("a row of the index: {error}")))
}

/// Formats a value as JSON.
fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("strings and numbers become JSON")
}
