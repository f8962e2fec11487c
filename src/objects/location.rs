//! The location of objects: a local directory, or a store named by a URL.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use super::Error;
use super::backend::directory::make_private_directory;
use crate::system::outgoing;

/// The retries of a request to a store.
const RETRY: RetryConfig = RetryConfig {
    backoff: BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(5),
        base: 2.0,
    },
    max_retries: 6,
    retry_timeout: Duration::from_secs(20),
};
/// The time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The region for a store without regions.
const REGION: &str = "us-east-1";

/// The location of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Location {
    /// The objects are in the data directory.
    #[default]
    Data,
    /// The objects are in this directory.
    Directory(PathBuf),
    /// The objects are in a bucket, under a prefix.
    Bucket {
        /// The provider of the store.
        kind: Kind,
        /// The bucket.
        bucket: String,
        /// The prefix of all keys; empty, or without slashes at its ends.
        prefix: String,
    },
}

/// The kind of a store, which determines the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Amazon S3 and compatible stores.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Gcs,
}

/// The parameters of access to an S3 store. The environment provides the missing ones.
#[derive(Clone, Debug, Default)]
pub struct S3Access {
    /// The URL of the store; `None` stands for AWS.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// True if the bucket is in the host name rather than in the path.
    pub virtual_hosted: bool,
    /// The access key and the secret key; if absent, they are read from the environment.
    pub keys: Option<(String, Zeroizing<String>)>,
}

impl Location {
    /// Parses `file:///dir`, `s3://bucket/prefix`, `az://container/prefix` or `gs://bucket/prefix`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::Data);
        }
        let (scheme, rest) = text.split_once("://")?;
        if scheme == "file" {
            let absolute = rest.starts_with('/') && rest.len() > 1;
            return absolute.then(|| Self::Directory(PathBuf::from(rest)));
        }
        let kind = match scheme {
            "s3" => Kind::S3,
            "az" => Kind::Azure,
            "gs" => Kind::Gcs,
            _ => return None,
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        let plain =
            |text: &str| object_store::path::Path::parse(text).is_ok_and(|path| path.as_ref() == text);
        let named = bucket.len() >= 3
            && bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        (named && plain(prefix)).then(|| Self::Bucket {
            kind,
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

impl Location {
    /// Returns true if clients can access the store directly, by S3.
    pub const fn is_s3(&self) -> bool {
        matches!(self, Self::Bucket { kind: Kind::S3, .. })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data => Ok(()),
            Self::Directory(path) => write!(f, "file://{}", path.display()),
            Self::Bucket { kind, bucket, prefix } => {
                let scheme = match kind {
                    Kind::S3 => "s3",
                    Kind::Azure => "az",
                    Kind::Gcs => "gs",
                };
                let slash = if prefix.is_empty() { "" } else { "/" };
                write!(f, "{scheme}://{bucket}{slash}{prefix}")
            }
        }
    }
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Returns a client of a bucket, without contacting the store. The usual environment variables of the store provide
/// parameters that `access` lacks. A request fails if no byte arrives for `silence_timeout`. The upload of a part must
/// be finished in that time.
///
/// # Errors
/// [`Error::Storage`] if the settings are invalid or incomplete.
pub fn connect(
    kind: Kind,
    bucket: &str,
    prefix: &str,
    access: &S3Access,
    silence_timeout: Duration,
) -> Result<Arc<dyn ObjectStore>, Error> {
    let options = options(silence_timeout);
    let store: Arc<dyn ObjectStore> = match kind {
        Kind::S3 => Arc::new(s3(bucket, access).with_client_options(options).build()?),
        Kind::Azure => {
            let builder = MicrosoftAzureBuilder::from_env().with_container_name(bucket);
            Arc::new(builder.with_client_options(options).with_retry(RETRY).build()?)
        }
        Kind::Gcs => {
            let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
            Arc::new(builder.with_client_options(options).with_retry(RETRY).build()?)
        }
    };
    if prefix.is_empty() { Ok(store) } else { Ok(Arc::new(PrefixStore::new(store, prefix))) }
}

/// Returns a store of the files below a directory, which is created if it is missing.
///
/// # Errors
/// [`Error::Storage`].
pub fn files(directory: &Path) -> Result<Arc<dyn ObjectStore>, Error> {
    make_private_directory(directory)?;
    Ok(Arc::new(LocalFileSystem::new_with_prefix(directory)?.with_fsync(true)))
}

fn s3(bucket: &str, access: &S3Access) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(access.virtual_hosted)
        .with_retry(RETRY);
    if let Some(endpoint) = &access.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &access.region {
        builder = builder.with_region(region);
    } else if access.endpoint.is_some() {
        builder = builder.with_region(REGION);
    }
    if let Some((access_key, secret_key)) = &access.keys {
        builder = builder.with_access_key_id(access_key).with_secret_access_key(secret_key.as_str());
    }
    builder
}

/// Returns the options of a client. A request as a whole has no time limit, because it may have any size.
fn options(silence_timeout: Duration) -> ClientOptions {
    let options = outgoing::store_options().with_allow_http(true).with_connect_timeout(CONNECT_TIMEOUT);
    options.with_timeout_disabled().with_read_timeout(silence_timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_url() {
        for text in ["", "file:///var/objects", "s3://bucket", "s3://bucket/a/b", "az://box/p", "gs://box"] {
            assert_eq!(Location::parse(text).unwrap().to_string(), text);
        }
        let bucket = Location::Bucket { kind: Kind::S3, bucket: "bucket".to_owned(), prefix: "a".to_owned() };
        assert_eq!(Location::parse("s3://bucket/a/"), Some(bucket));
        for wrong in [
            "objects",
            "file://relative",
            "file:///",
            "s3://",
            "s3:///a",
            "s3://b u/",
            "http://x",
            "s3://bucket/a//b",
            "s3://bucket/../x",
        ] {
            assert_eq!(Location::parse(wrong), None, "{wrong}");
        }
    }
}
