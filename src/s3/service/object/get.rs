//! The operations `GetObject`, `HeadObject` and `GetObjectTagging`.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use s3s::dto::{
    GetObjectInput, GetObjectOutput, GetObjectTaggingInput, GetObjectTaggingOutput, HeadObjectInput,
    HeadObjectOutput, Range as RequestedRange, StreamingBlob,
};
use s3s::stream::{ByteStream, RemainingLength};
use s3s::{S3Error, S3Request, S3Response, S3Result, StdError, s3_error};

use crate::buckets::{Chunks, Contents, Head, Object};
use crate::model::Checksum;
use crate::objects::Key;
use crate::s3::access::Rights;
use crate::s3::service::Service;
use crate::s3::service::checksums::{Fields, with_checksum_and_type};
use crate::s3::service::convert::{
    Conditions, Verdict, conditions_of, etag, http_date, parse_http_date, refusal, seconds,
};
use crate::s3::service::ranges;

/// The content type of an object that was stored without one.
const CONTENT_TYPE: &str = "binary/octet-stream";

impl Service {
    pub(in crate::s3::service) async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        if let Some(key) = self.results.key(&input.bucket, &input.key) {
            let checksum = self.known_checksum(&key, request.extensions.get()).await?;
            return self.results.get(&key, checksum.as_ref(), input, &request.headers).await;
        }
        let conditions = conditions_of!(input);
        let (range, headers) = (input.range, &request.headers);
        let read = ReadRequest { conditions, range, headers, part: input.part_number };
        let selected = self.selected(&input.bucket, &input.key, read, input.checksum_mode.is_some()).await?;
        Ok(S3Response::new(GetObjectOutput {
            body: Some(body(selected.contents, selected.range)),
            ..selected.described
        }))
    }

    /// Returns the checksum of a score file, if the run that wrote it belongs to the project of the credentials.
    async fn known_checksum(&self, file: &Key, rights: Option<&Rights>) -> S3Result<Option<Checksum>> {
        match rights.and_then(Rights::project) {
            Some(project) => self.owners.checksum(project, file).await,
            None => Ok(None),
        }
    }

    pub(in crate::s3::service) async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        if let Some(key) = self.results.key(&input.bucket, &input.key) {
            let checksum = self.known_checksum(&key, request.extensions.get()).await?;
            return self.results.head(&key, checksum.as_ref()).await;
        }
        let conditions = conditions_of!(input);
        let (range, headers) = (input.range, &request.headers);
        let read = ReadRequest { conditions, range, headers, part: input.part_number };
        let selected = self.selected(&input.bucket, &input.key, read, input.checksum_mode.is_some()).await?;
        let selected = selected.described;
        let output = HeadObjectOutput {
            content_length: selected.content_length,
            content_range: selected.content_range,
            parts_count: selected.parts_count,
            accept_ranges: selected.accept_ranges,
            cache_control: selected.cache_control,
            checksum_crc32: selected.checksum_crc32,
            checksum_crc32c: selected.checksum_crc32c,
            checksum_crc64nvme: selected.checksum_crc64nvme,
            checksum_sha1: selected.checksum_sha1,
            checksum_sha256: selected.checksum_sha256,
            checksum_type: selected.checksum_type,
            content_disposition: selected.content_disposition,
            content_encoding: selected.content_encoding,
            content_language: selected.content_language,
            content_type: selected.content_type,
            e_tag: selected.e_tag,
            expires: selected.expires,
            last_modified: selected.last_modified,
            metadata: selected.metadata,
            ..HeadObjectOutput::default()
        };
        Ok(S3Response::new(output))
    }

    /// Returns an empty list: objects have no tags, but `aws s3 cp` requests them before it copies a large object.
    pub(in crate::s3::service) async fn get_object_tagging(
        &self,
        request: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        let input = request.input;
        self.buckets.head(&input.bucket, &input.key).await.map_err(refusal)?;
        Ok(S3Response::new(GetObjectTaggingOutput {
            tag_set: Vec::new(),
            ..GetObjectTaggingOutput::default()
        }))
    }

    /// Returns the requested bytes of an object and the response for them, if the conditions hold.
    async fn selected(
        &self,
        bucket: &str,
        key: &str,
        read: ReadRequest<'_>,
        with_checksum: bool,
    ) -> S3Result<Selection> {
        let contents = self.buckets.get(bucket, key).await.map_err(refusal)?;
        let object = &contents.object;
        if read.conditions.decide(&object.etag, object.modified)? == Verdict::NotModified {
            return Err(not_modified(object));
        }
        let range = ranges::wanted(read.range, read.headers, &object.etag, object.modified);
        let selected_range = SelectedRange::of(&contents, range, read.part)?;
        let described = GetObjectOutput {
            content_length: Some((selected_range.range.end - selected_range.range.start).cast_signed()),
            content_range: selected_range.content_range(object.size),
            parts_count: selected_range.parts,
            ..described(object, with_checksum && selected_range.whole)
        };
        Ok(Selection { range: selected_range.range, described, contents })
    }
}

