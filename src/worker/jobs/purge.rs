//! Purge jobs: remove objects, and verify that they no longer exist.

use crate::model::{Job, Outcome, ProjectId, Purge, Task};
use crate::objects::{Key, Prefix, Removed, keys};
use crate::runtime::failpoint::{Moment, hit};
use crate::worker::Error;
use crate::worker::active_jobs::ActiveJob;
use crate::worker::context::JobContext;

/// The name of the object that the original client uploads to test its permission, and does not remove.
const PROBE: &str = "upload-test";

/// Removes the objects that the purge names, after the jobs in this process that could create them have ended.
pub(super) async fn work(
    context: &JobContext,
    active: &ActiveJob,
    project: ProjectId,
    purge: &Purge,
) -> Result<Outcome, Error> {
    context.active_jobs.until_none(|job| makes(job, project, purge)).await;
    let (key, prefix) = named(project, purge);
    let mut removed = Removed::default();
    if let Some(key) = key {
        context.forget(|kept| *kept == key);
        removed.objects += u64::from(context.objects.delete(&key).await?);
    }
    if let Some(prefix) = prefix {
        context.forget(|kept| prefix.holds(kept));
        let below = context.objects.delete_prefix(&prefix).await?;
        removed = Removed { objects: removed.objects + below.objects, bytes: below.bytes };
    }
    if removed.objects > 0 {
        let Removed { objects, bytes } = removed;
        tracing::info!(project.id = %project, objects, bytes, "objects removed: {purge:?}");
    }
    // Last, since the files may be in another store, and its errors must not keep the objects.
    purge_files(context, project, purge).await?;
    hit(active.job().task.kind(), Moment::Published).await;
    Ok(Outcome::Purged)
}

/// Removes the files that clients have uploaded, and the score file that they may download.
async fn purge_files(context: &JobContext, project: ProjectId, purge: &Purge) -> Result<(), Error> {
    match (purge, &context.client_files.bucket) {
        (Purge::Project, Some(uploads)) => {
            uploads.delete_project(project).await?;
        }
        (Purge::Files { party, files, .. }, Some(uploads)) => {
            let probe = format!("{project}/{party}/{PROBE}");
            for file in files.iter().chain([&probe]) {
                uploads.delete(file).await?;
            }
        }
        (Purge::Run(run), _) => {
            context.objects.delete(&keys::score_file(*run)).await?;
        }
        _ => {}
    }
    Ok(())
}

/// Returns the key and the prefix to remove.
fn named(project: ProjectId, purge: &Purge) -> (Option<Key>, Option<Prefix>) {
    match *purge {
        Purge::Files { .. } => (None, None),
        Purge::Project => (None, Some(keys::project(project))),
        Purge::Run(run) => (None, Some(keys::run(project, run))),
        Purge::Intermediate(run) => (Some(keys::plan(project, run)), Some(keys::all_pairs(project, run))),
        Purge::Upload { party, upload } => (None, Some(keys::upload(project, party, upload))),
        Purge::Entries { party, upload } => (Some(keys::entries(project, party, upload)), None),
    }
}

/// Returns true if the job creates or reads objects that the purge removes.
fn makes(job: &Job, project: ProjectId, purge: &Purge) -> bool {
    if job.project != project {
        return false;
    }
    match (purge, &job.task) {
        // Purges and chores create no objects.
        (_, Task::Purge(_) | Task::Chore { .. }) => false,
        (Purge::Project, _) => true,
        (Purge::Run(purged) | Purge::Intermediate(purged), task) => task.run() == Some(*purged),
        (
            Purge::Upload { party, upload } | Purge::Entries { party, upload },
            Task::Ingest { party: of, upload: arrived },
        ) => (of, arrived.upload) == (party, *upload),
        (
            Purge::Upload { party, upload } | Purge::Files { party, upload, .. },
            Task::Fetch { party: of, reference },
        ) => (of, reference.upload) == (party, *upload),
        (Purge::Upload { .. } | Purge::Entries { .. } | Purge::Files { .. }, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RunId, Upload};

    #[test]
    fn a_purge_waits_for_the_jobs_that_make_what_it_removes() {
        let (project, run) = (ProjectId::from_bytes([1; 24]), RunId::from_bytes([2; 24]));
        let compare = Task::Compare { run, uploads: vec![1, 1], part: 0, pairs_max: 9 };
        let arrived = Upload { upload: 2, records: 1, encoding_bytes: 8, blocks: true };
        let ingest = Task::Ingest { party: 1, upload: arrived };
        let waits = |purge: &Purge, task: &Task| makes(&Job { project, task: task.clone() }, project, purge);
        for (purge, waits_for) in [
            (Purge::Project, [true, true]),
            (Purge::Run(run), [true, false]),
            (Purge::Intermediate(run), [true, false]),
            (Purge::Run(RunId::from_bytes([3; 24])), [false, false]),
            (Purge::Upload { party: 1, upload: 2 }, [false, true]),
            (Purge::Entries { party: 1, upload: 2 }, [false, true]),
            (Purge::Upload { party: 1, upload: 1 }, [false, false]),
        ] {
            assert_eq!([&compare, &ingest].map(|task| waits(&purge, task)), waits_for, "{purge:?}");
            assert!(!waits(&purge, &Task::Purge(Purge::Project)));
            let elsewhere = Job { project: ProjectId::from_bytes([9; 24]), task: compare.clone() };
            assert!(!makes(&elsewhere, project, &purge));
        }
    }
}
