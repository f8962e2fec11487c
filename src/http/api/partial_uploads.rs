//! Uploads that arrive in several requests: begun, continued, queried and cancelled as the IETF draft "Resumable
//! Uploads for HTTP" specifies. When the last byte has arrived, the complete upload is checked like any other.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_ENCODING, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;
use tokio::time::{sleep, timeout};
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::accepted::{Accepted, accepted};
use crate::coordinator::{Coordinator, Refused};
use crate::edge::{PublicAddress, PublicHost};
use crate::http::ApiState;
use crate::http::auth::Caller;
use crate::http::body::Pieces;
use crate::http::form::Form;
use crate::http::problem::Problem;
use crate::http::receipt;
use crate::http::responses::{Guarded, PartialFault, PartialUpload};
use crate::http::resumable::{self, Part};
use crate::http::schemas;
use crate::http::upload::upload;
use crate::metadata::Runs;
use crate::model::{Contents, PartialUploadId, Party, ProjectState};
use crate::objects::partial::{self, NotOpened, Partial, Record, Unknown};
use crate::objects::{self, PartialUploads};
use crate::runtime::coding;
use crate::telemetry::chain;

/// The maximum wait for an earlier request about the same upload. Such a request ends soon, unless it checks the
/// complete upload.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// The interval at which unneeded uploads are removed.
const CLEAN_EVERY: Duration = Duration::from_secs(30);

/// `OPTIONS`: returns the limits of uploads. They show a client that uploads can be resumed here.
pub(in crate::http) async fn limits(State(state): State<ApiState>) -> Response {
    let limit = resumable::limits(state.settings.body_bytes_max, state.partial.expiry());
    (StatusCode::NO_CONTENT, [(resumable::LIMIT, limit)]).into_response()
}

/// Begins an upload, with its first bytes or without any.
pub(super) async fn begin(
    state: ApiState,
    project: &ProjectState,
    party: u32,
    form: Form,
    address: &PublicAddress,
    request: Request,
) -> Result<Response, Problem> {
    let headers = request.headers();
    let own = project.parties.get(party as usize).ok_or_else(Problem::forbidden)?;
    let again = receipt::is_asked_for(headers);
    if !again && !may_upload(own) {
        return Err(Refused::TokenUsed.into());
    }
    let coding = coding_of(headers)?;
    let length = resumable::length(headers)?;
    let form = form.recorded();
    check_length(&state, form, &coding, length)?;
    if let Some(length) = length {
        state.spool.admits(length).await.map_err(|full| Problem::no_space(&full))?;
    }
    let record = Record {
        project: project.id,
        party,
        form,
        coding,
        again,
        length,
        offset: 0,
        checked: false,
        accepted: None,
    };
    let partial = state.partial.begin(record).await.map_err(not_opened)?;
    let base = address.base(&state.settings.base_path);
    let place = format!("{base}/api/v1/projects/{}/uploads/{}", project.id, partial.id());
    let limit = resumable::limits(state.settings.body_bytes_max, state.partial.expiry());
    let body = request.into_body();
    let work = async move {
        if body.is_end_stream() {
            return Ok(0);
        }
        let part = Part { offset: 0, is_last: false, length: None };
        let taken = async { take(&state, enter(&state, &partial).await?, part, body).await };
        match taken.await {
            Ok(request) => Ok(request.record().offset),
            Err(problem) => {
                // The client does not know its address.
                state.partial.remove_or_warn(&partial).await;
                Err(problem)
            }
        }
    };
    let offset = spawned(work).await?;
    let place = HeaderValue::try_from(place).map_err(|error| Problem::internal(&error))?;
    let headers = [
        (LOCATION, place),
        (resumable::LIMIT, limit),
        (resumable::OFFSET, HeaderValue::from(offset)),
        (resumable::COMPLETE, resumable::flag(false)),
    ];
    Ok((StatusCode::CREATED, headers).into_response())
}

/// The state of an upload
///
/// Ends a request that is still adding to the upload, since the server may not have noticed that the connection broke.
/// The bytes up to `Upload-Offset` are on the disk.
#[utoipa::path(head, path = "/api/v1/projects/{project_id}/uploads/{upload_id}", tag = "uploads", operation_id = "describeUpload",
    params(("project_id" = String, Path, description = "The project."),
           ("upload_id" = String, Path, description = "The upload, from the `Location` of the response that began it.")),
    security(("update_token" = [])),
    responses((status = 204, description = "`Upload-Offset` is the number of bytes that are stored; `Upload-Complete` is `?1` once the upload has been accepted."), Guarded, PartialFault))]
