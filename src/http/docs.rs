//! Serves the documentation pages from files in the binary; they load nothing from other servers.

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use super::ApiState;
use super::openapi::document_of;
use crate::edge::PublicAddress;

/// The content security policy of pages: they may load their own files, and call this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Returns the routes of the pages.
pub(super) fn pages() -> Router<ApiState> {
    Router::new()
        .route("/docs/", get(async || moved("../docs")))
        .route("/docs", get(async || page(HTML, include_str!("../../assets/docs/api.html"))))
        .route("/docs/api.js", get(async || page(SCRIPT, include_str!("../../assets/docs/api.js"))))
        .route("/docs/page.css", get(async || page(STYLE, include_str!("../../assets/docs/page.css"))))
}

/// Returns the route of the front page of a server without a dashboard.
pub(super) fn front_page() -> Router<ApiState> {
    Router::new().route("/", get(async || page(HTML, include_str!("../../assets/docs/index.html"))))
}

/// `GET /api/v1/openapi.json`: the description of the API, for programs.
pub(super) async fn description(
    State(state): State<ApiState>,
    outside: PublicAddress,
) -> Json<utoipa::openapi::OpenApi> {
    Json(document_of(outside.root(&state.settings.base_path)))
}

/// Redirects a browser.
pub(super) fn moved(there: &str) -> Response {
    (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, there)]).into_response()
}

pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const SCRIPT: &str = "text/javascript; charset=utf-8";
pub(super) const STYLE: &str = "text/css; charset=utf-8";

/// Returns a page with its headers.
pub(super) fn page(media_type: &'static str, text: impl Into<Body>) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text.into())
}
