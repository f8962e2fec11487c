//! What a run brought, as each caller may see it.

use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::State;
use crate::http::auth::{Caller, Role};
use crate::http::external::{Credentials, External, Place, host};
use crate::http::openapi::{Guarded, NoResult};
use crate::http::problem::Problem;
use crate::http::schemas::ResultBody;
use crate::http::serve::Client;
use crate::model::{ProjectState, ResultType, Run, RunState};
use crate::objects::{self, Key, NoPass, keys};

/// Asks where the result of a `similarity_scores` project can be had, instead of the result.
const RETURN_ADDRESS: &str = "return-object-store-address";

/// Where the scores can be downloaded, and what opens that: a binary file of candidate pairs.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Address {
    credentials: Credentials,
    object: Place,
}

/// The result of a run
///
/// In `permutations` projects the result token gets the mask and a receipt token the permutation of its
/// party. With the header `RETURN-OBJECT-STORE-ADDRESS`, whatever it says, a `similarity_scores` project answers
/// where its scores can be downloaded from the object store; without an object store, or if that hands out no
/// credentials, the header is ignored. Clients on other machines that accept gzip or zstd get it compressed.
#[utoipa::path(get, path = "/api/v1/projects/{project_id}/runs/{run_id}/result", tag = "runs", operation_id = "runResult",
    params(("project_id" = String, Path, description = "The project."),
           ("run_id" = String, Path, description = "The run."),
           ("RETURN-OBJECT-STORE-ADDRESS" = Option<String>, Header, description = "Ask for the address of the scores.")),
    security(("result_token" = []), ("receipt_token" = [])),
    responses((status = 200, description = "The result.", body = ResultBody), Guarded, NoResult))]
pub(in crate::http) async fn result(
    Extract(state): Extract<State>,
    caller: Caller,
    client: Option<Extension<Client>>,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    let (project, role) = caller.reader(&state).await?;
    let run = caller.run(&project)?;
    require_result(run)?;
    if let Some(external) = state.external.as_ref()
        && project.result_type == ResultType::SimilarityScores
        && asked.contains_key(RETURN_ADDRESS)
        && let Some(address) = address(&state, external, &project, run, &asked).await?
    {
        return Ok(address);
    }
    let (size, chunks) = state.objects.stream(&key(&project, run, role)).await.map_err(unreadable)?;
    let headers =
        [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_LENGTH, size.to_string())];
    let answer = (headers, Body::from_stream(chunks)).into_response();
    Ok(state.compressor.squeeze(answer, size, client.map(|Extension(client)| client), &asked).await)
}

/// Where the scores can be downloaded; nowhere, if the store hands out no credentials.
async fn address(
    state: &State,
    external: &External,
    project: &ProjectState,
    run: &Run,
    headers: &HeaderMap,
) -> Result<Option<Response>, Problem> {
    let file = keys::score_file(run.id);
    if !state.objects.exists(&file).await? {
        return Err(Problem::failed(
            "Feature Disabled",
            "the run was completed while the object store was not enabled; ask without the header",
        ));
    }
    let host = host(headers);
    match external.admit_download(project.id, file.as_str(), host.as_deref()).await {
        Ok((credentials, object)) => Ok(Some(Json(Address { credentials, object }).into_response())),
        Err(refused @ NoPass::Refused(_)) => {
            tracing::warn!("a client gets no credentials: {refused}");
            Ok(None)
        }
        Err(away @ NoPass::Away(_)) => Err(away.into()),
    }
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
        error if error.may_pass() => Problem::unavailable(&error),
        error => Problem::internal(&error),
    }
}
