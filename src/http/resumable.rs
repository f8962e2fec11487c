//! The headers of resumable uploads, as the IETF draft "Resumable Uploads for HTTP" defines them.

use std::time::Duration;

use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::problem::Problem;

/// The header that is `?1` in the request with the last byte.
pub(super) const COMPLETE: HeaderName = HeaderName::from_static("upload-complete");
/// The header with the offset of a part; in a response, with the number of stored bytes.
pub(super) const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// The header with the length of the whole body.
pub(super) const LENGTH: HeaderName = HeaderName::from_static("upload-length");
/// The header with the limits of the server.
pub(super) const LIMIT: HeaderName = HeaderName::from_static("upload-limit");
/// The header with the version of the draft that the client uses.
const VERSION: HeaderName = HeaderName::from_static("upload-draft-interop-version");
/// The versions whose headers this server supports.
const VERSIONS: std::ops::RangeInclusive<u8> = 5..=8;
/// The first version in which parts have their own media type.
const TYPED_FROM: u8 = 6;
/// The media type of a part.
const PART: &str = "application/partial-upload";

/// The registered problems of the draft.
const MISMATCH: &str = "https://iana.org/assignments/http-problem-types#mismatching-upload-offset";
const COMPLETED: &str = "https://iana.org/assignments/http-problem-types#completed-upload";
const INCONSISTENT: &str = "https://iana.org/assignments/http-problem-types#inconsistent-upload-length";

/// A part of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The offset of its first byte.
    pub(super) offset: u64,
    /// True if it is the last part.
    pub(super) is_last: bool,
    /// The length of the whole body, if the client declares it.
    pub(super) length: Option<u64>,
}

impl Part {
    /// Reads the headers of a part.
    ///
    /// # Errors
    /// 400 for a header that is missing or malformed, 415 for another media type or a content coding.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let version = version(headers)?;
        let is_typed = headers.get(CONTENT_TYPE).is_some_and(|kind| kind == PART);
        if !is_typed && version.is_none_or(|version| version >= TYPED_FROM) {
            return Err(Problem::media_type(PART));
        }
        if headers.contains_key(CONTENT_ENCODING) {
            let why = "a part must not have Content-Encoding: set it on the request that begins the upload";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
        }
        let missing = |name: &str, kind: &str| {
            Problem::bad_request(format!("the header {name} is missing; it must be {kind}"))
        };
        let offset = number(headers, &OFFSET)?.ok_or_else(|| missing("Upload-Offset", "a whole number"))?;
        let is_last = is_complete(headers)?.ok_or_else(|| missing("Upload-Complete", "?0 or ?1"))?;
        Ok(Self { offset, is_last, length: number(headers, &LENGTH)? })
    }
}

/// Returns true if a request begins an upload whose other parts follow in further requests.
///
/// # Errors
/// 400 if a header is malformed.
pub(super) fn begins(headers: &HeaderMap) -> Result<bool, Problem> {
    let is_complete = is_complete(headers)?;
    if is_complete.is_some() {
        version(headers)?;
    }
    Ok(is_complete == Some(false))
}

/// Returns the length of the whole body, if the client declares it.
///
/// # Errors
/// 400 if the header is malformed.
pub(super) fn length(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    number(headers, &LENGTH)
}

/// Returns true if the body is a part of an upload, whose content coding is that of the whole upload.
pub(super) fn is_part(request: &Request) -> bool {
    let begins = || matches!(is_complete(request.headers()), Ok(Some(false)));
    request.method() == Method::PATCH || has_limits(request.uri().path()) && begins()
}

/// Returns true if a path accepts uploads, so that OPTIONS returns the limits.
pub(super) fn has_limits(path: &str) -> bool {
    let last = path.trim_end_matches('/').rsplit('/').next();
    matches!(last, Some("clks" | "binaryclks"))
}

/// Returns the limits of the server, as a header.
pub(super) fn limits(bytes_max: u64, expiry: Duration) -> HeaderValue {
    let text = format!("max-size={bytes_max}, max-age={}", expiry.as_secs().max(1));
    HeaderValue::try_from(text).expect("digits and names")
}

/// Returns a Boolean value, as a header.
pub(super) const fn flag(is_set: bool) -> HeaderValue {
    HeaderValue::from_static(if is_set { "?1" } else { "?0" })
}

