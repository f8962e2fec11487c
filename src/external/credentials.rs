//! Temporary credentials for one path: how a client gets at a bucket without asking the API for each byte.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::model::ProjectId;
use crate::runtime::clock::Timestamp;

/// The rights of temporary credentials. Nothing else: no listing, no removal, no other path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The project it is for: the credentials are void once that is deleted.
    pub project: ProjectId,
    /// The permission.
    pub permission: Permission,
    /// In which bucket.
    pub bucket: String,
    /// To the object of this key, and to those under it.
    pub path: String,
    /// For how long.
    pub duration: Duration,
}

/// A permission on one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Make objects.
    Put,
    /// Read objects.
    Get,
}

/// Temporary credentials, as clients of S3 take them.
#[derive(Clone)]
pub struct TemporaryCredentials {
    /// Names the credentials.
    pub access_key_id: String,
    /// Signs requests.
    pub secret_access_key: Zeroizing<String>,
    /// Goes along with every request.
    pub session_token: Zeroizing<String>,
    /// The time of expiry.
    pub expiration: Timestamp,
}

/// Says which credentials they are and nothing that would open anything.
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
    /// The store issues no credentials to this server. Another try would end the same: use another way.
    #[error("the object store hands out no credentials: {0}")]
    Refused(String),
    /// The store did not answer. Worth another try after a pause.
    #[error("the object store's token service is unavailable")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
}

/// An issuer of temporary credentials: this server for its own endpoint, or the store behind it.
#[async_trait]
pub trait CredentialIssuer: Send + Sync {
    /// Issues credentials with the rights of `grant`.
    ///
    /// # Errors
    /// [`CredentialError`], if the store that is to issue it does not.
    async fn issue(&self, grant: &Grant) -> Result<TemporaryCredentials, CredentialError>;
}
