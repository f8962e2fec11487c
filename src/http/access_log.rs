//! Logs each request with its request id, which the response also contains.

use std::fmt;
use std::panic::AssertUnwindSafe;

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;

use super::ApiState;
use super::problem::Problem;
use crate::edge::{AccessLog, UNKNOWN_ROUTE};
use crate::runtime::clock::Stopwatch;
use crate::runtime::compute::panic_text;
use crate::telemetry::metrics::{self, UnderWay};

/// The maximum length in bytes of a path segment that is logged as a word.
const WORD_BYTES_MAX: usize = 32;

/// Answers an API request, and logs its method, path, status and duration, but no token, query or body. A panic is
/// answered with 500.
pub(super) async fn answer(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let wanted = &state.settings.log_http_header_fields;
    let headers = Wanted { names: wanted, headers: request.headers() }.to_string();
    let Answered { line, status, duration_ms, response } = answered("api", request, next).await;
    if wanted.is_empty() {
        tracing::info!(client.address = line.client(), status, duration_ms, "{line}");
    } else {
        tracing::info!(client.address = line.client(), status, duration_ms, headers, "{line}");
    }
    response
}

/// Answers and logs an admin request.
pub(super) async fn administered(request: Request, next: Next) -> Response {
    let Answered { line, status, duration_ms, response } = answered("ops", request, next).await;
    tracing::info!(client.address = line.client(), status, duration_ms, "{line}");
    response
}

/// Answers a request for a probe or for metrics, and logs it at a lower level, since such requests are frequent.
pub(super) async fn watched(request: Request, next: Next) -> Response {
    let Answered { line, status, duration_ms, response } = answered("ops", request, next).await;
    tracing::debug!(client.address = line.client(), status, duration_ms, "{line}");
    response
}

/// Answers a request of a worker, and logs it at a lower level, since such requests are frequent.
pub(super) async fn worked(request: Request, next: Next) -> Response {
    let Answered { line, status, duration_ms, response } = answered("workers", request, next).await;
    tracing::debug!(client.address = line.client(), status, duration_ms, "{line}");
    response
}

/// A request that was answered.
struct Answered {
    line: AccessLog,
    status: u16,
    duration_ms: f64,
    response: Response,
}

/// Answers a request, and counts it.
async fn answered(listener: &'static str, request: Request, next: Next) -> Answered {
    let mut line = AccessLog::of(&request, shown);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (stopwatch, under_way) = (Stopwatch::start(), UnderWay::begin(metrics::REQUESTS_NOW));
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    drop(under_way);
    line.answered();
    let response = answered.unwrap_or_else(|panic| {
        tracing::error!("answering a request panicked: {}", panic_text(panic.as_ref()));
        Problem::unexplained().into_response()
    });
    let (seconds, status) = (stopwatch.seconds(), response.status().as_u16());
    let route = route.as_ref().map_or(UNKNOWN_ROUTE, MatchedPath::as_str);
    metrics::request(listener, route, line.method(), status, seconds);
    let duration_ms = (seconds * 10_000.0).round() / 10.0;
    Answered { line, status, duration_ms, response }
}

/// Shortens a path for the log: words are kept, identifiers are shortened, and other segments are removed, since they
/// may be tokens.
fn shown(path: &str) -> String {
    const KEPT: usize = 8;
    let is_word = |segment: &str| {
        segment == "v1"
            || segment.len() <= WORD_BYTES_MAX
                && segment.bytes().all(|byte| byte.is_ascii_lowercase() || b"-_.".contains(&byte))
    };
    let is_identifier =
        |segment: &str| segment.len() == 48 && segment.bytes().all(|byte| byte.is_ascii_hexdigit());
    if path.split('/').all(is_word) {
        return path.to_owned();
    }
    let cut = |segment: &str| match segment {
        word if is_word(word) => word.to_owned(),
        identifier if is_identifier(identifier) => format!("{}…", &identifier[..KEPT]),
        _ => "…".to_owned(),
    };
    path.split('/').map(cut).collect::<Vec<_>>().join("/")
}

/// The values of the request headers to log.
struct Wanted<'a> {
    names: &'a [String],
    headers: &'a HeaderMap,
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = self.names.iter().filter_map(|name| Some((name, self.headers.get(name)?)));
        for (position, (name, value)) in there.enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_path_is_logged_without_what_may_be_a_token() {
        let path = format!("/api/v1/projects/{}/runs", "0f".repeat(24));
        assert_eq!(shown(&path), "/api/v1/projects/0f0f0f0f…/runs");
        assert_eq!(shown("/api/v1//status"), "/api/v1//status");
        let token = "a0".repeat(24);
        for hidden in
            [format!("token={token}"), format!("{token};x"), "hunter2".to_owned(), "A%20b".to_owned()]
        {
            assert_eq!(shown(&format!("/api/v1/projects/{hidden}/clks")), "/api/v1/projects/…/clks");
        }
    }

    #[test]
    fn wanted_headers_are_shown_escaped_and_others_are_not() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("secret"));
        headers.insert("user-agent", HeaderValue::from_bytes(b"a\"b\xff").unwrap());
        headers.insert("x-one", HeaderValue::from_static("1"));
        let names = ["user-agent", "x-none", "x-one"].map(str::to_owned);
        let shown = Wanted { names: &names, headers: &headers }.to_string();
        assert_eq!(shown, r#"user-agent="a\"b\xff", x-one="1""#);
    }
}
