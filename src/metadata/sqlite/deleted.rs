//! The tombstones of projects, runs and uploads that were deleted or have failed. They are kept until their objects are
//! removed.

use rusqlite::Connection;

use super::error::unavailable;
use crate::metadata::store::Deleted;
use crate::metadata::{Error, tombstones};
use crate::model::{ProjectState, Tombstone};

/// Adds the tombstones of the deletions and failures in a change.
pub(super) fn note(
    connection: &Connection,
    before: Option<&ProjectState>,
    after: Option<&ProjectState>,
) -> Result<(), Error> {
    let mut gone = tombstones::of_change(before, after).into_iter();
    gone.try_for_each(|(tombstone, late)| insert(connection, tombstone, late))
}

/// Adds tombstones.
pub(super) fn add(connection: &Connection, these: &[Deleted]) -> Result<(), Error> {
    these.iter().try_for_each(|Deleted { tombstone, late }| insert(connection, *tombstone, *late))
}

fn insert(connection: &Connection, tombstone: Tombstone, late: bool) -> Result<(), Error> {
    let insert = connection.prepare_cached("REPLACE INTO deleted (digest, late) VALUES (?1, ?2)");
    insert.and_then(|mut insert| insert.execute((tombstone.as_bytes(), late))).map(drop).map_err(unavailable)
}

/// Returns all tombstones.
pub(super) fn all(connection: &Connection) -> Result<Vec<Deleted>, Error> {
    let mut select = connection.prepare_cached("SELECT digest, late FROM deleted").map_err(unavailable)?;
    let rows = select.query_map([], |row| {
        Ok(Deleted { tombstone: Tombstone::from_bytes(row.get(0)?), late: row.get(1)? })
    });
    rows.map_err(unavailable)?.map(|row| row.map_err(unavailable)).collect()
}

/// Deletes these tombstones. Keeps late ones unless `is_over`: their uploads may still leave objects.
pub(super) fn forget(connection: &Connection, these: &[Tombstone], is_over: bool) -> Result<(), Error> {
    let mut delete = connection
        .prepare_cached("DELETE FROM deleted WHERE digest = ?1 AND late <= ?2")
        .map_err(unavailable)?;
    these
        .iter()
        .try_for_each(|this| delete.execute((this.as_bytes(), is_over)).map(drop))
        .map_err(unavailable)
}
