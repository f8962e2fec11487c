//! Examines the stores and limits that a server would use, without starting one.

use std::path::PathBuf;

use object_store::ObjectStore;
use object_store::path::Path;

use super::resources::{self, Files};
use super::{Error, database, objects, queue};
use crate::config::Settings;
use crate::objects::{Location, connect};
use crate::system::engine;

/// The prefix of the owner's mark. It is in every used store, and has few objects.
const MARKS: &str = "entityd";

/// Checks the limits of the operating system as the start of a server does.
///
/// # Errors
/// [`Error`].
pub fn limits(settings: &Settings) -> Result<(), Error> {
    Files::share_out(settings)?;
    resources::check(settings)
}

/// Checks that the remote object store of the settings can be listed. Changes nothing.
///
/// # Errors
/// [`Error`].
pub async fn object_store(settings: &Settings) -> Result<(), Error> {
    let Location::Bucket { kind, bucket, prefix } = &settings.objects else { return Ok(()) };
    let store =
        connect(*kind, bucket, prefix, &objects::access(settings)?, objects::silence_timeout(settings))?;
    let found = store.list_with_delimiter(Some(&Path::from(MARKS))).await;
    found.map(drop).map_err(|error| Error::Objects(error.into()))
}

/// Connects to the database and reports on it, without changing anything. Returns `None` if the database is in the
/// data directory.
///
/// # Errors
/// [`Error`].
pub async fn database(settings: &Settings) -> Result<Option<engine::Report>, Error> {
    database::inspect(settings).await
}

/// Connects to the queue and reports on it, without changing anything. Returns `None` if the queue is in the data
/// directory.
///
/// # Errors
/// [`Error`].
pub async fn queue(settings: &Settings) -> Result<Option<engine::Report>, Error> {
    queue::inspect(settings).await
}

/// Returns the directory of the objects, if they are files outside of the data directory.
pub fn object_directory(settings: &Settings) -> Option<PathBuf> {
    match &settings.objects {
        Location::Directory(path) => Some(path.clone()),
        Location::Data | Location::Bucket { .. } => None,
    }
}
