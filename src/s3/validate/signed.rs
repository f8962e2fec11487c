//! Parses a signature of version 4 and checks that it covers the required headers.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use s3s::{S3Result, s3_error};

use super::request::{is_amz, is_sts, malformed_header, other_mechanism};

/// The region that an error names if a client has signed for an unknown one. s3cmd signs for `US`, and repeats the
/// request with the region in the error.
pub(in crate::s3) const REGION: &str = "us-east-1";
/// The accepted algorithm of signatures.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Headers that proxies add after the client has signed. They have no effect here.
const ADDED_BY_PROXIES: [&str; 1] = ["x-amz-cf-id"];

/// The declared properties of a signature.
pub(super) struct Signed<'a> {
    pub(super) credential: &'a str,
    /// The headers that are signed.
    pub(super) names: &'a str,
}

/// Returns the end of an error message that names the expected region.
pub(in crate::s3) fn expected_region() -> String {
    format!("expecting the region {REGION}")
}

impl<'a> Signed<'a> {
    pub(super) fn of_header(authorization: &'a str) -> S3Result<Self> {
        let fields = authorization.strip_prefix(ALGORITHM).ok_or_else(other_mechanism)?;
        let field = |wanted: &str| {
            let all = fields.split(',').filter_map(|field| field.trim().split_once('='));
            all.into_iter().find(|(name, _)| *name == wanted).map(|(_, value)| value)
        };
        let (Some(credential), Some(names)) = (field("Credential"), field("SignedHeaders")) else {
            return Err(malformed_header("it needs Credential, SignedHeaders and Signature"));
        };
        Ok(Self { credential, names })
    }

    /// Checks the service in the signature: `sts` for calls of the token service, `s3` for other requests.
    pub(super) fn check_service(&self, request: &Parts) -> Result<(), String> {
        let mut scope = self.credential.rsplit('/');
        let (end, service) = (scope.next(), scope.next().unwrap_or_default());
        if end != Some("aws4_request") {
            return Err("the credential is not of the form key/date/region/service/aws4_request".to_owned());
        }
        let region = scope.next().unwrap_or_default();
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if region.is_empty() || !region.bytes().all(is_name) {
            return Err(format!("the region {} is wrong; {}", region.escape_default(), expected_region()));
        }
        if service == "s3" || service == "sts" && is_sts(request) {
            return Ok(());
        }
        Err("incorrect service; this endpoint belongs to \"s3\"".to_owned())
    }

    /// Checks that the host and every header that has an effect are signed. In HTTP/2, the host is not a header.
    pub(super) fn check_headers(&self, headers: &HeaderMap) -> S3Result<()> {
        let covered = |name: &HeaderName| {
            self.names.split(';').any(|signed| signed.eq_ignore_ascii_case(name.as_str()))
        };
        let meaningful = headers
            .keys()
            .filter(|name| is_amz(name) && !ADDED_BY_PROXIES.contains(&name.as_str()))
            .chain([&header::HOST]);
        let open = meaningful.into_iter().find(|name| !covered(name));
        match open {
            None => Ok(()),
            Some(name) => Err(s3_error!(
                AccessDenied,
                "There were headers present in the request which were not signed: {name}."
            )),
        }
    }
}
