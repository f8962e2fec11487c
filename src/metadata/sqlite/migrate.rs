//! Brings a database file up to the version of this program.

use rusqlite::Connection;

use super::{immediate, unavailable};
use crate::metadata::Error;

/// What leads from each version to the next; the version is `SQLite`'s `user_version`.
const MIGRATIONS: [&str; 3] = [
    include_str!("../migrations/0001.sql"),
    include_str!("../migrations/0002.sql"),
    include_str!("../migrations/0003.sql"),
];

/// Runs the migrations that `connection` has not seen, each in a transaction of its own.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Error> {
    let found: u32 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(unavailable)?;
    let known = MIGRATIONS.len() as u32;
    if found > known {
        return Err(Error::TooNew { found, known });
    }
    for (version, migration) in (1..).zip(MIGRATIONS).skip(found as usize) {
        let transaction = immediate(connection)?;
        transaction.execute_batch(migration).map_err(unavailable)?;
        transaction.pragma_update(None, "user_version", version).map_err(unavailable)?;
        transaction.commit().map_err(unavailable)?;
    }
    Ok(())
}
