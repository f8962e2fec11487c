//! What a client is told that comes too soon.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The answer to a client that comes too soon, which S3 clients take as a reason to wait.
pub fn slow_down(status: StatusCode, limit: &'static str, request_id: &str) -> Response {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>SlowDown</Code><Message>Please reduce your \
         request rate: the limit on {limit} is reached.</Message><RequestId>{request_id}</RequestId></Error>\n"
    );
    (status, [(header::CONTENT_TYPE, "application/xml")], body).into_response()
}
