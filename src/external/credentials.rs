//! Temporary credentials for one path, with which a client uses a bucket directly.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::model::ProjectId;
use crate::runtime::clock::Timestamp;

/// The rights of temporary credentials: one permission on one path. They permit no listing and no removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The project; its deletion invalidates the credentials.
    pub project: ProjectId,
    /// The permission.
    pub permission: Permission,
    /// The bucket.
    pub bucket: String,
    /// The key of the object, or the prefix of the objects.
    pub path: String,
    /// The lifetime.
    pub duration: Duration,
}

/// A permission on one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// The permission to create objects.
    Put,
    /// The permission to read objects.
    Get,
}

/// Temporary credentials in the form of S3.
#[derive(Clone)]
pub struct TemporaryCredentials {
    /// The access key id.
    pub access_key_id: String,
    /// The secret key, with which requests are signed.
    pub secret_access_key: Zeroizing<String>,
    /// The session token, which is sent with every request.
    pub session_token: Zeroizing<String>,
    /// The time of expiry.
    pub expiration: Timestamp,
}

/// Shows only the access key id.
impl fmt::Debug for TemporaryCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemporaryCredentials")
            .field("access_key_id", &self.access_key_id)
            .field("expiration", &self.expiration)
            .finish_non_exhaustive()
    }
}

/// The reason why no credentials are issued.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The store issues no credentials to this server. A retry does not help.
    #[error("the object store issues no credentials: {0}")]
    Refused(String),
    /// The store did not answer. Try again after a pause.
    #[error("the object store's token service is unavailable")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
}

/// An issuer of temporary credentials: this server, for its own endpoint, or an external store.
#[async_trait]
pub trait CredentialIssuer: Send + Sync {
    /// Issues credentials with the rights of `grant`.
    ///
    /// # Errors
    /// [`CredentialError`], if the store does not issue any.
    async fn issue(&self, grant: &Grant) -> Result<TemporaryCredentials, CredentialError>;
}
