//! The page of the operator, on the operations listener.

use std::sync::LazyLock;
use std::time::Duration;

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures::stream;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::figures::{self, Moment};
use super::pages;
use super::runs;
use super::view::{Asked, shown, wish};
use crate::coordinator::{self, Coordinator};
use crate::http::admin::AdminState;
use crate::http::live;
use crate::http::ops::Finding;
use crate::http::problem::Problem;
use crate::http::workers::NodeReport;
use crate::metadata::Runs;
use crate::model::job::QUEUES;
use crate::model::{Party, ProjectState, Run, RunState};
use crate::objects::Usage;
use crate::queue::{DeadLetter, DeadQuery, QueueName, Stats};
use crate::runtime::clock::{Stopwatch, Timestamp};
use crate::runtime::compute;
use crate::system::audit::Act;
use crate::system::{disk, memory};
use crate::telemetry::process::Process;
use crate::telemetry::recent;

/// The interval at which the numbers are updated while a page shows them.
const EVERY: Duration = Duration::from_secs(1);
/// The interval at which dependencies are checked while a page shows them. A check sends several requests to each.
const ENGINES_EVERY: Duration = Duration::from_secs(5);
/// The interval at which an idle stream sends a comment.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The longest wait for the numbers of a dependency. The others are shown without them.
const ANSWER: Duration = Duration::from_secs(1);
/// The maximum number of runs under way that are shown, and of projects that are read to find them.
const RUNS: usize = 25;
/// The maximum number of failed runs that are shown.
const FAILED: usize = 10;
/// The number of rows on a page.
const PAGE: usize = 25;
/// A node that was heard from within this time is shown as heard now, in milliseconds. An exact time would change, and
/// be sent, every second.
const RECENT_MS: u64 = 10_000;
/// The label of the cache.
const CACHE: &str = "Cache";
/// The number of admin requests that are shown.
const ACTS: usize = 30;
/// The number of warnings that are shown before the others are unfolded.
const WARNINGS: usize = 5;
/// Separates the two parts of the view that change; lists that do not are between them.
const PART: &str = "<!--part-->";

/// Returns the routes of the page and its files, without a token.
pub(in crate::http) fn page_routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    pages::operator().merge(pages::files())
}

/// Returns the routes of the views below `/admin`, for the holder of the admin token.
pub(in crate::http) fn views() -> Router<AdminState> {
    Router::new()
        .route("/dashboard/view/operator", get(view))
        .route("/dashboard/view/dead", get(dead))
        .route("/dashboard/view/projects", get(projects))
        .route("/dashboard/view/acts", get(acts))
        .route("/dashboard/live/operator", get(live_operator))
}

/// The view of the operator.
#[derive(Template)]
#[template(path = "operator.html", config = "assets/dashboard/askama.toml")]
struct View<'a> {
    overview: &'a str,
    rest: &'a str,
}

/// The two parts of the view that change.
#[derive(Template)]
#[template(path = "operator_changing.html", config = "assets/dashboard/askama.toml")]
struct Changing {
    announcement: String,
    dead: u64,
    queues: Vec<QueueRow>,
    /// `None` while the metadata is unavailable.
    failed: Option<FailedRuns>,
    /// `None` while the metadata is unavailable.
    runs: Option<RunsUnderWay>,
    tiles: Vec<Tile>,
    engines: Vec<EngineRow>,
    nodes: Vec<NodeRow>,
    /// The latest warnings, and the others; empty if there are none.
    warnings: Vec<Vec<LineRow>>,
}

struct QueueRow {
    name: String,
    is_paused: bool,
    ready: String,
    delayed: String,
    leased: String,
    dead: String,
    oldest: String,
    rate: String,
}

/// The runs under way, the oldest first.
struct RunsUnderWay {
    rows: Vec<RunRow>,
    /// The projects that were not read; empty if there are none.
    others: String,
}

