//! The routes of the API's listener, and the normalization of paths.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, head, post};
use axum::{Extension, Router};
use tower::util::{MapRequest, option_layer};
use tower_http::set_header::SetResponseHeaderLayer;

use super::api::{authorize, clks, forecasts, partial_uploads, projects, results, run_status, runs, status};
use super::problem::Problem;
use super::{ApiState, Live, access_log, arrival, cors, dashboard, docs, etag, guides};
use crate::edge::{BasePath, PublicAddress};

/// The header value that stops browsers from guessing the type of a response.
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// The header value that stops caches from storing responses, since they contain tokens and results.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The first segments of this server's own paths.
pub const RESERVED_PATHS: [&str; 3] = ["api", "dashboard", "docs"];

/// Returns the router of the API's listener.
pub fn api(state: ApiState, live: Live) -> Router {
    let base = state.settings.base_path.clone();
    let origins = Arc::new(state.settings.cors_origins.clone());
    let cors = (!origins.are_none()).then(|| from_fn_with_state(origins, cors::answer));
    // One layer of several parts, the outermost first: a router boxes each of its layers for each request.
    let around = (
        from_fn_with_state(state.clone(), access_log::answer),
        option_layer(cors),
        from_fn(arrival::admit),
        Extension(live),
        SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, NO_STORE),
        SetResponseHeaderLayer::if_not_present(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF),
    );
    let routes = endpoints()
        .merge(pages(&state))
        .fallback(lost)
        .method_not_allowed_fallback(wrong_method)
        .layer(around)
        .with_state(state);
    // Paths are rewritten outside the router, since a path must be rewritten before it is matched.
    Router::new().fallback_service(MapRequest::new(routes, move |request| look_up(&base, request)))
}

/// Returns the routes of the pages for browsers.
fn pages(state: &ApiState) -> Router<ApiState> {
    let documentation = docs::pages().merge(guides::pages());
    if !state.settings.dashboard {
        return documentation.merge(docs::front_page()).layer(from_fn(etag::validated));
    }
    documentation.merge(dashboard::pages()).layer(from_fn(etag::validated)).merge(dashboard::views())
}

fn endpoints() -> Router<ApiState> {
    Router::new()
        .route("/api/v1/status", get(status::status))
        .route("/api/v1/version", get(status::version))
        .route("/api/v1/openapi.json", get(docs::description))
        .route("/api/v1/projects", get(projects::list).post(projects::create))
        .route("/api/v1/projects/{project_id}", get(projects::describe).delete(projects::delete))
        .route("/api/v1/projects/{project_id}/authorize-external-upload", get(authorize::authorize))
        .route("/api/v1/projects/{project_id}/clks", post(clks::json).options(partial_uploads::limits))
        .route(
            "/api/v1/projects/{project_id}/binaryclks",
            post(clks::binary).options(partial_uploads::limits),
        )
        .route("/api/v1/projects/{project_id}/uploads/{upload_id}", upload())
        .route("/api/v1/projects/{project_id}/forecast", post(forecasts::forecast))
        .route("/api/v1/projects/{project_id}/runs", get(runs::list).post(runs::post))
        .route("/api/v1/projects/{project_id}/runs/{run_id}", get(runs::describe).delete(runs::delete))
        .route("/api/v1/projects/{project_id}/runs/{run_id}/status", get(run_status::status))
        .route("/api/v1/projects/{project_id}/runs/{run_id}/result", get(results::result))
}

/// Returns the methods of an upload that arrives in several requests.
fn upload() -> MethodRouter<ApiState> {
    head(partial_uploads::describe).patch(partial_uploads::append).delete(partial_uploads::cancel)
}

