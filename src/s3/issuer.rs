//! Temporary credentials for this server's S3 endpoint. They grant access to one path, until their project is deleted.

use std::sync::Arc;

use async_trait::async_trait;

use super::policy::{Action, Policy};
use super::session::{Keys, Session};
use crate::external::{CredentialError, CredentialIssuer, Grant, Permission, TemporaryCredentials};
use crate::runtime::clock::Clock;
use crate::runtime::entropy::Entropy;

/// Issues temporary credentials for this server's S3 endpoint.
#[derive(Clone)]
pub struct EndpointIssuer {
    keys: Arc<Keys>,
    clock: Clock,
    entropy: Entropy,
}

impl EndpointIssuer {
    /// Returns an issuer of credentials derived from `keys`.
    pub const fn new(keys: Arc<Keys>, clock: Clock, entropy: Entropy) -> Self {
        Self { keys, clock, entropy }
    }
}

#[async_trait]
impl CredentialIssuer for EndpointIssuer {
    async fn issue(&self, grant: &Grant) -> Result<TemporaryCredentials, CredentialError> {
        let action = match grant.permission {
            Permission::Put => Action::PutObject,
            Permission::Get => Action::GetObject,
        };
        let session = Session {
            expires: self.clock.now().after(grant.duration),
            project: Some(grant.project),
            policy: Some(Policy::for_path(action, &grant.bucket, &grant.path)),
        };
        Ok(self.keys.issue(&session, &self.entropy))
    }
}
