//! The calls of workers: hello, claims, and messages about their jobs.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts as RequestParts;
use axum::http::{HeaderMap, StatusCode};
use futures::future::join_all;
use serde_json::{Value, json};

use super::registry::Claiming;
use super::state::WorkersState;
use crate::coordinator;
use crate::http::problem::Problem;
use crate::model::job::PURGES;
use crate::model::{Outcome, Task};
use crate::objects::keys;
use crate::queue::{Claim, Heartbeat, Pulse, Share};
use crate::telemetry::chain;
use crate::worker::protocol::{
    self, Assigned, Attributes, Beat, ClaimAnswer, ClaimRequest, CopiesAnswer, CopiesRequest, Failure, Hello,
    NODE, OutcomeReport, Receipt, TEXT_BYTES_MAX, Ticket, Turn, TurnAnswer, WAIT_MS_MAX, Welcome,
};
use crate::worker::{grants, weight_of};

/// The maximum number of jobs in the answer to a claim.
const JOBS_MAX: usize = 64;
/// The maximum number of cached copies in one request.
const COPIES_MAX: usize = 1_000;
/// The reason why a report must be sent again.
const LATER: &str = "the API node's storage is unavailable";

/// An extractor for requests of a worker that has called `/hello`.
pub(super) struct Worker(pub(super) String);

impl FromRequestParts<WorkersState> for Worker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut RequestParts, state: &WorkersState) -> Result<Self, Problem> {
        let node = parts.headers.get(NODE).and_then(|node| node.to_str().ok()).unwrap_or_default();
        if state.parts.nodes.registry().hear(node) {
            Ok(Self(node.to_owned()))
        } else {
            Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, "call /hello first"))
        }
    }
}

type Body<T> = Result<Json<T>, JsonRejection>;

fn body<T>(body: Body<T>) -> Result<T, Problem> {
    let Json(value) = body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    Ok(value)
}

/// `POST /hello`: accepts a worker that uses the same protocol and has the same settings.
pub(super) async fn hello(
    State(state): State<WorkersState>,
    hello: Body<Hello>,
) -> Result<Json<Welcome>, Problem> {
    let hello = body(hello)?;
    let is_id = hello.node.len() == 32 && hello.node.bytes().all(|byte| byte.is_ascii_hexdigit());
    let texts = [&hello.name, &hello.queues, &hello.version];
    if !is_id || texts.iter().any(|text| text.len() > 255 || text.chars().any(char::is_control)) {
        return Err(Problem::bad_request("the hello is malformed"));
    }
    if let Err(problem) = suits(&state, &hello) {
        tracing::warn!(
            node = hello.node,
            name = hello.name,
            version = hello.version,
            "worker rejected: {problem}"
        );
        return Err(Problem::new(StatusCode::CONFLICT, problem));
    }
    let protocol = hello.protocol.min(protocol::VERSION);
    tracing::info!(
        node = hello.node,
        name = hello.name,
        version = hello.version,
        queues = hello.queues,
        threads = hello.threads,
        "a worker has joined"
    );
    state.parts.nodes.registry().join(hello);
    Ok(Json(Welcome {
        protocol,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        lease_ms: state.parts.lease.as_millis() as u64,
        client_files: state.parts.uploads.is_some(),
    }))
}

/// Fails, with both values, if a setting that affects results differs between a worker and this node.
fn suits(state: &WorkersState, hello: &Hello) -> Result<(), String> {
    if hello.protocol < protocol::OLDEST {
        return Err(format!(
            "the worker (version {}) speaks protocol {}, and this API node (version {}) protocols {} to {}; upgrade \
             the worker",
            hello.version,
            hello.protocol,
            env!("CARGO_PKG_VERSION"),
            protocol::OLDEST,
            protocol::VERSION
        ));
    }
    for (name, theirs) in &hello.settings {
        let ours = state.parts.settings.get(name);
        if ours != Some(theirs) {
            let ours = ours.map_or("not known", String::as_str);
            return Err(format!(
                "{name} is {theirs:?} on the worker and {ours:?} on the API node; give both the same value"
            ));
        }
    }
    match state.parts.settings.keys().find(|name| !hello.settings.contains_key(*name) && *name != "objects") {
        Some(name) => Err(format!("the worker does not state its {name}; upgrade it")),
        None => Ok(()),
    }
}

