//! The operation `PutObject`.

use axum::http::HeaderMap;
use futures::StreamExt;
use s3s::dto::{PutObjectInput, PutObjectOutput, StreamingBlob};
use s3s::{S3Error, S3Request, S3Response, S3Result, StdError, s3_error};

use crate::buckets::{Error, Head, Incoming, PUT_BYTES_MAX, Received};
use crate::s3::body::hash_mismatch;
use crate::s3::service::Service;
use crate::s3::service::body_encoding::BodyEncoding;
use crate::s3::service::checksums::{Claims, Fields, with_checksum_and_type};
use crate::s3::service::convert::{condition, etag, refusal};
use crate::s3::service::object_headers::head_of;

impl Service {
    pub(in crate::s3::service) async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let S3Request { mut input, headers, trailing_headers, .. } = request;
        let claims = Claims::read(&headers)?;
        let condition = condition(input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let owner = self.owners.of(&input.bucket, &input.key).await?;
        let encoding = BodyEncoding::of(&headers, input.content_length)?;
        self.require_bucket(&input.bucket).await?;
        self.leaves_free(encoding.declared).await?;
        let incoming = self.buckets.incoming(&claims.algorithms(None), PUT_BYTES_MAX);
        let (received, behind) = receive(input.body.take(), incoming, encoding).await?;
        let behind = behind.or_else(|| trailing_headers?.take());
        claims.verify(&received.digests, behind.as_ref())?;
        let checksum = received.digests.checksums.first().cloned();
        let fields = Fields::of(checksum.as_ref());
        let head = Head { checksum, ..head_of!(input) };
        self.owners.require(owner).await?;
        let put = self.buckets.put((&input.bucket, &input.key), received, head, condition).await;
        let object = self.confirm_object(owner, &input.bucket, &input.key, put.map_err(refusal)?).await?;
        Ok(S3Response::new(with_checksum_and_type!(
            fields,
            PutObjectOutput { e_tag: Some(etag(&object.etag)), ..PutObjectOutput::default() }
        )))
    }
}

impl Service {
    /// Fails, before the body is read, if a body of the declared length would leave too little disk space free.
    pub(in crate::s3::service) async fn leaves_free(&self, declared: Option<u64>) -> S3Result<()> {
        let bytes = declared.unwrap_or_default();
        self.spool.leaves_free(bytes).await.map_err(|why| refusal(Error::Full(why.into())))
    }
}

/// Writes a body of the declared length. Also returns the headers after it, if it was decoded here.
pub(in crate::s3::service) async fn receive(
    body: Option<StreamingBlob>,
    mut incoming: Incoming,
    mut encoding: BodyEncoding,
) -> S3Result<(Received, Option<HeaderMap>)> {
    let declared = encoding.declared;
    if declared.is_some_and(|declared| declared > PUT_BYTES_MAX) {
        return Err(s3_error!(EntityTooLarge, "One request may put {PUT_BYTES_MAX} bytes at most."));
    }
    if let Some(mut body) = body {
        while let Some(bytes) = body.next().await {
            for bytes in encoding.decode(bytes.map_err(|error| broken(&error))?)? {
                incoming.write(bytes).await.map_err(refusal)?;
            }
        }
    }
    let behind = encoding.finish()?;
    let received = incoming.finish().await.map_err(refusal)?;
    match declared {
        Some(declared) if declared != received.size => {
            Err(s3_error!(IncompleteBody, "{} bytes arrived of {declared}.", received.size))
        }
        _ => Ok((received, behind)),
    }
}

/// Converts the error for a body that is incomplete or does not match its signature. The errors of `s3s` have no public
/// type, but their text begins with their name.
fn broken(error: &StdError) -> S3Error {
    let reason = error.to_string();
    if reason.contains("Sha256Mismatch") {
        hash_mismatch()
    } else if reason.contains("SignatureMismatch") {
        s3_error!(SignatureDoesNotMatch, "The signature of a chunk of the body does not match.")
    } else if reason.contains("ChunkTooLarge") {
        s3_error!(InvalidRequest, "A chunk of the body is too large; send it in smaller chunks.")
    } else {
        tracing::debug!("a request body ended early: {reason}");
        s3_error!(IncompleteBody, "The body is not of the declared length or form.")
    }
}
