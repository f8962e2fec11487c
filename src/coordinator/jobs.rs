//! Which jobs bring a project on from where it is.

use super::event::Rules;
use crate::model::{Dataset, Job, ProjectId, ProjectState, Run, RunState, Task, Upload};

/// The job that lays out an upload.
pub(super) fn ingest(project: ProjectId, party: u32, upload: &Upload) -> Job {
    Job { project, task: Task::Ingest { party, upload: upload.clone() } }
}

/// The jobs that a run waits for: its plan, the parts not yet compared, or its result.
pub(super) fn current(project: &ProjectState, run: &Run, datasets: &[Dataset], rules: &Rules) -> Vec<Job> {
    let tasks = match (&run.state, &run.progress) {
        (RunState::Queued | RunState::Comparing, None) => vec![Task::Plan {
            run: run.id,
            datasets: datasets.to_vec(),
            threshold: run.threshold,
            comparisons_per_job: rules.comparisons_per_job,
        }],
        (RunState::Comparing, Some(progress)) => {
            let uploads: Vec<u32> = datasets.iter().map(|dataset| dataset.upload).collect();
            (0..progress.parts)
                .filter(|part| !progress.applied.contains(*part))
                .map(|part| Task::Compare {
                    run: run.id,
                    uploads: uploads.clone(),
                    part,
                    pairs_max: rules.run_pairs_max,
                })
                .collect()
        }
        (RunState::Finalizing, Some(progress)) => vec![Task::Finalize {
            run: run.id,
            result_type: project.result_type,
            records: datasets.iter().map(|dataset| dataset.records).collect(),
            parts: progress.parts,
            solver_pairs_max: rules.solver_pairs_max,
        }],
        _ => Vec::new(),
    };
    tasks.into_iter().map(|task| Job { project: project.id, task }).collect()
}
