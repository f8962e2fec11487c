//! Endpoints that list, post, describe and delete runs.

use std::fmt;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::run_status::state_name;
use crate::coordinator;
use crate::http::ApiState;
use crate::http::auth::Caller;
use crate::http::body;
use crate::http::problem::Problem;
use crate::http::responses::{Fault, Guarded, ProjectInError, SmallBody, WriteFault};
use crate::model::{ResultType, Run, Threshold};

/// The error for a request for scores within groups in a project without groups.
pub(super) const NO_GROUPS: &str =
    "`scores`: only projects with the result type `groups` have scores within groups; leave it out";

/// A run to create.
#[derive(Deserialize, ToSchema)]
#[schema(description = "A run to create. Members that are not listed are ignored.")]
pub(in crate::http) struct NewRun {
    /// The minimum score of a candidate pair: above 0 and at most 1.
    #[serde(deserialize_with = "threshold")]
    #[schema(schema_with = crate::http::schemas::threshold)]
    threshold: Threshold,
    /// Free text.
    #[serde(default)]
    #[schema(default = "")]
    name: String,
    /// Free text.
    #[serde(default)]
    #[schema(default = "")]
    notes: String,
    /// Keep the similarity scores of the pairs within each group, so that the result can be requested with
    /// `?scores=true`. An addition to the reference service, for projects with the result type `groups`.
    #[serde(default)]
    #[schema(default = false)]
    scores: bool,
}

/// A run as it was posted.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct PostedRun {
    #[schema(schema_with = crate::http::schemas::hex48)]
    run_id: String,
    name: String,
    notes: String,
    #[schema(schema_with = crate::http::schemas::threshold)]
    threshold: f64,
    /// Set if the scores within groups are kept; absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    scores: bool,
}

/// A run in the list of its project.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct ListedRun {
    #[schema(schema_with = crate::http::schemas::hex48)]
    run_id: String,
    #[schema(schema_with = crate::http::schemas::timestamp)]
    time_added: String,
    #[schema(schema_with = crate::http::schemas::run_state)]
    state: &'static str,
}

impl From<&Run> for PostedRun {
    fn from(run: &Run) -> Self {
        Self {
            run_id: run.id.to_string(),
            name: run.name.clone(),
            notes: run.notes.clone(),
            threshold: run.threshold.get(),
            scores: run.with_scores,
        }
    }
}

/// The runs of a project
///
/// The runs are listed in the order in which they were posted.
#[utoipa::path(get, path = "/api/v1/projects/{project_id}/runs", tag = "runs", operation_id = "listRuns",
    params(("project_id" = String, Path, description = "The project.")),
    security(("result_token" = [])),
    responses((status = 200, description = "The runs.", body = Vec<ListedRun>), Guarded, Fault))]
pub(in crate::http) async fn list(
    State(state): State<ApiState>,
    caller: Caller,
) -> Result<Json<Vec<ListedRun>>, Problem> {
    let project = caller.owner(&state).await?;
    let runs = state.coordinator.runs(project.id).await?;
    let listed = runs.iter().map(|run| ListedRun {
        run_id: run.id.to_string(),
        time_added: run.added.to_string(),
        state: state_name(&run.state),
    });
    Ok(Json(listed.collect()))
}

/// Post a run
///
/// A run starts by itself as soon as all parties have uploaded. A project may have many runs.
#[utoipa::path(post, path = "/api/v1/projects/{project_id}/runs", tag = "runs", operation_id = "postRun", request_body = NewRun,
    params(("project_id" = String, Path, description = "The project.")),
    security(("result_token" = [])),
    responses((status = 201, description = "Run created.", body = PostedRun), Guarded, SmallBody, ProjectInError))]
pub(in crate::http) async fn post(
    State(state): State<ApiState>,
    caller: Caller,
    body::Json(new): body::Json<NewRun>,
) -> Result<(StatusCode, Json<PostedRun>), Problem> {
    let project = caller.owner(&state).await?;
    let NewRun { threshold, name, notes, scores: with_scores } = new;
    if with_scores && project.result_type != ResultType::Groups {
        return Err(Problem::bad_request(NO_GROUPS));
    }
    let new = coordinator::NewRun { name, notes, threshold, with_scores };
    let run = state.coordinator.post_run(project.id, new).await?;
    Ok((StatusCode::CREATED, Json(PostedRun::from(&run))))
}

