//! Serves `s3s` over HTTP. Every request gets a log line, a request id, and an answer in XML.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use futures::FutureExt;
use memchr::memmem;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::access::AccessControl;
use super::body::{DOCUMENT_BYTES_MAX, LateRefusal, prepare};
use super::host::Domain;
use super::normalize::{AlreadyVerified, Normalizer};
use super::owners::Owners;
use super::response::ResponseContext;
use super::routes::Routes;
use super::service::{Results, Service};
use super::sts::Sts;
use super::validate;
use crate::buckets::Buckets;
use crate::edge::{AccessLog, ForwardedHost, RequestId};
use crate::objects::Spool;
use crate::runtime::clock::Stopwatch;
use crate::runtime::compute::panic_text;
use crate::telemetry::metrics;

/// The response header with the request id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");

/// The parts of the endpoint.
pub struct EndpointConfig {
    /// The buckets that the endpoint serves.
    pub buckets: Buckets,
    /// The bucket of results.
    pub results: Results,
    /// The spool, which defines the disk space that must stay free.
    pub spool: Spool,
    /// Determines the projects that keys belong to.
    pub owners: Owners,
    /// The access control.
    pub access: AccessControl,
    /// The token service.
    pub sts: Sts,
    /// The domain whose subdomains name buckets, if there is one.
    pub domain: Option<String>,
}

/// Returns the routes of the endpoint for S3 clients.
pub fn endpoint(config: EndpointConfig) -> Router {
    let operations = Service::new(config.buckets, config.results, config.spool, config.owners);
    let domain = config.domain.as_deref();
    let mut checked = builder(operations.clone(), domain, config.access.clone());
    checked.set_access(AlreadyVerified);
    let normalizer = Normalizer::new(config.access.clone(), checked.build());
    let mut builder = builder(operations, domain, config.access.clone());
    builder.set_access(config.access);
    builder.set_route(Routes { sts: config.sts, normalizer });
    let service = builder.build();
    Router::new().fallback(move |request: Request| answer(service.clone(), request))
}

fn builder(operations: Service, domain: Option<&str>, access: AccessControl) -> S3ServiceBuilder {
    let mut builder = S3ServiceBuilder::new(operations);
    builder.set_auth(access);
    if let Some(domain) = domain {
        builder.set_host(Domain::new(domain));
    }
    let mut config = S3Config::default();
    config.xml_max_body_size = DOCUMENT_BYTES_MAX;
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder
}

/// Answers a request and logs its method, path, status and duration, but not the query, the headers, or a key that may
/// be a token.
async fn answer(service: S3Service, request: Request) -> Response {
    // The request id in the log lines of this request.
    let id = request.extensions().get::<RequestId>().and_then(|name| HeaderValue::try_from(name.id()).ok());
    let (mut line, route) = (AccessLog::of(&request, shown), route(request.uri().path()));
    let expects = request.headers().contains_key(header::EXPECT);
    let is_empty = request.headers().get(header::CONTENT_LENGTH).is_some_and(|length| length == "0");
    let stopwatch = Stopwatch::start();
    let answered = AssertUnwindSafe(ask(&service, request)).catch_unwind().await;
    let answered = answered.unwrap_or_else(|panic| {
        tracing::error!("answering a request panicked: {}", panic_text(panic.as_ref()));
        Err(s3_error!(InternalError, "We encountered an internal error. Please try again."))
    });
    let mut response = match answered {
        Ok(response) => response,
        Err(error) => error.to_http_response().unwrap_or_default().map(Body::new),
    };
    let (seconds, status) = (stopwatch.seconds(), response.status().as_u16());
    let duration_ms = (seconds * 10_000.0).round() / 10.0;
    line.answered();
    tracing::info!(client.address = line.client(), status, duration_ms, "{line}");
    metrics::request("s3", route, line.method(), status, seconds);
    // After `Expect: 100-continue` and a response before the body, clients do not reuse the connection.
    if expects && (is_empty || !response.status().is_success()) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    match id {
        Some(id) => identify(response, id).await,
        None => response,
    }
}

/// Adds the request id to a response, as a header and in the document of an error. If the message of an error names the
/// expected region, the region is also added as an element, which clients read.
async fn identify(mut response: Response, id: HeaderValue) -> Response {
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    let text = id.to_str().unwrap_or_default().to_owned();
    response.headers_mut().insert(REQUEST_ID, id);
    if !is_error || response.body().is_end_stream() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let document = axum::body::to_bytes(body, DOCUMENT_BYTES_MAX).await.unwrap_or_default();
    // Responses of the token service have an element for the id already.
    let Some(error) = document.strip_suffix(b"</Error>") else {
        return Response::from_parts(parts, Body::from(document));
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    let names_region = memmem::find(error, validate::expected_region().as_bytes()).is_some();
    let region = if names_region { format!("<Region>{}</Region>", validate::REGION) } else { String::new() };
    let end = format!("{region}<RequestId>{text}</RequestId></Error>");
    Response::from_parts(parts, Body::from([error, end.as_bytes()].concat()))
}

/// Returns a path for the log. Parts that are long enough to be a token are shortened.
fn shown(path: &str) -> String {
    const KEPT: usize = 8;
    const RUN_BYTES_MAX: usize = 31;
    let is_of_run = |byte: char| byte.is_ascii_alphanumeric() || "+=%".contains(byte);
    let mut shown = String::with_capacity(path.len());
    for part in path.split_inclusive(|byte: char| !is_of_run(byte)) {
        let run = part.trim_end_matches(|byte: char| !is_of_run(byte));
        if run.len() <= RUN_BYTES_MAX {
            shown.push_str(part);
        } else {
            shown.extend([&run[..KEPT], "…", &part[run.len()..]]);
        }
    }
    shown
}

/// Returns the kind of path as a label for metrics, without names of buckets and keys.
fn route(path: &str) -> &'static str {
    match path.trim_start_matches('/').split_once('/') {
        Some((_, key)) if !key.is_empty() => "/{bucket}/{key}",
        None if path.trim_start_matches('/').is_empty() => "/",
        _ => "/{bucket}",
    }
}

async fn ask(service: &S3Service, request: Request) -> S3Result<Response> {
    let (mut parts, body) = request.into_parts();
    if let Some(host) = parts.extensions.get::<ForwardedHost>().and_then(|host| host.0.parse().ok()) {
        parts.headers.insert(header::HOST, host);
    }
    validate::check(&mut parts)?;
    let (late, context) = (LateRefusal::default(), ResponseContext::of(&parts));
    let body = prepare(&parts, body, &late).await?;
    let answered = service.call(Request::from_parts(parts, body)).await;
    if let Some(refusal) = late.refusal() {
        return Err(refusal);
    }
    let response =
        answered.map_err(|error| S3Error::with_source(S3ErrorCode::InternalError, error.into()))?;
    Ok(context.finish(response))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_logged_without_what_may_be_a_token() {
        let project = "0f".repeat(24);
        assert_eq!(shown(&format!("/uploads/{project}/0/data.csv")), "/uploads/0f0f0f0f…/0/data.csv");
        assert_eq!(shown(&format!("/b/token={project}")), "/b/token=0f…");
        assert_eq!(
            shown("/bucket/a key/party-1_2026-11-28.json.gz"),
            "/bucket/a key/party-1_2026-11-28.json.gz"
        );
        assert_eq!(shown(&format!("/{project}")), "/0f0f0f0f…");
    }
}
