//! Logs and counts the changes that a committed event has made to the runs, once.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::run::Progress;
use crate::model::{ProjectId, ProjectState, Run, RunId, RunState};
use crate::runtime::clock::Timestamp;
use crate::telemetry::metrics;

/// The labels of the stages of a run, in order.
const STAGES: [&str; 3] = ["waiting", "comparing", "finalizing"];

/// A block with at least this share of a run's comparisons is too large.
const LARGE_SHARE: f64 = 0.5;
/// Runs with fewer comparisons are fast, whatever the sizes of their blocks.
const COMPARISONS_MIN: u64 = 1_000_000;

/// A run before an event.
#[derive(Debug)]
pub(super) struct RunBefore {
    id: RunId,
    state: RunState,
    /// The number of stages that the run had completed.
    stages: usize,
    planned: bool,
}

/// Returns a snapshot of the runs of a project.
pub(super) fn snapshot(project: &ProjectState) -> Vec<RunBefore> {
    let seen = |run: &Run| RunBefore {
        id: run.id,
        state: run.state.clone(),
        stages: stages_behind(project, run).count(),
        planned: run.progress.is_some(),
    };
    project.runs.iter().map(seen).collect()
}

/// Records the end of each run that the event has ended, as a time of the retention clock.
pub(super) fn settle(before: &[RunBefore], after: &mut ProjectState, moment: Timestamp) {
    let had_ended = |id| {
        let ended = |state: &RunState| matches!(state, RunState::Completed(_) | RunState::Failed { .. });
        before.iter().any(|seen| seen.id == id && ended(&seen.state))
    };
    for run in after.runs.iter_mut().filter(|run| run.has_ended() && run.settled.is_none()) {
        run.settled = (!had_ended(run.id)).then_some(moment);
    }
}

/// Logs and counts the changes of the runs, after their commit.
pub(super) fn record(id: ProjectId, before: &[RunBefore], after: Option<&ProjectState>) {
    let Some(after) = after else {
        tracing::info!(project.id = %id, "project deleted");
        return;
    };
    let before: HashMap<RunId, &RunBefore> = before.iter().map(|seen| (seen.id, seen)).collect();
    for run in &after.runs {
        let old = before.get(&run.id);
        if old.is_none_or(|seen| seen.state != run.state) {
            log(id, run);
            count(after, run, old.map_or(0, |seen| seen.stages));
        }
        if let Some(progress) = run.progress.as_ref().filter(|_| old.is_some_and(|seen| !seen.planned)) {
            log_largest_block(id, run.id, progress);
        }
    }
}

fn log(project: ProjectId, run: &Run) {
    let (id, comparisons) = (run.id, run.progress.as_ref().map_or(0, |progress| progress.comparisons));
    let duration = run.ended.map_or(Duration::ZERO, |ended| ended.since(run.started.unwrap_or(ended)));
    // The log formats a `u128` as text.
    let duration_ms = duration.as_millis() as u64;
    match &run.state {
        RunState::Created => tracing::info!(project.id = %project, run.id = %id, "run created"),
        RunState::Queued => tracing::info!(project.id = %project, run.id = %id, "run queued"),
        RunState::Comparing => tracing::info!(project.id = %project, run.id = %id, "run started"),
        RunState::Finalizing => {
            tracing::info!(project.id = %project, run.id = %id, comparisons, "all parts compared");
        }
        RunState::Completed(summary) => {
            let (pairs, groups) = (summary.pairs, summary.groups);
            tracing::info!(project.id = %project, run.id = %id, comparisons, pairs, groups, duration_ms,
                           "run completed");
        }
        RunState::Failed { message, stage } => {
            tracing::warn!(project.id = %project, run.id = %id, stage, duration_ms, "run failed: {message}");
        }
    }
}

