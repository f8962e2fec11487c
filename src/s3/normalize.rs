//! Requests with a `Range` header that `s3s` interprets differently from HTTP. After the signature is verified, the
//! header is normalized, and the request is executed with the rights of its sender.

use axum::http::{HeaderMap, Method, Request, Uri, header};
use s3s::access::{S3Access, S3AccessContext};
use s3s::service::S3Service;
use s3s::{Body, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::access::{self, AccessControl, Rights};

/// The prefix of the query parameters that are parts of a signature.
const SIGNING: &str = "X-Amz-";

/// Answers requests with such a header.
pub(super) struct Normalizer {
    access: AccessControl,
    /// The service that executes requests without checking their signatures.
    service: S3Service,
}

/// Authentication for [`Normalizer`]: accepts all requests, since their signatures were verified before.
pub(super) struct AlreadyVerified;

impl Normalizer {
    /// Returns a normalizer over `service`, which must authenticate with [`AlreadyVerified`].
    pub(super) const fn new(access: AccessControl, service: S3Service) -> Self {
        Self { access, service }
    }

    /// Returns true if the request has a range in a form that `s3s` does not support.
    pub(super) fn is_for(method: &Method, headers: &HeaderMap) -> bool {
        let reads = method == Method::GET || method == Method::HEAD;
        let range = headers.get(header::RANGE).filter(|_| reads);
        range.is_some_and(|range| range.to_str().map_or(true, |range| usual(range).as_deref() != Some(range)))
    }

    /// Answers a request whose signature was checked.
    pub(super) async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let S3Request { method, uri, mut headers, mut extensions, credentials, .. } = request;
        let credentials =
            credentials.ok_or_else(|| s3_error!(AccessDenied, "The request must be signed."))?;
        extensions.insert(self.access.rights(&credentials.access_key, &headers, &uri).await?);
        headers.remove(header::AUTHORIZATION);
        let range = headers.remove(header::RANGE).and_then(|range| usual(range.to_str().ok()?)?.parse().ok());
        headers.extend(range.map(|range| (header::RANGE, range)));
        let mut again = Request::new(Body::empty());
        (*again.method_mut(), *again.uri_mut()) = (method, unsigned(&uri)?);
        (*again.headers_mut(), *again.extensions_mut()) = (headers, extensions);
        let answered = self.service.call(again).await;
        let answered =
            answered.map_err(|error| S3Error::with_source(S3ErrorCode::InternalError, error.into()))?;
        let (parts, body) = answered.into_parts();
        let mut response = S3Response::with_status(body, parts.status);
        (response.headers, response.extensions) = (parts.headers, parts.extensions);
        Ok(response)
    }
}

#[async_trait::async_trait]
impl S3Access for AlreadyVerified {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let rights = cx.extensions_mut().get::<Rights>().cloned();
        access::require(cx, &rights.ok_or_else(|| s3_error!(AccessDenied, "The request must be signed."))?)
    }
}

/// Returns the URI without the parameters of its signature.
fn unsigned(uri: &Uri) -> S3Result<Uri> {
    let parameters = uri.query().unwrap_or_default().split('&');
    let kept: Vec<&str> = parameters.filter(|parameter| !parameter.starts_with(SIGNING)).collect();
    let address = format!("{}?{}", uri.path(), kept.join("&"));
    address.parse().map_err(|_| S3ErrorCode::InvalidURI.into())
}

/// Returns a range in the form that `s3s` accepts; `None` if there are several ranges or an invalid one, which are
/// ignored by RFC 9110.
fn usual(range: &str) -> Option<String> {
    let (unit, set) = range.split_once('=')?;
    let (first, last) = set.trim().split_once('-').filter(|_| unit.trim().eq_ignore_ascii_case("bytes"))?;
    let number = |digits: &str| {
        let known = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        known.then(|| digits.parse::<u64>().unwrap_or(u64::MAX).min(i64::MAX as u64))
    };
    match (first.trim(), last.trim()) {
        ("", last) => number(last).map(|last| format!("bytes=-{last}")),
        (first, "") => number(first).map(|first| format!("bytes={first}-")),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then(|| format!("bytes={first}-{last}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_http_says() {
        for (asked, read) in [
            ("bytes=0-4", Some("bytes=0-4")),
            ("Bytes= 0-4 ", Some("bytes=0-4")),
            ("bytes=0-99999999999999999999", Some("bytes=0-9223372036854775807")),
            ("bytes=-99999999999999999999", Some("bytes=-9223372036854775807")),
            ("bytes=7-", Some("bytes=7-")),
            ("bytes=0-1,4-5", None),
            ("bytes=0-1,", None),
            ("bytes=4-1", None),
            ("bytes=-", None),
            ("bytes=+1-2", None),
            ("bytes=a-b", None),
            ("items=0-4", None),
            ("bytes", None),
            ("", None),
        ] {
            assert_eq!(usual(asked).as_deref(), read, "{asked}");
        }
    }

    #[test]
    fn an_address_loses_what_signed_it_and_nothing_else() {
        let unsigned = |text: &str| unsigned(&text.parse().unwrap()).unwrap().to_string();
        assert_eq!(unsigned("/b/k%2F?X-Amz-Signature=1&partNumber=2&X-Amz-Date=3"), "/b/k%2F?partNumber=2");
        assert_eq!(unsigned("/b/k"), "/b/k?");
    }
}
