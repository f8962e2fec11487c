//! Admin requests about projects.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::AdminState;
use crate::coordinator::NewRun;
use crate::http::problem::Problem;
use crate::metadata::Runs;
use crate::model::{ProjectId, Run, RunId, RunState};

fn absent(what: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no such {what}"))
}

/// `DELETE /admin/projects/{project_id}`: deletes a project without its token. Its data is removed shortly after.
pub(super) async fn delete(
    State(admin): State<AdminState>,
    Path(project): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = ProjectId::parse(&project).ok_or_else(|| absent("project"))?;
    let coordinator = &admin.dependencies.coordinator;
    coordinator.project(id, Runs::None).await?.ok_or_else(|| absent("project"))?;
    coordinator.delete_project(id).await?;
    tracing::info!(project.id = %id, "project deleted by the administrator");
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /admin/projects/{project_id}/runs/{run_id}/again`: posts another run like a failed one, which is kept.
pub(super) async fn run_again(
    State(admin): State<AdminState>,
    Path((project, run)): Path<(String, String)>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let ids = ProjectId::parse(&project).zip(RunId::parse(&run));
    let (project, run) = ids.ok_or_else(|| absent("run"))?;
    let coordinator = &admin.dependencies.coordinator;
    let found = coordinator.project(project, Runs::One(run)).await?;
    let failed = found.as_ref().and_then(|project| project.run(run)).ok_or_else(|| absent("run"))?;
    let RunState::Failed { .. } = failed.state else {
        return Err(Problem::new(StatusCode::CONFLICT, "the run has not failed"));
    };
    let Run { name, notes, threshold, with_scores, .. } = failed.clone();
    let again = coordinator.post_run(project, NewRun { name, notes, threshold, with_scores }).await?;
    tracing::info!(project.id = %project, run.id = %run, again = %again.id, "run started again by the administrator");
    Ok((StatusCode::CREATED, Json(json!({ "run_id": again.id.to_string() }))))
}
