//! The result of a run, in the form that fits the caller's role and headers.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::runs::NO_GROUPS;
use crate::edge::ClientIp;
use crate::edge::PublicHost;
use crate::external::CredentialError;
use crate::http::ApiState;
use crate::http::auth::{Caller, Role};
use crate::http::problem::Problem;
use crate::http::responses::{Guarded, NoResult};
use crate::http::result_forms::{Content, ResultForm, converted};
use crate::http::schemas::{ArrowBody, ResultBody};
use crate::http::upload_credentials::{ClientStore, Credentials, ObjectLocation};
use crate::model::{ProjectState, ResultType, Run, RunState};
use crate::objects::{self, Key, keys};
use crate::telemetry::chain;

/// Requests the location of a `similarity_scores` result instead of the result.
const RETURN_ADDRESS: &str = "return-object-store-address";

/// The location of the scores, a binary file of candidate pairs, with credentials for it.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Address {
    credentials: Credentials,
    object: ObjectLocation,
}

/// The query parameters of a request for a result.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(in crate::http) struct ResultWish {
    #[serde(default)]
    scores: bool,
}

/// The result of a run
///
/// In `permutations` projects, the result token gets the mask, and a receipt token gets the permutation of its party.
/// With the header `RETURN-OBJECT-STORE-ADDRESS`, whatever its value, a `similarity_scores` project answers with the
/// location of its scores in the object store. The header is ignored if there is no object store, or if it issues no
/// credentials. Clients on other machines that accept gzip or zstd get the result compressed. A client that accepts
/// `text/csv` gets the same elements as comma-separated values, one that accepts `application/x-ndjson` gets one
/// element per line, and one that accepts `application/vnd.apache.arrow.stream` gets the columns of the CSV as an Arrow
/// IPC stream; this is an addition to the reference service. Another addition is `scores=true`, for runs that were
/// posted with `scores`: the result has the groups and, for each group, the pairs within it with their scores.
#[utoipa::path(get, path = "/api/v1/projects/{project_id}/runs/{run_id}/result", tag = "runs", operation_id = "runResult",
    params(("project_id" = String, Path, description = "The project."),
           ("run_id" = String, Path, description = "The run."),
           ("scores" = Option<bool>, Query, description = "Return the scores within groups as well, in a member `scores` beside `groups`. In CSV and Arrow a row has one pair; in NDJSON a line has the pairs of one group."),
           ("RETURN-OBJECT-STORE-ADDRESS" = Option<String>, Header, description = "Return the location of the scores instead of the scores.")),
    security(("result_token" = []), ("receipt_token" = [])),
    responses((status = 200, description = "The result.", content((ResultBody = "application/json"), (String = "text/csv"), (String = "application/x-ndjson"), (ArrowBody = "application/vnd.apache.arrow.stream"))), Guarded, NoResult))]
pub(in crate::http) async fn result(
    State(state): State<ApiState>,
    caller: Caller,
    client: Option<Extension<ClientIp>>,
    PublicHost(host): PublicHost,
    wish: Result<Query<ResultWish>, QueryRejection>,
    asked: HeaderMap,
) -> Result<Response, Problem> {
    let (project, role) = caller.reader(&state).await?;
    let run = caller.run(&project)?;
    let Query(wish) = wish.map_err(|rejection| Problem::bad_query(&rejection))?;
    if wish.scores {
        require_scores(&project, run)?;
    }
    require_result(run)?;
    if let Some(external) = state.external.as_ref()
        && project.result_type == ResultType::SimilarityScores
        && asked.contains_key(RETURN_ADDRESS)
        && let Some(address) = address(&state, external, &project, run, host.as_deref()).await?
    {
        return Ok(address);
    }
    let key = key(&project, run, role, wish.scores);
    let opened = match run.checksum(key.name()) {
        Some(checksum) => state.objects.stream_checked(&key, checksum).await,
        None => state.objects.stream(&key).await,
    };
    let (size, chunks) = match opened {
        Ok(opened) => opened,
        Err(error) => return Err(unreadable(&state, &caller, error).await),
    };
    let chunks = chunks.inspect_err(|error| tracing::error!("sending a result failed: {}", chain(error)));
    let form = ResultForm::asked(&asked);
    let vary = (header::VARY, "accept".to_owned());
    let content_type = (header::CONTENT_TYPE, form.media_type().to_owned());
    let answer = if form == ResultForm::Json {
        let headers = [content_type, (header::CONTENT_LENGTH, size.to_string()), vary];
        (headers, Body::from_stream(chunks)).into_response()
    } else {
        let content = if wish.scores {
            Content::GroupScores
        } else {
            Content::of(project.result_type, matches!(role, Role::Contributor(_)))
        };
        let chunks = converted(Box::pin(chunks), form, content);
        ([content_type, vary], Body::from_stream(chunks)).into_response()
    };
    Ok(state.compressor.squeeze(answer, size, client.map(|Extension(client)| client), &asked).await)
}

