//! The progress of a run.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use crate::coordinator;
use crate::http::ApiState;
use crate::http::auth::Caller;
use crate::http::live::{self, Live, Shown};
use crate::http::problem::Problem;
use crate::http::responses::{Fault, Guarded};
use crate::metadata::{self, Runs};
use crate::model::{ProjectState, Run, RunState, run};
use crate::runtime::clock::Timestamp;

/// The progress of a run. Its state determines which members are present.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct RunStatus {
    #[schema(schema_with = crate::http::schemas::run_state)]
    state: &'static str,
    #[schema(schema_with = crate::http::schemas::timestamp)]
    time_added: String,
    /// The time at which work on it started: `null` before, absent in state `error`.
    #[serde(skip_serializing_if = "Started::is_unsaid")]
    #[schema(schema_with = crate::http::schemas::perhaps_timestamp, required = false)]
    time_started: Started,
    /// The time at which it was completed; only in state `completed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = crate::http::schemas::timestamp, required = false)]
    time_completed: Option<String>,
    /// The number of stages.
    #[schema(minimum = 2, maximum = 3)]
    stages: u8,
    current_stage: Stage,
    /// The number of comparisons made; only in state `completed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    total_number_comparisons: Option<u64>,
    /// The problem and a remedy; only in state `error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    message: Option<String>,
    /// The dependency that is unavailable and that the run waits for: `object store`, `metadata` or `disk space`; absent while
    /// there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "object store")]
    waiting_for: Option<&'static str>,
    /// The comparisons per second of this run so far; `null` until it has been measured.
    #[schema(example = 1_250_000_000, minimum = 0)]
    rate: Option<u64>,
    /// The estimated time at which the comparisons are done; `null` unless they are under way.
    #[schema(schema_with = crate::http::schemas::perhaps_timestamp)]
    eta: Option<String>,
    /// The blocks with the most comparisons; absent without blocking, and before the run is planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    largest_blocks: Option<LargestBlocks>,
    /// The time at which each stage began and ended.
    stage_times: Vec<StageTime>,
}

/// The blocks with the most comparisons of a run. A block that contains nearly all records makes blocking useless: do
/// not make blocks from such values, for instance from empty ones.
#[derive(Serialize, ToSchema)]
struct LargestBlocks {
    /// The comparisons of each block, the largest first; at most five.
    #[schema(example = json!([324_000_000, 40_000]))]
    comparisons: Vec<u64>,
    /// The fraction of the run's comparisons that are within the largest block.
    #[schema(minimum = 0, maximum = 1, example = 0.98)]
    share: f64,
}

/// The time at which a stage began and ended.
#[derive(Serialize, ToSchema)]
struct StageTime {
    #[schema(minimum = 1, maximum = 3)]
    number: u8,
    #[schema(schema_with = crate::http::schemas::timestamp)]
    time_started: String,
    /// `null` while it is under way.
    #[schema(schema_with = crate::http::schemas::perhaps_timestamp)]
    time_ended: Option<String>,
}

/// The time at which work started, in states that report it.
#[derive(Serialize)]
#[serde(untagged)]
enum Started {
    Said(Option<String>),
    Unsaid,
}

impl Started {
    const fn is_unsaid(&self) -> bool {
        matches!(self, Self::Unsaid)
    }
}

/// The stage that a run is in.
#[derive(Serialize, ToSchema)]
struct Stage {
    #[schema(minimum = 1, maximum = 3)]
    number: u8,
    #[schema(example = "compute similarity scores")]
    description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    progress: Option<Progress>,
}

/// The progress of a stage.
#[derive(Serialize, ToSchema)]
struct Progress {
    /// The amount that is done.
    absolute: u64,
    /// The fraction that is done.
    #[schema(minimum = 0.0, maximum = 1.0)]
    relative: f64,
    /// The unit of the amount.
    #[schema(example = "number of already computed similarity scores")]
    description: &'static str,
}

