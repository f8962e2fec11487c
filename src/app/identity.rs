//! Identifies the data directory, and checks that its stores belong to it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Error;
use crate::config::Settings;
use crate::runtime::entropy::Entropy;
use crate::system::data_dir::{self, DataDir};
use crate::system::identity::{Identity, Register};
use crate::system::sqlite::{self, Owner};

/// The file with the metadata.
pub(crate) const METADATA: &str = "metadata.db";
/// The file with the index of the buckets.
pub(super) const BUCKETS: &str = "buckets.db";

/// Returns the identity of the data directory and its existing stores. If the file with both is missing, it is restored
/// from the stores.
pub(super) fn open(data_dir: &DataDir, entropy: &Entropy) -> Result<Register, Error> {
    let path = data_dir.path();
    let unusable = |cause| unusable(path, cause);
    if let Some(register) = Register::read(path).map_err(unusable)? {
        return Ok(register);
    }
    let found = found_in(data_dir, METADATA)?.or(found_in(data_dir, BUCKETS)?);
    let identity = found.unwrap_or_else(|| Identity::random(entropy));
    let mut register = Register::make(path, identity).map_err(unusable)?;
    if found.is_some() {
        tracing::warn!(%identity, "the missing or damaged file `identity` is restored from the stores");
    }
    // Objects without an identity are from an earlier version, or the metadata was lost too.
    if holds_objects(data_dir) {
        register.note([METADATA.to_owned()]).map_err(unusable)?;
    }
    Ok(register)
}

/// Returns the owner that the database in `file` must have. `companion` is the path of the database's second mark,
/// which is among the objects.
pub(super) fn owner(
    register: &Register,
    settings: &Settings,
    file: &str,
    companion: Option<PathBuf>,
) -> Owner {
    let (identity, accepted) = (register.identity(), settings.accept_loss.clone());
    Owner {
        identity,
        made: register.has(file),
        accepted,
        companion,
        known: Arc::default(),
        take_over: settings.take_over_objects,
    }
}

/// Checks that the queue does not belong to another data directory, which has other projects.
pub(super) fn check_queue(queue: &Path, register: &Register) -> Result<(), Error> {
    if !queue.is_dir() {
        return Ok(());
    }
    let found = Register::read(queue).map_err(|cause| unusable(queue, cause))?;
    let other = found.map(|found| found.identity()).filter(|found| *found != register.identity());
    other.map_or(Ok(()), |found| {
        Err(Error::ForeignQueue { path: queue.to_owned(), found, expected: register.identity() })
    })
}

/// Writes the identity of the data directory to the queue, which must be open.
pub(super) fn mark_queue(queue: &Path, register: &Register) -> Result<(), Error> {
    let mark = || match Register::read(queue)? {
        Some(_) => Ok(()),
        None => Register::make(queue, register.identity()).map(drop),
    };
    mark().map_err(|cause| unusable(queue, cause))
}

/// Records the stores that exist in the file with the identity.
pub(super) fn note(
    data_dir: &DataDir,
    register: &mut Register,
    made: impl IntoIterator<Item = String>,
) -> Result<(), Error> {
    register.note(made).map_err(|cause| unusable(data_dir.path(), cause))
}

pub(super) fn unusable(path: &Path, cause: io::Error) -> Error {
    data_dir::Error::Unusable { path: path.join("identity"), cause }.into()
}

fn found_in(data_dir: &DataDir, file: &str) -> Result<Option<Identity>, Error> {
    let path = data_dir.path().join(file);
    sqlite::identity_of(&path).map_err(|cause| Error::Database { path, cause })
}

fn holds_objects(data_dir: &DataDir) -> bool {
    fs::read_dir(data_dir.path().join("objects/projects")).is_ok_and(|mut projects| projects.next().is_some())
}
