//! The view of a project for its analyst.

use std::cmp::Reverse;

use askama::Template;
use serde::Deserialize;

use super::figures::{self, Moment};
use super::runs::{self, Row};
use crate::model::{Contents, Party, ProjectState, ResultType, Run};
use crate::runtime::clock::Timestamp;

/// The number of runs on a page.
const RUNS_A_PAGE: usize = 25;

/// The runs to show, and their order, from the query of the page's URL.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct RunsWish {
    #[serde(default)]
    sort: Sort,
    state: Option<String>,
    #[serde(default)]
    page: usize,
}

/// The order of runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Sort {
    /// Failed ones first, then those under way, then the newest.
    #[default]
    State,
    /// The newest first.
    Added,
    /// The lowest threshold first.
    Threshold,
}

/// The view of a project.
#[derive(Template)]
#[template(path = "project.html", config = "assets/dashboard/askama.toml")]
pub(super) struct View {
    id: String,
    name: String,
    notes: String,
    result_words: &'static str,
    uses_blocking: bool,
    parties: usize,
    added: Moment,
    deletes: String,
    changing: Changing,
}

/// The part of the view that changes.
#[derive(Template)]
#[template(path = "project_changing.html", config = "assets/dashboard/askama.toml")]
pub(super) struct Changing {
    id: String,
    fault: Option<String>,
    announcement: String,
    contributed: usize,
    parties: Vec<PartyRow>,
    has_blocks: bool,
    has_groups: bool,
    runs: Vec<Row>,
    shown: usize,
    total: usize,
    sorts: Vec<Link>,
    states: Vec<Link>,
    pages: Vec<Link>,
    /// Set if a run can start at once.
    is_ready: bool,
}

/// A link to the same page with other runs, or another order.
struct Link {
    label: String,
    query: String,
    is_current: bool,
}

struct PartyRow {
    number: usize,
    state: &'static str,
    detail: String,
    records: String,
    bits: String,
    blocks: String,
}

/// Returns the sentence that explains a result type.
pub(super) const fn words(result_type: ResultType) -> &'static str {
    match result_type {
        ResultType::Groups => "groups of records that belong to the same person",
        ResultType::Permutations => "a permutation for each party, and a mask for the analyst",
        ResultType::SimilarityScores => "every candidate pair with its similarity score",
    }
}

/// Returns the view.
pub(super) fn view(project: &ProjectState, wish: &RunsWish, now: Timestamp) -> View {
    View {
        id: project.id.to_string(),
        name: figures::beginning(&project.name, 200),
        notes: project.notes.clone(),
        result_words: words(project.result_type),
        uses_blocking: project.uses_blocking,
        parties: project.parties.len(),
        added: project.added.into(),
        deletes: deletes(project),
        changing: changing(project, wish, now),
    }
}

/// Returns the sentence that says what deleting the project removes.
fn deletes(project: &ProjectState) -> String {
    let uploads = figures::counted(project.parties_contributed() as u64, "upload");
    let runs = figures::counted(project.runs.len() as u64, "run");
    format!(
        "This removes the project, {uploads} and {runs} with their results. All of its tokens stop working."
    )
}

/// Returns the part of the view that changes.
pub(super) fn changing(project: &ProjectState, wish: &RunsWish, now: Timestamp) -> Changing {
    let mut wanted: Vec<&Run> = project
        .runs
        .iter()
        .filter(|run| wish.state.as_deref().is_none_or(|state| state == runs::state(project, run)))
        .collect();
    wanted.reverse();
    match wish.sort {
        Sort::State => wanted.sort_by_key(|run| rank(runs::state(project, run))),
        Sort::Added => wanted.sort_by_key(|run| Reverse(run.added)),
        Sort::Threshold => wanted.sort_by(|a, b| a.threshold.get().total_cmp(&b.threshold.get())),
    }
    let total = wanted.len();
    let page = wish.page.min(total.saturating_sub(1) / RUNS_A_PAGE);
    let rows: Vec<Row> = wanted
        .into_iter()
        .skip(page * RUNS_A_PAGE)
        .take(RUNS_A_PAGE)
        .map(|run| Row::of(project, run, now))
        .collect();
    let contributed = project.parties_contributed();
    Changing {
        id: project.id.to_string(),
        fault: project.error().map(str::to_owned),
        announcement: announcement(project),
        contributed,
        parties: project.parties.iter().enumerate().map(party_row).collect(),
        has_blocks: project.uses_blocking,
        has_groups: project.result_type == ResultType::Groups,
        shown: rows.len(),
        runs: rows,
        total,
        sorts: wish.sorts(),
        states: wish.states(project),
        pages: wish.pages(page, total),
        is_ready: contributed == project.parties.len(),
    }
}

fn rank(state: &str) -> usize {
    const ORDER: [&str; 6] = ["failed", "comparing", "finishing", "queued", "waiting", "completed"];
    ORDER.iter().position(|known| *known == state).unwrap_or(ORDER.len())
}

/// Returns the sentence that a screen reader announces when something has changed.
fn announcement(project: &ProjectState) -> String {
    let count = |wanted: &str| project.runs.iter().filter(|run| runs::state(project, run) == wanted).count();
    format!(
        "{} of {} parties have uploaded. {} completed, {} failed.",
        project.parties_contributed(),
        project.parties.len(),
        figures::counted(count("completed") as u64, "run"),
        figures::counted(count("failed") as u64, "run"),
    )
}

