//! Admin requests about the queues.

use std::borrow::Cow;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::AdminState;
use crate::http::problem::Problem;
use crate::model::job::QUEUES;
use crate::queue::{DeadQuery, JobDetail, JobEntry, JobId, JobQuery, Phase, QueueName, Stats};

/// The maximum number of jobs in a list.
const LIST_MAX: usize = 10_000;
/// The default number of jobs in a list.
const LIST_USUAL: usize = 100;

/// `GET /admin/queue`: returns the statistics of every queue.
pub(super) async fn stats(State(admin): State<AdminState>) -> Result<Json<Stats>, Problem> {
    Ok(Json(figures(&admin).await?))
}

/// Returns the statistics of every queue, including unused ones.
async fn figures(admin: &AdminState) -> Result<Stats, Problem> {
    let mut stats = admin.broker.stats(admin.clock.steady()).await?;
    for queue in QUEUES {
        stats.queues.entry(queue.into()).or_default();
    }
    Ok(stats)
}

/// The parameters of a list of jobs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    queue: Option<String>,
    state: Option<Shown>,
    #[serde(default)]
    after: u64,
    count: Option<usize>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Shown {
    Ready,
    Delayed,
    Leased,
    Dead,
}

/// A page of jobs.
#[derive(Serialize)]
pub(super) struct Page {
    jobs: Vec<JobEntry>,
}

/// `GET /admin/queue/jobs`: returns jobs in the order of their sequence numbers.
pub(super) async fn jobs(
    State(admin): State<AdminState>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Result<Json<Page>, Problem> {
    let Query(wish) = wish.map_err(|rejection| Problem::bad_query(&rejection))?;
    let queue = match wish.queue {
        Some(queue) => Some(known(&admin, queue).await?),
        None => None,
    };
    let (after, count) = (wish.after, wish.count.unwrap_or(LIST_USUAL).min(LIST_MAX));
    let phase = match wish.state {
        Some(Shown::Dead) => {
            let query = DeadQuery { queue, group: None, after, count, may_lag: true };
            let letters = admin.broker.dead_letters(&query, admin.clock.steady()).await?;
            return Ok(Json(Page { jobs: letters.into_iter().map(JobEntry::Dead).collect() }));
        }
        Some(Shown::Ready) => Some(Phase::Ready),
        Some(Shown::Delayed) => Some(Phase::Delayed),
        Some(Shown::Leased) => Some(Phase::Leased),
        None => None,
    };
    let query = JobQuery { queue, group: None, phase, after, count, may_lag: true };
    let living = admin.broker.jobs(&query, admin.clock.steady()).await?;
    Ok(Json(Page { jobs: living.into_iter().map(JobEntry::Living).collect() }))
}

/// The parameters of a request for a job.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    id: String,
}

/// `GET /admin/queue/job`: returns a job with its payload.
pub(super) async fn job(
    State(admin): State<AdminState>,
    named: Result<Query<Named>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(Named { id }) = named.map_err(|rejection| Problem::bad_query(&rejection))?;
    let found = admin.broker.show(&JobId::from(id.as_str()), admin.clock.steady()).await?;
    found.map(|detail| Json(described(&detail))).ok_or_else(|| no_job(&id))
}

fn described(detail: &JobDetail) -> Value {
    let mut described = serde_json::to_value(&detail.entry).unwrap_or_default();
    described["attempts_max"] = json!(detail.attempts_max);
    // Payloads are JSON. If one is not, it is shown as text, in which invalid UTF-8 is replaced.
    described["payload"] = serde_json::from_slice(&detail.payload)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&detail.payload).into_owned()));
    described
}

fn no_job(id: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no job {id}; it is done, or was never enqueued"))
}

/// The dead jobs that a request selects: listed jobs, all of a queue, or all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dead {
    jobs: Option<Vec<String>>,
    queue: Option<String>,
}

impl Dead {
    async fn find(self, admin: &AdminState) -> Result<Vec<JobId>, Problem> {
        let Some(jobs) = self.jobs else {
            let queue = match self.queue {
                Some(queue) => Some(known(admin, queue).await?),
                None => None,
            };
            let query = DeadQuery { queue, count: usize::MAX, ..DeadQuery::default() };
            let letters = admin.broker.dead_letters(&query, admin.clock.steady()).await?;
            return Ok(letters.into_iter().map(|letter| letter.job).collect());
        };
        let mut found = Vec::with_capacity(jobs.len());
        for id in jobs {
            let job = JobId::from(id.as_str());
            match admin.broker.show(&job, admin.clock.steady()).await? {
                Some(JobDetail { entry: JobEntry::Dead(_), .. }) => found.push(job),
                Some(_) => return Err(Problem::bad_request(format!("the job {id} is not dead"))),
                None => return Err(no_job(&id)),
            }
        }
        Ok(found)
    }
}

/// `POST /admin/queue/retry`: retries dead jobs, each with its full number of attempts. Obsolete jobs end when they
/// are claimed.
pub(super) async fn retry(
    State(admin): State<AdminState>,
    dead: Result<Json<Dead>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let jobs = body(dead)?.find(&admin).await?;
    let count = admin.broker.redrive(&jobs, admin.clock.steady()).await?;
    tracing::info!(jobs = count, "retrying dead jobs");
    Ok(Json(json!({ "jobs": count })))
}

/// `POST /admin/queue/discard`: deletes dead jobs.
pub(super) async fn discard(
    State(admin): State<AdminState>,
    dead: Result<Json<Dead>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let jobs = body(dead)?.find(&admin).await?;
    let count = admin.broker.discard(&jobs, admin.clock.steady()).await?;
    tracing::info!(jobs = count, "discarded dead jobs");
    Ok(Json(json!({ "jobs": count })))
}

/// The parameters of a request about a queue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Meant {
    queue: String,
}

/// `POST /admin/queue/pause`: stops handing out jobs of a queue. The pause survives restarts.
pub(super) async fn pause(
    State(admin): State<AdminState>,
    meant: Result<Json<Meant>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let queue = known(&admin, body(meant)?.queue).await?;
    admin.broker.pause(&queue, admin.clock.steady()).await?;
    tracing::info!(%queue, "queue paused");
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /admin/queue/resume`: hands out jobs of a queue again.
pub(super) async fn resume(
    State(admin): State<AdminState>,
    meant: Result<Json<Meant>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let queue = known(&admin, body(meant)?.queue).await?;
    admin.broker.resume(&queue, admin.clock.steady()).await?;
    tracing::info!(%queue, "queue resumed");
    Ok(StatusCode::NO_CONTENT)
}

fn body<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Problem> {
    body.map(|Json(body)| body).map_err(|rejection| Problem::bad_request(Cow::Owned(rejection.body_text())))
}

/// Returns the queue with this name. Fails if it does not exist, so that a typing error does not create a queue.
async fn known(admin: &AdminState, queue: String) -> Result<QueueName, Problem> {
    let stats = figures(admin).await?;
    let name = QueueName::from(queue);
    if stats.queues.contains_key(&name) {
        return Ok(name);
    }
    let names: Vec<&str> = stats.queues.keys().map(QueueName::as_str).collect();
    Err(Problem::new(
        StatusCode::NOT_FOUND,
        format!("there is no such queue; the queues are {}", names.join(", ")),
    ))
}
