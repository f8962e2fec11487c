//! The buckets in the index.

use rusqlite::{Connection, OptionalExtension, params};

use super::objects::Gone;
use super::uploads;
use crate::buckets::Error;
use crate::buckets::files::Number;
use crate::buckets::object::Bucket;
use crate::runtime::clock::Timestamp;
use crate::system::sqlite::Change;

/// Returns the number of a bucket and the time of its creation.
pub(in super::super) fn bucket(connection: &Connection, name: &str) -> Result<(i64, Timestamp), Error> {
    let mut select = connection.prepare_cached("SELECT id, created FROM buckets WHERE name = ?1")?;
    let found =
        select.query_row([name], |row| Ok((row.get(0)?, Timestamp::from_micros(row.get(1)?)))).optional()?;
    found.ok_or(Error::NoSuchBucket)
}

pub(in super::super) fn buckets(connection: &Connection) -> Result<Vec<Bucket>, Error> {
    let mut select = connection.prepare_cached("SELECT name, created FROM buckets ORDER BY name")?;
    let bucket = |row: &rusqlite::Row<'_>| {
        Ok(Bucket { name: row.get(0)?, created: Timestamp::from_micros(row.get(1)?) })
    };
    Ok(select.query_map([], bucket)?.collect::<Result<_, _>>()?)
}

pub(in super::super) fn create(change: &Change<'_>, name: &str, now: Timestamp) -> Result<(), Error> {
    let insert = "INSERT INTO buckets (name, created) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    match change.execute(insert, params![name, now.as_micros()])? {
        0 => Err(Error::BucketExists),
        _ => Ok(()),
    }
}

/// Removes an empty bucket, and the parts of its multipart uploads; returns the removed data.
pub(in super::super) fn remove(change: &Change<'_>, name: &str) -> Result<Vec<Gone>, Error> {
    let (bucket, _) = bucket(change, name)?;
    let holds = "SELECT EXISTS (SELECT 1 FROM objects WHERE bucket = ?1)";
    if change.query_row(holds, [bucket], |row| row.get(0))? {
        return Err(Error::BucketNotEmpty);
    }
    let mut select = change.prepare_cached("SELECT id FROM uploads WHERE bucket = ?1")?;
    let ids: Vec<Number> = select.query_map([bucket], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let gone =
        ids.into_iter().map(|id| Ok((id, uploads::forget(change, id)?))).collect::<Result<_, Error>>()?;
    change.execute("DELETE FROM buckets WHERE id = ?1", [bucket])?;
    Ok(gone)
}
