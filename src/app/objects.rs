//! Opens the object store, and determines the address at which clients can access it directly.

use std::env;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use zeroize::Zeroizing;

use super::{Error, owner, settings};
use crate::config::Settings;
use crate::external::{BucketCalls, CredentialIssuer, TokenService, TokenSettings, UploadBucket};
use crate::http::{Bucket, ClientStore, Endpoint};
use crate::objects::{Cache, CacheLimits, Kind, Location, Objects, Owner, S3Access, connect, files};
use crate::system::data_dir::{DataDir, check_folder, check_part};
use crate::system::identity::Register;
use crate::system::secret;
use crate::telemetry::chain;

/// The pause between two attempts to reach a store that did not answer at the start.
const PAUSE: Duration = Duration::from_secs(5);
/// The region of a store if the settings name none.
const REGION: &str = "us-east-1";

/// The object store, and the access of clients to it.
pub(super) struct Opened {
    /// The object store.
    pub(super) objects: Objects,
    /// The claim on the object store.
    pub(super) owner: Owner,
    /// The bucket that clients upload to, if it is in the remote store.
    pub(super) uploads: Option<UploadBucket>,
    /// The store that clients access directly, if they may.
    pub(super) external: Option<ClientStore>,
    /// True if clients use this server's S3 endpoint.
    pub(super) own_endpoint: bool,
}

/// An object store, and the claim on it.
pub(super) type Claimed = (Arc<dyn ObjectStore>, Owner);

/// Claims the store of the settings. This checks its owner before anything in the store is used.
pub(super) async fn claim(
    settings: &Settings,
    data_dir: &DataDir,
    register: &Register,
) -> Result<Claimed, Error> {
    if let Location::Directory(path) = &settings.objects
        && is_foreign_data_dir(path, data_dir.path())
    {
        return Err(Error::ForeignDataDir { path: path.clone() });
    }
    if let Location::Directory(path) = &settings.objects {
        let objects = path.join("objects");
        check_part("objects", &objects)?;
        // If objects exist, the directory was used before: its spool may hold other files, which are not removed.
        if !objects.is_dir() {
            check_part("spool", &path.join("spool"))?;
        }
    }
    let store = match bucket(settings)? {
        Some(store) => store,
        None => files(&owner::directory(settings, data_dir).expect("these are files"))?,
    };
    let owner = owner::claim(settings, data_dir, register, Arc::clone(&store)).await?;
    Ok((store, owner))
}

/// Returns true if `path` is a data directory other than `own`. Objects must not be stored there, since the start of
/// this server would empty the spool of the other server.
fn is_foreign_data_dir(path: &Path, own: &Path) -> bool {
    let is_data_dir = ["format", "identity"].iter().all(|name| path.join(name).is_file());
    is_data_dir && path.canonicalize().ok() != own.canonicalize().ok()
}

/// Opens the claimed objects.
pub(super) fn open(
    settings: &Settings,
    data_dir: &DataDir,
    (store, owner): Claimed,
) -> Result<Opened, Error> {
    let spool = data_dir.folder("spool")?;
    let cache = cache(settings, data_dir, matches!(settings.objects, Location::Bucket { .. }))?;
    let objects = match &settings.objects {
        Location::Data => Objects::open(&data_dir.folder("objects")?, &spool)?,
        // The spool is beside the objects, so that a file becomes an object by a rename, without copying.
        Location::Directory(path) => {
            let [objects, spool] = ["objects", "spool"].map(|name| path.join(name));
            [path, &objects, &spool].into_iter().try_for_each(|folder| check_folder(folder))?;
            Objects::open(&objects, &spool)?
        }
        Location::Bucket { .. } => Objects::over(store, &spool, cache)?,
    }
    .with_owner(owner.clone());
    if let Location::Bucket { kind: Kind::S3, bucket, prefix } = &settings.objects {
        return behind_us(settings, (objects, owner), bucket, prefix);
    }
    // Buckets in the data directory of one node would not be on the others.
    let own_endpoint = !settings::is_shared(settings);
    Ok(Opened { objects, owner, uploads: None, external: None, own_endpoint })
}

/// Returns a client of the bucket with the objects, if they are in a bucket.
pub(super) fn bucket(settings: &Settings) -> Result<Option<Arc<dyn ObjectStore>>, Error> {
    match &settings.objects {
        Location::Bucket { kind, bucket, prefix } => {
            Ok(Some(connect(*kind, bucket, prefix, &access(settings)?, silence_timeout(settings))?))
        }
        Location::Data | Location::Directory(_) => Ok(None),
    }
}

/// Opens the cache of remote objects, if `is_remote`. If the cache is disabled, removes an old one.
pub(super) fn cache(
    settings: &Settings,
    data_dir: &DataDir,
    is_remote: bool,
) -> Result<Option<Cache>, Error> {
    let directory = data_dir.path().join("cache");
    let limits =
        CacheLimits { bytes_max: settings.object_cache_bytes_max, disk_free_min: settings.disk_free_min };
    if is_remote && limits.bytes_max > 0 {
        Ok(Some(Cache::open(&directory, limits)?))
    } else {
        Ok(Cache::discard(&directory).map(|()| None)?)
    }
}

