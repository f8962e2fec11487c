//! Uploads through the object store: switched off.

use axum::extract::State as Extract;

use crate::http::State;
use crate::http::auth::Caller;
use crate::http::openapi::{Disabled, Guarded};
use crate::http::problem::Problem;

/// What is said to those who ask for the object store.
pub(in crate::http) fn disabled() -> Problem {
    Problem::failed(
        "Feature Disabled",
        "uploading through the object store is not enabled; post the data to /clks or /binaryclks",
    )
}

/// Temporary credentials for uploading through the object store
///
/// This server does not offer that yet: upload directly instead, as clients of the API do by themselves.
#[utoipa::path(get, path = "/api/v1/projects/{project_id}/authorize-external-upload", tag = "uploads", operation_id = "authorizeUpload",
    params(("project_id" = String, Path, description = "The project.")),
    security(("update_token" = [])),
    responses(Guarded, Disabled))]
pub(in crate::http) async fn authorize(
    Extract(state): Extract<State>,
    caller: Caller,
) -> Result<(), Problem> {
    caller.provider(&state).await?;
    Err(disabled())
}
