//! Views: fragments of HTML for the holders of a token, and their events.

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};

use super::advice;
use super::project::{self, RunsWish};
use super::results::{self, PageWish};
use super::{charts, provider, run};
use crate::http::ApiState;
use crate::http::auth::{Caller, Role};
use crate::http::docs::{HTML, page};
use crate::http::live::{self, Live, Shown};
use crate::http::problem::Problem;
use crate::metadata::Runs;
use crate::model::{ProjectId, ProjectState};

/// Returns the routes of the views.
pub(in crate::http) fn views() -> Router<ApiState> {
    Router::new()
        .route("/dashboard/view/projects/{project_id}", get(of_project))
        .route("/dashboard/view/projects/{project_id}/forecast", get(of_forecast))
        .route("/dashboard/view/projects/{project_id}/runs/{run_id}", get(of_run))
        .route("/dashboard/view/projects/{project_id}/runs/{run_id}/result", get(of_result))
        .route("/dashboard/view/projects/{project_id}/runs/{run_id}/charts", get(of_charts))
        .route("/dashboard/live/projects/{project_id}", get(live_project))
        .route("/dashboard/live/projects/{project_id}/runs/{run_id}", get(live_run))
}

/// Renders a template.
///
/// # Errors
/// 500, if it cannot be rendered.
pub(super) fn render(template: &impl Template) -> Result<String, Problem> {
    template.render().map_err(|error| Problem::internal(&error))
}

/// Returns a rendered view.
pub(super) fn shown(template: &impl Template) -> Result<Response, Problem> {
    Ok(([(axum::http::header::CACHE_CONTROL, "no-store")], page(HTML, render(template)?)).into_response())
}

/// A query that may be malformed.
pub(super) type Asked<T> = Result<Query<T>, QueryRejection>;

/// Returns the parsed query.
///
/// # Errors
/// 400, if it is malformed.
pub(super) fn wish<T>(asked: Asked<T>) -> Result<T, Problem> {
    asked.map(|Query(wish)| wish).map_err(|rejection| Problem::bad_query(&rejection))
}

/// Returns the project with all of its runs.
async fn whole(state: &ApiState, id: ProjectId) -> Result<ProjectState, Problem> {
    state.coordinator.project(id, Runs::All).await?.ok_or_else(Problem::forbidden)
}

/// `GET /dashboard/view/projects/{project_id}`: the project, as the holder of this token may see it.
async fn of_project(
    State(state): State<ApiState>,
    caller: Caller,
    asked: Asked<RunsWish>,
) -> Result<Response, Problem> {
    let (project, role) = caller.holder(&state).await?;
    match role {
        Role::Owner => {
            let wish = wish(asked)?;
            shown(&project::view(&whole(&state, project.id).await?, &wish, state.coordinator.now()))
        }
        Role::Provider(party) => shown(&provider::upload(&project, party)),
        Role::Contributor(party) => {
            shown(&provider::receipt(&whole(&state, project.id).await?, party, state.coordinator.now()))
        }
    }
}

/// `GET /dashboard/live/projects/{project_id}`: the part of that view that changes, as events.
async fn live_project(
    State(state): State<ApiState>,
    Extension(live): Extension<Live>,
    caller: Caller,
    asked: Asked<RunsWish>,
) -> Result<Response, Problem> {
    let (project, role) = caller.holder(&state).await?;
    let wish = wish(asked)?;
    Ok(live.stream(whole(&state, project.id).await?, move |project| {
        let now = state.coordinator.now();
        let rendered = match role {
            Role::Owner => project::changing(project, &wish, now).render(),
            Role::Provider(party) => provider::upload_state(project, party).render(),
            Role::Contributor(party) => provider::receipt_state(project, party, now).render(),
        };
        told(rendered)
    }))
}

/// `GET /dashboard/view/projects/{project_id}/forecast`: threshold advice, for the analyst.
async fn of_forecast(State(state): State<ApiState>, caller: Caller) -> Result<Response, Problem> {
    let project = caller.owner(&state).await?;
    shown(&advice::view(&state, &project).await?)
}

/// `GET /dashboard/view/projects/{project_id}/runs/{run_id}`: a run, for the analyst.
async fn of_run(State(state): State<ApiState>, caller: Caller) -> Result<Response, Problem> {
    let project = caller.owner(&state).await?;
    let run = caller.run(&project)?;
    shown(&run::view(&project, run, state.coordinator.now()))
}

/// `GET /dashboard/view/projects/{project_id}/runs/{run_id}/result`: a page of the result, for the analyst.
async fn of_result(
    State(state): State<ApiState>,
    caller: Caller,
    asked: Asked<PageWish>,
) -> Result<Response, Problem> {
    let project = caller.owner(&state).await?;
    let run = caller.run(&project)?;
    shown(&results::view(&state, &project, run, wish(asked)?).await?)
}

/// `GET /dashboard/view/projects/{project_id}/runs/{run_id}/charts`: charts of the result, for the analyst.
async fn of_charts(State(state): State<ApiState>, caller: Caller) -> Result<Response, Problem> {
    let project = caller.owner(&state).await?;
    let run = caller.run(&project)?;
    shown(&charts::view(&state, &project, run).await?)
}

/// `GET /dashboard/live/projects/{project_id}/runs/{run_id}`: the part of that view that changes, as events.
async fn live_run(
    State(state): State<ApiState>,
    Extension(live): Extension<Live>,
    caller: Caller,
) -> Result<Response, Problem> {
    let project = caller.owner(&state).await?;
    let run = caller.run(&project)?.id;
    Ok(live.stream(whole(&state, project.id).await?, move |project| {
        let Some(run) = project.run(run) else { return Shown::Nothing };
        told(run::changing(project, run, state.coordinator.now()).render())
    }))
}

fn told(rendered: askama::Result<String>) -> Shown {
    rendered.map_or(Shown::Nothing, |html| Shown::Event(live::event("view", &html)))
}
