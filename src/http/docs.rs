//! Pages for people, from files in the binary: nothing is fetched from anywhere else.

use axum::Router;
use axum::body::Body;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use super::State;

/// What a page may do: show itself, and ask this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The pages.
pub(super) fn pages() -> Router<State> {
    Router::new()
        .route("/", get(async || page(HTML, include_str!("../../assets/docs/index.html"))))
        .route("/docs", get(async || page(HTML, include_str!("../../assets/docs/api.html"))))
        .route("/docs/api.js", get(async || page(SCRIPT, include_str!("../../assets/docs/api.js"))))
        .route("/docs/page.css", get(async || page(STYLE, include_str!("../../assets/docs/page.css"))))
}

pub(super) const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// A page with the headers that pages have.
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