/// `POST /claim`: waits for a job, and returns the jobs that can be claimed then.
pub(super) async fn claim(
    State(state): State<WorkersState>,
    Worker(node): Worker,
    headers: HeaderMap,
    request: Body<ClaimRequest>,
) -> Result<Json<ClaimAnswer>, Problem> {
    let request = body(request)?;
    let ended = match state.parts.nodes.registry().claim(&node, &request) {
        Claiming::Overtaken => return Ok(Json(ClaimAnswer::default())),
        Claiming::Repeated(answer) => return Ok(Json(answer)),
        Claiming::Draining => return Ok(Json(ClaimAnswer { draining: true, ..ClaimAnswer::default() })),
        Claiming::Waits(ended) => ended,
    };
    // Only API nodes serve the queue that removes objects.
    let served = request.queues.iter().filter(|queue| queue.as_str() != PURGES);
    let queues: Vec<Share> = served
        .filter_map(|queue| Some(Share { queue: queue.clone(), weight: weight_of(queue.as_str())? }))
        .collect();
    if queues.is_empty() || request.count == 0 {
        return Err(Problem::bad_request("the claim names no queue that workers serve"));
    }
    let claim = Claim {
        queues,
        count: request.count.min(JOBS_MAX),
        lease: state.parts.lease,
        wait: Duration::from_millis(request.wait_ms.min(WAIT_MS_MAX)),
        for_guest: true,
    };
    let claimed = tokio::select! {
        biased;
        claimed = state.parts.coordinator.claim(&claim) => claimed?,
        () = ended.cancelled() => Vec::new(),
        () = state.parts.stop.cancelled() => Vec::new(),
    };
    // The token may have been revoked while the claim waited.
    if let Err(problem) = state.parts.tokens.admit(&headers) {
        if let Err(error) = state.parts.coordinator.release(&claimed).await {
            tracing::warn!("cannot release jobs; their leases expire: {}", chain(&error));
        }
        return Err(problem);
    }
    let jobs = claimed.into_iter().map(|mut assignment| {
        let secret = assignment.secret.take();
        let lease = &assignment.lease;
        let assigned = Assigned {
            ticket: state.parts.tokens.ticket(lease.id.clone(), lease.attempt),
            job: assignment.job.clone(),
            secret,
            workers: matches!(assignment.job.task, Task::Plan { .. }).then(|| state.parts.nodes.computing()),
            pairs: matches!(assignment.job.task, Task::Compare { .. }).then(|| state.parts.pairs.number()),
            enqueued: lease.enqueued,
            ready: lease.ready,
            until: lease.until,
        };
        state.leases.add(Arc::new(assignment));
        assigned
    });
    let answer = ClaimAnswer { jobs: jobs.collect(), draining: false };
    if !answer.jobs.is_empty() {
        state.parts.nodes.registry().hand_out(&node, request.number, &answer);
    }
    Ok(Json(answer))
}

/// `POST /turn`: records heartbeats, outcomes, failures and releases.
pub(super) async fn turn(
    State(state): State<WorkersState>,
    Worker(node): Worker,
    turn: Body<Turn>,
) -> Result<Json<TurnAnswer>, Problem> {
    let turn = body(turn)?;
    let held = turn.beats.iter().map(|beat| &beat.ticket.lease);
    let reported = turn.reports.iter().map(|report| &report.ticket.lease);
    let failed = turn.failures.iter().map(|failure| &failure.ticket.lease);
    let released = turn.releases.iter().map(|ticket| &ticket.lease);
    state.parts.nodes.registry().note(&node, held, reported.chain(failed).chain(released));
    // All answers are sent together: heartbeats are recorded before outcomes are awaited.
    let pulses = pulses(&state, &turn.beats).await?;
    let lost = turn.beats.iter().zip(&pulses).filter(|(_, pulse)| !matches!(pulse, Pulse::Continue { .. }));
    state.parts.nodes.registry().note(&node, std::iter::empty(), lost.map(|(beat, _)| &beat.ticket.lease));
    let (reports, failures, releases) = futures::join!(
        join_all(turn.reports.into_iter().map(|report| record(&state, &node, report))),
        join_all(turn.failures.into_iter().map(|failure| fail(&state, &node, failure))),
        join_all(turn.releases.iter().map(|ticket| release(&state, ticket))),
    );
    Ok(Json(TurnAnswer { pulses, reports, failures, releases }))
}

async fn pulses(state: &WorkersState, beats: &[Beat]) -> Result<Vec<Pulse>, Problem> {
    let signed: Vec<bool> = beats.iter().map(|beat| state.parts.tokens.has_signed(&beat.ticket)).collect();
    let genuine = beats.iter().zip(&signed).filter(|(_, signed)| **signed);
    let heartbeats: Vec<Heartbeat> = genuine
        .map(|(beat, _)| Heartbeat { lease: beat.ticket.lease.clone(), progress: beat.progress })
        .collect();
    if heartbeats.len() < beats.len() {
        tracing::warn!(
            tickets = beats.len() - heartbeats.len(),
            "rejected heartbeats with a wrong signature"
        );
    }
    let mut answers = state.parts.coordinator.heartbeat(&heartbeats).await?.into_iter();
    let mut pulses = Vec::with_capacity(beats.len());
    for (beat, signed) in beats.iter().zip(signed) {
        let pulse = if signed { answers.next() } else { None }.unwrap_or(Pulse::Lost);
        match pulse {
            Pulse::Continue { .. } => state.leases.confirm(&beat.ticket.lease),
            Pulse::Stop | Pulse::Lost => state.leases.remove(&beat.ticket.lease),
        }
        pulses.push(pulse);
    }
    Ok(pulses)
}

