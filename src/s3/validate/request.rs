//! Properties of requests, and the errors of malformed ones.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use s3s::{S3Error, S3ErrorCode, s3_error};

/// Returns true if the request is a call of the security token service: a form that is posted to the path `/`.
pub(super) fn is_sts(request: &Parts) -> bool {
    let form = media_type(&request.headers) == Some("application/x-www-form-urlencoded");
    request.method == Method::POST && request.uri.path() == "/" && form
}

pub(super) fn media_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()?.split(';').next().map(str::trim)
}

pub(super) fn is_amz(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-amz-")
}

pub(super) fn other_mechanism() -> S3Error {
    s3_error!(
        InvalidRequest,
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
    )
}

pub(super) fn malformed_header(reason: &str) -> S3Error {
    s3_error!(AuthorizationHeaderMalformed, "The authorization header is malformed; {reason}.")
}

pub(super) fn malformed_query(reason: &str) -> S3Error {
    let code = S3ErrorCode::Custom("AuthorizationQueryParametersError".into());
    let mut error =
        S3Error::with_message_fmt(code, format_args!("The query parameters are malformed; {reason}."));
    error.set_status_code(StatusCode::BAD_REQUEST);
    error
}