/// Returns the location of the scores; `None` if the store issues no credentials.
async fn address(
    state: &ApiState,
    external: &ClientStore,
    project: &ProjectState,
    run: &Run,
    host: Option<&str>,
) -> Result<Option<Response>, Problem> {
    let file = keys::score_file(run.id);
    let is_there = state.objects.exists(&file).await?;
    if !is_there && run.checksum(file.name()).is_some() {
        return Err(unusable(&objects::Error::Missing { key: file }));
    }
    if !is_there {
        return Err(Problem::failed(
            "Feature Disabled",
            "the run was completed while the object store was not enabled; repeat the request without the header",
        ));
    }
    match external.admit_download(project.id, file.as_str(), host).await {
        Ok((credentials, object)) => Ok(Some(Json(Address { credentials, object }).into_response())),
        Err(refused @ CredentialError::Refused(_)) => {
            tracing::warn!("cannot issue credentials to a client: {refused}");
            Ok(None)
        }
        Err(away @ CredentialError::Unavailable(_)) => Err(away.into()),
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

/// Rejects a request for scores within groups if there are none.
fn require_scores(project: &ProjectState, run: &Run) -> Result<(), Problem> {
    if project.result_type != ResultType::Groups {
        return Err(Problem::bad_request(NO_GROUPS));
    }
    if !run.with_scores {
        let detail = "the run was posted without `scores`, so its scores were not kept; post another run with \
                      `\"scores\": true`";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let is_completed = matches!(run.state, RunState::Completed(_));
    if is_completed && run.checksum(keys::groups_with_scores(project.id, run.id).name()).is_none() {
        let detail = "an older version of the server or worker, which keeps no scores, finished the run; post another run";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    Ok(())
}

/// Returns the key of the object with this caller's result.
fn key(project: &ProjectState, run: &Run, role: Role, with_scores: bool) -> Key {
    let (project, result_type, run) = (project.id, project.result_type, run.id);
    match (result_type, role) {
        (ResultType::Groups, _) if with_scores => keys::groups_with_scores(project, run),
        (ResultType::Groups, _) => keys::groups(project, run),
        (ResultType::SimilarityScores, _) => keys::scores(project, run),
        (ResultType::Permutations, Role::Contributor(party)) => keys::permutation(project, run, party),
        (ResultType::Permutations, _) => keys::mask(project, run),
    }
}

/// Explains why a completed run has no readable result.
async fn unreadable(state: &ApiState, caller: &Caller, error: objects::Error) -> Problem {
    match error {
        objects::Error::Missing { .. } => match is_still_there(state, caller).await {
            Ok(()) => unusable(&error),
            // The run was deleted a moment ago.
            Err(problem) => problem,
        },
        objects::Error::Damaged { .. } => unusable(&error),
        error if error.may_pass() => Problem::unavailable(&error),
        error => Problem::internal(&error),
    }
}

async fn is_still_there(state: &ApiState, caller: &Caller) -> Result<(), Problem> {
    let (project, _) = caller.reader(state).await?;
    caller.run(&project).map(drop)
}

/// Returns 500: the stored object is not the result. Logs which object it is.
fn unusable(error: &objects::Error) -> Problem {
    tracing::error!(
        "a result cannot be sent: {}; restore it from a backup, or post another run",
        chain(error)
    );
    let detail = "the stored result is missing or damaged; post another run, or ask the operator to restore it from a backup";
    Problem::failed("Result Unusable", detail)
}
