//! Admin requests about projects.

use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::AdminState;
use crate::http::problem::Problem;
use crate::metadata::Runs;
use crate::model::ProjectId;

/// `DELETE /admin/projects/{project_id}`: deletes a project without its token. Its data is removed shortly after.
pub(super) async fn delete(
    State(admin): State<AdminState>,
    Path(project): Path<String>,
) -> Result<StatusCode, Problem> {
    let absent = || Problem::new(StatusCode::NOT_FOUND, "there is no such project");
    let id = ProjectId::parse(&project).ok_or_else(absent)?;
    let coordinator = &admin.dependencies.coordinator;
    coordinator.project(id, Runs::None).await?.ok_or_else(absent)?;
    coordinator.delete_project(id).await?;
    tracing::info!(project.id = %id, "project deleted by the administrator");
    Ok(StatusCode::NO_CONTENT)
}