pub(in crate::http) async fn describe(
    State(state): State<ApiState>,
    caller: Caller,
    Path((_, upload)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (project, party) = caller.provider(&state).await?;
    let partial = find(&state, &project, party, &upload)?;
    let request = enter(&state, &partial).await?;
    let mut response = stored(request.record());
    let limit = resumable::limits(state.settings.body_bytes_max, state.partial.expiry());
    response.headers_mut().insert(resumable::LIMIT, limit);
    Ok(response)
}

/// Continue an upload
///
/// The part begins at the byte after those that are stored. With `Upload-Complete: ?1` it is the last one; the
/// response is then that of an upload in one request. If that response is lost, an empty last part at the end of the
/// upload returns a new receipt token. An addition to the reference service.
#[utoipa::path(patch, path = "/api/v1/projects/{project_id}/uploads/{upload_id}", tag = "uploads", operation_id = "continueUpload",
    request_body(content = schemas::BinaryBody, content_type = "application/partial-upload"),
    params(("project_id" = String, Path, description = "The project."),
           ("upload_id" = String, Path, description = "The upload, from the `Location` of the response that began it."),
           ("Upload-Offset" = u64, Header, description = "The byte where the part begins."),
           ("Upload-Complete" = String, Header, description = "`?1` with the last part, else `?0`."),
           ("Upload-Length" = Option<u64>, Header, description = "The length of the whole upload.")),
    security(("update_token" = [])),
    responses((status = 201, description = "The last part: upload accepted.", body = Accepted),
              (status = 204, description = "Another part: stored up to `Upload-Offset`."), PartialUpload, PartialFault))]
pub(in crate::http) async fn append(
    State(state): State<ApiState>,
    caller: Caller,
    PublicHost(host): PublicHost,
    Path((_, upload)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (project, party) = caller.provider(&state).await?;
    let part = Part::of(request.headers())?;
    let partial = find(&state, &project, party, &upload)?;
    let body = request.into_body();
    spawned(async move {
        let request = enter(&state, &partial).await?;
        if let Some(number) = request.record().accepted {
            return repeated(&state, &request, number, part, body.is_end_stream()).await;
        }
        let request = take(&state, request, part, body).await?;
        if part.is_last { finish(state, request, host).await } else { Ok(stored(request.record())) }
    })
    .await
}

/// Cancel an upload
///
/// What has arrived is removed. An addition to the reference service.
#[utoipa::path(delete, path = "/api/v1/projects/{project_id}/uploads/{upload_id}", tag = "uploads", operation_id = "cancelUpload",
    params(("project_id" = String, Path, description = "The project."),
           ("upload_id" = String, Path, description = "The upload, from the `Location` of the response that began it.")),
    security(("update_token" = [])),
    responses((status = 204, description = "Upload cancelled."), Guarded, PartialFault))]
pub(in crate::http) async fn cancel(
    State(state): State<ApiState>,
    caller: Caller,
    Path((_, upload)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (project, party) = caller.provider(&state).await?;
    let partial = find(&state, &project, party, &upload)?;
    enter(&state, &partial).await?.remove().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes uploads that have expired or can no longer be accepted, until `stop`.
pub async fn remove_unneeded(coordinator: Coordinator, uploads: PartialUploads, stop: CancellationToken) {
    let every = CLEAN_EVERY.min(uploads.expiry() / 2);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(every) => {}
        }
        for partial in uploads.all() {
            let expired = partial.idle() > uploads.expiry();
            if (expired || is_unneeded(&coordinator, &partial).await)
                && uploads.remove_or_warn(&partial).await
            {
                tracing::info!(project.id = %partial.project, party = partial.party, expired, "partial upload removed");
            }
        }
    }
}

/// Returns whether the project is deleted, or another upload of the party was accepted.
async fn is_unneeded(coordinator: &Coordinator, partial: &Partial) -> bool {
    match coordinator.project(partial.project, Runs::None).await {
        Ok(None) => true,
        Ok(Some(project)) => {
            let own = project.parties.get(partial.party as usize);
            partial.is_settled() == Some(false) && own.is_none_or(|own| !may_upload(own))
        }
        // The database is unavailable.
        Err(_) => false,
    }
}

/// Completes the work even if the client disconnects.
async fn spawned<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::spawn(work.in_current_span()).await;
    done.unwrap_or_else(|error| Err(Problem::internal(&error)))
}

