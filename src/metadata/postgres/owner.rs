//! Checks that the database belongs to this data directory, and is complete.
//!
//! The table `store` has the identity of the data directory. Each change of a project draws a number and stores it in
//! the table `commits`. The latest number is in the [marks](crate::system::mark) of the data directory: a database
//! with a lower one is an older copy, or a standby that missed changes. Changes that are made at the same moment may
//! be committed out of the order of their numbers: if a standby missed one of them, that is not noticed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_postgres::Client;

use super::error::{Fault, Kind};
use crate::metadata::store::Error;
use crate::system::identity::Identity;
use crate::system::mark::{Expected, Marks, Reading, Unusable};
use crate::system::sqlite::{Owner, Standing};

/// The name of the database among the stores of a data directory, and for `--accept-loss`.
pub const NAME: &str = "postgresql";

/// The marks of a database in use.
#[derive(Debug)]
pub(super) struct Ledger {
    marks: Marks,
    /// The latest number, which is also stored with the objects.
    known: Arc<AtomicU64>,
}

impl Ledger {
    /// Records the number of a committed change. Marks may be behind the database, and are never ahead of it.
    pub(super) fn note(&self, number: i64) {
        let number = number.cast_unsigned();
        if self.known.fetch_max(number, Ordering::AcqRel) < number {
            self.marks.write(number);
        }
    }
}

/// Checks that the database belongs to `owner` and is complete, and assigns it to the owner. The files with the marks
/// are beside `file`.
pub(super) async fn claim(
    client: &Client,
    owner: &Owner,
    file: &Path,
    begin: &str,
) -> Result<(Ledger, Standing), Error> {
    let paths = owner.marks(file);
    let expected = Expected { identity: owner.identity, take_over: owner.take_over };
    let Reading { written, is_whole } =
        Reading::of(&paths, expected).map_err(|cause| refuse(owner, cause))?;
    let begun = begun(client, begin).await.map_err(|error| Fault::from(error).at_start())?;
    let written = written.unwrap_or(0).max(owner.known.load(Ordering::Acquire));
    let standing = compare(owner, &begun, written, is_whole)?;
    let latest = begun.commits().max(written);
    settle(client, owner, &begun, latest, standing).await.map_err(|error| Fault::from(error).at_start())?;
    let ledger = Ledger { marks: Marks::open(&paths, owner.identity), known: Arc::clone(&owner.known) };
    ledger.known.store(latest, Ordering::Release);
    ledger.marks.write(latest);
    Ok((ledger, standing))
}

/// The owner and the numbers in the database.
struct Stored {
    identity: Option<String>,
    /// The latest number that was drawn, or a later one.
    drawn: u64,
    /// The latest number that was stored with a change.
    latest: u64,
    /// True if every writer stored its latest number.
    is_numbered: bool,
}

impl Stored {
    /// Returns the number of the latest change. If programs that store no numbers write, it may be too high.
    const fn commits(&self) -> u64 {
        if self.is_numbered { self.latest } else { self.drawn }
    }
}

async fn begun(client: &Client, begin: &str) -> Result<Stored, tokio_postgres::Error> {
    client.batch_execute(begin).await?;
    client.batch_execute("LOCK TABLE entityd.store IN SHARE ROW EXCLUSIVE MODE").await?;
    let identity = client.query_typed_opt("SELECT identity FROM entityd.store", &[]).await?;
    let drawn = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM entityd.commit_numbers";
    let drawn: i64 = client.query_typed_one(drawn, &[]).await?.get(0);
    let numbers = "SELECT max(number), bool_and(numbered IS NOT DISTINCT FROM latest) FROM entityd.commits";
    let numbers = client.query_typed_one(numbers, &[]).await?;
    Ok(Stored {
        identity: identity.map(|row| row.get(0)),
        drawn: drawn.cast_unsigned(),
        latest: numbers.get::<_, Option<i64>>(0).unwrap_or(0).cast_unsigned(),
        is_numbered: numbers.get::<_, Option<bool>>(1).unwrap_or(false),
    })
}

