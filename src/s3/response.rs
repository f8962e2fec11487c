//! Corrects the responses of `s3s`.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use memchr::memmem;

use super::{validate, xml};

/// Properties of a request that are needed to correct its response.
pub(super) struct ResponseContext {
    is_head: bool,
    for_attributes: bool,
    /// The error message for a signature that does not match.
    mismatch: String,
}

impl ResponseContext {
    pub(super) fn of(request: &Parts) -> Self {
        let mut names = request.uri.query().unwrap_or_default().split('&');
        Self {
            is_head: request.method == Method::HEAD,
            for_attributes: request.method == Method::GET
                && names.any(|name| name.trim_end_matches('=') == "attributes"),
            mismatch: validate::mismatch(request),
        }
    }

    /// Corrects the documents and the status of a response.
    pub(super) fn finish(&self, response: Response<s3s::Body>) -> Response {
        let (mut parts, body) = response.into_parts();
        // In response to HEAD with a range, `s3s` sends the right headers but the status 200.
        if self.is_head && parts.headers.contains_key(header::CONTENT_RANGE) && parts.status == StatusCode::OK
        {
            parts.status = StatusCode::PARTIAL_CONTENT;
        }
        let is_document =
            parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/xml");
        // Documents of `s3s` are bytes in memory. An object with the content type XML is a stream, and is not changed.
        let body = match body.bytes().filter(|_| is_document) {
            _ if parts.status == StatusCode::NOT_MODIFIED => Body::empty(),
            Some(document) => self.document(parts.status, document).into(),
            None => Body::new(body),
        };
        Response::from_parts(parts, body)
    }

    fn document(&self, status: StatusCode, document: Bytes) -> Bytes {
        let document = xml::readable(document);
        if status == StatusCode::OK && self.for_attributes {
            return xml::with_bare_etag(&document);
        }
        if status == StatusCode::FORBIDDEN && memmem::find(&document, b"SignatureDoesNotMatch").is_some() {
            return xml::with_message(document, &self.mismatch);
        }
        document
    }
}