/// Progress of a run
///
/// While a party's data cannot be used, every run of the project is in state `error`. With `Accept:
/// text/event-stream`, an addition to the reference service, the response is a stream of server-sent events. It has an
/// event `status`, whose data is this object, at once and at each change until the run has ended. If the run is
/// deleted, it has an event `gone`.
#[utoipa::path(get, path = "/api/v1/projects/{project_id}/runs/{run_id}/status", tag = "runs", operation_id = "runStatus",
    params(("project_id" = String, Path, description = "The project."),
           ("run_id" = String, Path, description = "The run.")),
    security(("result_token" = []), ("receipt_token" = [])),
    responses((status = 200, description = "The progress.", content((RunStatus = "application/json"), (String = "text/event-stream"))), Guarded, Fault))]
pub(in crate::http) async fn status(
    State(state): State<ApiState>,
    Extension(live): Extension<Live>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (project, _) = caller.reader(&state).await?;
    let run = caller.run(&project)?;
    if !live::is_asked_for(&headers) {
        let mut status = current(&state, &project, run);
        if !run.has_ended() && status.waiting_for.is_none() && state.coordinator.is_metadata_failing() {
            status.waiting_for = metadata_fault(&state).await?;
        }
        return Ok(Json(status).into_response());
    }
    let (id, run) = (project.id, run.id);
    let project = state.coordinator.project(id, Runs::All).await?.ok_or_else(Problem::forbidden)?;
    Ok(live.stream(project, move |project| {
        let Some(run) = project.run(run) else { return Shown::Nothing };
        let event = live::event("status", &current(&state, project, run));
        if run.has_ended() { Shown::Last(event) } else { Shown::Event(event) }
    }))
}

/// Returns the status that is known without a request to a dependency.
fn current(state: &ApiState, project: &ProjectState, run: &Run) -> RunStatus {
    let mut status = rendered(project, run, state.coordinator.now());
    status.waiting_for = (state.objects.is_away() && !run.has_ended()).then_some("object store");
    status
}

/// Returns the reason why the metadata accepts no changes, if there is one.
///
/// # Errors 500 if the metadata is damaged: no run can then end.
async fn metadata_fault(state: &ApiState) -> Result<Option<&'static str>, Problem> {
    match state.coordinator.check().await {
        Ok(()) => Ok(None),
        Err(coordinator::Error::Metadata(metadata::Error::Full(_))) => Ok(Some("disk space")),
        Err(error) if error.may_pass() => Ok(Some("metadata")),
        Err(error) => Err(error.into()),
    }
}

fn rendered(project: &ProjectState, run: &Run, now: Timestamp) -> RunStatus {
    let mut status = RunStatus {
        state: state_name(&run.state),
        time_added: run.added.to_string(),
        time_started: Started::Said(run.started.map(|moment| moment.to_string())),
        time_completed: None,
        stages: project.result_type.stages(),
        current_stage: stage(project, run),
        total_number_comparisons: None,
        message: None,
        waiting_for: None,
        rate: run.rate().map(|rate| rate.round() as u64),
        eta: run.comparing_for().map(|left| now.after(left).to_string()),
        largest_blocks: run.progress.as_ref().and_then(largest_blocks),
        stage_times: stage_times(project, run),
    };
    match (&run.state, project.error()) {
        // A fault of the run itself is more specific than a fault of the project.
        (RunState::Failed { message, .. }, _) => fail(&mut status, message),
        (_, Some(message)) => fail(&mut status, message),
        (RunState::Completed(_), None) => {
            status.time_completed = run.ended.map(|moment| moment.to_string());
            let total = run.progress.as_ref().map_or(0, |progress| progress.comparisons_total);
            status.total_number_comparisons = Some(total);
        }
        _ => {}
    }
    status
}

fn largest_blocks(progress: &run::Progress) -> Option<LargestBlocks> {
    let share = progress.largest_block_share()?;
    Some(LargestBlocks { comparisons: progress.largest_blocks.clone(), share })
}

fn fail(status: &mut RunStatus, message: &str) {
    status.state = "error";
    status.message = Some(message.to_owned());
    status.time_started = Started::Unsaid;
    status.eta = None;
}

