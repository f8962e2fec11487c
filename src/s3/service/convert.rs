//! Converts between the types of the module `buckets` and those of S3.

use std::time::{Duration, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderValue, header};
use s3s::dto::{ETag, ETagCondition, Timestamp as S3Timestamp, TimestampFormat};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use crate::buckets::{Condition, Error};
use crate::runtime::clock::Timestamp;
use crate::telemetry::chain;

/// The value of `Retry-After`, in seconds.
const RETRY_AFTER_S: u16 = 5;

/// Converts an error of the module `buckets`.
#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
pub(super) fn refusal(error: Error) -> S3Error {
    let code = match &error {
        Error::NoSuchBucket => S3ErrorCode::NoSuchBucket,
        Error::BucketExists => S3ErrorCode::BucketAlreadyOwnedByYou,
        Error::BucketNotEmpty => S3ErrorCode::BucketNotEmpty,
        Error::NoSuchKey => S3ErrorCode::NoSuchKey,
        Error::NoSuchUpload => S3ErrorCode::NoSuchUpload,
        Error::InvalidPart { .. } => S3ErrorCode::InvalidPart,
        Error::PartOrder => S3ErrorCode::InvalidPartOrder,
        Error::PartTooSmall { .. } => S3ErrorCode::EntityTooSmall,
        Error::TooLarge { .. } => S3ErrorCode::EntityTooLarge,
        Error::Mismatch { .. } => S3ErrorCode::BadDigest,
        Error::ChecksumType => S3ErrorCode::InvalidRequest,
        Error::KeyCharacter { .. } => S3ErrorCode::InvalidArgument,
        Error::Precondition => S3ErrorCode::PreconditionFailed,
        Error::Key => S3ErrorCode::KeyTooLongError,
        Error::Busy => S3ErrorCode::SlowDown,
        Error::Full(_) => {
            tracing::error!("an S3 request failed: {}", chain(&error));
            let mut full = s3_error!(ServiceUnavailable, "There is no space left for objects.");
            full.set_status_code(axum::http::StatusCode::INSUFFICIENT_STORAGE);
            return full;
        }
        Error::Storage(_) if error.may_pass() => return unavailable(&error),
        Error::Damaged(_)
        | Error::Storage(_)
        | Error::Lost { .. }
        | Error::Index(_)
        | Error::IndexDamaged(_) => {
            tracing::error!("an S3 request failed: {}", chain(&error));
            return s3_error!(InternalError, "The object store failed; the log of the server says how.");
        }
    };
    S3Error::with_message(code, sentence(&error.to_string()))
}

/// Returns the error for requests while the disk or the object store is unavailable.
pub(super) fn unavailable(cause: &dyn std::error::Error) -> S3Error {
    tracing::error!("an S3 request failed: {}", chain(cause));
    let mut away =
        s3_error!(ServiceUnavailable, "Objects cannot be stored or read now. Please try again later.");
    away.set_headers(HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S))]));
    away
}

/// Makes a sentence of an error message: the first letter in upper case, and a full stop.
fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

pub(super) fn timestamp(time: Timestamp) -> S3Timestamp {
    let micros = u64::try_from(time.as_micros()).unwrap_or_default();
    S3Timestamp::from(UNIX_EPOCH + Duration::from_micros(micros))
}

/// Returns the time in whole seconds, as in HTTP headers and so in conditions.
pub(super) fn seconds(time: Timestamp) -> S3Timestamp {
    timestamp(Timestamp::from_micros(time.as_micros() - time.as_micros().rem_euclid(1_000_000)))
}

/// Returns a time in the format of headers.
pub(super) fn http_date(time: &S3Timestamp) -> Option<String> {
    let mut text = Vec::new();
    time.format(TimestampFormat::HttpDate, &mut text).ok()?;
    String::from_utf8(text).ok()
}

pub(super) fn parse_http_date(text: &str) -> Option<S3Timestamp> {
    S3Timestamp::parse(TimestampFormat::HttpDate, text).ok()
}

pub(super) fn etag(text: &str) -> ETag {
    ETag::Strong(text.to_owned())
}

/// Returns the condition of a write from the headers of the request.
pub(super) fn condition(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<Condition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Condition::None),
        (Some(ETagCondition::Any), None) => Ok(Condition::Present),
        (Some(ETagCondition::ETag(etag)), None) => Ok(Condition::Etag(etag.value().to_owned())),
        (None, Some(ETagCondition::Any)) => Ok(Condition::Absent),
        _ => Err(s3_error!(
            NotImplemented,
            "A write may have If-Match with an ETag or *, or If-None-Match with *."
        )),
    }
}

