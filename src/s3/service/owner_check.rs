//! Checks after an object is stored that its project still exists, and removes the object otherwise. If the project is
//! deleted after this check, its purge removes the object; before the check, the purge may have missed it.

use s3s::{S3Error, S3Result};

use super::Service;
use super::convert::refusal;
use crate::buckets::{Condition, Error, Object, Part, Received, UploadName};
use crate::s3::owners::Owner;

impl Service {
    /// Removes an object that was just stored if its owner no longer exists.
    ///
    /// # Errors
    /// `AccessDenied`, if its owner no longer exists.
    pub(super) async fn confirm_object(
        &self,
        owner: Owner,
        bucket: &str,
        key: &str,
        object: Object,
    ) -> S3Result<Object> {
        let Err(gone) = self.owners.require(owner).await else { return Ok(object) };
        let condition = Condition::Etag(object.etag);
        let removed = self.buckets.delete(bucket, key, condition).await.map(drop);
        Err(removed_for(gone, removed))
    }

    /// Adds a received part to its upload, or removes the upload if its owner no longer exists.
    ///
    /// # Errors
    /// `AccessDenied`, if the owner of the upload no longer exists; the errors of the buckets.
    pub(super) async fn store_part(
        &self,
        owner: Owner,
        name: UploadName,
        number: u32,
        received: Received,
    ) -> S3Result<Part> {
        self.owners.require(owner).await?;
        let part = self.buckets.put_part(name.clone(), number, received).await.map_err(refusal)?;
        self.confirm_upload(owner, name).await.map(|()| part)
    }

    /// Removes a multipart upload that was just changed if its owner no longer exists.
    ///
    /// # Errors
    /// `AccessDenied`, if its owner no longer exists.
    pub(super) async fn confirm_upload(&self, owner: Owner, name: UploadName) -> S3Result<()> {
        let Err(gone) = self.owners.require(owner).await else { return Ok(()) };
        Err(removed_for(gone, self.buckets.abort_upload(name).await))
    }
}

/// Returns the error `gone`, and logs a failure to remove the object.
fn removed_for(gone: S3Error, removed: Result<(), Error>) -> S3Error {
    match removed {
        Ok(()) | Err(Error::NoSuchKey | Error::NoSuchUpload | Error::NoSuchBucket | Error::Precondition) => {}
        Err(error) => drop(refusal(error)),
    }
    gone
}
