//! The views of a project for a data provider, before and after its upload.

use askama::Template;

use super::figures;
use super::project::{party_state, words};
use super::runs::Row;
use crate::model::{Party, ProjectState, ResultType, RunState};
use crate::runtime::clock::Timestamp;

/// The view for the holder of an update token.
#[derive(Template)]
#[template(path = "upload.html", config = "assets/dashboard/askama.toml")]
pub(super) struct Upload {
    id: String,
    name: String,
    party: u32,
    parties: usize,
    result_words: &'static str,
    is_permutations: bool,
    uses_blocking: bool,
    /// Bytes of each encoding, if the schema or the data of another party requires a size.
    encoding_bytes: Option<u32>,
    admits: bool,
    state: UploadState,
}

/// The part of that view that changes.
#[derive(Template)]
#[template(path = "upload_changing.html", config = "assets/dashboard/askama.toml")]
pub(super) struct UploadState {
    state: &'static str,
    fault: String,
}

/// Returns the view for the holder of an update token.
pub(super) fn upload(project: &ProjectState, party: u32) -> Upload {
    let state = upload_state(project, party);
    let mut sizes = project.parties.iter().filter_map(Party::dataset).map(|dataset| dataset.encoding_bytes);
    Upload {
        id: project.id.to_string(),
        name: figures::beginning(&project.name, 200),
        party,
        parties: project.parties.len(),
        result_words: words(project.result_type),
        is_permutations: project.result_type == ResultType::Permutations,
        uses_blocking: project.uses_blocking,
        encoding_bytes: project.encoding_bytes.or_else(|| sizes.next()),
        admits: matches!(state.state, "waiting" | "failed" | "uploading"),
        state,
    }
}

/// Returns the part of that view that changes.
pub(super) fn upload_state(project: &ProjectState, party: u32) -> UploadState {
    let found = project.parties.get(party as usize).map(party_state);
    let (state, fault) = found.unwrap_or(("waiting", String::new()));
    UploadState { state, fault }
}

/// The view for the holder of a receipt token.
#[derive(Template)]
#[template(path = "receipt.html", config = "assets/dashboard/askama.toml")]
pub(super) struct Receipt {
    name: String,
    party: u32,
    result_words: &'static str,
    is_permutations: bool,
    state: ReceiptState,
}

/// The part of that view that changes.
#[derive(Template)]
#[template(path = "receipt_changing.html", config = "assets/dashboard/askama.toml")]
pub(super) struct ReceiptState {
    id: String,
    party: u32,
    state: &'static str,
    fault: String,
    records: String,
    is_permutations: bool,
    contributed: usize,
    parties: usize,
    runs: Vec<Row>,
}

/// Returns the view for the holder of a receipt token.
pub(super) fn receipt(project: &ProjectState, party: u32, now: Timestamp) -> Receipt {
    Receipt {
        name: figures::beginning(&project.name, 200),
        party,
        result_words: words(project.result_type),
        is_permutations: project.result_type == ResultType::Permutations,
        state: receipt_state(project, party, now),
    }
}

/// Returns the part of that view that changes. A party sees runs only if it has a result of its own, and only their
/// state.
pub(super) fn receipt_state(project: &ProjectState, party: u32, now: Timestamp) -> ReceiptState {
    let is_permutations = project.result_type == ResultType::Permutations;
    let own = project.parties.get(party as usize);
    let records = own.and_then(Party::dataset).map(|dataset| figures::grouped(dataset.records.into()));
    let completed = project.runs.iter().rev().filter(|run| matches!(run.state, RunState::Completed(_)));
    let runs = completed.filter(|_| is_permutations).map(|run| Row::of(project, run, now));
    let (state, fault) = own.map_or(("waiting", String::new()), party_state);
    ReceiptState {
        id: project.id.to_string(),
        party,
        state,
        fault,
        records: records.unwrap_or_else(|| "–".to_owned()),
        is_permutations,
        contributed: project.parties_contributed(),
        parties: project.parties.len(),
        runs: runs.take(100).collect(),
    }
}