fn stage_times(project: &ProjectState, run: &Run) -> Vec<StageTime> {
    let times = run.stage_times(project.result_type.stages()).into_iter();
    let shown = |(number, (begun, ended)): (u8, (Timestamp, Option<Timestamp>))| StageTime {
        number,
        time_started: begun.to_string(),
        time_ended: ended.map(|ended| ended.to_string()),
    };
    (1..).zip(times).map(shown).collect()
}

/// Returns the state's name in the API.
pub(super) const fn state_name(state: &RunState) -> &'static str {
    match state {
        RunState::Created => "created",
        RunState::Queued => "queued",
        RunState::Comparing | RunState::Finalizing => "running",
        RunState::Completed(_) => "completed",
        RunState::Failed { .. } => "error",
    }
}

fn stage(project: &ProjectState, run: &Run) -> Stage {
    let number = run.stage(project.result_type.stages());
    match number {
        1 => Stage { number, description: "waiting for CLKs", progress: Some(contributed(project)) },
        2 => Stage { number, description: "compute similarity scores", progress: compared(run) },
        _ => Stage { number, description: "compute output", progress: None },
    }
}

fn contributed(project: &ProjectState) -> Progress {
    let absolute = project.parties_contributed() as u64;
    Progress {
        absolute,
        relative: fraction(absolute, project.parties.len() as u64),
        description: "number of parties already contributed",
    }
}

/// Returns `None` before the first part is compared, and without any comparisons.
fn compared(run: &Run) -> Option<Progress> {
    let progress = run.progress.as_ref().filter(|progress| !progress.applied.is_empty())?;
    Some(Progress {
        absolute: progress.comparisons,
        relative: fraction(progress.comparisons, progress.comparisons_total),
        description: "number of already computed similarity scores",
    })
}