/// Stores a part. If the connection breaks, the bytes that have arrived are kept.
async fn take(
    state: &ApiState,
    request: partial::Request,
    part: Part,
    body: Body,
) -> Result<partial::Request, Problem> {
    let record = request.record();
    if part.offset != record.offset {
        return Err(resumable::mismatch(record.offset, part.offset));
    }
    let length = match (record.length, part.length) {
        (Some(known), Some(told)) if known != told => {
            let detail = format!("Upload-Length: the upload was begun with {known}, not {told}");
            return Err(resumable::inconsistent(detail));
        }
        (known, told) => known.or(told),
    };
    let (bytes_max, offset) = (state.settings.body_bytes_max, part.offset);
    if length.is_some_and(|length| length > bytes_max) {
        return Err(Problem::too_large(bytes_max));
    }
    let too_long = |end: u64| match length {
        Some(length) if end > length => {
            Err(resumable::inconsistent(format!("the part ends beyond the {length} bytes of Upload-Length")))
        }
        _ if end > bytes_max => Err(Problem::too_large(bytes_max)),
        _ => Ok(()),
    };
    let too_short = |end: u64| match length {
        Some(length) if part.is_last && end != length => Err(resumable::inconsistent(format!(
            "the last part ends at byte {end}, but Upload-Length is {length}"
        ))),
        _ => Ok(()),
    };
    too_long(offset.saturating_add(body.size_hint().lower()))?;
    if let Some(bytes) = body.size_hint().exact() {
        too_short(offset.saturating_add(bytes))?;
    }
    let turn = state.turn().await?;
    let mut pieces = Pieces::new(body, u64::MAX)?;
    let mut append = request.append().await?;
    let arrived = loop {
        let piece = tokio::select! {
            biased;
            () = append.superseded() => break Err(resumable::superseded()),
            piece = pieces.next() => piece,
        };
        let added = match piece {
            Ok(None) => break Ok(()),
            Ok(Some(piece)) => match too_long(append.offset() + piece.len() as u64) {
                Ok(()) => append.add(&piece).await.map_err(no_space),
                Err(problem) => Err(problem),
            },
            Err(problem) => Err(problem),
        };
        if let Err(problem) = added {
            break Err(problem);
        }
    };
    let mut request = append.end().await.map_err(no_space)?;
    drop(turn);
    arrived?;
    too_short(request.record().offset)?;
    request.change(|record| record.length = length).await?;
    Ok(request)
}

/// Checks the complete upload like one that arrived in a single request.
async fn finish(
    state: ApiState,
    mut request: partial::Request,
    host: Option<String>,
) -> Result<Response, Problem> {
    let record = request.record().clone();
    let (id, party) = (record.project, record.party);
    let project = state.coordinator.project(id, Runs::None).await?.ok_or_else(Problem::forbidden)?;
    let own = project.parties.get(party as usize).ok_or_else(Problem::forbidden)?;
    // An earlier check may have accepted the upload just before the process ended.
    let before = if record.again || record.checked { receipt::accepted(own)? } else { None };
    request.change(|record| (record.length, record.checked) = (Some(record.offset), true)).await?;
    let form = Form::of(record.form, project.uses_blocking, host);
    let body = whole(&request.path(), &record.coding).await?;
    let outcome = match before {
        Some(before) => {
            let renewed = receipt::renew(state, (id, party), before, Ok(form), body).await;
            renewed.map(|receipt| (before.number(), receipt))
        }
        None => upload(state, id, party, Ok(form), body).await,
    };
    match outcome {
        Ok((number, receipt)) => {
            if let Err(error) = request.accepted(number).await {
                tracing::warn!("cannot record that a partial upload was accepted: {}", chain(&error));
            }
            Ok(ended(request.record(), accepted(&receipt)))
        }
        // The last part can be repeated.
        Err(problem) if problem.is_of_server() => Err(problem),
        Err(problem) => {
            if let Err(error) = request.remove().await {
                tracing::warn!("cannot remove a partial upload: {}", chain(&error));
            }
            Err(problem)
        }
    }
}

/// Answers the repeated last part of an upload that has been accepted, whose receipt token was lost.
async fn repeated(
    state: &ApiState,
    request: &partial::Request,
    number: u32,
    part: Part,
    is_empty: bool,
) -> Result<Response, Problem> {
    let record = request.record();
    if part.offset != record.offset {
        return Err(resumable::mismatch(record.offset, part.offset));
    }
    if !part.is_last || !is_empty {
        return Err(resumable::completed());
    }
    let receipt = state.coordinator.renew_receipt(record.project, record.party, number).await?;
    tracing::info!(project.id = %record.project, party = record.party, "issued a new receipt token for the same upload");
    Ok(ended(record, accepted(&receipt)))
}