struct RunRow {
    short: String,
    project: String,
    project_name: String,
    state: &'static str,
    stage: String,
    percent: Option<u64>,
    comparisons: String,
    rate: String,
    left: String,
    since: String,
}

/// A dependency of the server.
#[derive(Clone)]
struct EngineRow {
    name: &'static str,
    state: &'static str,
    /// The fault, or the description of its server.
    detail: String,
}

struct NodeRow {
    id: String,
    short: String,
    name: String,
    role: String,
    version: String,
    state: &'static str,
    /// The class of the state's badge.
    badge: &'static str,
    queues: String,
    threads: usize,
    jobs: usize,
    heard: String,
}

struct Tile {
    label: &'static str,
    value: String,
    detail: String,
    is_low: bool,
}

struct LineRow {
    /// The time of the latest of equal lines.
    at: Moment,
    state: &'static str,
    text: String,
    times: usize,
}

/// Checks the dependencies and describes their engines.
async fn engines(admin: &AdminState) -> Vec<EngineRow> {
    admin.probes.look_closely().await.into_iter().map(engine_row).collect()
}

/// Collects the numbers. Those of a dependency that is unavailable are left out.
async fn changing(admin: &AdminState, engines: Vec<EngineRow>) -> Changing {
    let coordinator = &admin.dependencies.coordinator;
    let (stats, status, failed, runs, nodes) = tokio::join!(
        quickly(admin.broker.stats(admin.clock.steady())),
        quickly(coordinator.status()),
        quickly(failed_runs(coordinator)),
        quickly(runs_under_way(coordinator)),
        quickly(admin.nodes.list()),
    );
    let mut stats = stats;
    for queue in QUEUES {
        stats.as_mut().map(|stats| stats.queues.entry(queue.into()).or_default());
    }
    let projects = status.map(|status| status.projects);
    let queues = || stats.iter().flat_map(|stats| &stats.queues);
    let dead: u64 = queues().map(|(_, queue)| queue.dead).sum();
    let depth: u64 = queues().map(|(_, queue)| queue.depth).sum();
    Changing {
        announcement: match &stats {
            Some(_) => {
                let (jobs, dead) = (figures::counted(depth, "job"), figures::grouped(dead));
                format!("{jobs} in the queues, {dead} dead.")
            }
            None => "The queues are unavailable.".to_owned(),
        },
        dead,
        tiles: tiles(admin, projects, stats.as_ref()),
        engines,
        failed,
        runs,
        nodes: nodes.unwrap_or_default().into_iter().map(node_row).collect(),
        queues: queues().map(queue_row).collect(),
        warnings: warnings(recent::lines()),
    }
}

/// Returns the latest warnings and the others, with equal lines as one. `lines` begins with the latest.
fn warnings(lines: Vec<recent::Line>) -> Vec<Vec<LineRow>> {
    let mut latest: Vec<LineRow> = Vec::new();
    for line in lines {
        let state = if line.is_error { "failed" } else { "paused" };
        match latest.iter_mut().find(|row| row.state == state && row.text == line.text) {
            Some(row) => row.times += 1,
            None => latest.push(LineRow { at: line.at.into(), state, text: line.text, times: 1 }),
        }
    }
    let older = latest.split_off(latest.len().min(WARNINGS));
    [latest, older].into_iter().filter(|group| !group.is_empty()).collect()
}

/// Returns the answer of a dependency; `None` if it is unavailable or silent.
async fn quickly<T, E>(asked: impl Future<Output = Result<T, E>>) -> Option<T> {
    timeout(ANSWER, asked).await.ok()?.ok()
}

