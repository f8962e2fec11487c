//! The routes of the operations listener.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::gauges;
use super::probes::{Findings, Probes};
use super::readiness::{Phase, Readiness, TICK};
use crate::http::access_log;
use crate::http::admin::{self, AdminState};
use crate::http::arrival;
use crate::http::dashboard;
use crate::http::etag;
use crate::http::problem::Problem;
use crate::http::router::wrong_method;
use crate::http::workers::{NodeReport, Nodes as AllNodes};
use crate::model::job::QUEUES;
use crate::telemetry::metrics::{self, MetricsHandle};
use crate::worker::remote::Nodes;

/// The media type of the metrics.
const FIGURES_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The number of ticks between two clean-ups of the metrics.
const TIDY_TICKS: u32 = 5;

/// The operations listener. Cheap to clone; all clones share it.
#[derive(Clone)]
pub struct Ops {
    readiness: Readiness,
    figures: MetricsHandle,
    behind: Arc<OnceLock<Behind>>,
}

/// The parts that are available after the stores are open.
struct Behind {
    probes: Arc<Probes>,
    administration: Router,
    /// A function that describes the node in several lines.
    notes: Box<dyn Fn() -> String + Send + Sync>,
    /// The nodes that have joined, if workers can join.
    nodes: Option<AllNodes>,
}

impl Ops {
    /// Returns the listener of a server that is starting.
    pub fn new(readiness: Readiness, figures: MetricsHandle) -> Self {
        Self { readiness, figures, behind: Arc::default() }
    }

    /// Enables the checks and `/admin`, after the stores are open.
    pub fn open(&self, admin: AdminState) {
        let pages = if admin.dashboard {
            dashboard::operator::page_routes().layer(from_fn(etag::validated))
        } else {
            Router::new()
        };
        let (nodes, probes) = (admin.nodes.clone(), Arc::clone(&admin.probes));
        let noted = nodes.clone();
        let notes = Box::new(move || notes_of_server(noted.role(), &noted.known()));
        let administration = Router::new()
            .nest("/admin", admin::routes(admin))
            .merge(pages)
            .fallback(nothing)
            .layer(from_fn(arrival::admit))
            .layer(from_fn(access_log::administered));
        // This cannot fail: a server starts only once.
        let behind = Behind { probes, administration, notes, nodes: Some(nodes) };
        let _ = self.behind.set(behind);
    }

    /// Enables the checks of a worker, which has no `/admin`.
    pub fn open_worker(&self, nodes: &Nodes) {
        let administration =
            Router::new().fallback(nothing_on_worker).layer(from_fn(access_log::administered));
        let noted = nodes.clone();
        let notes = Box::new(move || format!("    role: worker, of {}\n", noted.urls()));
        let _ = self.behind.set(Behind {
            probes: Arc::new(Probes::of_worker(nodes)),
            administration,
            notes,
            nodes: None,
        });
    }

    /// Returns the router of the listener.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/healthz", get(healthz))
            .route("/startupz", get(startupz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(scraped))
            .route_layer(from_fn(access_log::watched))
            .fallback(elsewhere)
            .method_not_allowed_fallback(wrong_method)
            .with_state(self.clone())
    }

    /// Ticks, and cleans up the metrics, until it is stopped.
    pub async fn tick(self, stop: CancellationToken) {
        let mut ticks = 0_u32;
        loop {
            self.readiness.tick();
            ticks = ticks.wrapping_add(1);
            if ticks.is_multiple_of(TIDY_TICKS) {
                self.figures.tidy();
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    fn probes(&self) -> Option<&Probes> {
        self.behind.get().map(|behind| &*behind.probes)
    }
}

/// `GET /healthz`: succeeds if the process is not stuck. Checks no dependency.
async fn healthz(State(ops): State<Ops>) -> Response {
    if ops.readiness.is_alive() { fine() } else { failing("the process is stuck\n".to_owned()) }
}

/// `GET /startupz`: succeeds if the start is complete.
async fn startupz(State(ops): State<Ops>) -> Response {
    match ops.readiness.phase() {
        Phase::Starting => failing("starting\n".to_owned()),
        Phase::Migrating => failing("migrating\n".to_owned()),
        Phase::Serving | Phase::Draining => fine(),
    }
}

/// `GET /readyz`: succeeds if the server accepts requests. `?verbose` lists each dependency.
async fn readyz(State(ops): State<Ops>, RawQuery(query): RawQuery) -> Response {
    let verbose =
        query.is_some_and(|query| query.split('&').any(|part| part.split('=').next() == Some("verbose")));
    let findings = Findings::gather(ops.readiness.phase(), ops.probes(), verbose).await;
    let notes = ops.behind.get().filter(|_| verbose).map(|behind| (behind.notes)()).unwrap_or_default();
    match (findings.are_good(), verbose) {
        (true, false) => fine(),
        (true, true) => format!("{findings}{notes}ready\n").into_response(),
        (false, _) => failing(format!("{findings}{notes}not ready\n")),
    }
}

async fn scraped(State(ops): State<Ops>) -> Response {
    metrics::process();
    if let Some(probes) = ops.probes() {
        probes.look().await;
    }
    if let Some(nodes) = ops.behind.get().and_then(|behind| behind.nodes.as_ref()) {
        gauges::nodes(&nodes.known());
    }
    ([(header::CONTENT_TYPE, FIGURES_TYPE)], ops.figures.text()).into_response()
}

async fn elsewhere(State(ops): State<Ops>, request: Request) -> Response {
    let Some(behind) = ops.behind.get() else {
        let detail = "the server is starting; /readyz?verbose shows its progress";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response();
    };
    behind.administration.clone().oneshot(request).await.into_response()
}

/// Describes a serving node, and the nodes that have joined it.
fn notes_of_server(own: &str, nodes: &[NodeReport]) -> String {
    let workers = || nodes.iter().filter(|node| node.role == "worker");
    let count = |state: &str| workers().filter(|worker| worker.state == state).count();
    let draining = count("draining") + count("drained");
    let (joined, silent, serving) = (count("joined"), count("silent"), nodes.len() - workers().count());
    let serving = if serving > 1 { format!("    serving nodes: {serving}\n") } else { String::new() };
    let unserved = unserved(nodes);
    format!(
        "    role: {own}\n{serving}    workers: {joined} joined, {draining} draining, {silent} silent\n{unserved}"
    )
}

/// Names the queues whose jobs wait because no node takes them; empty if there are none, or if no node is known yet.
fn unserved(nodes: &[NodeReport]) -> String {
    let serves = |node: &NodeReport, queue: &str| {
        node.state == "joined" && node.queues.split(',').any(|slots| slots.split('=').next() == Some(queue))
    };
    let is_unserved = |queue: &&str| !nodes.iter().any(|node| serves(node, queue));
    let unserved: Vec<&str> = QUEUES.into_iter().filter(is_unserved).collect();
    if unserved.is_empty() || nodes.is_empty() {
        return String::new();
    }
    format!(
        "    no node serves: {} (a worker does, unless --worker-queues leaves it out)\n",
        unserved.join(", ")
    )
}

/// Answers 404 for all other paths.
async fn nothing() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not found; there are /healthz, /startupz, /readyz, /metrics and /admin, and the operator's page at / unless it is \
         disabled (--dashboard)",
    )
}

/// Answers 404 for all other paths on a worker.
async fn nothing_on_worker() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not found; a worker has /healthz, /startupz, /readyz and /metrics")
}

fn fine() -> Response {
    "ok\n".into_response()
}

fn failing(why: String) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}
