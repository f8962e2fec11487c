//! The worker listener: jobs and objects for workers on other machines.
//!
//! A worker proves with the join token that it belongs to the service, and with a signed ticket that it has a job. A
//! ticket permits only heartbeats and reports about the job, and access to the objects that the job reads and creates.
//! The messages are in [`crate::worker::protocol`].

mod calls;
mod join_tokens;
mod leases;
mod nodes;
mod objects;
mod registry;
mod state;
mod translated;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::access_log;
use super::router::wrong_method;
use crate::http::problem::Problem;
use crate::worker::protocol::{BASE, CALL_BYTES_MAX};
use axum::http::StatusCode;
pub use join_tokens::{Error as JoinTokenError, FILE as JOIN_TOKENS, JoinTokens};
pub use nodes::Nodes;
pub use registry::{NodeReport, WorkerRegistry};
pub use state::Parts;
use state::WorkersState;

/// Returns the router of the worker listener.
pub fn routes(parts: Parts) -> Router {
    let state = WorkersState::new(parts);
    let calls = Router::new()
        .route("/hello", post(calls::hello))
        .route("/claim", post(calls::claim))
        .route("/turn", post(calls::turn))
        .route("/copies", post(calls::copies))
        .route("/leave", post(calls::leave))
        .layer(DefaultBodyLimit::max(CALL_BYTES_MAX))
        .route("/object", get(objects::read).put(objects::write).layer(DefaultBodyLimit::disable()));
    Router::new()
        .nest(BASE, calls)
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(state.clone(), admit))
        .layer(from_fn(access_log::worked))
        .with_state(state)
}

/// Forwards a request with the join token, and answers all others with 401.
async fn admit(State(state): State<WorkersState>, request: Request, next: Next) -> Response {
    match state.tokens().admit(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            tracing::warn!(path = request.uri().path(), "rejected a request without a valid join token");
            problem.into_response()
        }
    }
}

async fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not found; this listener is only for workers")
}
