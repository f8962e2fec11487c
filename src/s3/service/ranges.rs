//! The requested byte range of an object.

use std::ops::Range;

use axum::http::{HeaderMap, HeaderValue, header};
use s3s::dto::Range as RequestedRange;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::convert::{parse_http_date, seconds};
use crate::buckets::PARTS_MAX;
use crate::runtime::clock::Timestamp;

/// Returns the requested range; `None` for the whole object. A range is ignored if `If-Range` names another version of
/// the object: the caller's part of that version would not fit.
pub(super) fn wanted(
    requested: Option<RequestedRange>,
    headers: &HeaderMap,
    etag: &str,
    modified: Timestamp,
) -> Option<RequestedRange> {
    let Some(known) = headers.get(header::IF_RANGE) else { return requested };
    let known = known.to_str().unwrap_or_default().trim();
    let same = match known.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(known) => known == etag,
        None => parse_http_date(known).is_some_and(|known| known == seconds(modified)),
    };
    requested.filter(|_| same)
}

/// Returns the requested bytes of an object of `size` bytes.
///
/// # Errors
/// `InvalidRange`, if there are none.
pub(super) fn within(requested: RequestedRange, size: u64) -> S3Result<Range<u64>> {
    requested.check(size).ok().filter(|range| !range.is_empty()).ok_or_else(|| beyond(size))
}

/// Formats a range for `Content-Range`.
pub(super) fn encode(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end - 1)
}

fn beyond(size: u64) -> S3Error {
    let mut error =
        s3_error!(InvalidRange, "The requested range is not satisfiable: the object has {size} bytes.");
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    if let Ok(said) = HeaderValue::try_from(format!("bytes */{size}")) {
        headers.insert(header::CONTENT_RANGE, said);
    }
    error.set_headers(headers);
    error
}

/// Returns the index of a requested part.
///
/// # Errors
/// `InvalidArgument`, if no part can have this number.
pub(super) fn position(number: i32) -> S3Result<u32> {
    u32::try_from(number).ok().filter(|number| (1..=PARTS_MAX).contains(number)).ok_or_else(|| {
        s3_error!(InvalidArgument, "Part number must be an integer between 1 and {PARTS_MAX}, inclusive")
    })
}

/// Returns the error for a part that the object does not have.
pub(super) fn no_such_part() -> S3Error {
    let code = S3ErrorCode::Custom("InvalidPartNumber".into());
    let mut error = S3Error::with_message(code, "The requested partnumber is not satisfiable");
    error.set_status_code(axum::http::StatusCode::RANGE_NOT_SATISFIABLE);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_bytes_or_is_refused() {
        let within = |text: &str, size| within(RequestedRange::parse(text).unwrap(), size).ok();
        assert_eq!(within("bytes=0-0", 3), Some(0..1));
        assert_eq!(within("bytes=1-9", 3), Some(1..3));
        assert_eq!(within("bytes=-9", 3), Some(0..3));
        for (text, size) in [("bytes=3-", 3), ("bytes=-0", 3), ("bytes=-1", 0), ("bytes=0-", 0)] {
            assert_eq!(within(text, size), None, "{text} of {size}");
        }
    }

    #[test]
    fn a_range_of_another_object_is_not_wanted() {
        let modified = Timestamp::from_micros(1_000_000_500_000);
        let wanted = |known: &'static str| {
            let headers = HeaderMap::from_iter([(header::IF_RANGE, HeaderValue::from_static(known))]);
            wanted(RequestedRange::parse("bytes=1-").ok(), &headers, "e", modified).is_some()
        };
        assert!(wanted("\"e\"") && wanted("Mon, 12 Jan 1970 13:46:40 GMT"));
        for other in ["\"f\"", "W/\"e\"", "e", "", "Mon, 12 Jan 1970 13:46:41 GMT", "yesterday"] {
            assert!(!wanted(other), "{other}");
        }
    }
}
