//! What the operator's listener answers.

use axum::Router;
use axum::routing::get;

use super::admin::{self, Office};
use super::router::{unknown, wrong_method};

/// Everything that the listener for operations answers: `/healthz` says 200 while the process can answer,
/// `/admin` is for the administrator.
pub fn ops(office: Office) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .nest("/admin", admin::routes(office))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
}