/// The conditions and the range of a `GetObject` or `HeadObject` request.
struct ReadRequest<'a> {
    conditions: Conditions<'a>,
    range: Option<RequestedRange>,
    headers: &'a HeaderMap,
    part: Option<i32>,
}

/// The selected bytes of an object, and the response without them.
struct Selection {
    contents: Contents,
    range: Range<u64>,
    described: GetObjectOutput,
}

/// Returns the response 304 for a caller that has the object already, with the headers that identify the object.
fn not_modified(object: &Object) -> S3Error {
    let mut headers = HeaderMap::new();
    let known = [
        (header::ETAG, Some(format!("\"{}\"", object.etag))),
        (header::LAST_MODIFIED, http_date(&seconds(object.modified))),
    ];
    for (name, value) in known {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    let mut error = s3_error!(NotModified);
    error.set_headers(headers);
    error
}

/// The requested bytes.
struct SelectedRange {
    range: Range<u64>,
    /// True if the request has a range or a part number.
    partial: bool,
    /// True if these are all bytes of the object.
    whole: bool,
    parts: Option<i32>,
}

impl SelectedRange {
    fn of(contents: &Contents, range: Option<RequestedRange>, part: Option<i32>) -> S3Result<Self> {
        let size = contents.object.size;
        match (range, part) {
            (Some(_), Some(_)) => Err(s3_error!(
                InvalidRequest,
                "Cannot specify both Range header and partNumber query parameter."
            )),
            (Some(read), None) => {
                Ok(Self { range: ranges::within(read, size)?, partial: true, whole: false, parts: None })
            }
            (None, Some(number)) => {
                let selected = contents.part(ranges::position(number)?);
                let (range, count) = selected.ok_or_else(ranges::no_such_part)?;
                let parts = contents.object.is_of_parts().then_some(count.cast_signed());
                Ok(Self { range, partial: true, whole: parts.is_none(), parts })
            }
            (None, None) => Ok(Self { range: 0..size, partial: false, whole: true, parts: None }),
        }
    }

    fn content_range(&self, size: u64) -> Option<String> {
        (self.partial && !self.range.is_empty()).then(|| ranges::encode(&self.range, size))
    }
}

/// Returns the response for an object, without the body.
fn described(object: &Object, with_checksum: bool) -> GetObjectOutput {
    let head = object.head.clone();
    let Head { content_type, content_encoding, content_disposition, content_language, cache_control, .. } =
        head;
    let fields = Fields::of(head.checksum.as_ref().filter(|_| with_checksum));
    with_checksum_and_type!(
        fields,
        GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            cache_control,
            content_disposition,
            content_encoding,
            content_language,
            content_type: Some(content_type.unwrap_or_else(|| CONTENT_TYPE.to_owned())),
            e_tag: Some(etag(&object.etag)),
            expires: head.expires.as_deref().and_then(parse_http_date),
            last_modified: Some(seconds(object.modified)),
            metadata: Some(head.metadata.into_iter().collect()),
            ..GetObjectOutput::default()
        }
    )
}

/// Returns the bytes in `range` as a stream for `s3s`.
pub(in crate::s3::service) fn body(contents: Contents, range: Range<u64>) -> StreamingBlob {
    let left = range.end - range.start;
    StreamingBlob::new(Sized { chunks: contents.stream(range), left })
}

/// A stream with the number of remaining bytes.
struct Sized {
    chunks: Chunks,
    left: u64,
}

impl Stream for Sized {
    type Item = Result<Bytes, StdError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.chunks.poll_next_unpin(context).map(|next| {
            let next = next?;
            if let Ok(bytes) = &next {
                self.left = self.left.saturating_sub(bytes.len() as u64);
            }
            Some(next.map_err(|error| {
                tracing::error!("reading an object failed part-way: {error}");
                error.into()
            }))
        })
    }
}

impl ByteStream for Sized {
    fn remaining_length(&self) -> RemainingLength {
        usize::try_from(self.left).map_or_else(|_| RemainingLength::unknown(), RemainingLength::new_exact)
    }
}
