//! The operations on multipart uploads.

use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumAlgorithm, CommonPrefix,
    CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart, CreateMultipartUploadInput,
    CreateMultipartUploadOutput, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListPartsInput,
    ListPartsOutput, MultipartUpload, Part as Listed, UploadPartInput, UploadPartOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::Service;
use super::body_encoding::BodyEncoding;
use super::checksums::{self, Claims, Fields, with_checksum, with_checksum_and_type};
use super::convert::{condition, etag, refusal, timestamp};
use super::list::{KeyEncoding, is_prefix, owner, page_size};
use super::object::put::receive;
use super::object_headers::head_of;
use crate::buckets::{
    Algorithm, Asked, Completion, PARTS_MAX, PUT_BYTES_MAX, Part, UploadName, UploadsPage, UploadsQuery,
};

/// The checksum algorithm that the parts of an upload must use.
pub(super) struct PartHash(pub(super) Option<Algorithm>);

impl Service {
    pub(super) async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let mut input = request.input;
        let checksum = checksums::of_upload(input.checksum_algorithm.as_ref(), input.checksum_type.as_ref())?;
        let head = head_of!(input);
        let owner = self.owners.of(&input.bucket, &input.key).await?;
        let token =
            self.buckets.start_upload((&input.bucket, &input.key), head, checksum).await.map_err(refusal)?;
        let name = UploadName { bucket: input.bucket.clone(), key: input.key.clone(), token: token.clone() };
        self.confirm_upload(owner, name).await?;
        let (algorithm, kind) = checksum.map(checksums::names).unzip();
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(token),
            checksum_algorithm: algorithm,
            checksum_type: kind,
            ..CreateMultipartUploadOutput::default()
        }))
    }

    /// Returns the checksum algorithm that the parts of an upload must use. Fails if the upload does not exist.
    pub(super) async fn part_hash(&self, name: &UploadName) -> S3Result<PartHash> {
        let (upload, _, _) = self.buckets.parts(name.clone(), 0, 0).await.map_err(refusal)?;
        Ok(PartHash(upload.checksum.map(|(algorithm, _)| algorithm)))
    }

    pub(super) async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let S3Request { mut input, headers, trailing_headers, .. } = request;
        let number = part_number(input.part_number)?;
        let claims = Claims::read(&headers)?;
        let name = UploadName { bucket: input.bucket, key: input.key, token: input.upload_id };
        let owner = self.owners.of(&name.bucket, &name.key).await?;
        let PartHash(kept) = self.part_hash(&name).await?;
        let encoding = BodyEncoding::of(&headers, input.content_length)?;
        self.leaves_free(encoding.declared).await?;
        let incoming = self.buckets.incoming_part(&claims.algorithms(kept), PUT_BYTES_MAX);
        let (received, behind) = receive(input.body.take(), incoming, encoding).await?;
        let behind = behind.or_else(|| trailing_headers?.take());
        claims.verify(&received.digests, behind.as_ref())?;
        let part = self.store_part(owner, name, number, received).await?;
        let fields = Fields::of(part.checksum.as_ref());
        Ok(S3Response::new(with_checksum!(
            fields,
            UploadPartOutput { e_tag: Some(etag(&hex::encode(part.md5))), ..UploadPartOutput::default() }
        )))
    }

    pub(super) async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        let condition = condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        if parts.is_empty() || parts.len() > PARTS_MAX as usize {
            return Err(s3_error!(MalformedXML, "An upload is completed with 1 to {PARTS_MAX} parts."));
        }
        let said = Fields {
            crc32: input.checksum_crc32,
            crc32c: input.checksum_crc32c,
            crc64nvme: input.checksum_crc64nvme,
            sha1: input.checksum_sha1,
            sha256: input.checksum_sha256,
            kind: None,
        };
        let completion = Completion {
            parts: parts.into_iter().map(asked).collect::<S3Result<_>>()?,
            condition,
            checksum: said.one(),
            whole: input.checksum_type.as_ref().map(|kind| kind.as_str() == checksums::FULL_OBJECT),
            size: input.mpu_object_size.map(|size| u64::try_from(size).unwrap_or_default()),
        };
        let name = UploadName { bucket: input.bucket, key: input.key, token: input.upload_id };
        let owner = self.owners.of(&name.bucket, &name.key).await?;
        let object = self.buckets.complete_upload(name.clone(), completion).await.map_err(refusal)?;
        let object = self.confirm_object(owner, &name.bucket, &name.key, object).await?;
        let fields = Fields::of(object.head.checksum.as_ref());
        Ok(S3Response::new(with_checksum_and_type!(
            fields,
            CompleteMultipartUploadOutput {
                location: Some(format!("/{}/{}", name.bucket, name.key)),
                bucket: Some(name.bucket),
                key: Some(name.key),
                e_tag: Some(etag(&object.etag)),
                ..CompleteMultipartUploadOutput::default()
            }
        )))
    }

    pub(super) async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = request.input;
        let name = UploadName { bucket: input.bucket, key: input.key, token: input.upload_id };
        self.buckets.abort_upload(name).await.map_err(refusal)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    pub(super) async fn list_parts(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let input = request.input;
        let after = u32::try_from(input.part_number_marker.unwrap_or_default()).unwrap_or_default();
        let max = page_size(input.max_parts)?;
        let name = UploadName { bucket: input.bucket, key: input.key, token: input.upload_id };
        let (upload, parts, more) = self.buckets.parts(name.clone(), after, max).await.map_err(refusal)?;
        let (algorithm, kind) = upload.checksum.map(checksums::names).unzip();
        let next = parts.last().map_or(after, |part| part.number);
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(name.bucket),
            key: Some(name.key),
            upload_id: Some(name.token),
            part_number_marker: Some(after.cast_signed()),
            next_part_number_marker: Some(next.cast_signed()),
            max_parts: Some(max.cast_signed()),
            is_truncated: Some(more),
            parts: Some(parts.iter().map(listed).collect()),
            owner: Some(owner()),
            checksum_algorithm: algorithm,
            checksum_type: kind,
            ..ListPartsOutput::default()
        }))
    }

    pub(super) async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = request.input;
        let encoding = KeyEncoding::of(input.encoding_type.as_ref())?;
        let max = page_size(input.max_uploads)?;
        let token = input.upload_id_marker.clone().filter(|token| !token.is_empty());
        let after = input.key_marker.clone().filter(|key| !key.is_empty()).map(|key| (key, token));
        let prefix = input.prefix.clone().unwrap_or_default();
        let past_prefix = after.as_ref().is_some_and(|(marker, token)| {
            token.is_none() && is_prefix(marker, &prefix, input.delimiter.as_deref())
        });
        let query = UploadsQuery { prefix, after, past_prefix, delimiter: input.delimiter.clone(), max };
        let page = self.buckets.uploads(&input.bucket, query).await.map_err(refusal)?;
        let UploadsPage { uploads, prefixes, last, more } = page;
        let (next_key, next_token) = last.filter(|_| more).unzip();
        let prefixes = prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(encoding.encode(prefix)) });
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: input.prefix.map(|prefix| encoding.encode(&prefix)),
            key_marker: Some(encoding.encode(&input.key_marker.unwrap_or_default())),
            upload_id_marker: input.upload_id_marker,
            next_key_marker: next_key.map(|key| encoding.encode(&key)),
            next_upload_id_marker: next_token.flatten(),
            delimiter: encoding.encode_some(input.delimiter),
            common_prefixes: Some(prefixes.collect()),
            max_uploads: Some(max.cast_signed()),
            is_truncated: Some(more),
            encoding_type: input.encoding_type,
            uploads: Some(
                uploads
                    .iter()
                    .map(|upload| MultipartUpload {
                        key: Some(encoding.encode(&upload.key)),
                        upload_id: Some(upload.token.clone()),
                        initiated: Some(timestamp(upload.started)),
                        owner: Some(owner()),
                        checksum_algorithm: upload
                            .checksum
                            .map(|(algorithm, _)| ChecksumAlgorithm::from_static(algorithm.name())),
                        ..MultipartUpload::default()
                    })
                    .collect(),
            ),
            ..ListMultipartUploadsOutput::default()
        }))
    }
}

