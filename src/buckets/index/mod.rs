//! The index in SQL: `buckets.db` in the data directory.

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
pub use uploads::{Asked, Completion, Part, Upload, UploadsQuery};
pub(super) use uploads::{
    NewPart, NewUpload, abandoned, abort, complete, count_parts, page_of_parts, part, parts, start, uploads,
};

use super::Error;
use super::files::{Files, Number, PLACES, SERIES};
use crate::system::sqlite::{self, Change, Database, Owner};

const MIGRATIONS: [&str; 2] = [include_str!("0001.sql"), include_str!("0002.sql")];

/// Opens the index, perhaps for an owner; where it has lost commits, numbers begin after the opening that goes with him.
pub(super) fn open(path: &Path, owner: Option<(&Owner, i64)>) -> Result<Database, sqlite::Error> {
    let thread = "bucket index";
    match owner {
        Some((owner, latest)) => {
            // No number is given out twice, though commits are lost.
            let skip = format!("UPDATE opened SET times = (max(times, {latest}) / {SERIES} + 1) * {SERIES}");
            Database::open_owned(path, thread, &MIGRATIONS, owner, &skip)
        }
        None => Database::open(path, thread, &MIGRATIONS),
    }
}

/// How often the index was opened.
pub(super) fn openings(connection: &Connection) -> Result<i64, Error> {
    Ok(connection.query_row("SELECT times FROM opened", [], |row| row.get(0))?)
}

/// Counts an opening of the index and returns the count. `latest` is the latest opening in which a file got its number.
/// An index that has not counted that far is an older copy: its count proves nothing about the files, so another series
/// begins.
pub(super) fn count_opening(change: &Change<'_>, latest: i64) -> Result<i64, Error> {
    let count = "UPDATE opened SET times = iif(times < ?1, (?1 / ?2 + 1) * ?2, times + 1) RETURNING times";
    Ok(change.query_row(count, [latest, SERIES], |row| row.get(0))?)
}

/// What was found when the index was compared with the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Compared {
    /// How many files there are.
    pub(super) all: u64,
    /// Files that nothing refers to.
    pub(super) strays: Vec<Number>,
    /// Files that are referred to and are not there.
    pub(super) missing: u64,
}

/// Compares the index with the files, both ways.
pub(super) fn compare(connection: &Connection, files: &Files) -> Result<Compared, Error> {
    let mut found = Compared::default();
    let mut select = connection.prepare("SELECT file FROM pieces WHERE file & 255 = ?1 ORDER BY file")?;
    for place in 0..PLACES {
        let known: Vec<Number> = select.query_map([place], |row| row.get(0))?.collect::<Result<_, _>>()?;
        let mut there = files.at(place)?;
        there.sort_unstable();
        found.all += there.len() as u64;
        found.strays.extend(there.iter().filter(|number| known.binary_search(number).is_err()));
        found.missing += known.iter().filter(|number| there.binary_search(number).is_err()).count() as u64;
    }
    Ok(found)
}

/// Reads a value that was written as JSON.
fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::Damaged(format!("a row of the index: {error}")))
}

/// Writes a value as JSON.
fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("strings and numbers become JSON")
}
