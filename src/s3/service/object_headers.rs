//! The headers that are stored with a new object.

use std::collections::BTreeMap;

use s3s::dto::Metadata;
use s3s::{S3Result, s3_error};

use crate::s3::chunked::AWS_CHUNKED;

/// The maximum size of user metadata, as in AWS: every response about the object contains the metadata.
const METADATA_BYTES_MAX: usize = 2_048;

/// Returns the stored headers of a new object from the input of any operation.
macro_rules! head_of {
    ($input:expr) => {
        $crate::buckets::Head {
            content_type: $input.content_type.take(),
            content_encoding: $input
                .content_encoding
                .take()
                .as_deref()
                .and_then($crate::s3::service::object_headers::content_encoding),
            content_disposition: $input.content_disposition.take(),
            content_language: $input.content_language.take(),
            cache_control: $input.cache_control.take(),
            expires: $input.expires.take().as_ref().and_then($crate::s3::service::convert::http_date),
            metadata: $crate::s3::service::object_headers::metadata($input.metadata.take())?,
            checksum: None,
        }
    };
}
pub(super) use head_of;

/// Returns the content encoding without `aws-chunked`, which only describes the request.
pub(super) fn content_encoding(encoding: &str) -> Option<String> {
    let rest: Vec<&str> =
        encoding.split(',').filter(|one| !one.trim().eq_ignore_ascii_case(AWS_CHUNKED)).collect();
    let rest = rest.join(",");
    Some(rest.trim().to_owned()).filter(|rest| !rest.is_empty())
}

/// Returns the user metadata, with names in lower case.
///
/// # Errors
/// `MetadataTooLarge`.
pub(super) fn metadata(metadata: Option<Metadata>) -> S3Result<BTreeMap<String, String>> {
    let metadata = metadata.unwrap_or_default().into_iter();
    let metadata: BTreeMap<_, _> = metadata.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > METADATA_BYTES_MAX {
        return Err(s3_error!(
            MetadataTooLarge,
            "Your metadata headers have {bytes} bytes and may have {METADATA_BYTES_MAX}."
        ));
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_keeps_its_spelling() {
        for (said, kept) in [
            ("gzip", Some("gzip")),
            ("GZip,  br", Some("GZip,  br")),
            ("aws-chunked", None),
            ("AWS-Chunked, gzip", Some("gzip")),
            ("gzip, br,aws-chunked", Some("gzip, br")),
        ] {
            assert_eq!(content_encoding(said).as_deref(), kept);
        }
    }
}
