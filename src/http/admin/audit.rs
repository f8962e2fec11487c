//! Records admin requests that change something.

use axum::body::{Body, to_bytes};
use axum::extract::{OriginalUri, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::task::spawn_blocking;

use super::AdminState;
use crate::edge::ClientIp;
use crate::http::problem::Problem;
use crate::telemetry::chain;

/// The maximum size of the body of an admin request.
const BODY_BYTES_MAX: usize = 2 << 20;
/// The maximum number of characters of a body that are recorded.
const BODY_CHARS_KEPT: usize = 500;

/// Answers an admin request, and records it if it may change something.
pub(super) async fn record(State(admin): State<AdminState>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let client = request.extensions().get().map_or_else(String::new, |ClientIp(address)| address.to_string());
    // Within the routes below `/admin`, the URI of a request lacks that prefix.
    let uri = request.extensions().get::<OriginalUri>().map_or_else(|| request.uri(), |OriginalUri(uri)| uri);
    let act = format!("{} {}", request.method(), uri.path());
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        let detail = format!("the body is incomplete or larger than {BODY_BYTES_MAX} bytes");
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into_response();
    };
    let text: String = String::from_utf8_lossy(&body).chars().take(BODY_CHARS_KEPT).collect();
    let response = next.run(Request::from_parts(head, Body::from(body))).await;
    let (audit, status, at) = (admin.audit.clone(), response.status().as_u16(), admin.clock.now());
    let written = spawn_blocking(move || audit.add(at, client, act, text, status)).await;
    if let Ok(Err(error)) = written {
        tracing::error!("cannot write an admin request to the audit log: {}", chain(&error));
    }
    response
}
