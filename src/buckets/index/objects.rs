//! The objects in the index.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{bucket, from_json, to_json};
use crate::buckets::Error;
use crate::buckets::files::Number;
use crate::buckets::object::{Condition, Head, Object};
use crate::runtime::clock::Timestamp;
use crate::system::sqlite::Change;

/// A new object.
pub(in super::super) struct New<'a> {
    pub(in super::super) bucket: &'a str,
    pub(in super::super) key: &'a str,
    pub(in super::super) data: Number,
    pub(in super::super) size: u64,
    pub(in super::super) etag: &'a str,
    pub(in super::super) modified: Timestamp,
    pub(in super::super) head: &'a Head,
}

/// The location of an object's bytes.
pub(in super::super) enum Stored<'a> {
    Small(&'a [u8]),
    /// Files with their sizes, in order.
    Files(&'a [(Number, u64)]),
    /// The index has the location already, by the number of the data.
    Known,
}

/// Data that was removed from the index: its number and its files.
pub(in super::super) type Gone = (Number, Vec<Number>);

/// Returns the attributes of an object.
pub(in super::super) fn find(connection: &Connection, name: &str, key: &str) -> Result<Object, Error> {
    let (bucket, _) = bucket(connection, name)?;
    let mut select = connection.prepare_cached(
        "SELECT data, size, etag, modified, head FROM objects WHERE bucket = ?1 AND key = ?2",
    )?;
    let found = select.query_row(params![bucket, key.as_bytes()], |row| Ok(object(row))).optional()?;
    found.ok_or(Error::NoSuchKey)?
}

fn object(row: &Row<'_>) -> Result<Object, Error> {
    Ok(Object {
        data: row.get(0)?,
        size: row.get::<_, i64>(1)?.cast_unsigned(),
        etag: row.get(2)?,
        modified: Timestamp::from_micros(row.get(3)?),
        head: from_json(row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?)?,
    })
}

/// Returns the bytes of a small object.
pub(in super::super) fn small(connection: &Connection, data: Number) -> Result<Option<Vec<u8>>, Error> {
    let mut select = connection.prepare_cached("SELECT bytes FROM small WHERE data = ?1")?;
    Ok(select.query_row([data], |row| row.get(0)).optional()?)
}

/// Returns the files of an object with their sizes, in order.
pub(in super::super) fn pieces(connection: &Connection, data: Number) -> Result<Vec<(Number, u64)>, Error> {
    let mut select =
        connection.prepare_cached("SELECT file, size FROM pieces WHERE data = ?1 ORDER BY number")?;
    let piece = |row: &Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()));
    Ok(select.query_map([data], piece)?.collect::<Result<_, _>>()?)
}

/// Adds an object, or replaces the present one if that satisfies `condition`. If the condition requires an object and
/// there is none, the error is [`Error::NoSuchKey`].
pub(in super::super) fn put(
    change: &Change<'_>,
    new: &New<'_>,
    stored: &Stored<'_>,
    condition: &Condition,
) -> Result<Option<Gone>, Error> {
    let (bucket, _) = bucket(change, new.bucket)?;
    let replaced = take(change, bucket, new.key, condition)?;
    if replaced.is_none() && condition.needs_object() {
        return Err(Error::NoSuchKey);
    }
    let mut insert = change.prepare_cached(
        "INSERT INTO objects (bucket, key, data, size, etag, modified, head) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    insert.execute(params![
        bucket,
        new.key.as_bytes(),
        new.data,
        new.size.cast_signed(),
        new.etag,
        new.modified.as_micros(),
        to_json(new.head),
    ])?;
    match stored {
        Stored::Small(bytes) => {
            let mut insert = change.prepare_cached("INSERT INTO small (data, bytes) VALUES (?1, ?2)")?;
            insert.execute(params![new.data, bytes])?;
        }
        Stored::Files(files) => {
            let mut insert = change.prepare_cached(
                "INSERT INTO pieces (data, number, file, size, md5, modified) VALUES (?1, ?2, ?3, ?4, x'', ?5)",
            )?;
            for (number, (file, size)) in (1_u32..).zip(*files) {
                insert.execute(params![
                    new.data,
                    number,
                    file,
                    size.cast_signed(),
                    new.modified.as_micros()
                ])?;
            }
        }
        Stored::Known => {}
    }
    Ok(replaced)
}

/// Deletes an object if it satisfies `condition`; returns `None` if there was none.
pub(in super::super) fn delete(
    change: &Change<'_>,
    name: &str,
    key: &str,
    condition: &Condition,
) -> Result<Option<Gone>, Error> {
    let (bucket, _) = bucket(change, name)?;
    take(change, bucket, key, condition)
}

/// Removes the entry of a key from the index, if it satisfies `condition`.
fn take(change: &Change<'_>, bucket: i64, key: &str, condition: &Condition) -> Result<Option<Gone>, Error> {
    let mut select =
        change.prepare_cached("SELECT data, etag FROM objects WHERE bucket = ?1 AND key = ?2")?;
    let found: Option<(Number, String)> =
        select.query_row(params![bucket, key.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    // Without an object no condition is violated.
    let Some((data, etag)) = found else { return Ok(None) };
    if !condition.holds(&etag) {
        return Err(Error::Precondition);
    }
    change
        .prepare_cached("DELETE FROM objects WHERE bucket = ?1 AND key = ?2")?
        .execute(params![bucket, key.as_bytes()])?;
    Ok(Some((data, take_data(change, data)?)))
}

/// Removes data from the index and returns its files.
pub(super) fn take_data(change: &Change<'_>, data: Number) -> Result<Vec<Number>, Error> {
    if change.prepare_cached("DELETE FROM small WHERE data = ?1")?.execute([data])? > 0 {
        change.erases();
        return Ok(Vec::new());
    }
    let mut delete = change.prepare_cached("DELETE FROM pieces WHERE data = ?1 RETURNING file")?;
    Ok(delete.query_map([data], |row| row.get(0))?.collect::<Result<_, _>>()?)
}
