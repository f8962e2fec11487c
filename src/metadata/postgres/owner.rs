//! Checks that the database belongs to this data directory, and is complete.
//!
//! The table `store` has the identity of the data directory. Each change of a project draws a number from a sequence.
//! The data directory stores the latest number in its [marks](crate::system::mark). A database whose sequence is behind
//! is an older copy, or a standby that lacks changes.

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
    settle(client, owner, &begun, written, standing).await.map_err(|error| Fault::from(error).at_start())?;
    let latest = begun.commits.max(written);
    let ledger = Ledger { marks: Marks::open(&paths, owner.identity), known: Arc::clone(&owner.known) };
    ledger.known.store(latest, Ordering::Release);
    ledger.marks.write(latest);
    Ok((ledger, standing))
}

/// The owner in the database.
struct Stored {
    identity: Option<String>,
    commits: u64,
}

async fn begun(client: &Client, begin: &str) -> Result<Stored, tokio_postgres::Error> {
    client.batch_execute(begin).await?;
    client.batch_execute("LOCK TABLE entityd.store IN SHARE ROW EXCLUSIVE MODE").await?;
    let identity = client.query_typed_opt("SELECT identity FROM entityd.store", &[]).await?;
    let drawn = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM entityd.commit_numbers";
    let drawn: i64 = client.query_typed_one(drawn, &[]).await?.get(0);
    Ok(Stored { identity: identity.map(|row| row.get(0)), commits: drawn.cast_unsigned() })
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
    if !is_missing && stored.commits >= written {
        return Ok(if is_whole { Standing::Complete } else { Standing::Unknown });
    }
    if owner.accepted.accept(NAME, written) {
        return Ok(Standing::Lossy);
    }
    let lost = if is_missing {
        format!("the database is empty, and {written} changes were made to it")
    } else {
        let found = stored.commits;
        format!(
            "the database has {found} of the {written} changes that were made to it: it is an older copy, or a standby that missed some"
        )
    };
    Err(Error::Unfit(format!(
        "{lost}; restore the latest one; to continue without the lost commits, start once with --accept-loss {NAME}:{written}: objects that it does not know then are kept"
    )))
}

async fn settle(
    client: &Client,
    owner: &Owner,
    stored: &Stored,
    written: u64,
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
    if stored.commits < written {
        client.batch_execute(&format!("SELECT setval('entityd.commit_numbers', {written})")).await?;
    }
    // Removes the rows of writers that ended long ago.
    client.batch_execute("DELETE FROM entityd.commits WHERE at < now() - interval '7 days'; COMMIT").await
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
