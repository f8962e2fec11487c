//! Opens what is stored.

use std::path::{Path, PathBuf};

use super::{Addresses, Error, objects, s3, settings};
use crate::config::Settings;
use crate::http::External;
use crate::metadata::Sqlite;
use crate::objects::{Objects, Spool};
use crate::queue::sled::{Settings as QueueSettings, SledBroker};
use crate::runtime::data_dir::DataDir;
use crate::runtime::entropy::Entropy;

/// All that is stored.
pub(super) struct Shelves {
    pub(super) metadata: Sqlite,
    pub(super) broker: SledBroker,
    pub(super) blobs: Blobs,
}

/// What is stored as it comes, and the ways that clients have to it.
pub(super) struct Blobs {
    pub(super) objects: Objects,
    pub(super) spool: Spool,
    pub(super) external: Option<External>,
    /// What is behind our own endpoint, if clients are served by that.
    pub(super) own: Option<s3::Own>,
}

/// Opens everything. Clients find us at the addresses, with TLS if they are `secure`.
pub(super) async fn open(
    settings: &Settings,
    data_dir: &DataDir,
    entropy: &Entropy,
    addresses: &Addresses,
    secure: bool,
) -> Result<Shelves, Error> {
    let (path, chance) = (data_dir.path().join("queue"), entropy.clone());
    let wishes = QueueSettings {
        on_damage: settings.queue_damaged,
        expected: data_dir.path().join("metadata.db").exists(),
        ..QueueSettings::default()
    };
    // This takes as long as the rest together.
    let queue = tokio::task::spawn_blocking(move || open_queue(&path, wishes, chance));
    let others = async {
        let metadata = open_metadata(data_dir.path().join("metadata.db"))?;
        Ok::<_, Error>((metadata, open_blobs(settings, data_dir, entropy, addresses, secure).await?))
    };
    // Whatever comes of the others, the queue is no longer being opened when this returns.
    let (others, queue) = (others.await, queue.await);
    let (metadata, blobs) = others?;
    let broker = queue.map_err(std::io::Error::from)??;
    Ok(Shelves { metadata, broker, blobs })
}

fn open_metadata(path: PathBuf) -> Result<Sqlite, Error> {
    Sqlite::open(&path).map_err(|cause| Error::Metadata { path, cause })
}

fn open_queue(path: &Path, settings: QueueSettings, entropy: Entropy) -> Result<SledBroker, Error> {
    SledBroker::open(path, settings, entropy).map_err(|cause| Error::Queue { path: path.to_owned(), cause })
}

async fn open_blobs(
    settings: &Settings,
    data_dir: &DataDir,
    entropy: &Entropy,
    addresses: &Addresses,
    secure: bool,
) -> Result<Blobs, Error> {
    let objects::Opened { mut objects, mut external, own_endpoint } = objects::open(settings, data_dir)?;
    let mut own = None;
    if own_endpoint {
        let opened = s3::open(settings, data_dir, entropy).await?;
        (objects, external) = opened.for_clients(settings, objects, (addresses.api, addresses.s3), secure);
        own = Some(opened);
    }
    let disks = objects.directories().into_iter().chain([data_dir.path().to_owned()]).collect();
    let spool = Spool::new(disks, settings::spool(settings));
    Ok(Blobs { objects, spool, external, own })
}
