//! The jobs that a project needs in its present state.

use super::event::{Effect, Rules};
use crate::model::job::group_of_run;
use crate::model::{
    Contents, Dataset, Job, ProjectId, ProjectState, Reference, ResultType, Run, RunState, Task, Upload,
    WholeRun,
};

/// Returns the job that reads the files that an upload names.
pub(super) fn fetch(project: ProjectId, party: u32, reference: &Reference) -> Job {
    Job { project, task: Task::Fetch { party, reference: reference.clone() } }
}

/// Returns the job that indexes an upload.
pub(super) fn ingest(project: ProjectId, party: u32, upload: &Upload) -> Job {
    Job { project, task: Task::Ingest { party, upload: upload.clone() } }
}

/// The suffix of the name of a repeated purge.
pub(super) const AGAIN: &str = "/again";

/// Returns every job that the project waits for, except purges.
pub(super) fn wanted(project: &ProjectState, rules: &Rules) -> Vec<Job> {
    let runs = project.runs.iter().flat_map(|run| of_run(project, run, rules));
    wanted_of_parties(project).chain(runs).collect()
}

fn wanted_of_parties(project: &ProjectState) -> impl Iterator<Item = Job> {
    (0..).zip(&project.parties).filter_map(|(index, party)| match &party.contents {
        Contents::Fetching { reference, .. } => Some(fetch(project.id, index, reference)),
        Contents::Ingesting(upload) => Some(ingest(project.id, index, upload)),
        _ => None,
    })
}

/// Returns true if the project still waits for this job. A job that is delivered again may arrive after its run has
/// advanced. Purges and chores are always needed.
pub(super) fn is_wanted(project: &ProjectState, job: &Job) -> bool {
    let run = |id| project.run(id).map(|run| (&run.state, run.progress.as_ref()));
    match &job.task {
        Task::Fetch { party, reference } => project
            .parties
            .get(*party as usize)
            .is_some_and(|party| party.contents.named() == Some(reference)),
        Task::Ingest { party, upload } => project
            .parties
            .get(*party as usize)
            .is_some_and(|party| party.contents == Contents::Ingesting(upload.clone())),
        Task::Plan { run: id, .. } => {
            matches!(run(*id), Some((RunState::Queued | RunState::Comparing, None)))
        }
        Task::Compare { run: id, part, .. } => {
            matches!(run(*id), Some((RunState::Comparing, Some(progress))) if !progress.applied.contains(*part))
        }
        Task::Finalize { run: id, .. } => matches!(run(*id), Some((RunState::Finalizing, _))),
        Task::Purge(_) | Task::Chore { .. } => true,
    }
}

/// Returns the groups of the jobs that the project waits for.
pub(super) fn wanted_groups(project: &ProjectState) -> Vec<String> {
    let under_way =
        |contents: &Contents| matches!(contents, Contents::Fetching { .. } | Contents::Ingesting(_));
    let ingesting = project.parties.iter().any(|party| under_way(&party.contents));
    let runs = project.runs.iter().filter(|run| !run.has_ended() && run.state != RunState::Created);
    let groups = runs.map(|run| group_of_run(project.id, run.id));
    groups.chain(ingesting.then(|| project.id.to_string())).collect()
}

/// Returns the jobs that a run waits for: its plan, the remaining parts, or its result.
pub(super) fn of_run(project: &ProjectState, run: &Run, rules: &Rules) -> Vec<Job> {
    let Some(datasets) = datasets(project) else { return Vec::new() };
    let uploads: Vec<u32> = datasets.iter().map(|dataset| dataset.upload).collect();
    let tasks = match (&run.state, &run.progress) {
        (RunState::Queued | RunState::Comparing, None) => vec![Task::Plan {
            run: run.id,
            uploads,
            threshold: run.threshold,
            comparisons_per_job: rules.comparisons_per_job,
            whole: whole(project, run, &datasets, rules),
        }],
        (RunState::Comparing, Some(_)) => return parts(project, run, rules, 0).collect(),
        (RunState::Finalizing, Some(progress)) => vec![Task::Finalize {
            run: run.id,
            result_type: project.result_type,
            records: datasets.iter().map(|dataset| dataset.records).collect(),
            parts: progress.parts,
            solver_pairs_max: rules.solver_pairs_max,
            pairs: progress.pairs,
            with_scores: run.with_scores,
        }],
        _ => Vec::new(),
    };
    tasks.into_iter().map(|task| Job { project: project.id, task }).collect()
}

/// Returns what the job that plans a run needs to bring it to its result, if the run may be small. Permutations need a seed,
/// which is drawn once the run is planned.
fn whole(project: &ProjectState, run: &Run, datasets: &[Dataset], rules: &Rules) -> Option<WholeRun> {
    let records: Vec<u32> = datasets.iter().map(|dataset| dataset.records).collect();
    let is_small = records.iter().map(|count| u64::from(*count)).sum::<u64>() <= WholeRun::RECORDS_MAX;
    let draws = project.result_type == ResultType::Permutations;
    (rules.takes_small_work_at_once() && is_small && !draws).then(|| WholeRun {
        result_type: project.result_type,
        records,
        pairs_max: rules.pairs_max(project),
        solver_pairs_max: rules.solver_pairs_max,
        with_scores: run.with_scores,
    })
}

/// Returns the parts of a run that remain to be compared, starting with part `from`.
pub(super) fn parts<'a>(
    project: &'a ProjectState,
    run: &'a Run,
    rules: &Rules,
    from: u32,
) -> impl Iterator<Item = Job> + use<'a> {
    let progress = run.progress.as_ref().filter(|_| run.state == RunState::Comparing);
    let datasets = datasets(project).unwrap_or_default();
    let uploads: Vec<u32> = datasets.iter().map(|dataset| dataset.upload).collect();
    let (id, pairs_max) = (run.id, rules.pairs_max(project));
    let left = progress
        .into_iter()
        .flat_map(move |progress| (from..progress.parts).filter(|part| !progress.applied.contains(*part)));
    left.map(move |part| Job {
        project: project.id,
        task: Task::Compare { run: id, uploads: uploads.clone(), part, pairs_max },
    })
}

/// Returns the effects that enqueue every job that the project waits for, except purges.
pub(super) fn ask_all(project: &ProjectState, rules: &Rules) -> Vec<Effect> {
    let parties = wanted_of_parties(project).map(Effect::Enqueue);
    parties.chain(project.runs.iter().flat_map(|run| ask(project, run, rules))).collect()
}

/// Returns the effects that enqueue the jobs that a run waits for.
pub(super) fn ask(project: &ProjectState, run: &Run, rules: &Rules) -> Vec<Effect> {
    if run.state == RunState::Comparing && run.progress.is_some() {
        return vec![Effect::Parts { project: project.id, run: run.id, from: 0 }];
    }
    of_run(project, run, rules).into_iter().map(Effect::Enqueue).collect()
}

/// Returns the datasets of all parties, if all are ready.
pub(super) fn datasets(project: &ProjectState) -> Option<Vec<Dataset>> {
    project.parties.iter().map(|party| party.dataset().cloned()).collect()
}
