//! Admin requests about nodes, and about the tokens with which workers join.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::AdminState;
use crate::http::problem::Problem;
use crate::http::workers::{JoinTokenError, NodeReport};

/// The maximum time for which earlier tokens stay valid, in seconds.
const KEEP_S_MAX: u64 = 366 * 24 * 3_600;

/// All nodes.
#[derive(Serialize)]
pub(super) struct Nodes {
    nodes: Vec<NodeReport>,
}

/// `GET /admin/nodes`: returns this node and the workers that have joined it since its start. If the metadata is in
/// PostgreSQL, returns all nodes that use the database.
pub(super) async fn list(State(admin): State<AdminState>) -> Result<Json<Nodes>, Problem> {
    let nodes = admin.nodes.list().await.map_err(|error| Problem::unavailable(&error))?;
    Ok(Json(Nodes { nodes }))
}

/// The parameters of a request about a node.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Meant {
    node: String,
}

fn meant<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Problem> {
    let Json(meant) = body.map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
    Ok(meant)
}

fn no_node(node: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("no worker {node} has joined; `entityd nodes list` lists all"),
    )
}

/// `POST /admin/nodes/drain`: stops giving jobs to a worker.
pub(super) async fn drain(
    State(admin): State<AdminState>,
    body: Result<Json<Meant>, JsonRejection>,
) -> Result<Json<Nodes>, Problem> {
    let Meant { node } = meant(body)?;
    if !admin.nodes.drain(&node).await.map_err(|error| Problem::unavailable(&error))? {
        return Err(no_node(&node));
    }
    tracing::info!(node, "draining a worker");
    list(State(admin)).await
}

/// `POST /admin/nodes/forget`: removes a worker from the list. If it is running, it joins again.
pub(super) async fn forget(
    State(admin): State<AdminState>,
    body: Result<Json<Meant>, JsonRejection>,
) -> Result<Json<Nodes>, Problem> {
    let Meant { node } = meant(body)?;
    if !admin.nodes.forget(&node).await.map_err(|error| Problem::unavailable(&error))? {
        return Err(no_node(&node));
    }
    tracing::info!(node, "removed a worker from the list of nodes");
    list(State(admin)).await
}

fn not_stored(error: &JoinTokenError) -> Problem {
    match error {
        JoinTokenError::Shared(cause) => Problem::unavailable(cause),
        error => Problem::internal(error),
    }
}

/// The parameters of a new token.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// The time for which earlier tokens stay valid, in seconds.
    keep_s: u64,
}

/// `POST /admin/join-token`: creates a join token.
pub(super) async fn issue(
    State(admin): State<AdminState>,
    body: Result<Json<Wish>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let Wish { keep_s } = meant(body)?;
    if keep_s > KEEP_S_MAX {
        return Err(Problem::bad_request(format!("`keep_s`: at most {KEEP_S_MAX}")));
    }
    let token = admin.join_tokens.issue(Duration::from_secs(keep_s), admin.pin).await;
    let token = token.map_err(|error| not_stored(&error))?;
    tracing::info!(keep_s, "created a join token");
    Ok(Json(json!({ "join_token": token.reveal().as_str() })))
}

/// `POST /admin/join-token/revoke`: revokes all join tokens except the one of `--join-token-file`.
pub(super) async fn revoke(State(admin): State<AdminState>) -> Result<Json<Value>, Problem> {
    let count = admin.join_tokens.revoke().await.map_err(|error| not_stored(&error))?;
    tracing::info!(count, "revoked join tokens");
    Ok(Json(json!({ "revoked": count })))
}
