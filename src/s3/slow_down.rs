//! The response to rate-limited clients.

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::edge::RequestId;

/// Returns the response to a rate-limited request, after which S3 clients pause.
pub fn slow_down(status: StatusCode, limit: &'static str, request: &Request) -> Response {
    let request_id = request.extensions().get().map_or("", RequestId::id);
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>SlowDown</Code><Message>Please reduce your \
         request rate: the limit on {limit} is reached.</Message><RequestId>{request_id}</RequestId></Error>\n"
    );
    (status, [(header::CONTENT_TYPE, "application/xml")], body).into_response()
}
