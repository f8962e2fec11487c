//! Endpoints that list, create, describe and delete projects.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::new_project::NewProject;
use crate::http::ApiState;
use crate::http::auth::{Caller, ProjectCreator};
use crate::http::body;
use crate::http::problem::Problem;
use crate::http::responses::{AdminOnly, Fault, Guarded, SmallBody, WriteFault};
use crate::model::{ProjectState, Token};

/// A project in the list of projects.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ListedProject {
    #[schema(schema_with = crate::http::schemas::hex48)]
    project_id: String,
    #[schema(schema_with = crate::http::schemas::timestamp)]
    time_added: String,
}

/// A new project with its tokens, which are shown only once.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct CreatedProject {
    #[schema(schema_with = crate::http::schemas::hex48)]
    project_id: String,
    /// The token of the analyst: gives access to everything except uploads.
    #[schema(schema_with = crate::http::schemas::hex48)]
    result_token: String,
    /// A token for each party, which lets it upload once; the first is for dataset 0.
    #[schema(schema_with = crate::http::schemas::tokens)]
    update_tokens: Vec<String>,
}

/// A project.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ProjectDescription {
    #[schema(schema_with = crate::http::schemas::hex48)]
    project_id: String,
    name: String,
    notes: String,
    /// The linkage schema as it was posted.
    #[schema(value_type = Object)]
    schema: Box<RawValue>,
    #[schema(schema_with = crate::http::schemas::result_type)]
    result_type: &'static str,
    #[schema(minimum = 2)]
    number_parties: usize,
    uses_blocking: bool,
    /// Parties whose upload was accepted.
    parties_contributed: usize,
    /// Set if a party's data cannot be used. No run can be posted until it has uploaded again.
    error: bool,
}

/// All projects
///
/// Lists projects in the order of their creation. Needs no token, since an identifier gives no access; the operator
/// may require the admin token.
#[utoipa::path(get, path = "/api/v1/projects", tag = "projects", operation_id = "listProjects",
    responses((status = 200, description = "The projects.", body = Vec<ListedProject>), AdminOnly, Fault))]
pub(in crate::http) async fn list(
    State(state): State<ApiState>,
    _: ProjectCreator,
) -> Result<Json<Vec<ListedProject>>, Problem> {
    let projects = state.coordinator.projects().await?.into_iter();
    let listed = projects.map(|project| ListedProject {
        project_id: project.id.to_string(),
        time_added: project.added.to_string(),
    });
    Ok(Json(listed.collect()))
}

/// Create a project
///
/// Needs no token, unless the operator requires the admin token. The response has the tokens of all parties;
/// they cannot be retrieved again.
#[utoipa::path(post, path = "/api/v1/projects", tag = "projects", operation_id = "createProject", request_body = NewProject,
    responses((status = 201, description = "Project created.", body = CreatedProject), AdminOnly, SmallBody, WriteFault))]
pub(in crate::http) async fn create(
    State(state): State<ApiState>,
    _: ProjectCreator,
    body::Json(new): body::Json<NewProject>,
) -> Result<(StatusCode, Json<CreatedProject>), Problem> {
    let created = state.coordinator.create_project(new.checked()?).await?;
    let answer = CreatedProject {
        project_id: created.id.to_string(),
        result_token: created.result_token.reveal(),
        update_tokens: created.update_tokens.iter().map(Token::reveal).collect(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// A project
#[utoipa::path(get, path = "/api/v1/projects/{project_id}", tag = "projects", operation_id = "describeProject",
    params(("project_id" = String, Path, description = "The project.")),
    security(("result_token" = []), ("receipt_token" = [])),
    responses((status = 200, description = "The project.", body = ProjectDescription), Guarded, Fault))]
pub(in crate::http) async fn describe(
    State(state): State<ApiState>,
    caller: Caller,
) -> Result<Json<ProjectDescription>, Problem> {
    let (project, _) = caller.reader(&state).await?;
    described(project).map(Json)
}

fn described(project: ProjectState) -> Result<ProjectDescription, Problem> {
    Ok(ProjectDescription {
        project_id: project.id.to_string(),
        result_type: project.result_type.name(),
        number_parties: project.parties.len(),
        uses_blocking: project.uses_blocking,
        parties_contributed: project.parties_contributed(),
        error: project.error().is_some(),
        name: project.name,
        notes: project.notes,
        schema: RawValue::from_string(project.schema).map_err(|error| Problem::internal(&error))?,
    })
}

/// Delete a project
///
/// Its tokens stop working at once. Its data, runs and results are removed soon after.
#[utoipa::path(delete, path = "/api/v1/projects/{project_id}", tag = "projects", operation_id = "deleteProject",
    params(("project_id" = String, Path, description = "The project.")),
    security(("result_token" = [])),
    responses((status = 204, description = "Project deleted."), Guarded, WriteFault))]
pub(in crate::http) async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    let project = caller.owner(&state).await?;
    state.remove(|| state.coordinator.delete_project(project.id)).await?;
    state.partial.remove_project(project.id).await;
    Ok(StatusCode::NO_CONTENT)
}