/// Records the largest block of a run that has just been planned; warns if most of the work is in it.
fn log_largest_block(project: ProjectId, run: RunId, progress: &Progress) {
    let (Some(&largest), Some(share)) = (progress.largest_blocks.first(), progress.largest_block_share())
    else {
        return;
    };
    metrics::largest_block(largest, share);
    if share >= LARGE_SHARE && progress.comparisons_total >= COMPARISONS_MIN {
        tracing::warn!(
            project.id = %project,
            run.id = %run,
            comparisons = progress.comparisons_total,
            largest_blocks = ?progress.largest_blocks,
            "one block has {:.0} % of the run's comparisons, so blocking saves little; leave out values that many records \
             share, such as empty ones, when blocks are made",
            share * 100.0
        );
    }
}

/// Counts the stages that the run has completed after the first `stages`, and the end of the run.
fn count(project: &ProjectState, run: &Run, stages: usize) {
    let result_type = project.result_type.name();
    for (stage, seconds) in stages_behind(project, run).skip(stages) {
        metrics::stage(result_type, stage, seconds);
    }
    let outcome = match run.state {
        RunState::Completed(_) => "completed",
        RunState::Failed { .. } => "failed",
        RunState::Created | RunState::Queued | RunState::Comparing | RunState::Finalizing => return,
    };
    let ended = run.ended.unwrap_or(run.added);
    metrics::run(result_type, outcome, ended.since(run.added).as_secs_f64());
}

/// Returns the stages that a run has completed, and the seconds that each took.
fn stages_behind(project: &ProjectState, run: &Run) -> impl Iterator<Item = (&'static str, f64)> {
    let failed = matches!(run.state, RunState::Failed { .. });
    let times = run.stage_times(project.result_type.stages());
    // The stage in which a run failed was not completed.
    let died_in = if failed { times.len().checked_sub(1) } else { None };
    let behind = STAGES.into_iter().zip(times).enumerate().filter(move |(index, _)| Some(*index) != died_in);
    behind.filter_map(|(_, (stage, (began, ended)))| Some((stage, ended?.since(began).as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::run::Times;
    use crate::model::{ResultType, Summary, Threshold};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn behind(result_type: ResultType, state: RunState, times: Times) -> Vec<(&'static str, f64)> {
        let project = ProjectState::of(Vec::new(), result_type);
        let run = Run::asked_for(RunId::from_bytes([2; 24]), Threshold::new(0.8).unwrap(), at(0));
        let ended = matches!(state, RunState::Completed(_) | RunState::Failed { .. }).then_some(at(10));
        stages_behind(&project, &Run { ended, state, times, ..run }).collect()
    }

    #[test]
    fn a_stage_counts_once_it_is_left_for_the_next() {
        let (ready, compared) = (Some(at(1)), Some(at(4)));
        let done = || RunState::Completed(Summary::default());
        let died = || RunState::Failed { message: String::new(), stage: 2 };
        let (waiting, comparing, finalizing) = (("waiting", 1.0), ("comparing", 3.0), ("finalizing", 6.0));
        for (result_type, state, times, expected) in [
            (ResultType::Groups, RunState::Created, Times::default(), vec![]),
            (ResultType::Groups, RunState::Queued, Times { ready, ..Times::default() }, vec![waiting]),
            (
                ResultType::Groups,
                RunState::Finalizing,
                Times { ready, compared, ..Times::default() },
                vec![waiting, comparing],
            ),
            (
                ResultType::Groups,
                done(),
                Times { ready, compared, ..Times::default() },
                vec![waiting, comparing, finalizing],
            ),
            (
                ResultType::SimilarityScores,
                done(),
                Times { ready, compared, ..Times::default() },
                vec![waiting, ("comparing", 9.0)],
            ),
            (ResultType::Groups, died(), Times { ready, ..Times::default() }, vec![waiting]),
            (ResultType::Groups, died(), Times::default(), vec![]),
        ] {
            assert_eq!(behind(result_type, state, times), expected);
        }
    }
}
