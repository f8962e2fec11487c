//! Reads files in S3 stores of other providers, with the access keys in the upload that refers to them.
//!
//! Only stores that the operator has [listed](ExternalEndpoints) are contacted. A host name is resolved once, and the
//! connection goes to the checked address. Redirects are not followed, and no proxy is used. A store that sends no
//! bytes for a minute counts as unavailable.

mod addresses;
mod client;
mod endpoints;
mod error;

use object_store::path::Path;
use object_store::{GetResult, ObjectStoreExt};
use tokio::runtime::Handle;

pub use endpoints::{Endpoint, ExternalEndpoints};
pub use error::ExternalStoreError;

use super::ClientFile;
use crate::model::{AccessKeys, ForeignFile};

/// The permitted stores of other providers. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ExternalStores {
    endpoints: ExternalEndpoints,
    bytes_max: u64,
}

impl ExternalStores {
    /// Returns the listed stores. Files larger than `bytes_max` are rejected.
    pub const fn new(endpoints: ExternalEndpoints, bytes_max: u64) -> Self {
        Self { endpoints, bytes_max }
    }

    /// Opens a file.
    ///
    /// # Errors
    /// [`ExternalStoreError`]. Reading the file may fail with [`Error::Foreign`](crate::objects::Error::Foreign).
    ///
    /// # Panics
    /// If it is called outside of a tokio runtime.
    pub async fn open(
        &self,
        file: &ForeignFile,
        keys: &AccessKeys,
    ) -> Result<ClientFile, ExternalStoreError> {
        let endpoint = self.endpoints.admit(&file.endpoint, Some(file.secure));
        let endpoint = endpoint.ok_or_else(|| {
            ExternalStoreError::Refused(format!(
                "the server no longer reads from the object store `{}` (--external-endpoints)",
                file.endpoint
            ))
        })?;
        let address = addresses::resolve(&endpoint, &self.endpoints).await?;
        let store = client::connect(&endpoint, address, &file.bucket, keys)?;
        let path = Path::parse(&file.path).map_err(|_| error::no_file(&file.path))?;
        let found = store.get(&path).await.map_err(|error| error::opening(&endpoint, &file.path, &error))?;
        self.require_fit(&found, &file.path)?;
        let host = endpoint.host().to_owned();
        Ok(ClientFile::new(found, Handle::current(), move |error| error::reading(&host, &error)))
    }

    fn require_fit(&self, found: &GetResult, path: &str) -> Result<(), ExternalStoreError> {
        if found.meta.size > self.bytes_max {
            let (size, max) = (found.meta.size, self.bytes_max);
            let why = format!("the file `{path}` has {size} bytes; this server reads {max} at most");
            return Err(ExternalStoreError::Refused(why));
        }
        Ok(())
    }
}
