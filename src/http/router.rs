//! From a path to who answers it.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower::util::MapRequest;
use tower_http::set_header::SetResponseHeaderLayer;

use super::api::{authorize, clks, projects, results, run_status, runs, status};
use super::problem::Problem;
use super::{State, arrival, cors, docs, guides, log, openapi};

/// A browser is not to guess what an answer is.
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
/// Answers hold tokens and results: nobody on the way is to keep them.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Everything that the API's listener answers.
pub fn api(state: State) -> Router {
    let routes = Router::new()
        .nest("/api/v1", endpoints())
        .merge(docs::pages())
        .merge(guides::pages())
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(SetResponseHeaderLayer::if_not_present(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF))
        .layer(SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, NO_STORE))
        .layer(from_fn(arrival::admit))
        .layer(from_fn_with_state(state.clone(), cors::answer))
        .layer(from_fn_with_state(state.clone(), log::answer))
        .with_state(state);
    // Around the router rather than in it: a path is to be rewritten before it is looked up.
    Router::new().fallback_service(MapRequest::new(routes, merge_slashes))
}

fn endpoints() -> Router<State> {
    Router::new()
        .route("/status", get(status::status))
        .route("/version", get(status::version))
        .route("/openapi.json", get(openapi::json))
        .route("/projects", get(projects::list).post(projects::create))
        .route("/projects/{project_id}", get(projects::describe).delete(projects::delete))
        .route("/projects/{project_id}/authorize-external-upload", get(authorize::authorize))
        .route("/projects/{project_id}/clks", post(clks::json))
        .route("/projects/{project_id}/binaryclks", post(clks::binary))
        .route("/projects/{project_id}/runs", get(runs::list).post(runs::post))
        .route("/projects/{project_id}/runs/{run_id}", get(runs::describe).delete(runs::delete))
        .route("/projects/{project_id}/runs/{run_id}/status", get(run_status::status))
        .route("/projects/{project_id}/runs/{run_id}/result", get(results::result))
}

/// What else is asked for.
pub(super) async fn unknown(uri: Uri) -> Response {
    if uri.path() == "/api/v1" {
        let there = [(header::LOCATION, HeaderValue::from_static("/api/v1/"))];
        return (StatusCode::MOVED_PERMANENTLY, there).into_response();
    }
    Problem::new(StatusCode::NOT_FOUND, "there is nothing here; /docs says what there is").into_response()
}

pub(super) async fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path takes other methods; the header Allow names them")
}

/// Makes one slash of several, and forgets one at the end: clients join a base that ends in a slash with
/// paths that begin with one. Answered directly, since a redirected POST comes back as a GET.
fn merge_slashes(mut request: Request) -> Request {
    let Some(path) = merged(request.uri().path()) else { return request };
    let mut parts = request.uri().clone().into_parts();
    let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
    // What was valid before has only lost slashes.
    if let Ok(path_and_query) = format!("{path}{query}").parse() {
        parts.path_and_query = Some(path_and_query);
    }
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

/// The path as it is looked up, if that differs.
fn merged(path: &str) -> Option<String> {
    if !path.contains("//") && !path.ends_with('/') {
        return None;
    }
    let mut merged = String::with_capacity(path.len());
    for piece in path.split('/').filter(|piece| !piece.is_empty()) {
        merged.push('/');
        merged.push_str(piece);
    }
    // The address that a browser is sent to from `/api/v1`.
    if merged.is_empty() || (merged == "/api/v1" && path.ends_with('/')) {
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
        ] {
            assert_eq!(merged(path).as_deref(), Some(expected), "{path}");
        }
        for path in ["/", "/api/v1", "/api/v1/", "/api/v1/projects/a%2F%2Fb"] {
            assert_eq!(merged(path), None, "{path}");
        }
    }

    #[test]
    fn what_is_asked_stays_when_slashes_merge() {
        let request = Request::get("/api//v1/status?a=//b").body(axum::body::Body::empty()).unwrap();
        assert_eq!(merge_slashes(request).uri(), "/api/v1/status?a=//b");
        let absolute = Request::get("http://host:1//docs").body(axum::body::Body::empty()).unwrap();
        assert_eq!(merge_slashes(absolute).uri(), "http://host:1/docs");
    }
}
