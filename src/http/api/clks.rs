//! Uploads: encodings as JSON or binary.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use hyper::body::Body as _;
use serde::Serialize;
use utoipa::ToSchema;

use crate::coordinator::Rules;
use crate::edge::PublicHost;
use crate::http::ApiState;
use crate::http::auth::Caller;
use crate::http::body;
use crate::http::problem::Problem;
use crate::http::receipt;
use crate::http::responses::{Guarded, UploadBody, UploadFault, UploadOrDisabled};
use crate::http::schemas;
use crate::http::upload::{Form, upload};
use crate::model::ProjectState;

/// An accepted upload.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Accepted {
    #[schema(example = "Updated")]
    message: &'static str,
    /// In `permutations` projects, gives access to the party's result.
    #[schema(schema_with = schemas::hex48)]
    receipt_token: String,
}

/// Upload encodings as JSON
///
/// The members may come in any order. An upload whose encoding size does not fit the project is accepted here
/// and puts the project in error; the party may upload again then.
#[utoipa::path(post, path = "/api/v1/projects/{project_id}/clks", tag = "uploads", operation_id = "uploadJson", request_body = schemas::UploadBody,
    params(("project_id" = String, Path, description = "The project."),
           ("Receipt-Again" = Option<String>, Header, description = "`true`: if these encodings were accepted before, and the answer was lost, give a new receipt token in place of the lost one. An addition to the reference service.")),
    security(("update_token" = [])),
    responses((status = 201, description = "Upload accepted.", body = Accepted), Guarded, UploadBody, UploadOrDisabled))]
pub(in crate::http) async fn json(
    State(state): State<ApiState>,
    caller: Caller,
    PublicHost(host): PublicHost,
    request: Request,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    if request.body().is_end_stream() {
        return Err(Problem::bad_request("the body is empty; it must be a JSON object"));
    }
    if !body::is_json(request.headers()) {
        return Err(Problem::media_type("application/json"));
    }
    let (project, party) = caller.provider(&state).await?;
    let form = Ok(Form::Json { uses_blocking: project.uses_blocking, host });
    accepted(state, &project, party, form, request).await
}

/// Upload encodings as bytes
///
/// The body has the encodings one after the other, with nothing between them; records are counted from 0. It has no blocks: in a project
/// that uses blocking, all records are in the default block.
#[utoipa::path(post, path = "/api/v1/projects/{project_id}/binaryclks", tag = "uploads", operation_id = "uploadBinary",
    request_body(content = schemas::BinaryBody, content_type = "application/octet-stream"),
    params(("project_id" = String, Path, description = "The project."),
           ("Hash-Count" = u32, Header, minimum = 1, description = "Number of encodings."),
           ("Hash-Size" = u32, Header, minimum = 1, description = "Bytes of each encoding."),
           ("Receipt-Again" = Option<String>, Header, description = "`true`: if these encodings were accepted before, and the answer was lost, give a new receipt token in place of the lost one. An addition to the reference service.")),
    security(("update_token" = [])),
    responses((status = 201, description = "Upload accepted.", body = Accepted), Guarded, UploadBody, UploadFault))]
pub(in crate::http) async fn binary(
    State(state): State<ApiState>,
    caller: Caller,
    request: Request,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let media = body::media_type(request.headers());
    if media.is_none_or(|media| media.essence_str() != mime::APPLICATION_OCTET_STREAM) {
        return Err(Problem::media_type("application/octet-stream"));
    }
    let count = whole_number(request.headers(), "Hash-Count")?;
    let size = whole_number(request.headers(), "Hash-Size")?;
    let (project, party) = caller.provider(&state).await?;
    let form = announced(count, size, &project, state.coordinator.rules())
        .and_then(|form| check_length(request.body(), count, size).map(|()| form));
    accepted(state, &project, party, form, request).await
}

async fn accepted(
    state: ApiState,
    project: &ProjectState,
    party: u32,
    form: Result<Form, Problem>,
    request: Request,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let before = project.parties.get(party as usize);
    let before = before.map(|party| receipt::asked_for(request.headers(), party)).transpose()?.flatten();
    let body = request.into_body();
    let receipt = match before {
        Some(before) => receipt::renew(state, (project.id, party), before, form, body).await?,
        None => upload(state, project.id, party, form, body).await?,
    };
    Ok((StatusCode::CREATED, Json(Accepted { message: "Updated", receipt_token: receipt.reveal() })))
}

/// Parses a header as a whole number.
fn whole_number(headers: &HeaderMap, name: &'static str) -> Result<i64, Problem> {
    let text = headers.get(name).ok_or_else(|| {
        Problem::bad_request(format!("the header {name} is missing; it must be a whole number"))
    })?;
    let number = text.to_str().ok().filter(|text| is_plain(text)).and_then(|text| text.parse().ok());
    number.ok_or_else(|| {
        Problem::bad_request(format!("the header {name} must be a whole number, in digits alone"))
    })
}

/// Returns whether a number is written in digits alone, so that a proxy reads the same number.
fn is_plain(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.bytes().all(|digit| digit.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'))
}

/// Parses the announced count and size, if this project accepts them.
fn announced(count: i64, size: i64, project: &ProjectState, rules: &Rules) -> Result<Form, Problem> {
    let Some(records) = u32::try_from(count).ok().filter(|records| *records > 0) else {
        return Err(Problem::bad_request(format!("Hash-Count: expected 1 to {} encodings", u32::MAX)));
    };
    let (min, max) = (rules.min_encoding_bytes, rules.max_encoding_bytes);
    let fits = |bytes: &u32| (min..=max).contains(bytes);
    let Some(encoding_bytes) = u32::try_from(size).ok().filter(fits) else {
        return Err(Problem::bad_request(format!("Hash-Size: this server accepts {min} to {max} bytes")));
    };
    match project.encoding_bytes {
        Some(fixed) if fixed != encoding_bytes => Err(Problem::bad_request(format!(
            "Hash-Size: the encodings of this project have {fixed} bytes, not {encoding_bytes}"
        ))),
        _ => Ok(Form::Binary { records, encoding_bytes }),
    }
}

/// Rejects a wrong length before the body is read, if the length is known.
fn check_length(body: &Body, count: i64, size: i64) -> Result<(), Problem> {
    let expected = u64::try_from(count).unwrap_or(0).saturating_mul(u64::try_from(size).unwrap_or(0));
    match body.size_hint().exact() {
        Some(length) if length != expected => Err(Problem::bad_request(format!(
            "the body has {length} bytes; Hash-Count times Hash-Size makes {expected}"
        ))),
        _ => Ok(()),
    }
}
