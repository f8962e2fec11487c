//! Snapshots of the data directory, from which `entityd backup` copies while the server runs.
//!
//! There is at most one at a time. It exists only while the response to the request that took it is open, so that a
//! client that is killed leaves no snapshot behind.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::Deserialize;
use serde_json::json;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::io::ReaderStream;

use super::AdminState;
use super::current_snapshot::absent;
use crate::http::problem::Problem;

/// The interval between the empty lines of an open response. If one cannot be sent, the client has disconnected.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// The media type of lines of JSON.
const LINES: &str = "application/x-ndjson";
/// The number of bytes that are read from a file at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// The parameters of a new snapshot.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    #[serde(default)]
    with_keys: bool,
}

/// The parameters of a request for a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    path: String,
}

/// `POST /admin/snapshots`: takes a snapshot, which exists while the response is open. The first line of the response
/// is the description; empty lines follow until the client closes the connection.
pub(super) async fn take(
    State(admin): State<AdminState>,
    wish: Result<Json<Wish>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(wish) = wish.map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
    let guard = admin.snapshot.take(wish.with_keys).await?;
    let about = admin.snapshot.get(&guard.id)?.about();
    let first = format!("{}\n", json!({ "snapshot": guard.id, "about": about }));
    let lines = stream::unfold((Some(first), guard), |(first, guard)| async move {
        let line = if let Some(first) = first {
            first
        } else {
            sleep(SIGN_OF_LIFE).await;
            "\n".to_owned()
        };
        Some((Ok::<_, Infallible>(line), (None, guard)))
    });
    Ok((StatusCode::CREATED, [(CONTENT_TYPE, LINES)], Body::from_stream(lines)).into_response())
}

/// `GET /admin/snapshots/{id}/listing`: returns the list of files, as one JSON object per line.
pub(super) async fn listing(
    State(admin): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let snapshot = admin.snapshot.get(&id)?;
    send(move || snapshot.listing(), LINES).await
}

/// `GET /admin/snapshots/{id}/file?path=...`: returns the content of a file.
pub(super) async fn file(
    State(admin): State<AdminState>,
    Path(id): Path<String>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Wanted { path }) = wanted.map_err(|rejection| Problem::bad_query(&rejection))?;
    let snapshot = admin.snapshot.get(&id)?;
    send(move || snapshot.open(&path), "application/octet-stream").await
}

/// `DELETE /admin/snapshots/{id}`: removes a snapshot.
pub(super) async fn remove(
    State(admin): State<AdminState>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    admin.snapshot.remove(&id).await.map(|()| StatusCode::NO_CONTENT)
}

async fn send(
    open: impl FnOnce() -> io::Result<File> + Send + 'static,
    kind: &'static str,
) -> Result<Response, Problem> {
    let opened = spawn_blocking(move || open().and_then(|file| Ok((file.metadata()?.len(), file)))).await;
    let (bytes, file) = match opened.map_err(|error| Problem::internal(&error))? {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(absent()),
        opened => opened.map_err(|error| Problem::internal(&error))?,
    };
    let chunks = ReaderStream::with_capacity(tokio::fs::File::from_std(file), CHUNK_BYTES);
    let headers = [(CONTENT_TYPE, kind.to_owned()), (CONTENT_LENGTH, bytes.to_string())];
    Ok((headers, Body::from_stream(chunks)).into_response())
}
