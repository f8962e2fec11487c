//! Pages and their files, which are the same for everyone.

use askama::Template;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::view::render;
use crate::http::ApiState;
use crate::http::docs::{HTML, SCRIPT, STYLE, moved, page};
use crate::http::guides;

const ICON: &str = "image/svg+xml";

/// A file in the binary, served under `/dashboard`.
macro_rules! file {
    ($media_type:expr, $name:literal) => {
        get(async || page($media_type, include_str!(concat!("../../../assets/dashboard/", $name))))
    };
}

/// Returns the routes of the pages and their files.
pub(in crate::http) fn pages() -> Router<ApiState> {
    Router::new()
        .route("/", get(home))
        .route("/dashboard", get(async || moved("./")))
        .route("/dashboard/", get(async || moved("../")))
        .route("/dashboard/new/", get(async |query| without_slash("new", query)))
        .route("/dashboard/project/", get(async |query| without_slash("project", query)))
        .route("/dashboard/run/", get(async |query| without_slash("run", query)))
        .route("/dashboard/new", get(new))
        .route("/dashboard/project", get(async || shell("Project", "project")))
        .route("/dashboard/run", get(async || shell("Run", "run")))
        .merge(files())
}

/// Redirects from a URL with a trailing slash to the one without: links on the page are relative to the latter.
fn without_slash(name: &str, RawQuery(query): RawQuery) -> Response {
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    moved(&format!("../{name}{query}"))
}

/// Returns the routes of the files that the pages load.
pub(in crate::http) fn files<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/dashboard/style.css", file!(STYLE, "style.css"))
        .route("/dashboard/app.js", file!(SCRIPT, "app.js"))
        .route("/dashboard/tokens.js", file!(SCRIPT, "tokens.js"))
        .route("/dashboard/live.js", file!(SCRIPT, "live.js"))
        .route("/dashboard/upload.js", file!(SCRIPT, "upload.js"))
        .route("/dashboard/scan.js", file!(SCRIPT, "scan.js"))
        .route("/dashboard/icon.svg", file!(ICON, "icon.svg"))
}

/// Returns the routes of the operator's page.
pub(super) fn operator<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route(
        "/",
        get(async || html(&Operator { root: "./", files: "dashboard/", version: VERSION, page: "operator" })),
    )
}

/// The page of the operator.
#[derive(Template)]
#[template(path = "operator_page.html", config = "assets/dashboard/askama.toml")]
struct Operator {
    root: &'static str,
    files: &'static str,
    version: &'static str,
    page: &'static str,
}

/// The front page.
#[derive(Template)]
#[template(path = "home.html", config = "assets/dashboard/askama.toml")]
struct Home {
    root: &'static str,
    files: &'static str,
    version: &'static str,
    guides: Vec<guides::Group>,
}

async fn home() -> Response {
    html(&Home { root: "./", files: "dashboard/", version: VERSION, guides: guides::groups() })
}

/// The page on which a project is created.
#[derive(Template)]
#[template(path = "new.html", config = "assets/dashboard/askama.toml")]
struct New {
    root: &'static str,
    files: &'static str,
    version: &'static str,
    needs_admin_token: bool,
}

async fn new(State(state): State<ApiState>) -> Response {
    let needs_admin_token = state.settings.require_admin_token;
    html(&New { root: "../", files: "", version: VERSION, needs_admin_token })
}

/// A page whose content is a view.
#[derive(Template)]
#[template(path = "shell.html", config = "assets/dashboard/askama.toml")]
struct Shell {
    root: &'static str,
    files: &'static str,
    version: &'static str,
    title: &'static str,
    page: &'static str,
}

fn shell(title: &'static str, page: &'static str) -> Response {
    html(&Shell { root: "../", files: "", version: VERSION, title, page })
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn html(template: &impl Template) -> Response {
    match render(template) {
        Ok(text) => page(HTML, text).into_response(),
        Err(problem) => problem.into_response(),
    }
}
