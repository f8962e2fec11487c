//! What a request says of the object that it makes.

use std::collections::BTreeMap;

use s3s::dto::Metadata;

/// The head of the object that a request makes, taken out of its input: every kind of request has the same fields.
macro_rules! head_of {
    ($input:expr) => {
        $crate::objects::buckets::Head {
            content_type: $input.content_type.take(),
            content_encoding: $input
                .content_encoding
                .take()
                .as_deref()
                .and_then($crate::s3::service::said::content_encoding),
            content_disposition: $input.content_disposition.take(),
            content_language: $input.content_language.take(),
            cache_control: $input.cache_control.take(),
            expires: $input.expires.take().as_ref().and_then($crate::s3::service::convert::http_date),
            metadata: $crate::s3::service::said::metadata($input.metadata.take()),
            checksum: None,
        }
    };
}
pub(super) use head_of;

/// The encoding without `aws-chunked`, which is of the request alone.
pub(super) fn content_encoding(encoding: &str) -> Option<String> {
    let rest: Vec<&str> = encoding.split(',').map(str::trim).filter(|one| *one != "aws-chunked").collect();
    let rest = rest.join(",");
    (!rest.is_empty()).then_some(rest)
}

pub(super) fn metadata(metadata: Option<Metadata>) -> BTreeMap<String, String> {
    metadata.unwrap_or_default().into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
}