/// The result of evaluating the conditions of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All conditions hold.
    Proceed,
    /// The caller has this version of the object already.
    NotModified,
}

/// The conditions of a read.
pub(super) struct Conditions<'a> {
    pub(super) matching: Option<&'a ETagCondition>,
    pub(super) none_matching: Option<&'a ETagCondition>,
    pub(super) modified_since: Option<&'a S3Timestamp>,
    pub(super) unmodified_since: Option<&'a S3Timestamp>,
}

/// Returns the conditions of a request, or those on the source of a copy, from the input of any operation.
macro_rules! conditions_of {
    ($input:expr) => {
        $crate::s3::service::convert::Conditions {
            matching: $input.if_match.as_ref(),
            none_matching: $input.if_none_match.as_ref(),
            modified_since: $input.if_modified_since.as_ref(),
            unmodified_since: $input.if_unmodified_since.as_ref(),
        }
    };
    (copy_source $input:expr) => {
        $crate::s3::service::convert::Conditions {
            matching: $input.copy_source_if_match.as_ref(),
            none_matching: $input.copy_source_if_none_match.as_ref(),
            modified_since: $input.copy_source_if_modified_since.as_ref(),
            unmodified_since: $input.copy_source_if_unmodified_since.as_ref(),
        }
    };
}
pub(super) use conditions_of;

impl Conditions<'_> {
    /// Evaluates the conditions in the order of RFC 9110: ETags before times.
    pub(super) fn decide(&self, etag: &str, modified: Timestamp) -> S3Result<Verdict> {
        let is = |condition: &ETagCondition| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(wanted) => wanted.value() == etag,
        };
        let modified = seconds(modified);
        let stands = match (self.matching, self.unmodified_since) {
            (Some(condition), _) => is(condition),
            (None, Some(time)) => modified <= *time,
            (None, None) => true,
        };
        if !stands {
            return Err(s3_error!(
                PreconditionFailed,
                "At least one of the preconditions you specified did not hold."
            ));
        }
        let known = match (self.none_matching, self.modified_since) {
            (Some(condition), _) => is(condition),
            (None, Some(time)) => modified <= *time,
            (None, None) => false,
        };
        Ok(if known { Verdict::NotModified } else { Verdict::Proceed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_decided_as_http_says() {
        let modified = Timestamp::from_micros(1_000_000_500_000);
        let (same, later) = (seconds(modified), timestamp(Timestamp::from_micros(1_000_001_000_000)));
        let earlier = timestamp(Timestamp::from_micros(999_999_000_000));
        let tag: ETagCondition = "\"e\"".parse().unwrap();
        let other: ETagCondition = "\"f\"".parse().unwrap();
        let decide = |matching, none_matching, modified_since, unmodified_since| {
            let conditions = Conditions { matching, none_matching, modified_since, unmodified_since };
            conditions.decide("e", modified).map_err(|error| error.code().clone())
        };
        assert_eq!(decide(None, None, None, None), Ok(Verdict::Proceed));
        assert_eq!(decide(Some(&tag), None, None, Some(&earlier)), Ok(Verdict::Proceed));
        assert_eq!(decide(Some(&other), None, None, None), Err(S3ErrorCode::PreconditionFailed));
        assert_eq!(decide(None, None, None, Some(&earlier)), Err(S3ErrorCode::PreconditionFailed));
        assert_eq!(decide(None, Some(&tag), None, None), Ok(Verdict::NotModified));
        assert_eq!(decide(None, Some(&other), Some(&later), None), Ok(Verdict::Proceed));
        assert_eq!(decide(None, None, Some(&same), Some(&same)), Ok(Verdict::NotModified));
        assert_eq!(decide(None, None, Some(&earlier), None), Ok(Verdict::Proceed));
    }

    #[test]
    fn a_disk_that_fails_is_come_back_to() {
        let refusal = refusal(Error::Storage("Input/output error".into()));
        assert_eq!(refusal.code(), &S3ErrorCode::ServiceUnavailable);
        assert!(refusal.headers().is_some_and(|headers| headers.contains_key("retry-after")));
    }

    #[test]
    fn messages_are_sentences() {
        assert_eq!(refusal(Error::NoSuchKey).message(), Some("There is no such object."));
    }
}
