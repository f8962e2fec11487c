//! Opens what is stored.

use std::path::{Path, PathBuf};

use super::Error;
use crate::metadata::Sqlite;
use crate::queue::sled::{Settings as QueueSettings, SledBroker};
use crate::runtime::entropy::Entropy;

pub(super) fn open_metadata(path: PathBuf) -> Result<Sqlite, Error> {
    Sqlite::open(&path).map_err(|cause| Error::Metadata { path, cause })
}

pub(super) fn open_queue(path: &Path, entropy: Entropy) -> Result<SledBroker, Error> {
    SledBroker::open(path, QueueSettings::default(), entropy)
        .map_err(|cause| Error::Queue { path: path.to_owned(), cause })
}
