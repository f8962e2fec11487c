//! Request bodies for `s3s`: short bodies are verified as a whole, and chunks are split. Other bodies are passed on.

use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::Frame;
use parking_lot::Mutex;
use s3s::{S3Error, S3ErrorCode, S3Result, StdError, s3_error};
use sha2::{Digest, Sha256};

use super::chunked::{Cutter, are_decoded_by_s3s};
use super::service::check_md5;

/// The maximum size of a document in a request, enough for 10,000 parts with checksums or 1,000 long keys.
pub(super) const DOCUMENT_BYTES_MAX: usize = 8 << 20;
/// The size up to which bodies of all kinds are verified as a whole.
const SHORT_BYTES: u64 = 64 << 10;

/// The error for a body that is rejected while it is being read. `s3s` would not return it to the client.
#[derive(Clone, Default)]
pub(super) struct LateRefusal(Arc<Mutex<Option<S3Error>>>);

impl LateRefusal {
    /// Returns the error, if the body was rejected.
    pub(super) fn refusal(&self) -> Option<S3Error> {
        self.0.lock().take()
    }
}

/// Returns the body that `s3s` reads. If the sender waits for `100 Continue`, the body is read only when `s3s` reads
/// it, after it has checked signature and rights; an error is then stored in `late`.
pub(super) async fn prepare(request: &Parts, body: Body, late: &LateRefusal) -> S3Result<s3s::Body> {
    let hash = request.headers.get("x-amz-content-sha256").and_then(|hash| hash.to_str().ok());
    if are_decoded_by_s3s(&request.headers) {
        return Ok(cut(body));
    }
    let size = content_length(&request.headers);
    if request.method != Method::POST && size.is_none_or(|size| size > SHORT_BYTES) {
        return Ok(s3s::Body::http_body_unsync(body));
    }
    let whole = Whole {
        headers: request.headers.clone(),
        hash: hash.map(str::to_owned),
        is_document: request.method == Method::POST,
    };
    match size {
        Some(size) if request.headers.contains_key(header::EXPECT) && size <= DOCUMENT_BYTES_MAX as u64 => {
            Ok(whole.read_late(body, late.clone()))
        }
        _ => whole.read(body).await.map(s3s::Body::from),
    }
}

/// The expected length and digests of a body that is verified as a whole.
struct Whole {
    headers: HeaderMap,
    hash: Option<String>,
    is_document: bool,
}

impl Whole {
    async fn read(&self, body: Body) -> S3Result<Bytes> {
        let bytes = read(&self.headers, body).await?;
        check(&self.headers, self.hash.as_deref(), &bytes)?;
        if self.is_document {
            check_document(&bytes)?;
        }
        Ok(bytes)
    }

    fn read_late(self, body: Body, late: LateRefusal) -> s3s::Body {
        let read = async move {
            self.read(body).await.map(Frame::data).map_err(|error| {
                *late.0.lock() = Some(error);
                StdError::from("the body is refused")
            })
        };
        s3s::Body::http_body_unsync(StreamBody::new(stream::once(read)))
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn read(headers: &HeaderMap, body: Body) -> S3Result<Bytes> {
    if content_length(headers).is_some_and(|size| size > DOCUMENT_BYTES_MAX as u64) {
        return Err(too_long());
    }
    match Limited::new(body, DOCUMENT_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_long()),
        Err(_) => Err(s3_error!(IncompleteBody, "The body broke off.")),
    }
}

fn too_long() -> S3Error {
    s3_error!(MaxMessageLengthExceeded, "The document may have {DOCUMENT_BYTES_MAX} bytes at most.")
}

/// Compares a body with the digests in its headers.
fn check(headers: &HeaderMap, hash: Option<&str>, body: &[u8]) -> S3Result<()> {
    if let Some(said) = headers.get("content-md5") {
        let md5: [u8; 16] = md5::Md5::digest(body).into();
        check_md5(said.to_str().unwrap_or_default().trim(), &md5)?;
    }
    let is_hash = |hash: &&str| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    match hash.filter(is_hash) {
        Some(said) if !said.eq_ignore_ascii_case(&hex::encode(Sha256::digest(body))) => Err(hash_mismatch()),
        _ => Ok(()),
    }
}

/// Returns the error for a body that differs from the signed one.
pub(super) fn hash_mismatch() -> S3Error {
    let message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
    let mut error = S3Error::with_message(S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()), message);
    error.set_status_code(StatusCode::BAD_REQUEST);
    error
}

/// Rejects documents that define entities, which no S3 client sends, and CDATA, which `s3s` would ignore.
fn check_document(document: &[u8]) -> S3Result<()> {
    let mut marks = memchr::memmem::find_iter(document, b"<!");
    if marks.any(|at| !document[at..].starts_with(b"<!--")) {
        return Err(s3_error!(
            MalformedXML,
            "The document must not define a document type or entities, nor have CDATA."
        ));
    }
    Ok(())
}

fn cut(body: Body) -> s3s::Body {
    let pieces =
        stream::try_unfold((body.into_data_stream(), Cutter::default()), |(mut body, mut cutter)| async {
            let Some(bytes) = body.next().await else {
                cutter.finish()?;
                return Ok::<_, StdError>(None);
            };
            let mut out = Vec::new();
            cutter.feed(bytes?, &mut out)?;
            Ok(Some((stream::iter(out.into_iter().map(Ok::<_, StdError>)), (body, cutter))))
        });
    s3s::Body::http_body_unsync(StreamBody::new(pieces.try_flatten().map_ok(Frame::data)))
}