/// Answers all other paths. Who opens the base address of the API in a browser gets its description. The redirects are
/// relative, so that they are right for any prefix of a proxy.
async fn lost(State(state): State<ApiState>, outside: PublicAddress, uri: Uri) -> Response {
    let base = outside.base(&state.settings.base_path).to_string();
    match (uri.path().rsplit_once('/'), uri.path()) {
        (_, "/api/v1") => docs::moved("../docs"),
        (_, "/api/v1/") => docs::moved("../../docs"),
        (Some((_, last)), path) if path == base => docs::moved(&format!("{last}/")),
        (_, path) if path == "/admin" || path.starts_with("/admin/") => Problem::new(
            StatusCode::NOT_FOUND,
            "not found; /admin and the operator's page at / are on the operations listener (--ops-listen)",
        )
        .into_response(),
        _ => Problem::new(StatusCode::NOT_FOUND, "not found; /docs lists the endpoints").into_response(),
    }
}

pub(super) async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path does not accept the method; the header Allow lists those that it accepts",
    )
}

/// Normalizes a path: removes a proxy's prefix, merges slashes, and removes a trailing slash, since clients join a
/// base that ends in a slash with paths that begin with one. A redirect would not work, since clients repeat a
/// redirected POST as a GET.
fn look_up(base: &BasePath, mut request: Request) -> Request {
    let Some(path) = found(base, request.uri().path()) else { return request };
    let mut parts = request.uri().clone().into_parts();
    let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
    // This cannot fail: a valid path without some of its slashes is valid.
    if let Ok(path_and_query) = format!("{path}{query}").parse() {
        parts.path_and_query = Some(path_and_query);
    }
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

/// Returns the normalized path, if it differs.
fn found(base: &BasePath, path: &str) -> Option<String> {
    let ends = path.ends_with('/');
    if !path.contains("//") && !ends && base.is_empty() {
        return None;
    }
    let mut merged = String::with_capacity(path.len());
    for piece in path.split('/').filter(|piece| !piece.is_empty()) {
        merged.push('/');
        merged.push_str(piece);
    }
    // The base without a slash at its end is kept, since a browser is redirected from it.
    if let Some(rest) = base.strip(&merged).filter(|rest| ends || !rest.is_empty()) {
        merged.drain(..merged.len() - rest.len());
    }
    // These paths are kept with or without a slash at the end, since they are redirected: links on pages are relative.
    let is_kept = merged == "/api/v1" || merged.starts_with("/docs") || merged.starts_with("/dashboard");
    if merged.is_empty() || (ends && is_kept) {
        merged.push('/');
    }
    (merged != path).then_some(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_merge() {
        for (path, expected) in [
            ("/api/v1//projects/x/runs", "/api/v1/projects/x/runs"),
            ("//api///v1/status", "/api/v1/status"),
            ("/api/v1/projects/", "/api/v1/projects"),
            ("/api/v1//", "/api/v1/"),
            ("//", "/"),
            ("//dashboard//new/", "/dashboard/new/"),
        ] {
            assert_eq!(found(&BasePath::default(), path).as_deref(), Some(expected), "{path}");
        }
        for path in ["/", "/api/v1", "/api/v1/", "/dashboard/", "/api/v1/projects/a%2F%2Fb"] {
            assert_eq!(found(&BasePath::default(), path), None, "{path}");
        }
    }

    #[test]
    fn the_path_prefix_of_a_proxy_is_removed_if_it_is_still_there() {
        let base = BasePath::parse("/pprl").unwrap();
        for (path, expected) in [
            ("/pprl/api/v1/status", "/api/v1/status"),
            ("//pprl//api/v1//", "/api/v1/"),
            ("/pprl/", "/"),
            ("/pprl/docs/", "/docs/"),
            ("/pprl/pprl/docs", "/pprl/docs"),
        ] {
            assert_eq!(found(&base, path).as_deref(), Some(expected), "{path}");
        }
        for path in ["/pprl", "/docs", "/api/v1/status", "/pprlx/docs"] {
            assert_eq!(found(&base, path), None, "{path}");
        }
    }

    #[test]
    fn merging_slashes_keeps_the_query() {
        let request = Request::get("/api//v1/status?a=//b").body(axum::body::Body::empty()).unwrap();
        assert_eq!(look_up(&BasePath::default(), request).uri(), "/api/v1/status?a=//b");
        let absolute = Request::get("http://host:1//docs").body(axum::body::Body::empty()).unwrap();
        assert_eq!(look_up(&BasePath::default(), absolute).uri(), "http://host:1/docs");
    }
}