/// Records an outcome, if a job of its kind can have it and its objects exist.
async fn record(state: &WorkersState, node: &str, report: OutcomeReport) -> Receipt {
    let OutcomeReport { ticket, outcome } = report;
    settle(state, &ticket, async || {
        let Some(assignment) = state.assignment(&ticket).await? else { return Ok(Receipt::Done) };
        let kind = assignment.job.task.kind();
        let is_long = matches!(&outcome, Outcome::Rejected { message } if message.len() > TEXT_BYTES_MAX);
        let Some(made) = grants::made(&assignment.job, &outcome).filter(|_| !is_long) else {
            tracing::warn!(node, job.id = %ticket.lease.job, "rejected an outcome that a job of this kind cannot have");
            return Ok(Receipt::Rejected(format!("a job of kind {kind} cannot have this outcome")));
        };
        for key in made {
            match state.parts.objects.exists(&key).await {
                Ok(true) => {}
                // The object was removed together with its run.
                Ok(false) if !state.holds(&ticket).await? => return Ok(Receipt::Done),
                Ok(false) => {
                    tracing::warn!(node, job.id = %ticket.lease.job, "rejected an outcome whose object {key} does not exist");
                    return Ok(Receipt::Rejected(format!("the object {key} was not written")));
                }
                Err(error) => {
                    tracing::warn!(job.id = %ticket.lease.job, "cannot look for {key}: {}", chain(&error));
                    return Ok(Receipt::Later(LATER.to_owned()));
                }
            }
        }
        Ok(receipt(state, state.parts.coordinator.report(&assignment, outcome.clone()).await))
    })
    .await
}

async fn fail(state: &WorkersState, node: &str, failure: Failure) -> Receipt {
    let Failure { ticket, reason } = failure;
    settle(state, &ticket, async || {
        let Some(assignment) = state.assignment(&ticket).await? else { return Ok(Receipt::Done) };
        if reason.len() > TEXT_BYTES_MAX {
            tracing::warn!(node, job.id = %ticket.lease.job, "rejected a reason that is too long");
            return Ok(Receipt::Rejected("the reason is too long".to_owned()));
        }
        Ok(receipt(state, state.parts.coordinator.failed(&assignment, &reason).await))
    })
    .await
}

async fn release(state: &WorkersState, ticket: &Ticket) -> Receipt {
    settle(state, ticket, async || {
        let Some(assignment) = state.assignment(ticket).await? else { return Ok(Receipt::Done) };
        Ok(receipt(state, state.parts.coordinator.release(&[(*assignment).clone()]).await))
    })
    .await
}

/// Performs an action that ends a job, and removes the job from the cache afterwards.
async fn settle<F: Future<Output = Result<Receipt, Problem>>>(
    state: &WorkersState,
    ticket: &Ticket,
    act: impl FnOnce() -> F,
) -> Receipt {
    let receipt = act().await.unwrap_or_else(|problem| {
        if problem.is_of_server() {
            Receipt::Later(LATER.to_owned())
        } else {
            Receipt::Rejected("the ticket was not issued by this service".to_owned())
        }
    });
    if receipt == Receipt::Done {
        state.leases.remove(&ticket.lease);
    }
    receipt
}

fn receipt(state: &WorkersState, done: Result<(), coordinator::Error>) -> Receipt {
    match done {
        Ok(()) => Receipt::Done,
        Err(error) if error.may_pass() => {
            if let Some(times) = state.unrecorded.count() {
                tracing::warn!(times, "cannot record what a worker reports: {}", chain(&error));
            }
            Receipt::Later(LATER.to_owned())
        }
        Err(error) => {
            tracing::warn!("cannot record what a worker reports: {}", chain(&error));
            Receipt::Rejected("the API node cannot record it; its log has the reason".to_owned())
        }
    }
}

/// `POST /copies`: returns the objects that still exist, of those that a worker has cached.
pub(super) async fn copies(
    State(state): State<WorkersState>,
    _: Worker,
    request: Body<CopiesRequest>,
) -> Result<Json<CopiesAnswer>, Problem> {
    let request = body(request)?;
    if request.keys.len() > COPIES_MAX {
        return Err(Problem::bad_request(format!("at most {COPIES_MAX} keys")));
    }
    let mut found = Vec::with_capacity(request.keys.len());
    for text in &request.keys {
        let Some(key) = keys::of_project(text) else {
            found.push(None);
            continue;
        };
        found.push(match state.parts.objects.find(&key).await {
            Ok(object) => {
                Some(Attributes { size: object.size, modified: object.modified, etag: object.etag })
            }
            Err(crate::objects::Error::Missing { .. }) => None,
            Err(error) => return Err(Problem::unavailable(&error)),
        });
    }
    Ok(Json(CopiesAnswer { found }))
}

/// `POST /leave`: removes a worker that stops.
pub(super) async fn leave(State(state): State<WorkersState>, Worker(node): Worker) -> Json<Value> {
    tracing::info!(node, "a worker has left");
    state.parts.nodes.leave(&node);
    Json(json!({}))
}
