//! The operations `CopyObject` and `UploadPartCopy`.

use std::ops::Range;

use axum::http::{HeaderMap, HeaderName, header};
use futures::TryStreamExt;
use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopyPartResult, CopySource, ETagCondition,
    MetadataDirective, UploadPartCopyInput, UploadPartCopyOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use crate::buckets::{Condition, Contents, Head, PUT_BYTES_MAX, UploadName};
use crate::s3::service::Service;
use crate::s3::service::checksums::{Fields, with_checksum, with_checksum_and_type};
use crate::s3::service::convert::{Conditions, Verdict, condition, conditions_of, etag, refusal, timestamp};
use crate::s3::service::multipart::{PartHash, part_number};
use crate::s3::service::object_headers::head_of;

impl Service {
    pub(in crate::s3::service) async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let S3Request { mut input, headers, .. } = request;
        let condition = wanted(&headers)?;
        let replace = input.metadata_directive.as_ref().map(MetadataDirective::as_str)
            == Some(MetadataDirective::REPLACE);
        let (bucket, key) = source(&input.copy_source)?;
        if (bucket, key) == (&input.bucket, &input.key) && !replace {
            return Err(s3_error!(
                InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing \
                 the object's metadata."
            ));
        }
        let conditions = conditions_of!(copy_source input);
        let owner = self.owners.of(&input.bucket, &input.key).await?;
        let contents = self.source(bucket, key, &conditions).await?;
        let kept = contents.object.head.clone();
        let head = if replace { Head { checksum: kept.checksum, ..head_of!(input) } } else { kept };
        let copied = self.buckets.copy(contents, (&input.bucket, &input.key), head, condition).await;
        let object = self.confirm_object(owner, &input.bucket, &input.key, copied.map_err(refusal)?).await?;
        let fields = Fields::of(object.head.checksum.as_ref());
        let result = with_checksum_and_type!(
            fields,
            CopyObjectResult {
                e_tag: Some(etag(&object.etag)),
                last_modified: Some(timestamp(object.modified)),
            }
        );
        let output = CopyObjectOutput { copy_object_result: Some(result), ..CopyObjectOutput::default() };
        Ok(S3Response::new(output))
    }

    pub(in crate::s3::service) async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let input = request.input;
        let number = part_number(input.part_number)?;
        let (bucket, key) = source(&input.copy_source)?;
        let conditions = conditions_of!(copy_source input);
        let contents = self.source(bucket, key, &conditions).await?;
        let range = copied_range(input.copy_source_range.as_deref(), contents.object.size)?;
        let name = UploadName { bucket: input.bucket, key: input.key, token: input.upload_id };
        let owner = self.owners.of(&name.bucket, &name.key).await?;
        let PartHash(kept) = self.part_hash(&name).await?;
        let algorithms: Vec<_> = kept.into_iter().collect();
        let mut incoming = self.buckets.incoming_part(&algorithms, PUT_BYTES_MAX);
        let mut chunks = contents.stream(range);
        while let Some(bytes) = chunks.try_next().await.map_err(refusal)? {
            incoming.write(bytes).await.map_err(refusal)?;
        }
        let received = incoming.finish().await.map_err(refusal)?;
        let part = self.store_part(owner, name, number, received).await?;
        let fields = Fields::of(part.checksum.as_ref());
        let result = with_checksum!(
            fields,
            CopyPartResult {
                e_tag: Some(etag(&hex::encode(part.md5))),
                last_modified: Some(timestamp(part.modified)),
            }
        );
        let output =
            UploadPartCopyOutput { copy_part_result: Some(result), ..UploadPartCopyOutput::default() };
        Ok(S3Response::new(output))
    }

    /// Opens the source of a copy, if the conditions on it hold.
    async fn source(&self, bucket: &str, key: &str, conditions: &Conditions<'_>) -> S3Result<Contents> {
        let contents = self.buckets.get(bucket, key).await.map_err(refusal)?;
        match conditions.decide(&contents.object.etag, contents.object.modified)? {
            Verdict::Proceed => Ok(contents),
            Verdict::NotModified => Err(s3_error!(
                PreconditionFailed,
                "At least one of the preconditions you specified did not hold."
            )),
        }
    }
}

/// Returns the condition on the target from the headers, since `s3s` does not parse it for copies.
fn wanted(headers: &HeaderMap) -> S3Result<Condition> {
    let read = |name: HeaderName| -> S3Result<Option<ETagCondition>> {
        let Some(value) = headers.get(&name) else { return Ok(None) };
        let found = value.to_str().ok().and_then(|text| text.parse().ok());
        found.map(Some).ok_or_else(|| s3_error!(InvalidArgument, "The header {name} must be an ETag or *."))
    };
    condition(read(header::IF_MATCH)?.as_ref(), read(header::IF_NONE_MATCH)?.as_ref())
}

/// Returns the bucket and the key of the source.
fn source(source: &CopySource) -> S3Result<(&str, &str)> {
    match source {
        CopySource::Bucket { version_id: Some(version), .. } if &**version != "null" => {
            Err(s3_error!(NotImplemented, "Versions are not supported."))
        }
        CopySource::Bucket { bucket, key, .. } => Ok((bucket, key)),
        _ => Err(s3_error!(NotImplemented, "The source must be named by bucket and key.")),
    }
}

/// Parses the range of the source to copy, `bytes=first-last`, which must be within the object.
fn copied_range(asked: Option<&str>, size: u64) -> S3Result<Range<u64>> {
    let Some(asked) = asked else { return Ok(0..size) };
    let invalid = || {
        s3_error!(InvalidArgument, "The x-amz-copy-source-range value must be of the form bytes=first-last.")
    };
    let (first, last) =
        asked.strip_prefix("bytes=").and_then(|range| range.split_once('-')).ok_or_else(invalid)?;
    let (first, last): (u64, u64) =
        (first.parse().map_err(|_| invalid())?, last.parse().map_err(|_| invalid())?);
    if first > last {
        return Err(invalid());
    }
    if last >= size {
        return Err(s3_error!(InvalidRange, "The source has {size} bytes."));
    }
    Ok(first..last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copied_range_is_within_the_source() {
        assert_eq!(copied_range(None, 10).unwrap(), 0..10);
        assert_eq!(copied_range(Some("bytes=2-9"), 10).unwrap(), 2..10);
        for wrong in
            ["bytes=2-10", "bytes=3-2", "bytes=-2", "bytes=2-", "2-3", "bytes=0-18446744073709551615"]
        {
            assert!(copied_range(Some(wrong), 10).is_err(), "{wrong}");
        }
    }
}
