//! What a run brought, as each caller may see it.

use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::http::State;
use crate::http::auth::{Caller, Role};
use crate::http::openapi::{Guarded, NoResult};
use crate::http::problem::Problem;
use crate::http::schemas::ResultBody;
use crate::model::{ProjectState, ResultType, Run, RunState};
use crate::objects::{self, Key, keys};

/// The result of a run
///
/// In `permutations` projects the result token gets the mask and a receipt token the permutation of its
/// party. The header `RETURN-OBJECT-STORE-ADDRESS` is ignored while the object store is not enabled.
#[utoipa::path(get, path = "/api/v1/projects/{project_id}/runs/{run_id}/result", tag = "runs", operation_id = "runResult",
    params(("project_id" = String, Path, description = "The project."),
           ("run_id" = String, Path, description = "The run.")),
    security(("result_token" = []), ("receipt_token" = [])),
    responses((status = 200, description = "The result.", body = ResultBody), Guarded, NoResult))]
pub(in crate::http) async fn result(
    Extract(state): Extract<State>,
    caller: Caller,
) -> Result<Response, Problem> {
    let (project, role) = caller.reader(&state).await?;
    let run = caller.run(&project)?;
    require_result(run)?;
    let (size, chunks) = state.objects.stream(&key(&project, run, role)).await.map_err(unreadable)?;
    let headers =
        [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_LENGTH, size.to_string())];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

fn require_result(run: &Run) -> Result<(), Problem> {
    match &run.state {
        RunState::Completed(_) => Ok(()),
        RunState::Failed { message, .. } => {
            Err(Problem::failed("Run Failed", format!("the run failed: {message}")))
        }
        RunState::Created | RunState::Queued | RunState::Comparing | RunState::Finalizing => {
            Err(Problem::new(StatusCode::NOT_FOUND, "the run has no result yet"))
        }
    }
}

/// The object that is this caller's result.
fn key(project: &ProjectState, run: &Run, role: Role) -> Key {
    let (project, result_type, run) = (project.id, project.result_type, run.id);
    match (result_type, role) {
        (ResultType::Groups, _) => keys::groups(project, run),
        (ResultType::SimilarityScores, _) => keys::scores(project, run),
        (ResultType::Permutations, Role::Contributor(party)) => keys::permutation(project, run, party),
        (ResultType::Permutations, _) => keys::mask(project, run),
    }
}

fn unreadable(error: objects::Error) -> Problem {
    match error {
        // The run was there a moment ago: somebody has just deleted it.
        objects::Error::Missing { .. } => Problem::forbidden(),
        error => Problem::internal(&error),
    }
}