/// Returns 409: the part does not begin at the expected offset.
pub(super) fn mismatch(expected: u64, provided: u64) -> Problem {
    let detail =
        format!("Upload-Offset: the upload has {expected} bytes so far, and the next part begins there");
    Problem::of_type(MISMATCH, StatusCode::CONFLICT, detail).with_offsets(expected, provided)
}

/// Returns 409: another request about the same upload has ended this one.
pub(super) fn superseded() -> Problem {
    let detail = "a newer request about this upload has ended this one; the bytes that had arrived are kept";
    Problem::new(StatusCode::CONFLICT, detail)
}

/// Returns 400: the upload is complete already.
pub(super) fn completed() -> Problem {
    let detail = "the upload is complete; an empty last part at its end returns a new receipt token";
    Problem::of_type(COMPLETED, StatusCode::BAD_REQUEST, detail)
}

/// Returns 400: the lengths contradict each other.
pub(super) fn inconsistent(detail: String) -> Problem {
    Problem::of_type(INCONSISTENT, StatusCode::BAD_REQUEST, detail)
}

fn version(headers: &HeaderMap) -> Result<Option<u8>, Problem> {
    let Some(text) = headers.get(VERSION) else { return Ok(None) };
    let version = text.to_str().ok().and_then(|text| text.trim().parse().ok());
    let known = version.filter(|version| VERSIONS.contains(version));
    known.map(Some).ok_or_else(|| {
        let (first, last) = (VERSIONS.start(), VERSIONS.end());
        let detail =
            format!("Upload-Draft-Interop-Version: this server supports the versions {first} to {last}");
        Problem::bad_request(detail)
    })
}

fn is_complete(headers: &HeaderMap) -> Result<Option<bool>, Problem> {
    match headers.get(COMPLETE).map(|value| value.as_bytes().trim_ascii()) {
        None => Ok(None),
        Some(b"?0") => Ok(Some(false)),
        Some(b"?1") => Ok(Some(true)),
        Some(_) => Err(Problem::bad_request("the header Upload-Complete must be ?0 or ?1")),
    }
}

/// Parses a header as a whole number of at most 15 digits, the limit in structured fields.
fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, Problem> {
    const DIGITS_MAX: usize = 15;
    let Some(value) = headers.get(name) else { return Ok(None) };
    let digits = value.as_bytes().trim_ascii();
    let is_plain = (1..=DIGITS_MAX).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let number = str::from_utf8(digits).ok().filter(|_| is_plain).and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| {
        Problem::bad_request(format!(
            "the header {name} must be a whole number of at most {DIGITS_MAX} digits"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_part_is_read_strictly() {
        let of = |more: &[(&'static str, &'static str)]| Part::of(&headers(more));
        let kind = ("content-type", PART);
        let whole = [kind, ("upload-offset", "7"), ("upload-complete", "?1"), ("upload-length", "9")];
        assert_eq!(of(&whole), Ok(Part { offset: 7, is_last: true, length: Some(9) }));
        let older =
            [("upload-draft-interop-version", "5"), ("upload-offset", "0"), ("upload-complete", "?0")];
        assert_eq!(of(&older), Ok(Part { offset: 0, is_last: false, length: None }));
        for wrong in [
            &[kind, ("upload-offset", "7")][..],
            &[kind, ("upload-complete", "?1")],
            &[("upload-offset", "7"), ("upload-complete", "?1")],
            &[kind, ("upload-offset", "-1"), ("upload-complete", "?1")],
            &[kind, ("upload-offset", "1234567890123456"), ("upload-complete", "?1")],
            &[kind, ("upload-offset", "7"), ("upload-complete", "1")],
            &[kind, ("upload-offset", "7"), ("upload-complete", "?1"), ("content-encoding", "gzip")],
            &[kind, ("upload-offset", "7"), ("upload-complete", "?1"), ("upload-draft-interop-version", "3")],
        ] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn only_an_incomplete_request_begins_an_upload() {
        assert_eq!(begins(&headers(&[])), Ok(false));
        assert_eq!(begins(&headers(&[("upload-complete", "?1")])), Ok(false));
        assert_eq!(begins(&headers(&[("upload-complete", "?0")])), Ok(true));
        assert!(begins(&headers(&[("upload-complete", "yes")])).is_err());
    }
}
