//! Validates requests that change data, after their operation is known. `s3s` ignores unknown parameters and
//! conditions, so that the operation could remove or replace more than the client wants.

use axum::http::{HeaderMap, Uri};
use s3s::{S3Result, s3_error};

/// The headers with conditions that no operation supports.
const UNKNOWN_CONDITIONS: [&str; 6] = [
    "content-range",
    "if-modified-since",
    "if-unmodified-since",
    "x-amz-if-match-initiated-time",
    "x-amz-if-match-last-modified-time",
    "x-amz-if-match-size",
];

/// The account that owns all buckets and objects.
pub(in crate::s3) const OWNER: &str = "entityd";
/// The headers with the account that the client expects to be the owner.
const OWNERS: [&str; 2] = ["x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"];

/// Returns the parameters and the conditions that an operation supports; `None` if it does not change data.
fn known(operation: &str) -> Option<(&'static [&'static str], &'static [&'static str])> {
    const ETAGS: &[&str] = &["if-match", "if-none-match"];
    Some(match operation {
        "CreateBucket" | "DeleteBucket" => (&[], &[]),
        "PutObject" | "CopyObject" => (&[], ETAGS),
        "DeleteObject" => (&["versionId"], &["if-match"]),
        "DeleteObjects" => (&["delete"], &[]),
        "AbortMultipartUpload" => (&["uploadId"], &[]),
        "CompleteMultipartUpload" => (&["uploadId"], ETAGS),
        _ => return None,
    })
}

/// Rejects a request to change data with a parameter or condition that its operation does not support, and any request
/// that expects another owner.
///
/// # Errors
/// `NotImplemented`, with the name of the parameter or the header; `AccessDenied`.
pub(in crate::s3) fn check(operation: &str, uri: &Uri, headers: &HeaderMap) -> S3Result<()> {
    let is_other = |name: &str| headers.get(name).is_some_and(|value| value.as_bytes() != OWNER.as_bytes());
    if let Some(name) = OWNERS.into_iter().find(|name| is_other(name)) {
        return Err(s3_error!(
            AccessDenied,
            "The bucket does not belong to the account in the header {name}."
        ));
    }
    let Some((parameters, conditions)) = known(operation) else { return Ok(()) };
    let mut query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    // A parameter that begins with `x-` is a part of the signature, or has a meaning for the client only.
    let is_own = |name: &str| name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"));
    let stranger =
        query.find(|(name, _)| !name.is_empty() && !is_own(name) && !parameters.contains(&name.as_ref()));
    if let Some((name, _)) = stranger {
        let name: String = name.chars().take(40).collect();
        return Err(s3_error!(NotImplemented, "{operation} has no parameter {name}; leave it out."));
    }
    let etags = ["if-match", "if-none-match"];
    let mut asked = etags.into_iter().chain(UNKNOWN_CONDITIONS).filter(|name| headers.contains_key(*name));
    asked.find(|name| !conditions.contains(name)).map_or(Ok(()), |name| {
        Err(s3_error!(NotImplemented, "{operation} does not know the header {name}; leave it out."))
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn refused(operation: &str, uri: &str, header: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(name) = header {
            headers.insert(name, "v".parse().unwrap());
        }
        check(operation, &uri.parse().unwrap(), &headers).is_err()
    }

    #[test]
    fn a_parameter_that_an_operation_does_not_have_is_refused() {
        for name in ["acl", "uploads", "retention", "legal-hold", "torrent", "policy", "restore", "foo=1"] {
            assert!(refused("DeleteObject", &format!("/b/k?{name}"), None), "{name}");
            assert!(refused("PutObject", &format!("/b/k?{name}"), None), "{name}");
        }
        assert!(refused("DeleteBucket", "/b?versioning", None));
        assert!(refused("CreateBucket", "/b?abac", None));
        assert!(!refused("DeleteObject", "/b/k?versionId=null&x-id=DeleteObject", None));
        assert!(!refused("PutObject", "/b/k?X-Amz-Signature=0&X-Amz-Expires=9", None));
        assert!(!refused("PutObject", "/b/k?", None));
        assert!(!refused("AbortMultipartUpload", "/b/k?uploadId=u", None));
        assert!(!refused("GetObject", "/b/k?response-content-type=a", None));
    }

    #[test]
    fn a_condition_that_an_operation_does_not_have_is_refused() {
        for name in UNKNOWN_CONDITIONS.into_iter().chain(["if-none-match"]) {
            assert!(refused("DeleteObject", "/b/k", Some(name)), "{name}");
        }
        assert!(refused("DeleteBucket", "/b", Some("if-match")));
        assert!(refused("PutObject", "/b/k", Some("if-unmodified-since")));
        assert!(refused("PutObject", "/b/k", Some("content-range")));
        assert!(!refused("DeleteObject", "/b/k", Some("if-match")));
        assert!(!refused("PutObject", "/b/k", Some("if-none-match")));
        assert!(!refused("GetObject", "/b/k", Some("if-modified-since")));
    }

    #[test]
    fn another_owner_is_refused() {
        for operation in ["DeleteObject", "GetObject", "UploadPart"] {
            for name in OWNERS {
                assert!(refused(operation, "/b/k", Some(name)), "{operation} {name}");
            }
        }
        let headers = HeaderMap::from_iter([(HeaderName::from_static(OWNERS[0]), OWNER.parse().unwrap())]);
        check("DeleteObject", &Uri::from_static("/b/k"), &headers).unwrap();
    }
}
