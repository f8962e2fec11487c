//! The versions of the tables, and their migrations.

use tokio_postgres::Client;

use super::error::{Fault, Kind};
use crate::metadata::store::Error;

/// The migration from each version to the next.
pub const MIGRATIONS: [&str; 4] = [
    include_str!("migrations/0001.sql"),
    include_str!("migrations/0002.sql"),
    include_str!("migrations/0003.sql"),
    include_str!("migrations/0004.sql"),
];

/// The oldest schema version whose programs can use the tables of this version. A migration that only adds columns or
/// tables does not change it.
const OLDEST: u32 = 1;

/// The version of this program.
pub(super) const KNOWN: u32 = MIGRATIONS.len() as u32;

/// The number of the advisory lock for migrations: the bytes `entityd` and 1.
const LOCK: i64 = 0x656e_7469_7479_6401;

/// The version of the tables; 0 if there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) version: u32,
    /// The oldest version whose programs can use the tables.
    oldest: u32,
}

impl Found {
    /// Returns true if this program has migrations for the tables.
    pub(super) const fn is_behind(self) -> bool {
        self.version < KNOWN
    }

    /// Returns an error if a newer program made the tables and this program cannot use them.
    pub(super) const fn check(self) -> Result<(), Error> {
        if self.version > KNOWN && self.oldest > KNOWN {
            return Err(Error::TooNew { found: self.version, known: KNOWN });
        }
        Ok(())
    }
}

/// Reads the version. Takes no lock.
pub(super) async fn find(client: &Client) -> Result<Found, tokio_postgres::Error> {
    // `to_regclass` is not used: it may answer from a cache of the session that is older than the lock.
    let there = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace AS schema
                                ON schema.oid = relnamespace
                                WHERE nspname = 'entityd' AND relname = 'schema_version')";
    if !client.query_typed(there, &[]).await?[0].get::<_, bool>(0) {
        return Ok(Found::default());
    }
    let rows = client.query_typed("SELECT version, oldest FROM entityd.schema_version", &[]).await?;
    let number = |index| rows.first().map_or(0, |row| row.get::<_, i32>(index).cast_unsigned());
    Ok(Found { version: number(0), oldest: number(1) })
}

/// Upgrades the tables to the schema of this program in one transaction, so an interruption leaves them unchanged. If
/// several programs do this concurrently, the others wait for the first. Returns the previous version.
pub(super) async fn apply(client: &Client) -> Result<Found, Fault> {
    // The time limits are long enough to wait for another program that migrates.
    let begin =
        "BEGIN; SET LOCAL lock_timeout = '60s'; SET LOCAL idle_in_transaction_session_timeout = '60s'";
    client.batch_execute(begin).await?;
    client.batch_execute(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
    let found = find(client).await?;
    if !found.is_behind() {
        client.batch_execute("COMMIT").await?;
        return Ok(found);
    }
    if found.version == 0 {
        refuse_other_encodings(client).await?;
        // A role without the right to create schemas can use one that an administrator has created.
        let there = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'entityd')";
        let there = client.query_typed(there, &[]).await?;
        if !there[0].get::<_, bool>(0) {
            client.batch_execute("CREATE SCHEMA entityd").await?;
        }
        let version = "CREATE TABLE entityd.schema_version (
            single  boolean PRIMARY KEY DEFAULT true CHECK (single),
            version integer NOT NULL,
            oldest  integer NOT NULL      -- whose programs can use the tables as they are now
        ); INSERT INTO entityd.schema_version (version, oldest) VALUES (0, 0)";
        client.batch_execute(version).await?;
    }
    for migration in &MIGRATIONS[found.version as usize..] {
        client.batch_execute(migration).await?;
    }
    let note = format!("UPDATE entityd.schema_version SET version = {KNOWN}, oldest = {OLDEST}; COMMIT");
    client.batch_execute(&note).await?;
    tracing::info!(from = found.version, to = KNOWN, "the tables in PostgreSQL were brought up to date");
    Ok(found)
}

async fn refuse_other_encodings(client: &Client) -> Result<(), Fault> {
    let rows = client.query_typed("SELECT current_setting('server_encoding')", &[]).await?;
    let encoding: String = rows[0].get(0);
    if encoding == "UTF8" {
        return Ok(());
    }
    let advice = "create it anew: CREATE DATABASE name OWNER user ENCODING 'UTF8' TEMPLATE template0";
    Err(Fault::new(Kind::Refused, format!("the database has the encoding {encoding} and not UTF8; {advice}")))
}