fn fraction(done: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { (done as f64 / total as f64).min(1.0) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::model::{BitSet, Contents, Party, ResultType, RunId, Summary, Threshold, Token};

    fn project(result_type: ResultType) -> ProjectState {
        let hash = |byte| Token::from_bytes([byte; 24]).hash();
        let mut first = Party::new(hash(1));
        first.receipt_token = Some(hash(2));
        ProjectState::of(vec![first, Party::new(hash(3))], result_type)
    }

    fn run(state: RunState, comparisons: Option<(u64, u64)>) -> Run {
        let started = !matches!(state, RunState::Created | RunState::Queued);
        let progress = comparisons.map(|(comparisons, comparisons_total)| {
            let mut applied = BitSet::below(2);
            if comparisons > 0 {
                applied.insert(0);
            }
            run::Progress { parts: 2, applied, comparisons_total, comparisons, ..run::Progress::default() }
        });
        let id = RunId::from_bytes([8; 24]);
        Run {
            started: started.then(|| Timestamp::from_micros(2_000_000)),
            ended: matches!(state, RunState::Completed(_)).then(|| Timestamp::from_micros(3_000_000)),
            state,
            progress,
            ..Run::asked_for(id, Threshold::new(0.8).unwrap(), Timestamp::from_micros(1_500_000))
        }
    }

    fn shown(project: &ProjectState, run: &Run) -> Value {
        serde_json::to_value(rendered(project, run, Timestamp::from_micros(60_000_000))).unwrap()
    }

    #[test]
    fn a_run_waits_for_parties() {
        assert_eq!(
            shown(&project(ResultType::Groups), &run(RunState::Created, None)),
            json!({
                "state": "created",
                "time_added": "1970-01-01T00:00:01.500000",
                "time_started": null,
                "stages": 3,
                "current_stage": {
                    "number": 1,
                    "description": "waiting for CLKs",
                    "progress": {
                        "absolute": 1,
                        "relative": 0.5,
                        "description": "number of parties already contributed",
                    },
                },
                "rate": null,
                "eta": null,
                "stage_times": [
                    {"number": 1, "time_started": "1970-01-01T00:00:01.500000", "time_ended": null},
                ],
            })
        );
    }

    #[test]
    fn comparing_shows_progress_once_there_is_some() {
        let project = project(ResultType::Groups);
        for before in [run(RunState::Queued, None), run(RunState::Comparing, Some((0, 100)))] {
            let status = shown(&project, &before);
            assert_eq!(
                status["current_stage"],
                json!({"number": 2, "description": "compute similarity scores"})
            );
        }
        let status = shown(&project, &run(RunState::Comparing, Some((25, 100))));
        assert_eq!(status["state"], "running");
        assert_eq!(status["time_started"], "1970-01-01T00:00:02");
        assert_eq!(status["current_stage"]["progress"]["absolute"], 25);
        assert_eq!(status["current_stage"]["progress"]["relative"], 0.25);
    }

    #[test]
    fn the_largest_blocks_are_shown_once_they_are_known() {
        let mut planned = run(RunState::Comparing, Some((0, 100)));
        assert_eq!(shown(&project(ResultType::Groups), &planned).get("largest_blocks"), None);
        planned.progress.as_mut().unwrap().largest_blocks = vec![90, 10];
        let status = shown(&project(ResultType::Groups), &planned);
        assert_eq!(status["largest_blocks"], json!({"comparisons": [90, 10], "share": 0.9}));
    }

    #[test]
    fn the_rate_says_when_the_comparisons_will_be_done() {
        let mut run = run(RunState::Comparing, Some((25, 100)));
        run.times.worked = Duration::from_secs(5);
        run.times.ready = Some(Timestamp::from_micros(1_700_000));
        let status = shown(&project(ResultType::Groups), &run);
        assert_eq!((&status["rate"], &status["eta"]), (&json!(5), &json!("1970-01-01T00:01:15")));
        assert_eq!(status["stage_times"][0]["time_ended"], "1970-01-01T00:00:01.700000");
        assert_eq!(status["stage_times"][1]["time_ended"], Value::Null);
    }

    #[test]
    fn a_completed_run_has_its_total_and_no_message() {
        let completed = || RunState::Completed(Summary::default());
        let groups = shown(&project(ResultType::Groups), &run(completed(), Some((100, 100))));
        assert_eq!(groups["current_stage"], json!({"number": 3, "description": "compute output"}));
        assert_eq!(groups["time_completed"], "1970-01-01T00:00:03");
        assert_eq!(groups["total_number_comparisons"], 100);
        assert_eq!(groups.get("message"), None);

        let scores = project(ResultType::SimilarityScores);
        let status = shown(&scores, &run(completed(), Some((100, 100))));
        assert_eq!((&status["stages"], &status["current_stage"]["number"]), (&json!(2), &json!(2)));
        assert_eq!(status["current_stage"]["progress"]["relative"], 1.0);
        let nothing = shown(&scores, &run(completed(), Some((0, 0))));
        assert_eq!(nothing["current_stage"].get("progress"), None);
        assert_eq!(nothing["total_number_comparisons"], 0);
    }

    #[test]
    fn a_failed_run_keeps_the_stage_it_died_in() {
        let failed = RunState::Failed { message: "too many pairs".to_owned(), stage: 2 };
        let status = shown(&project(ResultType::Groups), &run(failed, Some((25, 100))));
        assert_eq!((&status["state"], &status["message"]), (&json!("error"), &json!("too many pairs")));
        assert_eq!(status["current_stage"]["number"], 2);
        for absent in ["time_started", "time_completed", "total_number_comparisons"] {
            assert_eq!(status.get(absent), None, "{absent}");
        }
    }

    #[test]
    fn an_error_of_the_project_shows_in_every_run() {
        let mut project = project(ResultType::Groups);
        project.parties[1].contents = Contents::Failed { message: "party 1 is odd".to_owned() };
        let status = shown(&project, &run(RunState::Created, None));
        assert_eq!((&status["state"], &status["message"]), (&json!("error"), &json!("party 1 is odd")));
        assert_eq!(status["current_stage"]["number"], 1);
        assert_eq!(status.get("time_started"), None);
    }
}
