//! Authorizes uploads through the object store.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::edge::PublicHost;
use crate::http::ApiState;
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::responses::{Disabled, Guarded};
use crate::http::upload_credentials::{Credentials, ObjectLocation};

/// The location for an upload, with credentials for it.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Authorized {
    credentials: Credentials,
    upload: ObjectLocation,
}

/// Temporary credentials for uploading through the object store
///
/// The credentials allow putting objects below the path, and nothing else, until they expire or the project is
/// deleted. A POST to `clks` then names the uploaded object. The endpoint may be called again.
#[utoipa::path(get, path = "/api/v1/projects/{project_id}/authorize-external-upload", tag = "uploads", operation_id = "authorizeUpload",
    params(("project_id" = String, Path, description = "The project.")),
    security(("update_token" = [])),
    responses((status = 201, description = "The credentials, and where to upload.", body = Authorized), Guarded, Disabled))]
pub(in crate::http) async fn authorize(
    State(state): State<ApiState>,
    caller: Caller,
    PublicHost(host): PublicHost,
) -> Result<(StatusCode, Json<Authorized>), Problem> {
    let (project, party) = caller.provider(&state).await?;
    let external = state.external.as_ref().ok_or_else(Problem::disabled)?;
    let (credentials, upload) = external.admit_upload(project.id, party, host.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(Authorized { credentials, upload })))
}
