//! Lists versions of objects: each key has one version with the id `null`, the object.

use s3s::dto::{
    GetBucketVersioningInput, GetBucketVersioningOutput, ListObjectVersionsInput, ListObjectVersionsOutput,
    Object as Listed, ObjectVersion, ObjectVersionStorageClass,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::Service;
use super::list::{KeyEncoding, is_prefix, page_size, split};
use crate::buckets::{Entry, Query};

/// The id of the only version.
const VERSION: &str = "null";

impl Service {
    pub(super) async fn list_object_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let input = request.input;
        let encoding = KeyEncoding::of(input.encoding_type.as_ref())?;
        let max = page_size(input.max_keys)?;
        let after = input.key_marker.clone().filter(|marker| !marker.is_empty());
        if after.is_none() && input.version_id_marker.as_ref().is_some_and(|marker| !marker.is_empty()) {
            return Err(s3_error!(
                InvalidArgument,
                "A version-id marker cannot be specified without a key marker."
            ));
        }
        let prefix = input.prefix.clone().unwrap_or_default();
        let past_prefix =
            after.as_deref().is_some_and(|marker| is_prefix(marker, &prefix, input.delimiter.as_deref()));
        let query = Query { prefix, delimiter: input.delimiter.clone(), after, past_prefix, max };
        let page = self.page(&input.bucket, query).await?;
        let last = page.entries.last().filter(|_| page.more);
        let next_key_marker = last.map(|entry| encoding.encode(entry.name()));
        let next_version_id_marker = last.filter(|entry| matches!(entry, Entry::Object { .. }));
        let next_version_id_marker = next_version_id_marker.map(|_| VERSION.to_owned());
        let (objects, prefixes) = split(page, encoding, true);
        Ok(S3Response::new(ListObjectVersionsOutput {
            name: Some(input.bucket),
            prefix: Some(encoding.encode(&input.prefix.unwrap_or_default())),
            delimiter: encoding.encode_some(input.delimiter),
            key_marker: Some(encoding.encode(&input.key_marker.unwrap_or_default())),
            version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
            max_keys: Some(max.cast_signed()),
            is_truncated: Some(next_key_marker.is_some()),
            next_key_marker,
            next_version_id_marker,
            versions: Some(objects.into_iter().map(version).collect()),
            common_prefixes: Some(prefixes),
            encoding_type: input.encoding_type,
            ..ListObjectVersionsOutput::default()
        }))
    }

    /// Returns that versioning is not enabled.
    pub(super) async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        self.require_bucket(&request.input.bucket).await?;
        Ok(S3Response::new(GetBucketVersioningOutput::default()))
    }
}

fn version(object: Listed) -> ObjectVersion {
    ObjectVersion {
        key: object.key,
        version_id: Some(VERSION.to_owned()),
        is_latest: Some(true),
        last_modified: object.last_modified,
        e_tag: object.e_tag,
        size: object.size,
        owner: object.owner,
        storage_class: Some(ObjectVersionStorageClass::from_static(ObjectVersionStorageClass::STANDARD)),
        ..ObjectVersion::default()
    }
}