/// Reads the runs under way.
async fn runs_under_way(coordinator: &Coordinator) -> Result<RunsUnderWay, coordinator::Error> {
    let projects = coordinator.unsettled().await?;
    let now = coordinator.now();
    let mut found = Vec::new();
    for id in projects.iter().take(RUNS) {
        let Some(project) = coordinator.project(*id, Runs::Unended).await? else { continue };
        let begun = project.runs.iter().filter(|run| run.state != RunState::Created);
        found.extend(begun.map(|run| (run.added, run_row(&project, run, now))));
    }
    found.sort_by_key(|(added, _)| *added);
    let others = projects.len().saturating_sub(RUNS) as u64;
    Ok(RunsUnderWay {
        rows: found.into_iter().map(|(_, row)| row).take(RUNS).collect(),
        others: if others == 0 { String::new() } else { figures::counted(others, "other project") },
    })
}

fn run_row(project: &ProjectState, run: &Run, now: Timestamp) -> RunRow {
    let stages = project.result_type.stages();
    let row = runs::Row::of(project, run, now);
    RunRow {
        short: row.short,
        project: figures::identifier(&project.id),
        project_name: figures::beginning(&project.name, 40),
        state: row.state,
        stage: format!("{} of {stages}", run.stage(stages)),
        percent: row.percent,
        comparisons: row.comparisons,
        rate: row.rate,
        left: run.comparing_for().map_or_else(|| "–".to_owned(), figures::duration),
        since: runs::took(run, now),
    }
}

fn engine_row(finding: Finding) -> EngineRow {
    EngineRow {
        name: finding.name,
        state: if finding.fault.is_some() { "failed" } else { "ready" },
        detail: finding.fault.or(finding.detail).unwrap_or_else(|| "on this machine".to_owned()),
    }
}

fn node_row(node: NodeReport) -> NodeRow {
    NodeRow {
        state: node.state,
        badge: match node.state {
            "joined" => "ready",
            "silent" => "failed",
            _ => "paused",
        },
        heard: if node.heard_ms < RECENT_MS {
            "now".to_owned()
        } else {
            figures::duration(Duration::from_millis(node.heard_ms))
        },
        short: figures::identifier(&node.node),
        id: node.node,
        name: node.name,
        role: node.role,
        version: node.version,
        queues: node.queues.replace(',', ", "),
        threads: node.threads,
        jobs: node.jobs,
    }
}

fn queue_row((name, queue): (&QueueName, &crate::queue::QueueStats)) -> QueueRow {
    let age = |millis: Option<u64>| {
        millis.map_or_else(|| "–".to_owned(), |millis| figures::duration(Duration::from_millis(millis)))
    };
    QueueRow {
        name: name.as_str().to_owned(),
        is_paused: queue.paused,
        ready: figures::grouped(queue.ready),
        delayed: figures::grouped(queue.delayed),
        leased: figures::grouped(queue.leased),
        dead: figures::grouped(queue.dead),
        oldest: age(queue.oldest_ms),
        rate: format!("{:.1}/s", queue.acked_per_second),
    }
}

fn tiles(admin: &AdminState, projects: Option<u64>, stats: Option<&Stats>) -> Vec<Tile> {
    let number = |number: Option<u64>| number.map_or_else(|| "unavailable".to_owned(), figures::grouped);
    let total = |count: fn(&crate::queue::QueueStats) -> u64| -> Option<u64> {
        stats.map(|stats| stats.queues.values().map(count).sum())
    };
    let sum = |count| number(total(count));
    let plain = |label, value| Tile { label, value, detail: String::new(), is_low: false };
    let mut tiles = vec![
        plain("Projects", number(projects)),
        Tile {
            // Housekeeping is always delayed to a later time: it waits for nothing.
            detail: total(|queue| queue.delayed)
                .filter(|delayed| *delayed > 0)
                .map_or_else(String::new, |delayed| format!("{} are due later", figures::grouped(delayed))),
            ..plain("Jobs waiting", sum(|queue| queue.ready))
        },
        plain("Jobs under way", sum(|queue| queue.leased)),
        plain("Dead jobs", sum(|queue| queue.dead)),
    ];
    if let Ok(room) = disk::room(&admin.dependencies.data_dir) {
        let least = admin.dependencies.disk_free_min;
        tiles.push(Tile {
            label: "Disk free",
            value: figures::size(room.free_bytes),
            detail: format!(
                "of {}; uploads stop at {}",
                figures::size(room.total_bytes),
                figures::size(least)
            ),
            is_low: room.free_bytes < least.saturating_mul(2),
        });
    }
    let partial = &admin.dependencies.partial;
    let (open, open_max) = partial.count();
    let mut spool = limited("Arriving uploads", partial.spool().usage());
    if open > 0 {
        let (open, open_max) = (figures::counted(open as u64, "upload"), figures::grouped(open_max as u64));
        spool.detail = format!("{}; {open} of {open_max} can be continued", spool.detail);
    }
    tiles.push(spool);
    tiles.extend(admin.dependencies.objects.cache_use().map(|cache| limited(CACHE, cache)));
    let resident = Process::look().resident_bytes;
    if let Some((bytes, available)) = resident.zip(memory::available()) {
        tiles.push(limited("Memory", Usage { bytes, bytes_max: available.bytes }));
    }
    tiles
}