/// A run
#[utoipa::path(get, path = "/api/v1/projects/{project_id}/runs/{run_id}", tag = "runs", operation_id = "describeRun",
    params(("project_id" = String, Path, description = "The project."),
           ("run_id" = String, Path, description = "The run.")),
    security(("result_token" = [])),
    responses((status = 200, description = "The run.", body = PostedRun), Guarded, Fault))]
pub(in crate::http) async fn describe(
    State(state): State<ApiState>,
    caller: Caller,
) -> Result<Json<PostedRun>, Problem> {
    let project = caller.owner(&state).await?;
    Ok(Json(PostedRun::from(caller.run(&project)?)))
}

/// Delete a run
///
/// Cancels the run if it is in progress. The project remains unchanged.
#[utoipa::path(delete, path = "/api/v1/projects/{project_id}/runs/{run_id}", tag = "runs", operation_id = "deleteRun",
    params(("project_id" = String, Path, description = "The project."),
           ("run_id" = String, Path, description = "The run.")),
    security(("result_token" = [])),
    responses((status = 204, description = "Run deleted."), Guarded, WriteFault))]
pub(in crate::http) async fn delete(
    State(state): State<ApiState>,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    let project = caller.owner(&state).await?;
    let run = caller.run(&project)?.id;
    state.remove(|| state.coordinator.delete_run(project.id, run)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn threshold<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Threshold, D::Error> {
    deserializer.deserialize_any(AThreshold)
}

struct AThreshold;

impl Visitor<'_> for AThreshold {
    type Value = Threshold;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number above 0 and at most 1")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Threshold, E> {
        Threshold::new(number).map_err(|_| E::custom("expected a number above 0 and at most 1"))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Threshold, E> {
        self.visit_f64(number as f64)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Threshold, E> {
        self.visit_f64(number as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(threshold: &str) -> Result<f64, Problem> {
        let body = format!(r#"{{"threshold": {threshold}}}"#);
        body::parse::<NewRun>(body.as_bytes()).map(|new| new.threshold.get())
    }

    #[test]
    fn a_threshold_is_a_number_in_its_range() {
        assert_eq!(read("1"), Ok(1.0));
        assert_eq!(read("0.8500000000000001"), Ok(0.850_000_000_000_000_1));
        assert_eq!(read("5e-324"), Ok(5e-324));
        for wrong in ["0", "-1", "1.1", "2", "true", "\"0.8\"", "null", "[0.8]", "NaN", "1e400", "1e-400"] {
            let problem = format!("{:?}", read(wrong).err());
            assert!(problem.contains("threshold") || problem.contains("line 1"), "{wrong}: {problem}");
        }
        assert!(body::parse::<NewRun>(b"{}").is_err());
    }

    #[test]
    fn scores_are_wanted_or_not() {
        let read = |scores: &str| {
            let body = format!("{{\"threshold\": 0.8{scores}}}");
            body::parse::<NewRun>(body.as_bytes()).map(|new| new.scores)
        };
        assert_eq!(
            [r#", "scores": true"#, r#", "scores": false"#, ""].map(read),
            [Ok(true), Ok(false), Ok(false)]
        );
        for wrong in [r#", "scores": "yes""#, r#", "scores": 1"#, r#", "scores": null"#] {
            let problem = format!("{:?}", read(wrong).err());
            assert!(problem.contains("scores"), "{wrong}: {problem}");
        }
    }

    #[test]
    fn a_threshold_comes_back_as_a_float() {
        let posted = PostedRun {
            run_id: String::new(),
            name: String::new(),
            notes: String::new(),
            threshold: read("1").unwrap(),
            scores: false,
        };
        assert!(serde_json::to_string(&posted).unwrap().ends_with(r#""threshold":1.0}"#));
    }
}
