//! Runs as rows of a table.

use super::figures::{self, Moment};
use crate::model::{ProjectState, Run, RunState};
use crate::runtime::clock::Timestamp;

/// A run as a row.
pub(super) struct Row {
    pub(super) id: String,
    /// The beginning of the identifier.
    pub(super) short: String,
    pub(super) name: String,
    pub(super) threshold: String,
    /// One of the words of [`state`].
    pub(super) state: &'static str,
    /// An explanation of the state, such as the time left or the reason for a failure.
    pub(super) detail: String,
    /// The percentage of the comparisons that is done, while they are under way.
    pub(super) percent: Option<u64>,
    pub(super) comparisons: String,
    pub(super) rate: String,
    pub(super) pairs: String,
    pub(super) groups: String,
    pub(super) added: Moment,
}

/// Returns the word for the state of a run.
pub(super) fn state(project: &ProjectState, run: &Run) -> &'static str {
    match &run.state {
        RunState::Failed { .. } => "failed",
        _ if project.error().is_some() => "failed",
        RunState::Created => "waiting",
        RunState::Queued => "queued",
        RunState::Comparing => "comparing",
        RunState::Finalizing => "finishing",
        RunState::Completed(_) => "completed",
    }
}

/// Returns the reason for the failure of a run.
pub(super) fn fault<'a>(project: &'a ProjectState, run: &'a Run) -> Option<&'a str> {
    match &run.state {
        RunState::Failed { message, .. } => Some(message),
        _ => project.error(),
    }
}

/// Returns the percentage of the comparisons that is done, while they are under way.
pub(super) fn compared(run: &Run) -> Option<u64> {
    let progress = run.progress.as_ref().filter(|_| run.state == RunState::Comparing)?;
    Some(figures::percent(progress.comparisons, progress.comparisons_total))
}

/// Returns the time from when the run could begin to its end, or until now.
pub(super) fn took(run: &Run, now: Timestamp) -> String {
    let begun = run.times.ready.or(run.started).unwrap_or(run.added);
    figures::duration(run.ended.unwrap_or(now).since(begun))
}

impl Row {
    /// Returns the row of a run.
    pub(super) fn of(project: &ProjectState, run: &Run, now: Timestamp) -> Self {
        let state = state(project, run);
        let detail = match (state, &run.state) {
            ("failed", _) => figures::beginning(fault(project, run).unwrap_or_default(), 120),
            ("waiting", _) => "for the parties".to_owned(),
            ("completed", _) => format!("in {}", took(run, now)),
            ("comparing", _) => run
                .comparing_for()
                .map_or_else(String::new, |left| format!("about {} left", figures::duration(left))),
            _ => String::new(),
        };
        let summary = match &run.state {
            RunState::Completed(summary) => Some(summary),
            _ => None,
        };
        let compared_total = run.progress.as_ref().map(|progress| progress.comparisons_total);
        let dash = || "–".to_owned();
        Self {
            short: figures::identifier(&run.id),
            id: run.id.to_string(),
            name: figures::beginning(&run.name, 60),
            threshold: run.threshold.get().to_string(),
            state,
            detail,
            percent: compared(run),
            comparisons: compared_total.map_or_else(dash, |total| figures::rounded(total as f64)),
            rate: run.rate().map_or_else(dash, |rate| format!("{}/s", figures::rounded(rate))),
            pairs: summary.map_or_else(dash, |summary| figures::grouped(summary.pairs)),
            groups: summary
                .filter(|_| project.result_type.stages() > 2)
                .map_or_else(dash, |summary| figures::grouped(summary.groups)),
            added: run.added.into(),
        }
    }
}
