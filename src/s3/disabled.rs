//! The endpoint if clients use another store: every request gets an S3 error.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The response to every request.
const NOT_ENABLED: &str = concat!(
    r#"<?xml version="1.0" encoding="UTF-8"?>"#,
    "\n<Error><Code>NotImplemented</Code><Message>The S3 endpoint is not enabled: objects are in another store.",
    "</Message></Error>\n",
);

/// Returns a router that answers every request with an S3 error. The status is not 500, 502, 503 or 504, which clients
/// retry.
pub fn disabled() -> Router {
    Router::new().fallback(not_enabled)
}

async fn not_enabled() -> Response {
    let headers = [(header::CONTENT_TYPE, "application/xml")];
    (StatusCode::NOT_IMPLEMENTED, headers, NOT_ENABLED).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn every_request_is_answered_with_an_s3_error() {
        for (method, path) in [("GET", "/"), ("PUT", "/uploads/a%20key"), ("POST", "/uploads/key?uploads")] {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            let response = disabled().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 501);
            assert_eq!(response.headers()["content-type"], "application/xml");
            let body = to_bytes(response.into_body(), 10_000).await.unwrap();
            assert!(body.starts_with(b"<?xml") && body.ends_with(b"</Error>\n"));
        }
    }
}
