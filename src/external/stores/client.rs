//! A client that connects to one address only.

use std::net::SocketAddr;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpClient, HttpConnector};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};

use super::{Endpoint, ExternalStoreError};
use crate::model::AccessKeys;
use crate::system::outgoing;

/// The time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum time without any bytes from the store.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
/// The retries of a request. The whole job is retried, too.
const RETRY: RetryConfig = RetryConfig {
    backoff: BackoffConfig {
        init_backoff: Duration::from_millis(200),
        max_backoff: Duration::from_secs(2),
        base: 2.0,
    },
    max_retries: 3,
    retry_timeout: Duration::from_secs(10),
};
/// The region of a store whose name contains no region.
const REGION: &str = "us-east-1";

/// Returns a client of a bucket in the store at `address`.
pub(super) fn connect(
    endpoint: &Endpoint,
    address: SocketAddr,
    bucket: &str,
    keys: &AccessKeys,
) -> Result<AmazonS3, ExternalStoreError> {
    let broken = |error: &dyn std::error::Error| {
        tracing::warn!(host = endpoint.host(), "cannot make a client of an external object store: {error}");
        ExternalStoreError::Refused(format!(
            "the object store `{endpoint}` cannot have a bucket of that name"
        ))
    };
    let scheme = if endpoint.is_secure() { "https" } else { "http" };
    let mut builder = AmazonS3Builder::new()
        .with_endpoint(format!("{scheme}://{}:{}", endpoint.host(), endpoint.port()))
        .with_allow_http(true)
        .with_region(region(endpoint.host()))
        .with_bucket_name(bucket)
        .with_access_key_id(&keys.access_key_id)
        .with_secret_access_key(&keys.secret_access_key)
        .with_retry(RETRY)
        .with_http_connector(Pinned { host: endpoint.host().to_owned(), address });
    if let Some(token) = &keys.session_token {
        builder = builder.with_token(token);
    }
    builder.build().map_err(|error| broken(&error))
}

/// Returns the region for signatures, which AWS puts into the host name.
fn region(host: &str) -> &str {
    let amazon = host.strip_prefix("s3.").and_then(|rest| rest.strip_suffix(".amazonaws.com"));
    amazon.filter(|region| !region.is_empty()).unwrap_or(REGION)
}

/// A resolver for one host, with a fixed address.
#[derive(Debug)]
struct Pinned {
    host: String,
    address: SocketAddr,
}

impl HttpConnector for Pinned {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = outgoing::client()
            .resolve(&self.host, self.address)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build();
        let client =
            client.map_err(|error| object_store::Error::Generic { store: "S3", source: Box::new(error) })?;
        Ok(HttpClient::new(client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amazon_says_its_region() {
        assert_eq!(region("s3.eu-west-1.amazonaws.com"), "eu-west-1");
        for host in ["s3.amazonaws.com", "minio.example", "s3.eu-west-1.example"] {
            assert_eq!(region(host), REGION, "{host}");
        }
    }
}