fn compare(owner: &Owner, stored: &Stored, written: u64, is_whole: bool) -> Result<Standing, Error> {
    if let Some(text) = &stored.identity {
        let found = Identity::parse(text)
            .ok_or_else(|| Error::Damaged("its identity; restore the database from a backup".to_owned()))?;
        if found != owner.identity && Some(found) != owner.take_over {
            return Err(Error::Unfit(format!(
                "the database belongs to the data directory with the identity {found}, and this one has {}; give each \
                 data directory a database of its own, or, if that data directory is gone for good, start once with \
                 --take-over-objects {found}",
                owner.identity
            )));
        }
    }
    let is_missing = stored.identity.is_none() && (owner.made || written > 0);
    if !is_missing && stored.commits() >= written {
        return Ok(if is_whole { Standing::Complete } else { Standing::Unknown });
    }
    if owner.accepted.accept(NAME, written) {
        return Ok(Standing::Lossy);
    }
    let lost = if is_missing {
        format!("the database is empty, and {written} changes were made to it")
    } else {
        lacking(stored.commits(), written)
    };
    Err(Error::Unfit(format!(
        "{lost}; restore the latest one, or start once with --accept-loss {NAME}:{written} to continue without the lost commits; objects that it does not name are kept"
    )))
}

async fn settle(
    client: &Client,
    owner: &Owner,
    stored: &Stored,
    latest: u64,
    standing: Standing,
) -> Result<(), tokio_postgres::Error> {
    // An identity needs no escaping, since it consists of hexadecimal digits.
    let identity = owner.identity;
    client
        .batch_execute(&format!(
            "INSERT INTO entityd.store (identity) VALUES ('{identity}')
             ON CONFLICT (single) DO UPDATE SET identity = excluded.identity WHERE store.identity <> excluded.identity"
        ))
        .await?;
    if standing == Standing::Lossy {
        client.batch_execute(include_str!("lost.sql")).await?;
    }
    if stored.drawn < latest {
        client.batch_execute(&format!("SELECT setval('entityd.commit_numbers', {latest})")).await?;
    }
    if stored.latest < latest {
        // The row of no writer.
        client
            .batch_execute(&format!(
                "INSERT INTO entityd.commits (writer, latest, numbered, number) VALUES ('\\x', 0, 0, {latest})
                 ON CONFLICT (writer) DO UPDATE SET number = excluded.number, at = now()"
            ))
            .await?;
    }
    // Writers that ended long ago.
    client
        .batch_execute(
            "DELETE FROM entityd.commits WHERE at < now() - interval '7 days'
                AND number IS DISTINCT FROM (SELECT max(number) FROM entityd.commits); COMMIT",
        )
        .await
}

/// Describes a database with the changes up to the number `found`, of which `written` were confirmed.
fn lacking(found: u64, written: u64) -> String {
    format!(
        "the database has {found} of the {written} changes that were made to it: it is an older copy, or a standby that missed \
         some"
    )
}

/// Explains the loss if the database lacks changes: its latest number is `found`, and this process knows of a change
/// with the number `confirmed`. Returns `None` if no change is missing, or if the table has no numbers.
pub(super) fn lost(found: Option<i64>, confirmed: u64) -> Option<String> {
    let found = found?.cast_unsigned();
    (found < confirmed).then(|| {
        let lost = lacking(found, confirmed);
        format!("{lost}; bring the one that has them back, or restart this server to continue without them")
    })
}

fn refuse(owner: &Owner, cause: Unusable) -> Error {
    match cause {
        Unusable::Foreign { path, found } => Error::Unfit(format!(
            "{} belongs to the data directory with the identity {found}, and this one has {}; restore all files of a data \
             directory from the same backup",
            path.display(),
            owner.identity
        )),
        Unusable::Unread(error) => Error::Unavailable(error.into()),
    }
}

/// Returns an error if another data directory has taken over the database, or the database was emptied.
pub(super) fn still_ours(identity: Option<&str>, expected: &str) -> Result<(), Fault> {
    match identity {
        Some(found) if found == expected => Ok(()),
        Some(found) => Err(Fault::new(
            Kind::Refused,
            format!(
                "the database was taken over by the data directory with the identity {found}; stop this server"
            ),
        )),
        None => Err(Fault::new(Kind::Damaged, "the database was emptied; restore it from a backup")),
    }
}
