//! Temporary credentials for one path: how a client gets at a bucket without asking the API for each byte.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::model::ProjectId;
use crate::runtime::clock::Timestamp;

/// What a pass opens. Nothing else: no listing, no removal, no other path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The project it is for: the pass is void once that is deleted.
    pub project: ProjectId,
    /// What may be done.
    pub permission: Permission,
    /// In which bucket.
    pub bucket: String,
    /// To the object of this key, and to those under it.
    pub path: String,
    /// For how long.
    pub duration: Duration,
}

/// What a pass lets its holder do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Make objects.
    Put,
    /// Read objects.
    Get,
}

/// Temporary credentials, as clients of S3 take them.
#[derive(Clone)]
pub struct Pass {
    /// Names the credentials.
    pub access_key_id: String,
    /// Signs requests.
    pub secret_access_key: Zeroizing<String>,
    /// Goes along with every request.
    pub session_token: Zeroizing<String>,
    /// When they end.
    pub expiration: Timestamp,
}

/// Says which credentials they are and nothing that would open anything.
impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass")
            .field("access_key_id", &self.access_key_id)
            .field("expiration", &self.expiration)
            .finish_non_exhaustive()
    }
}

/// Who hands out passes: this server for its own endpoint, or the store behind it.
#[async_trait]
pub trait PassOffice: Send + Sync {
    /// A pass for what `grant` says.
    ///
    /// # Errors
    /// [`Error::Storage`](super::Error::Storage), if the store that is to issue it does not.
    async fn issue(&self, grant: &Grant) -> Result<Pass, super::Error>;
}
