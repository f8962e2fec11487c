//! Checks and decodes each request before it is routed: headers that must not be repeated, and content
//! codings.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt;
use hyper::body::Body as _;

use super::problem::Problem;
use super::resumable;
use crate::runtime::coding;

/// The headers that must not be repeated: this server and a proxy might use different values.
const SINGLE: [HeaderName; 12] = [
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::ORIGIN,
    HeaderName::from_static("hash-count"),
    HeaderName::from_static("hash-size"),
    HeaderName::from_static("receipt-again"),
    HeaderName::from_static("return-object-store-address"),
    HeaderName::from_static("upload-complete"),
    HeaderName::from_static("upload-length"),
    HeaderName::from_static("upload-offset"),
];

/// Decodes the body of a request and forwards the request, or rejects it.
pub(super) async fn admit(request: Request, next: Next) -> Response {
    match admitted(request) {
        Ok(request) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn admitted(request: Request) -> Result<Request, Problem> {
    require_single(request.headers())?;
    let lines = request.headers().get_all(header::CONTENT_ENCODING);
    let codings = coding::named(lines.into_iter().map(|line| line.to_str().unwrap_or("not text")));
    let codings =
        codings.map_err(|unknown| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, unknown.to_string()))?;
    if codings.is_empty() || request.body().is_end_stream() || resumable::is_part(&request) {
        return Ok(request);
    }
    let mut request = request.map(|body| {
        let source = body.into_data_stream();
        Body::from_stream(coding::decode(source, &codings).map_err(axum::Error::new))
    });
    for name in [header::CONTENT_ENCODING, header::CONTENT_LENGTH] {
        request.headers_mut().remove(name);
    }
    Ok(request)
}

/// Rejects a repeated header. The HTTP library has already removed the length of a chunked body.
fn require_single(headers: &HeaderMap) -> Result<(), Problem> {
    let is_each_single = headers.keys_len() == headers.len();
    if is_each_single {
        return Ok(());
    }
    let is_twice = |name: &&HeaderName| headers.get_all(*name).iter().nth(1).is_some();
    SINGLE.iter().find(is_twice).map_or(Ok(()), |name| {
        Err(Problem::bad_request(format!("the header {name} is repeated; send it once")))
    })
}
