//! Access to objects outside the API: the bucket that clients upload to, stores of other providers that
//! uploads name files in, and temporary credentials for both.

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

/// The stores of files that uploads name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ClientFiles {
    /// The bucket that clients upload to, if there is one.
    pub bucket: Option<UploadBucket>,
    /// The stores of other providers that may be read.
    pub stores: ExternalStores,
}
