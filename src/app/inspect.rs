//! Examines the stores and limits that a server would use, without starting one.

use std::path::PathBuf;

use object_store::ObjectStore;
use object_store::path::Path;

use super::resources::{self, Files};
use super::{Error, database, objects, queue, worker_node};
use crate::config::Settings;
use crate::objects::{Kind, Location, connect};
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

/// Checks that the bucket that clients upload to can be listed; returns false if the settings have none in a remote
/// store. Changes nothing.
///
/// # Errors
/// [`Error`].
pub async fn upload_bucket(settings: &Settings) -> Result<bool, Error> {
    let Location::Bucket { kind: Kind::S3, .. } = &settings.objects else { return Ok(false) };
    if !settings.external_uploads {
        return Ok(false);
    }
    let (access, timeout) = (objects::access(settings)?, objects::silence_timeout(settings));
    let store = connect(Kind::S3, &settings.upload_bucket, "", &access, timeout)?;
    let found = store.list_with_delimiter(Some(&Path::from(MARKS))).await;
    found.map(|_| true).map_err(|error| Error::Objects(error.into()))
}

/// Calls each API node that a worker with these settings joins, without joining. Returns the URLs of the nodes, each with
/// the reason if it cannot be joined.
///
/// # Errors
/// [`Error`].
pub async fn api_nodes(settings: &Settings) -> Result<Vec<(String, Result<(), String>)>, Error> {
    Ok(worker_node::nodes(settings)?.greet().await)
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
