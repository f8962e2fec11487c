//! Checks a data directory that was restored from a backup, by opening its stores without running a server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Error, identity};
use crate::buckets::Buckets;
use crate::metadata::Sqlite;
use crate::metadata::sqlite::copied;
use crate::model::CleanupLimit;
use crate::objects::keys;
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::system::data_dir::DataDir;
use crate::system::sqlite::{Losses, Owner, Standing, copy};

/// A fault of a restored data directory.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The data directory cannot be opened.
    #[error(transparent)]
    Unopened(#[from] Error),
    /// A database is damaged.
    #[error("{file}: {cause}")]
    Database {
        /// The name of the database file.
        file: &'static str,
        /// The fault.
        cause: crate::system::sqlite::Error,
    },
    /// A database and its marks are from different times.
    #[error("{0} and its marks are from different moments")]
    Marks(&'static str),
    /// A file that a database names is missing.
    #[error("{} is missing, although the metadata refers to it", .0.display())]
    Missing(PathBuf),
}

/// The content of a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The number of projects.
    pub projects: usize,
    /// The number of uploads that are ready to be compared.
    pub uploads: usize,
}

/// Opens and checks the data directory at `path`. `with_objects` is set if the objects are in it.
///
/// # Errors
/// The first [`Fault`].
pub async fn check(path: &Path, with_objects: bool) -> Result<Held, Fault> {
    let entropy = Entropy::system();
    let data_dir = DataDir::open(path).map_err(Error::from)?;
    let register = identity::open(&data_dir, &entropy)?;
    let path = data_dir.path();
    let owner = |file: &str, companion: Option<PathBuf>| Owner {
        identity: register.identity(),
        made: register.has(file),
        accepted: Losses::default(),
        companion,
        take_over: None,
        known: Arc::default(),
    };
    let mut held = Held { projects: 0, uploads: 0 };
    let metadata = path.join(identity::METADATA);
    if metadata.exists() || register.has(identity::METADATA) {
        let wrong = |cause| Fault::Database { file: identity::METADATA, cause };
        copy::check(&metadata).map_err(wrong)?;
        let companion = with_objects.then(|| path.join("objects/entityd/metadata.mark"));
        let opened = Sqlite::open_owned(&metadata, &owner(identity::METADATA, companion));
        let opened =
            opened.map_err(|cause| Error::Metadata { place: metadata.display().to_string(), cause })?;
        if opened.standing() != Standing::Complete {
            return Err(Fault::Marks(identity::METADATA));
        }
        drop(opened);
        held.projects = copied::projects(&metadata).map_err(wrong)?.len();
        for (project, party, upload) in copied::ready_uploads(&metadata).map_err(wrong)? {
            held.uploads += 1;
            let wanted = [keys::matrix(project, party, upload), keys::index(project, party, upload)];
            let files = wanted.map(|key| path.join("objects").join(key.as_str()));
            if let Some(missing) = files.into_iter().find(|file| with_objects && !file.is_file()) {
                return Err(Fault::Missing(missing));
            }
        }
    }
    let index = path.join(identity::BUCKETS);
    if index.exists() || register.has(identity::BUCKETS) {
        let wrong = |cause| Fault::Database { file: identity::BUCKETS, cause };
        copy::check(&index).map_err(wrong)?;
        let root = path.join("objects/buckets");
        for file in crate::buckets::files_of_copy(&index).map_err(wrong)? {
            if !root.join(&file).is_file() {
                return Err(Fault::Missing(root.join(file)));
            }
        }
        let owner = owner(identity::BUCKETS, Some(root.join("mark")));
        let chance = (Clock::system(), entropy);
        let opened = Buckets::open_owned(&index, &root, chance, &owner, CleanupLimit::default()).await;
        opened.map_err(Error::from)?.close().await.map_err(Error::from)?;
    }
    Ok(held)
}