/// Returns a tile for the use of a limited space.
fn limited(label: &'static str, usage: Usage) -> Tile {
    let percent = figures::percent(usage.bytes, usage.bytes_max);
    // A full cache is normal.
    let is_low = percent >= 90 && label != CACHE;
    let detail = format!("{percent} % of {}", figures::size(usage.bytes_max));
    Tile { label, value: figures::size(usage.bytes), detail, is_low }
}

/// `GET /admin/dashboard/view/operator`: the view.
async fn view(State(admin): State<AdminState>) -> Result<Response, Problem> {
    let changing = super::view::render(&changing(&admin, engines(&admin).await).await)?;
    let (overview, rest) = changing.split_once(PART).unwrap_or((&changing, ""));
    shown(&View { overview, rest })
}

/// The dead jobs to show, from the query of the page's URL.
#[derive(Debug, Default, Deserialize)]
struct DeadWish {
    queue: Option<String>,
    #[serde(default)]
    after: u64,
}

/// A page of dead jobs.
#[derive(Template)]
#[template(path = "operator_dead.html", config = "assets/dashboard/askama.toml")]
struct Dead {
    queue: Option<String>,
    queues: Vec<(String, String)>,
    rows: Vec<DeadRow>,
    count: u64,
    counted: String,
    next: Option<u64>,
    /// The body that retries or discards all of them.
    filter: String,
}

struct DeadRow {
    id: String,
    queue: String,
    reason: String,
    attempts: u8,
    died: Moment,
    /// The body that retries or discards it.
    body: String,
}

/// `GET /admin/dashboard/view/dead`: a page of the dead jobs.
async fn dead(State(admin): State<AdminState>, asked: Asked<DeadWish>) -> Result<Response, Problem> {
    let DeadWish { queue, after } = wish(asked)?;
    let stats = admin.broker.stats(admin.clock.steady()).await?;
    let queues: Vec<(String, String)> = stats
        .queues
        .iter()
        .filter(|(_, queue)| queue.dead > 0)
        .map(|(name, queue)| (name.as_str().to_owned(), figures::grouped(queue.dead)))
        .collect();
    let queue = queue.filter(|queue| stats.queues.contains_key(&QueueName::from(queue.as_str())));
    let count = match &queue {
        Some(queue) => stats.queues[&QueueName::from(queue.as_str())].dead,
        None => stats.queues.values().map(|queue| queue.dead).sum(),
    };
    let query = DeadQuery {
        queue: queue.as_deref().map(QueueName::from),
        group: None,
        after,
        count: PAGE + 1,
        may_lag: true,
    };
    let mut letters = admin.broker.dead_letters(&query, admin.clock.steady()).await?;
    let has_more = letters.len() > PAGE;
    letters.truncate(PAGE);
    shown(&Dead {
        next: letters.last().filter(|_| has_more).map(|letter| letter.sequence),
        filter: queue
            .as_ref()
            .map_or_else(|| "{}".to_owned(), |queue| serde_json::json!({ "queue": queue }).to_string()),
        rows: letters.iter().map(dead_row).collect(),
        queue,
        queues,
        count,
        counted: figures::counted(count, "dead job"),
    })
}

