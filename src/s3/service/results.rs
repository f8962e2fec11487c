//! The bucket of results. It contains only files of candidate pairs, for clients that the API has given their address.
//! Clients cannot store objects in it.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use s3s::dto::{GetObjectInput, GetObjectOutput, HeadObjectOutput, StreamingBlob};
use s3s::{S3Error, S3Response, S3Result, s3_error};

use super::convert::{Verdict, conditions_of, etag, seconds, unavailable};
use super::ranges;
use crate::model::Checksum;
use crate::objects::{Chunks, Error, Found, Key, Objects, keys};
use crate::telemetry::chain;

const CONTENT_TYPE: &str = "application/octet-stream";

/// The bucket of results. Cheap to clone.
#[derive(Clone)]
pub struct Results {
    /// The name of the bucket with the results.
    pub bucket: String,
    /// The store with the objects of the results.
    pub objects: Objects,
}

impl Results {
    /// Returns the key in the object store of a requested object, if `bucket` is this bucket.
    pub(super) fn key(&self, bucket: &str, key: &str) -> Option<Key> {
        (bucket == self.bucket).then(|| keys::score_file_named(key)).flatten()
    }

    pub(super) async fn get(
        &self,
        key: &Key,
        checksum: Option<&Checksum>,
        input: GetObjectInput,
        headers: &HeaderMap,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let found = self.find(key, checksum).await?;
        let conditions = conditions_of!(input);
        if conditions.decide(&found.etag, found.modified)? == Verdict::NotModified {
            let known = GetObjectOutput { e_tag: Some(etag(&found.etag)), ..GetObjectOutput::default() };
            return Ok(S3Response::with_status(known, StatusCode::NOT_MODIFIED));
        }
        let size = found.size;
        let asked = ranges::wanted(input.range, headers, &found.etag, found.modified);
        let range = asked.map(|asked| ranges::within(asked, size)).transpose()?;
        let wanted = range.clone().unwrap_or(0..size);
        let chunks = match checksum.filter(|_| range.is_none()) {
            Some(checksum) => self.objects.stream_checked(key, checksum).await.map(|(_, chunks)| chunks),
            None => self.objects.range(key, wanted.clone()).await,
        };
        let chunks = chunks.map_err(refusal)?;
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(StreamingBlob::wrap(SyncStream(Mutex::new(chunks)))),
            content_length: Some((wanted.end - wanted.start).cast_signed()),
            content_range: range.map(|range| ranges::encode(&range, size)),
            content_type: Some(CONTENT_TYPE.to_owned()),
            e_tag: Some(etag(&found.etag)),
            last_modified: Some(seconds(found.modified)),
            ..GetObjectOutput::default()
        }))
    }

    pub(super) async fn head(
        &self,
        key: &Key,
        checksum: Option<&Checksum>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let found = self.find(key, checksum).await?;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(found.size.cast_signed()),
            content_type: Some(CONTENT_TYPE.to_owned()),
            e_tag: Some(etag(&found.etag)),
            last_modified: Some(seconds(found.modified)),
            ..HeadObjectOutput::default()
        }))
    }
}

impl Results {
    /// Finds the object. If its checksum is known, it must exist and have the size in the checksum.
    async fn find(&self, key: &Key, checksum: Option<&Checksum>) -> S3Result<Found> {
        let found = self.objects.find(key).await;
        let Some(checksum) = checksum else { return found.map_err(refusal) };
        match found {
            Ok(found) if found.size != checksum.bytes => {
                Err(damaged(key, &format!("it has {} bytes, and had {}", found.size, checksum.bytes)))
            }
            Err(Error::Missing { .. }) => Err(damaged(key, "it is missing")),
            found => found.map_err(refusal),
        }
    }
}

fn damaged(key: &Key, reason: &str) -> S3Error {
    refusal(Error::Damaged { key: key.clone(), reason: reason.to_owned() })
}

/// A stream that is `Sync`, which `s3s` requires. Only one thread polls it at a time, so that it never waits for the
/// lock.
struct SyncStream(Mutex<Chunks>);

impl Stream for SyncStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.0.get_mut().poll_next_unpin(context);
        next.map(|next| {
            next.map(|piece| {
                piece.inspect_err(|error| {
                    tracing::error!("reading an object failed part-way: {}", chain(error));
                })
            })
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn refusal(error: Error) -> S3Error {
    if matches!(error, Error::Missing { .. }) {
        return s3_error!(NoSuchKey, "There is no such object.");
    }
    if error.may_pass() {
        return unavailable(&error);
    }
    tracing::error!("an S3 request failed: {}", chain(&error));
    s3_error!(InternalError, "The object store failed; the log of the server says how.")
}
