//! Opens the stores of a server.

use std::sync::Arc;

use super::addresses::Addresses;
use super::sharing::Sharing;
use super::{Error, database, identity, objects, owner, queue, s3, settings, versions};
use crate::config::Settings;
use crate::external::UploadBucket;
use crate::http::ClientStore;
use crate::metadata::Store;
use crate::objects::{Objects, Owner, PartialUploads, Spool};
use crate::queue::Broker;
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::system::data_dir::DataDir;
use crate::system::identity::Register;

/// All stores.
pub(super) struct Stores {
    pub(super) metadata: Arc<dyn Store>,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) blobs: Blobs,
}

/// The object stores, and the clients' access to them.
pub(super) struct Blobs {
    pub(super) objects: Objects,
    /// The claim on the objects.
    pub(super) owner: Owner,
    pub(super) partial: PartialUploads,
    /// The bucket that clients upload to, if there is one.
    pub(super) uploads: Option<UploadBucket>,
    pub(super) external: Option<ClientStore>,
    /// The parts of this server's S3 endpoint, if it serves clients.
    pub(super) own: Option<s3::Own>,
}

/// Opens all stores. Clients connect to this server at the addresses, with TLS if `secure` is set.
pub(super) async fn open(
    settings: &Settings,
    data_dir: &DataDir,
    entropy: &Entropy,
    sharing: &Sharing,
    (addresses, secure): (&Addresses, bool),
) -> Result<Stores, Error> {
    let mut register = identity::open(data_dir, entropy)?;
    versions::permit(settings, data_dir.path())?;
    // Before a store is opened, since an absent one is created.
    database::check(settings, data_dir, &register)?;
    queue::check(settings, data_dir.path(), &register)?;
    // The queue is opened concurrently, since this takes as long as opening all other stores.
    let queue =
        queue::open(settings.clone(), data_dir.path().to_owned(), &register, entropy.clone(), sharing);
    let others = async {
        // The objects are claimed first: a mark of the metadata is among the objects, or in the lease on them.
        let claimed = objects::claim(settings, data_dir, &register).await?;
        let metadata =
            database::open(settings, data_dir, &register, claimed.1.commits(), sharing.name()).await?;
        let blobs =
            open_blobs(settings, data_dir, entropy, (&register, claimed), (addresses, secure)).await?;
        Ok::<_, Error>((metadata, blobs))
    };
    // Both futures are completed, so that the queue is not still being opened after an error of the others.
    let (broker, others) = tokio::join!(queue, others);
    let ((metadata, blobs), broker) = (others?, broker?);
    queue::mark(settings, data_dir.path(), &register)?;
    note(settings, data_dir, &mut register, (&blobs.owner, blobs.own.is_some()))?;
    Ok(Stores { metadata, broker, blobs })
}

/// Records the stores that exist now, including the buckets if there are any.
pub(super) fn note(
    settings: &Settings,
    data_dir: &DataDir,
    register: &mut Register,
    (owner, has_buckets): (&Owner, bool),
) -> Result<(), Error> {
    let buckets = has_buckets.then_some(identity::BUCKETS);
    let claimed = owner.has_claimed().then(|| owner::name(settings));
    let made = [database::name(settings)].into_iter().chain(buckets).map(str::to_owned).chain(claimed);
    identity::note(data_dir, register, made)
}

async fn open_blobs(
    settings: &Settings,
    data_dir: &DataDir,
    entropy: &Entropy,
    (register, claimed): (&Register, objects::Claimed),
    (addresses, secure): (&Addresses, bool),
) -> Result<Blobs, Error> {
    let objects::Opened { objects, owner, mut uploads, mut external, own_endpoint } =
        objects::open(settings, data_dir, claimed)?;
    let mut own = None;
    if own_endpoint {
        let opened = s3::open(settings, data_dir, entropy, register).await?;
        (uploads, external) = opened.for_clients(settings, (addresses.api, addresses.s3), secure);
        own = Some(opened);
    }
    let disks = objects.directories().into_iter().chain([data_dir.path().to_owned()]).collect();
    let spool = Spool::new(disks, settings::spool(settings));
    let (folder, limits) = (data_dir.folder("uploads")?, settings::partial(settings));
    let partial = PartialUploads::open(&folder, spool, limits, Clock::system(), entropy.clone())?;
    Ok(Blobs { objects, owner, partial, uploads, external, own })
}