/// Checks the number of a part.
pub(super) fn part_number(number: i32) -> S3Result<u32> {
    let known = u32::try_from(number).ok().filter(|number| (1..=PARTS_MAX).contains(number));
    known.ok_or_else(|| {
        s3_error!(InvalidArgument, "Part number must be an integer between 1 and {PARTS_MAX}, inclusive.")
    })
}

fn asked(part: CompletedPart) -> S3Result<Asked> {
    let missing = || s3_error!(MalformedXML, "A part is named by its number and its ETag.");
    let said = Fields {
        crc32: part.checksum_crc32,
        crc32c: part.checksum_crc32c,
        crc64nvme: part.checksum_crc64nvme,
        sha1: part.checksum_sha1,
        sha256: part.checksum_sha256,
        kind: None,
    };
    Ok(Asked {
        number: part_number(part.part_number.ok_or_else(missing)?)?,
        etag: part.e_tag.ok_or_else(missing)?.into_value(),
        checksum: said.one(),
    })
}

fn listed(part: &Part) -> Listed {
    let fields = Fields::of(part.checksum.as_ref());
    with_checksum!(
        fields,
        Listed {
            part_number: Some(part.number.cast_signed()),
            size: Some(part.size.cast_signed()),
            e_tag: Some(etag(&hex::encode(part.md5))),
            last_modified: Some(timestamp(part.modified)),
        }
    )
}
