//! Rejects headers that `s3s` would ignore or misinterpret.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::request::{is_amz, is_sts, media_type};
use crate::s3::chunked;

/// The headers of unsupported features. Requests with them are rejected.
const NOT_OFFERED: [&str; 6] = [
    "x-amz-server-side-encryption",
    "x-amz-object-lock-",
    "x-amz-rename-source",
    "x-amz-tagging",
    "x-amz-website-redirect-location",
    "x-amz-write-offset-bytes",
];
/// The header with an access control list.
const ACL: &str = "x-amz-acl";
/// The prefix of headers that grant rights.
const GRANT: &str = "x-amz-grant-";
/// The access control lists that are accepted: they grant rights only to the owner of the root credentials.
const ACLS_OF_THE_OWNER: [&str; 3] = ["private", "bucket-owner-full-control", "bucket-owner-read"];
/// The header that defines the source of a copy's tags. It has no effect, since objects have no tags.
const TAGGING_DIRECTIVE: &str = "x-amz-tagging-directive";

/// The prefix of checksum headers.
const CHECKSUM: &str = "x-amz-checksum-";
/// The known suffixes of checksum headers.
const CHECKSUM_FIELDS: [&str; 8] =
    ["algorithm", "crc32", "crc32c", "crc64nvme", "mode", "sha1", "sha256", "type"];
/// The headers with conditions on ETags.
const ETAG_CONDITIONS: [&str; 4] =
    ["if-match", "if-none-match", "x-amz-copy-source-if-match", "x-amz-copy-source-if-none-match"];

/// Rejects headers, and a version in the query, that `s3s` would ignore.
pub(super) fn check(request: &Parts, version: Option<&str>) -> S3Result<()> {
    check_single(&request.headers)?;
    check_offered(request, version)?;
    check_acl(&request.headers)?;
    check_chunks(request)?;
    check_conditions(&request.headers)?;
    check_checksums(&request.headers)
}

/// Rejects repeated headers: the client may have signed another of the values than the one that is used.
fn check_single(headers: &HeaderMap) -> S3Result<()> {
    let single = [
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::DATE,
        header::HOST,
        header::IF_RANGE,
        header::RANGE,
        HeaderName::from_static("content-md5"),
    ];
    let twice = headers.keys().find(|name| {
        (is_amz(name) || single.contains(name)) && headers.get_all(*name).iter().nth(1).is_some()
    });
    twice.map_or(Ok(()), |name| Err(s3_error!(InvalidRequest, "The header {name} is repeated.")))
}

fn check_offered(request: &Parts, version: Option<&str>) -> S3Result<()> {
    if request.method == Method::POST
        && media_type(&request.headers).is_some_and(|media| media == "multipart/form-data")
    {
        return Err(s3_error!(MethodNotAllowed, "Uploads by POST form are not offered; use PUT."));
    }
    let header = request.headers.keys().find(|name| {
        NOT_OFFERED.iter().any(|prefix| name.as_str().starts_with(prefix)) && **name != TAGGING_DIRECTIVE
    });
    if let Some(name) = header {
        return Err(s3_error!(
            NotImplemented,
            "A header you provided implies functionality that is not implemented: {name}."
        ));
    }
    if version.is_some_and(|version| !version.is_empty() && version != "null") {
        return Err(s3_error!(NotImplemented, "Versions are not supported."));
    }
    Ok(())
}

/// Rejects access control lists that grant rights to others, since the server supports none.
fn check_acl(headers: &HeaderMap) -> S3Result<()> {
    let list = headers.get(ACL).map(|acl| acl.as_bytes().trim_ascii());
    let is_of_owner = list.is_none_or(|acl| ACLS_OF_THE_OWNER.iter().any(|known| known.as_bytes() == acl));
    if is_of_owner && !headers.keys().any(|name| name.as_str().starts_with(GRANT)) {
        return Ok(());
    }
    let code = S3ErrorCode::Custom("AccessControlListNotSupported".into());
    let mut error = S3Error::with_message(code, "The bucket does not allow ACLs.");
    error.set_status_code(StatusCode::BAD_REQUEST);
    Err(error)
}

/// Rejects a body in chunks unless the method is `PUT`: only objects and parts may be sent in chunks.
fn check_chunks(request: &Parts) -> S3Result<()> {
    let length = chunked::decoded_length(&request.headers)
        .map_err(|_| s3_error!(InvalidRequest, "x-amz-decoded-content-length must be a number in digits."))?;
    // Calls of the token service are checked elsewhere.
    if length.is_none() || request.method == Method::PUT || is_sts(request) {
        return Ok(());
    }
    Err(s3_error!(NotImplemented, "Only the bytes of objects may be sent in chunks."))
}

/// Rejects an empty condition: `s3s` would ignore it, and the object that it protects would be replaced.
fn check_conditions(headers: &HeaderMap) -> S3Result<()> {
    let is_empty =
        |name: &&str| headers.get(*name).is_some_and(|value| value.as_bytes().trim_ascii().is_empty());
    ETAG_CONDITIONS.into_iter().find(|name| is_empty(name)).map_or(Ok(()), |name| {
        Err(s3_error!(InvalidArgument, "The header {name} is empty; it must be an ETag or *."))
    })
}

/// Rejects a checksum of an unknown algorithm, which would not be verified.
fn check_checksums(headers: &HeaderMap) -> S3Result<()> {
    let is_unknown = |name: &str| {
        let field = name.get(..CHECKSUM.len()).filter(|start| start.eq_ignore_ascii_case(CHECKSUM));
        field.is_some()
            && !CHECKSUM_FIELDS.iter().any(|known| name[CHECKSUM.len()..].eq_ignore_ascii_case(known))
    };
    let trailers = headers.get("x-amz-trailer").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let names = headers.keys().map(HeaderName::as_str).chain(trailers.split(',').map(str::trim));
    names.into_iter().find(|name| is_unknown(name)).map_or(Ok(()), |name| {
        Err(s3_error!(InvalidRequest, "The checksum {name} is of an algorithm that is not known here."))
    })
}