/// Returns the access of clients to the remote store, with credentials from its token service.
fn behind_us(
    settings: &Settings,
    (objects, owner): (Objects, Owner),
    bucket: &str,
    prefix: &str,
) -> Result<Opened, Error> {
    let access = access(settings)?;
    let keys = access.keys.clone().or_else(keys_of_environment);
    let Some(keys) = keys.filter(|_| settings.external_uploads) else {
        if settings.external_uploads {
            tracing::warn!("no keys of the S3 store are given: clients cannot upload to it directly");
        }
        return Ok(Opened { objects, owner, uploads: None, external: None, own_endpoint: false });
    };
    let uploads = UploadBucket::new(connect(
        Kind::S3,
        &settings.upload_bucket,
        "",
        &access,
        silence_timeout(settings),
    )?);
    let region =
        access.region.clone().or_else(|| env::var("AWS_REGION").ok()).unwrap_or_else(|| REGION.to_owned());
    let amazon = |service: &str| format!("https://{service}.{region}.amazonaws.com");
    let address = access.endpoint.clone();
    let bucket_url = match (&address, access.virtual_hosted) {
        // With virtual-hosted requests, the address contains the bucket.
        (Some(address), true) => address.clone(),
        (Some(address), false) => format!("{}/{}", address.trim_end_matches('/'), settings.upload_bucket),
        (None, true) => format!("https://{}.s3.{region}.amazonaws.com", settings.upload_bucket),
        (None, false) => format!("{}/{}", amazon("s3"), settings.upload_bucket),
    };
    let calls = BucketCalls::new(&bucket_url, region.clone(), keys.clone())?;
    let uploads = uploads.with_calls(calls, &settings.upload_bucket);
    let token = TokenSettings {
        endpoint: settings
            .objects_sts_endpoint
            .clone()
            .or_else(|| address.clone())
            .unwrap_or_else(|| amazon("sts")),
        region: region.clone(),
        role: settings.objects_sts_role.clone().unwrap_or_default(),
        keys,
    };
    let issuer = Arc::new(TokenService::new(token)?);
    let address = address.unwrap_or_else(|| amazon("s3"));
    let (scheme, authority) = address.split_once("://").unwrap_or(("https", &address));
    let found = Address { endpoint: Endpoint::At(authority.to_ascii_lowercase()), secure: scheme == "https" };
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    let external = external(settings, issuer, found, (bucket.to_owned(), prefix));
    Ok(Opened { objects, owner, uploads: Some(uploads), external: Some(external), own_endpoint: false })
}

/// The default address of a store for clients.
pub(super) struct Address {
    pub(super) endpoint: Endpoint,
    pub(super) secure: bool,
}

/// Returns the store for clients from the settings, with `found` as the default address. `download` is the bucket of
/// results with its key prefix.
pub(super) fn external(
    settings: &Settings,
    issuer: Arc<dyn CredentialIssuer>,
    found: Address,
    download: (String, String),
) -> ClientStore {
    let upload = Bucket {
        endpoint: settings.upload_endpoint.clone().map_or(found.endpoint, Endpoint::At),
        secure: settings.upload_secure.unwrap_or(found.secure),
        name: settings.upload_bucket.clone(),
        prefix: String::new(),
        duration: Duration::from_secs(settings.upload_duration_s),
    };
    let download = Bucket {
        endpoint: settings.download_endpoint.clone().map_or_else(|| upload.endpoint.clone(), Endpoint::At),
        secure: settings.download_secure.unwrap_or(upload.secure),
        name: download.0,
        prefix: download.1,
        duration: Duration::from_secs(settings.download_duration_s),
    };
    ClientStore { issuer, upload, download, foreign: settings.external_endpoints.clone() }
}

/// Waits until the object store is available. Logs the first reason why it is not.
pub(super) async fn until_found(objects: &Objects, location: &Location) {
    let mut away = false;
    while let Err(error) = objects.probe().await {
        if !away {
            tracing::error!(
                "the object store {location} is unavailable: {}; runs wait for it",
                chain(&error)
            );
        }
        away = true;
        tokio::time::sleep(PAUSE).await;
    }
    if away {
        tracing::info!("the object store {location} is available");
    }
}

pub(super) const fn silence_timeout(settings: &Settings) -> Duration {
    Duration::from_millis(settings.objects_timeout_ms)
}

/// Returns the settings for access to the S3 store.
pub(super) fn access(settings: &Settings) -> Result<S3Access, Error> {
    let from_file = settings.s3_secret_key_file.as_deref().map(|path| secret::read_word(path, 1)).transpose();
    let secret_key = from_file.map_err(Error::SecretFile)?;
    let secret_key = secret_key.or_else(|| settings.s3_secret_key.as_ref().map(|key| key.reveal().clone()));
    Ok(S3Access {
        endpoint: settings.objects_endpoint.clone(),
        region: settings.objects_region.clone(),
        virtual_hosted: settings.objects_virtual_hosted,
        keys: settings.s3_access_key.clone().zip(secret_key),
    })
}

fn keys_of_environment() -> Option<(String, Zeroizing<String>)> {
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY").map(Zeroizing::new))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_data_directory_of_another_is_no_place_for_objects() {
        let folder = tempfile::tempdir().unwrap();
        let [own, other, plain] = ["own", "other", "plain"].map(|name| folder.path().join(name));
        for home in [&own, &other, &plain] {
            fs::create_dir(home).unwrap();
        }
        for name in ["format", "identity"] {
            fs::write(own.join(name), b"").unwrap();
            fs::write(other.join(name), b"").unwrap();
        }
        assert!(is_foreign_data_dir(&other, &own));
        assert!(!is_foreign_data_dir(&own, &own));
        assert!(!is_foreign_data_dir(&plain, &own));
        assert!(!is_foreign_data_dir(&folder.path().join("new"), &own));
    }
}