fn dead_row(letter: &DeadLetter) -> DeadRow {
    let id = letter.job.to_string();
    DeadRow {
        body: serde_json::json!({ "jobs": [id] }).to_string(),
        id,
        queue: letter.queue.as_str().to_owned(),
        reason: letter.reason.clone(),
        attempts: letter.attempts,
        died: letter.died.into(),
    }
}

/// The latest failed runs.
struct FailedRuns {
    rows: Vec<FailedRow>,
    has_more: bool,
}

struct FailedRow {
    id: String,
    short: String,
    name: String,
    project: String,
    project_short: String,
    project_name: String,
    threshold: String,
    reason: String,
    failed: Moment,
}

/// Reads the latest failed runs.
async fn failed_runs(coordinator: &Coordinator) -> Result<FailedRuns, coordinator::Error> {
    let found = coordinator.failed_runs(FAILED as u32 + 1).await?;
    let mut rows = Vec::new();
    for (id, run) in found.iter().take(FAILED) {
        let project = coordinator.project(*id, Runs::One(*run)).await?;
        rows.extend(project.as_ref().and_then(|project| Some(failed_row(project, project.run(*run)?))));
    }
    Ok(FailedRuns { rows, has_more: found.len() > FAILED })
}

fn failed_row(project: &ProjectState, run: &Run) -> FailedRow {
    FailedRow {
        id: run.id.to_string(),
        short: figures::identifier(&run.id),
        name: figures::beginning(&run.name, 40),
        project: project.id.to_string(),
        project_short: figures::identifier(&project.id),
        project_name: figures::beginning(&project.name, 40),
        threshold: run.threshold.get().to_string(),
        reason: figures::beginning(runs::fault(project, run).unwrap_or_default(), 500),
        failed: run.ended.unwrap_or(run.added).into(),
    }
}

/// The projects to show, from the query of the page's URL.
#[derive(Debug, Default, Deserialize)]
struct ProjectsWish {
    #[serde(default)]
    page: usize,
}

/// A page of projects, the oldest first.
#[derive(Template)]
#[template(path = "operator_projects.html", config = "assets/dashboard/askama.toml")]
struct Projects {
    rows: Vec<ProjectRow>,
    total: String,
    previous: Option<usize>,
    next: Option<usize>,
}

struct ProjectRow {
    id: String,
    short: String,
    name: String,
    added: Moment,
    result_type: &'static str,
    uploads: String,
    size: String,
}

/// `GET /admin/dashboard/view/projects`: a page of the projects.
async fn projects(State(admin): State<AdminState>, asked: Asked<ProjectsWish>) -> Result<Response, Problem> {
    let wish = wish(asked)?;
    let all = admin.dependencies.coordinator.projects().await?;
    let last = all.len().saturating_sub(1) / PAGE;
    let page = wish.page.min(last);
    let mut rows = Vec::with_capacity(PAGE);
    for listed in all.iter().skip(page * PAGE).take(PAGE) {
        let Some(project) = admin.dependencies.coordinator.project(listed.id, Runs::None).await? else {
            continue;
        };
        let stored = project.parties.iter().filter_map(Party::dataset);
        let bytes: u64 =
            stored.map(|dataset| u64::from(dataset.records) * u64::from(dataset.encoding_bytes)).sum();
        rows.push(ProjectRow {
            short: figures::identifier(&listed.id),
            id: listed.id.to_string(),
            name: figures::beginning(&project.name, 60),
            added: listed.added.into(),
            result_type: project.result_type.name(),
            uploads: format!("{} of {}", project.parties_contributed(), project.parties.len()),
            size: figures::size(bytes),
        });
    }
    shown(&Projects {
        rows,
        total: figures::counted(all.len() as u64, "project"),
        previous: page.checked_sub(1),
        next: Some(page + 1).filter(|next| *next <= last),
    })
}

