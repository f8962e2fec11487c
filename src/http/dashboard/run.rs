//! The view of a run for the analyst.

use askama::Template;

use super::figures::{self, Moment};
use super::{results, runs};
use crate::http::arrow;
use crate::model::{ProjectState, ResultType, Run, RunState};
use crate::runtime::clock::Timestamp;

/// The view of a run.
#[derive(Template)]
#[template(path = "run.html", config = "assets/dashboard/askama.toml")]
pub(super) struct View {
    project: String,
    project_name: String,
    id: String,
    name: String,
    notes: String,
    threshold: String,
    added: Moment,
    /// The name, uncut, for another run like this one.
    whole_name: String,
    with_scores: bool,
    is_completed: bool,
    has_failed: bool,
    downloads: Vec<Download>,
    changing: Changing,
}

/// A content that can be downloaded in several forms.
struct Download {
    /// The words after the name of a form.
    words: &'static str,
    /// The query of the address.
    query: &'static str,
    forms: Vec<Form>,
}

/// A form in which a result can be downloaded.
struct Form {
    label: &'static str,
    media_type: &'static str,
    file: String,
}

/// The part of the view that changes.
#[derive(Template)]
#[template(path = "run_changing.html", config = "assets/dashboard/askama.toml")]
pub(super) struct Changing {
    state: &'static str,
    fault: Option<String>,
    announcement: String,
    stages: Vec<Stage>,
    percent: Option<u64>,
    compared: String,
    total: String,
    rate: String,
    left: String,
    took: String,
    pairs: Option<String>,
    groups: Option<String>,
    largest: Vec<Block>,
}

struct Stage {
    number: usize,
    label: &'static str,
    /// `done`, `current`, `failed` or `ahead`.
    state: &'static str,
    took: String,
}

struct Block {
    number: usize,
    comparisons: String,
    percent: u64,
}

/// Returns the view.
pub(super) fn view(project: &ProjectState, run: &Run, now: Timestamp) -> View {
    View {
        project: project.id.to_string(),
        project_name: figures::beginning(&project.name, 80),
        id: run.id.to_string(),
        name: figures::beginning(&run.name, 200),
        notes: run.notes.clone(),
        threshold: run.threshold.get().to_string(),
        added: run.added.into(),
        whole_name: run.name.clone(),
        with_scores: run.with_scores,
        is_completed: matches!(run.state, RunState::Completed(_)),
        has_failed: matches!(run.state, RunState::Failed { .. }),
        downloads: downloads(project, run),
        changing: changing(project, run, now),
    }
}

/// Returns what can be downloaded: the result, and the one with the scores within groups.
fn downloads(project: &ProjectState, run: &Run) -> Vec<Download> {
    let scores = results::keeps_scores(project, run).then_some(("?scores=true", " with scores", "-scores"));
    let download = |(query, words, part): (&'static str, &'static str, &str)| {
        let begin = format!("{}{part}-{}", project.result_type.name(), &run.id.to_string()[..8]);
        let forms = [
            ("CSV", "text/csv", "csv"),
            ("NDJSON", "application/x-ndjson", "ndjson"),
            ("JSON", "application/json", "json"),
            ("Arrow", arrow::MEDIA_TYPE, "arrows"),
        ];
        let form =
            |(label, media_type, ending)| Form { label, media_type, file: format!("{begin}.{ending}") };
        Download { words, query, forms: forms.map(form).into() }
    };
    std::iter::once(("", "", "")).chain(scores).map(download).collect()
}

/// Returns the part of the view that changes.
pub(super) fn changing(project: &ProjectState, run: &Run, now: Timestamp) -> Changing {
    let state = runs::state(project, run);
    let progress = run.progress.as_ref();
    let count = |count: Option<u64>| count.map_or_else(|| "–".to_owned(), figures::grouped);
    let summary = match &run.state {
        RunState::Completed(summary) => Some(summary),
        _ => None,
    };
    let largest = progress.map_or_else(Vec::new, |progress| {
        let block = |(number, comparisons): (usize, &u64)| Block {
            number,
            comparisons: figures::grouped(*comparisons),
            percent: figures::percent(*comparisons, progress.comparisons_total),
        };
        (1..).zip(&progress.largest_blocks).map(block).collect()
    });
    Changing {
        state,
        fault: (state == "failed")
            .then(|| runs::fault(project, run).unwrap_or("the reason was not recorded").to_owned()),
        announcement: announcement(state, run),
        stages: stages(project, run, state, now),
        percent: runs::compared(run),
        compared: count(progress.map(|progress| progress.comparisons)),
        total: count(progress.map(|progress| progress.comparisons_total)),
        rate: run.rate().map_or_else(|| "–".to_owned(), |rate| format!("{}/s", figures::rounded(rate))),
        left: run.comparing_for().map_or_else(|| "–".to_owned(), figures::duration),
        took: if state == "waiting" { "–".to_owned() } else { runs::took(run, now) },
        pairs: summary.map(|summary| figures::grouped(summary.pairs)),
        groups: summary
            .filter(|_| project.result_type != ResultType::SimilarityScores)
            .map(|summary| figures::grouped(summary.groups)),
        largest,
    }
}

/// Returns the sentence for a screen reader: in steps of ten percent while the run compares.
fn announcement(state: &str, run: &Run) -> String {
    match runs::compared(run) {
        Some(percent) => format!("The run is comparing: {} percent are done.", percent / 10 * 10),
        None => format!("The run is {state}."),
    }
}

fn stages(project: &ProjectState, run: &Run, state: &str, now: Timestamp) -> Vec<Stage> {
    const LABELS: [&str; 3] = ["Wait for the parties", "Compare", "Make the result"];
    let number = project.result_type.stages();
    let current = usize::from(run.stage(number));
    let times = run.stage_times(number);
    let stage = |(number, label): (usize, &'static str)| {
        let state = match number.cmp(&current) {
            std::cmp::Ordering::Less => "done",
            std::cmp::Ordering::Greater => "ahead",
            std::cmp::Ordering::Equal if state == "completed" => "done",
            std::cmp::Ordering::Equal if state == "failed" => "failed",
            std::cmp::Ordering::Equal => "current",
        };
        let took = times
            .get(number - 1)
            .filter(|_| state != "ahead")
            .map_or_else(String::new, |(begun, ended)| figures::duration(ended.unwrap_or(now).since(*begun)));
        Stage { number, label, state, took }
    };
    (1..).zip(LABELS).take(number.into()).map(stage).collect()
}
