//! Access to objects outside the API: the upload bucket, to which clients upload files; stores of other providers, from
//! which files are read; and temporary credentials for clients.

mod bucket_calls;
mod credentials;
mod signed_client;
mod stores;
mod token_service;
mod upload_bucket;

pub use bucket_calls::BucketCalls;
pub use credentials::{CredentialError, CredentialIssuer, Grant, Permission, TemporaryCredentials};
pub use stores::{Endpoint as ExternalEndpoint, ExternalEndpoints, ExternalStoreError, ExternalStores};
pub use token_service::{TokenService, TokenSettings};
pub use upload_bucket::{ClientFile, FilePiece, UploadBucket};

/// The stores with files to which uploads refer. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ClientFiles {
    /// The upload bucket, if there is one.
    pub bucket: Option<UploadBucket>,
    /// The permitted stores of other providers.
    pub stores: ExternalStores,
}
