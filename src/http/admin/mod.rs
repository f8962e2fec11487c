//! The admin API on the operations listener: queues, nodes that have joined, projects, and snapshots for backups.
//!
//! All requests under `/admin` require the admin token ([`access`]), which is checked first.

pub mod access;
mod audit;
mod projects;
mod current_snapshot;
mod nodes;
mod queue;
mod snapshots;
mod state;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::{from_extractor_with_state, from_fn_with_state};
use axum::routing::{delete, get, post};

use super::dashboard;
use super::problem::Problem;
use super::router::wrong_method;
use access::Administrator;
pub use access::{Access, FILE as ADMIN_TOKEN, Made, Opened, TOKEN_CHARS_MIN};
pub use current_snapshot::{Current as CurrentSnapshot, Snapshot, Snapshots};
pub use state::AdminState;

/// Returns the routes under `/admin`.
pub(super) fn routes(admin: AdminState) -> Router {
    let access = admin.access.clone();
    Router::new()
        .route("/queue", get(queue::stats))
        .route("/queue/jobs", get(queue::jobs))
        .route("/queue/job", get(queue::job))
        .route("/queue/retry", post(queue::retry))
        .route("/queue/discard", post(queue::discard))
        .route("/queue/pause", post(queue::pause))
        .route("/queue/resume", post(queue::resume))
        .route("/projects/{project_id}", delete(projects::delete))
        .route("/projects/{project_id}/runs/{run_id}/again", post(projects::run_again))
        .merge(dashboard::operator::views())
        .route("/nodes", get(nodes::list))
        .route("/nodes/drain", post(nodes::drain))
        .route("/nodes/forget", post(nodes::forget))
        .route("/join-token", post(nodes::issue))
        .route("/join-token/revoke", post(nodes::revoke))
        .route("/snapshots", post(snapshots::take))
        .route("/snapshots/{id}", delete(snapshots::remove))
        .route("/snapshots/{id}/listing", get(snapshots::listing))
        .route("/snapshots/{id}/file", get(snapshots::file))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(admin.clone(), audit::record))
        .with_state(admin)
        .layer(from_extractor_with_state::<Administrator, _>(access))
}

/// Answers a path below `/admin` that does not exist.
async fn unknown(State(admin): State<AdminState>) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        if admin.dashboard {
            "not found; the operator's page is at / of this listener, and `entityd queue`, `nodes` and `backup` use /admin"
        } else {
            "not found; `entityd queue`, `nodes` and `backup` use /admin"
        },
    )
}
