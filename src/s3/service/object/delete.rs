//! The operations `DeleteObject` and `DeleteObjects`.

use futures::{StreamExt, stream};
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput, DeletedObject,
    Error as Refused, ObjectIdentifier,
};
use s3s::{S3Error, S3Request, S3Response, S3Result, s3_error};

use crate::buckets::Condition;
use crate::s3::access::Rights;
use crate::s3::policy::{Action, Resource};
use crate::s3::service::Service;
use crate::s3::service::convert::{condition, refusal};

/// The maximum number of keys in one request.
const KEYS_MAX: usize = 1_000;
/// The number of keys that are deleted concurrently. Concurrent deletions share syncs of the disk.
const AT_ONCE: usize = 64;

impl Service {
    pub(in crate::s3::service) async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = request.input;
        let condition = condition(input.if_match.as_ref(), None)?;
        self.buckets.delete(&input.bucket, &input.key, condition).await.map_err(refusal)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    /// Deletes many objects; each key is authorized separately.
    pub(in crate::s3::service) async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let rights = request.extensions.get::<Rights>().cloned();
        let rights = rights.ok_or_else(|| s3_error!(AccessDenied, "Access Denied."))?;
        let (bucket, asked) = (request.input.bucket, request.input.delete);
        if asked.objects.is_empty() || asked.objects.len() > KEYS_MAX {
            return Err(s3_error!(MalformedXML, "A request names 1 to {KEYS_MAX} keys."));
        }
        let (bucket, rights) = (bucket.as_str(), &rights);
        let outcomes = stream::iter(asked.objects)
            .map(|object| async move {
                let outcome = self.delete_one(bucket, &object, rights).await;
                (object, outcome)
            })
            .buffered(AT_ONCE);
        let outcomes: Vec<(ObjectIdentifier, S3Result<()>)> = outcomes.collect().await;
        let quiet = asked.quiet.unwrap_or_default();
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for (object, outcome) in outcomes {
            match outcome {
                Ok(()) if quiet => {}
                Ok(()) => deleted.push(DeletedObject {
                    key: Some(object.key),
                    version_id: object.version_id,
                    ..DeletedObject::default()
                }),
                Err(error) => errors.push(refused(object, &error)),
            }
        }
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: Some(deleted),
            errors: Some(errors),
            ..DeleteObjectsOutput::default()
        }))
    }

    async fn delete_one(&self, bucket: &str, object: &ObjectIdentifier, rights: &Rights) -> S3Result<()> {
        rights.require(Action::DeleteObject, Resource::Object(bucket, &object.key))?;
        if object.version_id.as_ref().is_some_and(|version| version != "null") {
            return Err(s3_error!(NotImplemented, "Versions are not supported."));
        }
        // If these conditions were ignored, an object that they protect would be removed.
        if object.last_modified_time.is_some() || object.size.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "A key may have an ETag as its condition, no size and no time."
            ));
        }
        let condition =
            object.e_tag.as_ref().map_or(Condition::None, |etag| Condition::Etag(etag.value().to_owned()));
        self.buckets.delete(bucket, &object.key, condition).await.map(drop).map_err(refusal)
    }
}

fn refused(object: ObjectIdentifier, error: &S3Error) -> Refused {
    Refused {
        key: Some(object.key),
        code: Some(error.code().as_str().to_owned()),
        message: error.message().map(str::to_owned),
        version_id: object.version_id,
    }
}
