//! Uploads: encodings as JSON or binary.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use hyper::body::Body as _;

use super::accepted::{Accepted, accepted};
use super::partial_uploads;
use crate::coordinator::Rules;
use crate::edge::{PublicAddress, PublicHost};
use crate::http::ApiState;
use crate::http::auth::Caller;
use crate::http::body;
use crate::http::form::Form;
use crate::http::problem::Problem;
use crate::http::receipt;
use crate::http::responses::{Guarded, UploadBody, UploadFault, UploadOrDisabled};
use crate::http::resumable;
use crate::http::schemas;
use crate::http::upload::upload;
use crate::model::ProjectState;

/// Upload encodings as JSON
///
/// The members may be in any order. An upload whose encoding size does not match that of the project is accepted. The
/// project is then in error, and the party may upload again.
#[utoipa::path(post, path = "/api/v1/projects/{project_id}/clks", tag = "uploads", operation_id = "uploadJson", request_body = schemas::UploadBody,
    params(("project_id" = String, Path, description = "The project."),
           ("Receipt-Again" = Option<String>, Header, description = "`true`: if these encodings were accepted before and the response was lost, return a new receipt token in place of the lost one. An addition to the reference service."),
           ("Upload-Complete" = Option<String>, Header, description = "`?0`: the body is empty or only the first part of the upload; the response is 201, and `Location` has the address for the other parts. An addition to the reference service."),
           ("Upload-Length" = Option<u64>, Header, description = "With `Upload-Complete: ?0`: the length of the whole body.")),
    security(("update_token" = [])),
    responses((status = 201, description = "Upload accepted.", body = Accepted), Guarded, UploadBody, UploadOrDisabled))]
pub(in crate::http) async fn json(
    State(state): State<ApiState>,
    caller: Caller,
    PublicHost(host): PublicHost,
    address: PublicAddress,
    request: Request,
) -> Result<Response, Problem> {
    let begins = resumable::begins(request.headers())?;
    if !begins && request.body().is_end_stream() {
        return Err(Problem::bad_request("the body is empty; it must be a JSON object"));
    }
    if !body::is_json(request.headers()) {
        return Err(Problem::media_type("application/json"));
    }
    let (project, party) = caller.provider(&state).await?;
    let form = Form::Json { uses_blocking: project.uses_blocking, host };
    if begins {
        return partial_uploads::begin(state, &project, party, form, &address, request).await;
    }
    let form = Ok(form);
    whole(state, &project, party, form, request).await
}

/// Upload encodings as bytes
///
/// The body has the encodings one after the other, with nothing between them; records are numbered from 0. It has no
/// blocks: in a project that uses blocking, all records are in the default block.
#[utoipa::path(post, path = "/api/v1/projects/{project_id}/binaryclks", tag = "uploads", operation_id = "uploadBinary",
    request_body(content = schemas::BinaryBody, content_type = "application/octet-stream"),
    params(("project_id" = String, Path, description = "The project."),
           ("Hash-Count" = u32, Header, minimum = 1, description = "Number of encodings."),
           ("Hash-Size" = u32, Header, minimum = 1, description = "Bytes of each encoding."),
           ("Receipt-Again" = Option<String>, Header, description = "`true`: if these encodings were accepted before and the response was lost, return a new receipt token in place of the lost one. An addition to the reference service."),
           ("Upload-Complete" = Option<String>, Header, description = "`?0`: the body is empty or only the first part of the upload; the response is 201, and `Location` has the address for the other parts. An addition to the reference service."),
           ("Upload-Length" = Option<u64>, Header, description = "With `Upload-Complete: ?0`: the length of the whole body.")),
    security(("update_token" = [])),
    responses((status = 201, description = "Upload accepted.", body = Accepted), Guarded, UploadBody, UploadFault))]
pub(in crate::http) async fn binary(
    State(state): State<ApiState>,
    caller: Caller,
    address: PublicAddress,
    request: Request,
) -> Result<Response, Problem> {
    let begins = resumable::begins(request.headers())?;
    let media = body::media_type(request.headers());
    if media.is_none_or(|media| media.essence_str() != mime::APPLICATION_OCTET_STREAM) {
        return Err(Problem::media_type("application/octet-stream"));
    }
    let count = whole_number(request.headers(), "Hash-Count")?;
    let size = whole_number(request.headers(), "Hash-Size")?;
    let (project, party) = caller.provider(&state).await?;
    let form = announced(count, size, &project, state.coordinator.rules());
    if begins {
        return partial_uploads::begin(state, &project, party, form?, &address, request).await;
    }
    let form = form.and_then(|form| check_length(request.body(), count, size).map(|()| form));
    whole(state, &project, party, form, request).await
}

/// Reads an upload in one request.
async fn whole(
    state: ApiState,
    project: &ProjectState,
    party: u32,
    form: Result<Form, Problem>,
    request: Request,
) -> Result<Response, Problem> {
    let before = project.parties.get(party as usize);
    let before = before.map(|party| receipt::asked_for(request.headers(), party)).transpose()?.flatten();
    let body = request.into_body();
    let receipt = match before {
        Some(before) => receipt::renew(state, (project.id, party), before, form, body).await?,
        None => upload(state, project.id, party, form, body).await?.1,
    };
    Ok(accepted(&receipt))
}

/// Parses a header as a whole number.
fn whole_number(headers: &HeaderMap, name: &'static str) -> Result<i64, Problem> {
    let text = headers.get(name).ok_or_else(|| {
        Problem::bad_request(format!("the header {name} is missing; it must be a whole number"))
    })?;
    let number = text.to_str().ok().filter(|text| is_plain(text)).and_then(|text| text.parse().ok());
    number.ok_or_else(|| {
        Problem::bad_request(format!("the header {name} must be a whole number, written with digits only"))
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
            "the body has {length} bytes; Hash-Count times Hash-Size is {expected}"
        ))),
        _ => Ok(()),
    }
}