/// The latest admin requests that changed something.
#[derive(Template)]
#[template(path = "operator_acts.html", config = "assets/dashboard/askama.toml")]
struct Acts {
    rows: Vec<Act>,
}

/// `GET /admin/dashboard/view/acts`: the latest admin requests that changed something.
async fn acts(State(admin): State<AdminState>) -> Result<Response, Problem> {
    let audit = admin.audit.clone();
    let read = compute::run_blocking(move || audit.latest(ACTS)).await.map_err(|_| Problem::unexplained())?;
    shown(&Acts { rows: read.map_err(|error| Problem::internal(&error))? })
}

/// The latest events, for all pages; `None` while no page is open.
static LATEST: LazyLock<Mutex<Option<watch::Sender<String>>>> = LazyLock::new(Mutex::default);

fn subscribe(admin: &AdminState) -> watch::Receiver<String> {
    let mut latest = LATEST.lock();
    if let Some(sender) = &*latest {
        return sender.subscribe();
    }
    let (sender, receiver) = watch::channel(String::new());
    *latest = Some(sender.clone());
    tokio::spawn(follow(admin.clone(), sender));
    receiver
}

/// Updates the numbers periodically while a page shows them.
async fn follow(admin: AdminState, sender: watch::Sender<String>) {
    let (mut checked, mut dependencies) = (Stopwatch::start(), engines(&admin).await);
    loop {
        if checked.elapsed() > ENGINES_EVERY {
            (checked, dependencies) = (Stopwatch::start(), engines(&admin).await);
        }
        if let Ok(html) = changing(&admin, dependencies.clone()).await.render() {
            let event = live::event("view", &html);
            sender.send_if_modified(|known| {
                let differs = *known != event;
                *known = event;
                differs
            });
        }
        tokio::select! {
            () = admin.stop.cancelled() => {}
            () = sleep(EVERY) => {}
        }
        let mut latest = LATEST.lock();
        if sender.receiver_count() == 0 || admin.stop.is_cancelled() {
            *latest = None;
            return;
        }
    }
}

/// `GET /admin/dashboard/live/operator`: the part of the view that changes, as events.
async fn live_operator(State(admin): State<AdminState>) -> Response {
    let state = (subscribe(&admin), admin.stop.clone());
    let events = stream::unfold(state, |(mut latest, stop)| async move {
        let event = tokio::select! {
            () = stop.cancelled() => return None,
            changed = timeout(KEEP_ALIVE, latest.changed()) => match changed {
                Ok(Ok(())) => latest.borrow_and_update().clone(),
                Ok(Err(_)) => return None,
                Err(_) => ": still here\n\n".to_owned(),
            },
        };
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(event)), (latest, stop)))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Body::from_stream(events)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_warnings_are_one_and_older_ones_are_folded() {
        let line = |text: &str, micros| recent::Line {
            at: Timestamp::from_micros(micros),
            is_error: false,
            text: text.to_owned(),
        };
        let times = |groups: &[Vec<LineRow>]| -> Vec<Vec<(String, usize)>> {
            groups.iter().map(|rows| rows.iter().map(|row| (row.text.clone(), row.times)).collect()).collect()
        };
        assert!(warnings(Vec::new()).is_empty());
        let found = warnings(vec![line("b", 3_000_000), line("a", 2_000_000), line("b", 1_000_000)]);
        assert_eq!(times(&found), [[("b".to_owned(), 2), ("a".to_owned(), 1)]]);
        assert!(found[0][0].at.iso.contains("00:00:03"), "{:?}", found[0][0].at);
        let found = warnings((0..7).map(|at| line(&at.to_string(), 0)).collect());
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [5, 2]);
    }
}