/// Returns the bytes of an upload as the body of a request.
async fn whole(path: &FilePath, coding: &str) -> Result<Body, Problem> {
    let codings = coding::named([coding]).map_err(|unknown| Problem::internal(&unknown))?;
    let file = tokio::fs::File::open(path).await.map_err(|error| Problem::unavailable(&error))?;
    let bytes = ReaderStream::with_capacity(file, 256 << 10);
    Ok(if codings.is_empty() {
        Body::from_stream(bytes)
    } else {
        Body::from_stream(coding::decode(bytes, &codings))
    })
}

fn ended(record: &Record, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(resumable::OFFSET, HeaderValue::from(record.offset));
    headers.insert(resumable::COMPLETE, resumable::flag(true));
    response
}

/// Describes the bytes that are stored.
fn stored(record: &Record) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(resumable::OFFSET, HeaderValue::from(record.offset));
    headers.insert(resumable::COMPLETE, resumable::flag(record.accepted.is_some()));
    if let Some(length) = record.length {
        headers.insert(resumable::LENGTH, HeaderValue::from(length));
    }
    response
}

/// Returns true if the party has no data yet, or data that cannot be used.
const fn may_upload(party: &Party) -> bool {
    matches!(party.contents, Contents::Missing | Contents::Failed { .. })
}

/// Returns the content coding of the complete upload, as one header line.
fn coding_of(headers: &HeaderMap) -> Result<String, Problem> {
    let lines: Vec<&str> =
        headers.get_all(CONTENT_ENCODING).iter().map(|line| line.to_str().unwrap_or("not text")).collect();
    let known = coding::named(lines.iter().copied());
    known.map_err(|unknown| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, unknown.to_string()))?;
    Ok(lines.join(","))
}

/// Rejects a length that the complete upload cannot have.
fn check_length(
    state: &ApiState,
    form: partial::Form,
    coding: &str,
    length: Option<u64>,
) -> Result<(), Problem> {
    let Some(length) = length else { return Ok(()) };
    let bytes_max = state.settings.body_bytes_max;
    if length > bytes_max {
        return Err(Problem::too_large(bytes_max));
    }
    match form {
        partial::Form::Binary { records, encoding_bytes } if coding.is_empty() => {
            let expected = u64::from(records) * u64::from(encoding_bytes);
            let detail = || format!("Upload-Length is {length}; Hash-Count times Hash-Size is {expected}");
            if length == expected { Ok(()) } else { Err(Problem::bad_request(detail())) }
        }
        _ => Ok(()),
    }
}

fn find(state: &ApiState, project: &ProjectState, party: u32, id: &str) -> Result<Arc<Partial>, Problem> {
    state.partial.find(project.id, party, PartialUploadId::parse(id)).map_err(unknown)
}

async fn enter(state: &ApiState, partial: &Arc<Partial>) -> Result<partial::Request, Problem> {
    let entered = timeout(WAIT_MAX, state.partial.enter(partial)).await;
    entered.map_err(|_| Problem::busy("the upload is complete and being checked"))?.map_err(unknown)
}

fn unknown(unknown: Unknown) -> Problem {
    match unknown {
        Unknown::Gone => Problem::new(
            StatusCode::NOT_FOUND,
            "there is no such upload: it was cancelled or rejected, or has expired; begin another",
        ),
        Unknown::Elsewhere => Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "another node keeps this upload: send the request to the node that began it, or begin another",
        ),
    }
}

fn not_opened(why: NotOpened) -> Problem {
    match why {
        NotOpened::OfParty => Problem::new(
            StatusCode::CONFLICT,
            format!("{why}; continue or cancel one of them, or send the data in one request"),
        ),
        NotOpened::OfNode => {
            tracing::warn!("upload rejected: {why}");
            Problem::busy("the server has reached its limit of open uploads")
        }
        NotOpened::Storage(error) => error.into(),
    }
}

/// Returns 507 if the disk has no space for the part.
fn no_space(error: objects::Error) -> Problem {
    if !matches!(error, objects::Error::Full(_)) {
        return error.into();
    }
    tracing::error!("cannot store a part of an upload: {}", chain(&error));
    Problem::new(
        StatusCode::INSUFFICIENT_STORAGE,
        "the server has no space for this part; what was stored before is kept, and the upload can be continued later",
    )
}
