//! Describes error responses.

use reqwest::header::{ALLOW, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Response, StatusCode};
use serde_json::Value;

use crate::cli::answer::{self, beginning, plain};
use crate::cli::exit::Failure;

/// The description of a request, for messages.
pub(super) struct Asked {
    /// The action, such as `creating a project`.
    pub(super) act: &'static str,
    /// The shape of a successful response.
    pub(super) expected: Shape,
    /// The advice after a 403 response to this request.
    pub(super) forbidden: &'static str,
    /// The explanation of a 404 response to this request.
    pub(super) missing: &'static str,
    /// The number of bytes that were sent.
    pub(super) bytes: u64,
}

/// The shape of a response. A response of another shape does not come from an entity service.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// No body.
    Nothing,
    List,
    /// An object with this member.
    Member(&'static str),
}

impl Shape {
    /// Returns true if `answer`, which is null without a body, has this shape.
    fn fits(self, answer: &Value) -> bool {
        match self {
            Self::Nothing => answer.is_null(),
            Self::List => answer.is_array(),
            Self::Member(name) => answer.get(name).is_some(),
        }
    }
}

impl Asked {
    /// Describes a request with a token.
    pub(super) const fn new(act: &'static str, expected: Shape) -> Self {
        Self { act, expected, forbidden: FORBIDDEN, missing: MISSING, bytes: 0 }
    }
}

/// The usual advice after 403.
const FORBIDDEN: &str =
    "check that the token is the right one and of the right kind, and that the project and run still exist";
/// The advice after 403 to a request for a run's status or result.
pub(super) const READERS: &str = "the result token of the project reads its runs and results; the token of a party reads none of \
                                  them, but in a `permutations` project its receipt token reads its own result; check also \
                                  that the project and run still exist";
/// The usual advice after 404.
const MISSING: &str = "check the address of the server, and whether it supports this";

/// Returns the failure that a response reports.
pub(super) async fn of(base: &str, response: Response, asked: &Asked) -> Failure {
    let status = response.status();
    let headers = response.headers();
    if status.is_redirection() {
        let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
        return Failure::Usage(format!(
            "{}: {base} redirects to {}; give that address with --server",
            asked.act,
            plain(to)
        ));
    }
    let kind = headers.get(CONTENT_TYPE).cloned();
    let is_api = headers.contains_key(ALLOW) || kind.as_ref().is_some_and(|kind| is(kind, "json"));
    let body = beginning(response).await;
    // The reason of the server comes before any advice: it is exact, and the advice is general.
    let said = match detail(&body) {
        Some(detail) => format!(": {detail}"),
        None if is_html(kind.as_ref(), &body) => format!(": {}", page(&body)),
        None => String::new(),
    };
    let (act, code) = (asked.act, status.as_u16());
    match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Failure::Input(format!("{act}: {base} rejects the request ({code}){said}"))
        }
        StatusCode::UNAUTHORIZED => Failure::Usage(format!(
            "{act}: {base} requires another token (401){said}; for projects, give the admin token with --admin-token-file"
        )),
        StatusCode::FORBIDDEN if !is_html(kind.as_ref(), &body) => {
            Failure::Input(format!("{act}: {base} rejects the request (403){said}; {}", asked.forbidden))
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED if is_api => {
            Failure::Input(format!("{act}: {base} rejects the request ({code}){said}; {}", asked.missing))
        }
        StatusCode::CONFLICT => Failure::Input(format!("{act}: {base} refuses this (409){said}")),
        StatusCode::PAYLOAD_TOO_LARGE => Failure::Input(format!(
            "{act}: the {} bytes exceed the limit of {base}, or of a proxy in front of it (413){said}; ask the operator to \
             raise it (nginx: client_max_body_size), or upload through the object store with --route store",
            asked.bytes
        )),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Failure::Failed(format!(
            "{act}: {base} is busy ({code}){said}; try again later, or longer with --retry"
        )),
        _ => Failure::Failed(format!("{act}: {base} answered {status}{said}")),
    }
}

/// Returns the JSON of a successful response; null if the response has no body.
pub(super) async fn json(base: &str, response: Response, asked: &Asked) -> Result<Value, Failure> {
    let (status, kind) = (response.status(), response.headers().get(CONTENT_TYPE).cloned());
    let body = answer::read(response).await;
    let body =
        body.map_err(|unread| Failure::Failed(format!("{}: no answer from {base}: {unread}", asked.act)))?;
    let answer = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&body).map_err(|_| no_json(base, kind.as_ref(), &body, asked))?
    };
    if asked.expected.fits(&answer) {
        return Ok(answer);
    }
    Err(Failure::Failed(format!(
        "{}: {base} answered {status}, but not like an entity service; is it another server, or a proxy?",
        asked.act
    )))
}

/// Returns the failure for a successful response whose body is not JSON.
pub(super) fn no_json(base: &str, kind: Option<&HeaderValue>, body: &[u8], asked: &Asked) -> Failure {
    let found = if is_html(kind, body) {
        page(body)
    } else {
        "this is not a response of an entity service".to_owned()
    };
    Failure::Failed(format!("{}: the response of {base} is not JSON; {found}", asked.act))
}

/// Returns the text of a problem document.
fn detail(body: &[u8]) -> Option<String> {
    let problem: Value = serde_json::from_slice(body).ok()?;
    let said = [&problem["detail"], &problem["title"], &problem["message"]];
    let said = said.into_iter().find_map(Value::as_str).map(plain);
    // What the API offers as a header, the command offers as a flag.
    said.map(|said| said.replace("with the header Receipt-Again: true", "with --again"))
}

fn is(kind: &HeaderValue, word: &str) -> bool {
    kind.to_str().is_ok_and(|kind| kind.to_ascii_lowercase().contains(word))
}

fn is_html(kind: Option<&HeaderValue>, body: &[u8]) -> bool {
    kind.is_some_and(|kind| is(kind, "html")) || body.trim_ascii_start().starts_with(b"<")
}

/// Describes an HTML page, such as that of a proxy.
fn page(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title>").zip(lower.find("</title>"));
    let title = title.and_then(|(start, end)| text.get(start + "<title>".len()..end)).map(plain);
    let named = title.filter(|title| !title.is_empty()).map_or(String::new(), |title| format!(" `{title}`"));
    format!(
        "the response is a web page{named}: a proxy or another server answers instead of the entity service"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_named_by_its_title() {
        let html = b"<html><head><title>413 Request\n Entity Too Large</title></head></html>";
        assert!(page(html).contains("`413 Request Entity Too Large`"));
        assert!(is_html(None, b"  <!doctype html>") && !is_html(None, b"{}"));
        assert!(!page(b"</title><title>").contains('`'));
    }

    #[test]
    fn an_answer_has_a_shape() {
        use serde_json::json;

        let (member, list) = (Shape::Member("run_id"), Shape::List);
        assert!(
            member.fits(&json!({"run_id": 1})) && list.fits(&json!([])) && Shape::Nothing.fits(&Value::Null)
        );
        for other in [Value::Null, json!("run_id"), json!(["run_id"]), json!({"other": 1}), json!(7)] {
            assert!(!member.fits(&other) && (other.is_array() || !list.fits(&other)), "{other}");
            assert!(other.is_null() || !Shape::Nothing.fits(&other));
        }
    }

    #[test]
    fn text_from_a_server_is_printed_as_one_line_without_control_characters() {
        assert_eq!(detail(br#"{"detail": "a\u001b[2Jb\n c", "title": "t"}"#).unwrap(), "a [2Jb c");
        assert_eq!(detail(br#"{"detail": null, "title": "t"}"#).unwrap(), "t");
    }
}