fn party_row((number, party): (usize, &Party)) -> PartyRow {
    let dash = || "–".to_owned();
    let (state, detail) = party_state(party);
    let (records, bytes) = match &party.contents {
        Contents::Ingesting(upload) => (Some(upload.records), Some(upload.encoding_bytes)),
        Contents::Ready(dataset) => (Some(dataset.records), Some(dataset.encoding_bytes)),
        _ => (None, None),
    };
    PartyRow {
        number,
        state,
        detail,
        records: records.map_or_else(dash, |records| figures::grouped(records.into())),
        bits: bytes.map_or_else(dash, |bytes| figures::grouped(u64::from(bytes) * 8)),
        blocks: party.dataset().map_or_else(dash, |dataset| figures::grouped(dataset.blocks)),
    }
}

/// Returns the word for the state of a party's data, and the reason for a failure.
pub(super) fn party_state(party: &Party) -> (&'static str, String) {
    match &party.contents {
        _ if party.uploading => ("uploading", String::new()),
        Contents::Missing => ("waiting", String::new()),
        Contents::Fetching { .. } => ("fetching", String::new()),
        Contents::Ingesting(_) => ("checking", String::new()),
        Contents::Ready(_) => ("ready", String::new()),
        Contents::Failed { message } => ("failed", message.clone()),
    }
}

impl RunsWish {
    fn query(sort: Sort, state: Option<&str>, page: usize) -> String {
        let mut query = String::new();
        if sort != Sort::default() {
            query.push_str(if sort == Sort::Added { "&sort=added" } else { "&sort=threshold" });
        }
        if let Some(state) = state {
            query.push_str("&state=");
            query.push_str(state);
        }
        if page > 0 {
            query.push_str("&page=");
            query.push_str(&page.to_string());
        }
        query
    }

    /// Returns the state, if it is a known one.
    fn known_state(&self) -> Option<&'static str> {
        const STATES: [&str; 6] = ["failed", "comparing", "finishing", "queued", "waiting", "completed"];
        STATES.into_iter().find(|known| self.state.as_deref() == Some(known))
    }

    fn sorts(&self) -> Vec<Link> {
        let link = |(sort, label): (Sort, &str)| Link {
            label: label.to_owned(),
            query: Self::query(sort, self.known_state(), 0),
            is_current: sort == self.sort,
        };
        [(Sort::State, "failed first"), (Sort::Added, "newest first"), (Sort::Threshold, "by threshold")]
            .into_iter()
            .map(link)
            .collect()
    }

    fn states(&self, project: &ProjectState) -> Vec<Link> {
        let count =
            |state: &str| project.runs.iter().filter(|run| runs::state(project, run) == state).count();
        let all = Link {
            label: format!("all {}", figures::grouped(project.runs.len() as u64)),
            query: Self::query(self.sort, None, 0),
            is_current: self.state.is_none(),
        };
        let states = ["failed", "comparing", "finishing", "queued", "waiting", "completed"];
        let counted = states.into_iter().map(|state| (state, count(state)));
        let links = counted.filter(|(_, count)| *count > 0).map(|(state, count)| Link {
            label: format!("{state} {}", figures::grouped(count as u64)),
            query: Self::query(self.sort, Some(state), 0),
            is_current: self.state.as_deref() == Some(state),
        });
        std::iter::once(all).chain(links).collect()
    }

    fn pages(&self, page: usize, total: usize) -> Vec<Link> {
        let last = total.saturating_sub(1) / RUNS_A_PAGE;
        let link = |to: usize, label: &str| Link {
            label: label.to_owned(),
            query: Self::query(self.sort, self.known_state(), to),
            is_current: false,
        };
        let mut links = Vec::new();
        if page > 0 {
            links.push(link(page - 1, "previous"));
        }
        if page < last {
            links.push(link(page + 1, "next"));
        }
        links
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RunId, RunState, Threshold, Token};

    fn project(states: Vec<RunState>) -> ProjectState {
        let parties = (0..2).map(|byte| Party::new(Token::from_bytes([byte; 24]).hash())).collect();
        let run = |(byte, state): (u8, RunState)| Run {
            state,
            ..Run::asked_for(
                RunId::from_bytes([byte; 24]),
                Threshold::new(0.8).unwrap(),
                Timestamp::from_micros(i64::from(byte)),
            )
        };
        ProjectState {
            runs: (0..).zip(states).map(run).collect(),
            ..ProjectState::of(parties, ResultType::Groups)
        }
    }

    #[test]
    fn failures_come_first_and_pages_follow() {
        let mut states = vec![RunState::Queued; 30];
        states[3] = RunState::Failed { message: "<b>too many pairs</b>".to_owned(), stage: 2 };
        let project = project(states);
        let first = changing(&project, &RunsWish::default(), Timestamp::default());
        assert_eq!((first.runs[0].state, first.shown, first.total), ("failed", RUNS_A_PAGE, 30));
        assert_eq!(first.pages.iter().map(|link| link.query.as_str()).collect::<Vec<_>>(), ["&page=1"]);
        let html = first.render().unwrap();
        assert!(html.contains("&#60;b&#62;too many pairs") && !html.contains("<b>too many"), "{html}");
        let wish = RunsWish { state: Some("failed".to_owned()), page: 7, ..RunsWish::default() };
        assert_eq!(changing(&project, &wish, Timestamp::default()).total, 1);
    }

    #[test]
    fn a_state_that_does_not_exist_is_not_repeated_in_links() {
        let wish = RunsWish { state: Some("\"><script>".to_owned()), ..RunsWish::default() };
        let html = changing(&project(Vec::new()), &wish, Timestamp::default()).render().unwrap();
        assert!(!html.contains("script"), "{html}");
    }
}
