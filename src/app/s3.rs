//! Builds the endpoint for S3 clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::objects::{Address, external};
use super::{Error, identity};
use crate::buckets::{self, BucketStore, Buckets};
use crate::config::Settings;
use crate::coordinator::Coordinator;
use crate::external::UploadBucket;
use crate::http::{ClientStore, Endpoint};
use crate::model::CleanupLimit;
use crate::objects::{Objects, Spool};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;
use crate::s3::access::AccessControl;
use crate::s3::credentials::{Given, Root};
use crate::s3::issuer::EndpointIssuer;
use crate::s3::owners::Owners;
use crate::s3::session::Keys;
use crate::s3::sts::Sts;
use crate::s3::{EndpointConfig, Results};
use crate::system::data_dir::DataDir;
use crate::system::identity::Register;
use crate::system::sqlite::Owner;

/// The file with generated root credentials.
pub const CREDENTIALS: &str = "s3-credentials";
/// The folder with the files of the buckets.
const FILES: &str = "objects/buckets";

/// The parts of this server's S3 endpoint that do not need the coordinator.
pub(super) struct Own {
    pub(super) buckets: Buckets,
    keys: Arc<Keys>,
    entropy: Entropy,
}

/// Opens the buckets with their keys, and creates the bucket that clients upload to.
pub(super) async fn open(
    settings: &Settings,
    data_dir: &DataDir,
    entropy: &Entropy,
    register: &Register,
) -> Result<Own, Error> {
    let (index, root) = (data_dir.path().join(identity::BUCKETS), data_dir.folder(FILES)?);
    let owner = owner(settings, data_dir, register)?;
    let limit = CleanupLimit { percent: settings.cleanup_share_max };
    let chance = (Clock::system(), entropy.clone());
    let buckets = Buckets::open_owned(&index, &root, chance, &owner, limit).await?;
    let given = Given {
        access_key: settings.s3_access_key.clone(),
        secret_key: settings.s3_secret_key.as_ref().map(|key| key.reveal().clone()),
        secret_key_file: settings.s3_secret_key_file.clone(),
    };
    let (root, _) = Root::open(&given, &data_dir.path().join(CREDENTIALS), entropy)?;
    if settings.external_uploads {
        match buckets.create(&settings.upload_bucket).await {
            Ok(()) | Err(buckets::Error::BucketExists) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Own { buckets, keys: Arc::new(Keys::new(root)), entropy: entropy.clone() })
}

/// Returns the owner that the index of the buckets must have.
pub(super) fn owner(settings: &Settings, data_dir: &DataDir, register: &Register) -> Result<Owner, Error> {
    let mark = data_dir.folder(FILES)?.join("mark");
    Ok(identity::owner(register, settings, identity::BUCKETS, Some(mark)))
}

impl Own {
    /// Returns the bucket that clients upload to, and the clients' access to it. `api` is the address of the API, and
    /// `s3` is the address of this endpoint. `secure` is set if the endpoint uses TLS.
    pub(super) fn for_clients(
        &self,
        settings: &Settings,
        (api, s3): (SocketAddr, SocketAddr),
        secure: bool,
    ) -> (Option<UploadBucket>, Option<ClientStore>) {
        if !settings.external_uploads {
            return (None, None);
        }
        let uploads = UploadBucket::own(BucketStore::new(self.buckets.clone(), &settings.upload_bucket));
        if settings.upload_endpoint.is_none() && s3.ip().is_loopback() && !api.ip().is_loopback() {
            tracing::warn!(
                "the S3 endpoint is for this machine alone, so data providers upload through the API: \
                 give --s3-listen an address that they reach, or set --upload-endpoint"
            );
            return (Some(uploads), None);
        }
        // Certificates are for names: if both are on one host, its name is the one that the caller uses.
        let beside = s3.ip().is_unspecified() || s3.ip() == api.ip();
        let endpoint = if beside { Endpoint::Beside(s3.port()) } else { Endpoint::At(s3.to_string()) };
        let issuer = EndpointIssuer::new(Arc::clone(&self.keys), Clock::system(), self.entropy.clone());
        let found = Address { endpoint, secure };
        let download = (settings.download_bucket.clone(), String::new());
        (Some(uploads), Some(external(settings, Arc::new(issuer), found, download)))
    }

    /// Assembles the parts of the endpoint.
    pub(super) fn parts(
        self,
        settings: &Settings,
        coordinator: &Coordinator,
        objects: Objects,
        spool: Spool,
    ) -> EndpointConfig {
        let Self { buckets, keys, entropy } = self;
        let clock = Clock::system();
        let access = AccessControl::new(Arc::clone(&keys), coordinator.clone(), clock.clone());
        let longest = Duration::from_secs(settings.s3_sts_duration_max_s);
        let sts = Sts::new(keys, clock, entropy, longest);
        let results = Results { bucket: settings.download_bucket.clone(), objects };
        let uploads = settings.external_uploads.then(|| settings.upload_bucket.clone());
        let owners = Owners::new(coordinator.clone(), uploads);
        EndpointConfig { buckets, results, spool, owners, access, sts, domain: settings.s3_domain.clone() }
    }
}
