//! Decides which objects without a project are removed, and which are kept.
//!
//! An object is removed only if the metadata proves its deletion: by a tombstone of its project, run or upload.
//! Objects that the metadata does not know may belong to another server on the same store, or to metadata that was
//! lost. They are kept, counted and named in the log.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use super::jobs::AGAIN;
use super::{Coordinator, Error, outbox};
use crate::metadata::{Deleted, Runs};
use crate::model::job::{Holding, PURGES};
use crate::model::{Contents, Job, ProjectId, ProjectState, Purge, RunState, Task, Tombstone};
use crate::queue::{Group, JobQuery, QueueName};
use crate::telemetry::metrics;

/// The result of a survey of the objects.
#[derive(Debug, Default)]
struct Findings {
    /// Projects, uploads and runs that have objects.
    all: usize,
    /// The objects to remove.
    purges: Vec<Job>,
    /// The locations of objects that the metadata does not know.
    unknown: Vec<String>,
}

/// The objects of one project that should not exist.
#[derive(Debug, Default, PartialEq)]
struct Strays {
    purges: Vec<Purge>,
    unknown: Vec<String>,
}

impl Coordinator {
    /// Returns the tombstones of deletions that may have left objects. Call this before the objects are listed.
    pub async fn deleted(&self) -> Result<Vec<Deleted>, Error> {
        Ok(self.0.store.deleted().await?)
    }

    /// Schedules the removal of objects that deleted projects have left. This is called at start, because an upload may
    /// have been published while its project was deleted, just before the process died. `found` must be listed after
    /// `deleted` was read.
    pub async fn remove_strays(&self, found: Vec<ProjectId>, deleted: Vec<Deleted>) -> Result<(), Error> {
        let listed: HashSet<ProjectId> = self.projects().await?.iter().map(|listed| listed.id).collect();
        let tombstones = deleted.iter().map(|deleted| deleted.tombstone).collect();
        let mut findings = Findings { all: found.len(), ..Findings::default() };
        for id in found.iter().filter(|id| !listed.contains(id)) {
            findings.add_unlisted(*id, &tombstones);
        }
        self.clean_up(findings).await?;
        if self.0.store.serving().await?.len() > 1 {
            // Another node may be receiving an upload of a project that was deleted.
            return Ok(());
        }
        // Uploads from before the start have ended. If they have left no objects by now, they will not leave any later.
        let found: HashSet<Tombstone> = found.into_iter().map(Tombstone::of_project).collect();
        let over = deleted.into_iter().filter(|deleted| deleted.late && !found.contains(&deleted.tombstone));
        Ok(self.0.store.forget_deleted(over.map(|deleted| deleted.tombstone).collect(), true).await?)
    }

    /// Schedules the removal of objects that should not exist. New objects are safe, because `found` was listed before the
    /// projects are read here, and the metadata records every object before it is created.
    pub(super) async fn sweep(&self, found: Vec<Holding>) -> Result<(), Error> {
        let tombstones: HashSet<Tombstone> =
            self.deleted().await?.iter().map(|deleted| deleted.tombstone).collect();
        let mut findings = Findings::default();
        for holding in found {
            findings.all += 1 + holding.uploads.len() + holding.runs.len();
            match self.project(holding.project, Runs::All).await? {
                None => findings.add_unlisted(holding.project, &tombstones),
                Some(project) => findings.add(project.id, strays(&project, &holding, &tombstones)),
            }
        }
        self.clean_up(findings).await
    }

    /// Forgets a deletion whose objects were found and are being removed: no more objects can appear.
    pub(super) async fn forget_deleted(&self, job: &Job) -> Result<(), Error> {
        let tombstone = match job.task {
            Task::Purge(Purge::Project) => Tombstone::of_project(job.project),
            Task::Purge(Purge::Run(run)) => Tombstone::of_run(run),
            Task::Purge(Purge::Upload { party, upload }) => Tombstone::of_upload(job.project, party, upload),
            _ => return Ok(()),
        };
        Ok(self.0.store.forget_deleted(vec![tombstone], false).await?)
    }

    async fn clean_up(&self, mut findings: Findings) -> Result<(), Error> {
        self.tell_unknown(&findings.unknown);
        if !findings.purges.is_empty() {
            let waiting = self.waiting_purges().await?;
            findings.purges.retain(|job| !waiting.contains(&job.id()));
        }
        let (count, all) = (findings.purges.len(), findings.all);
        if !self.0.rules.upkeep.limit.admits(count as u64, all as u64) {
            tracing::error!(
                count,
                all,
                "a clean-up would remove too much, so nothing is removed; to allow it, start once with --cleanup-share-max 100"
            );
            return Ok(());
        }
        if count > 0 {
            tracing::warn!(count, all, "removing objects that deleted projects, runs and uploads have left");
        }
        self.enqueue(&mut findings.purges.iter().map(outbox::queued).collect()).await
    }

    /// Logs the number of objects that the metadata does not know, the first time and whenever it changes.
    fn tell_unknown(&self, unknown: &[String]) {
        metrics::unknown_objects(unknown.len());
        let before = self.0.unknown.swap(unknown.len(), Ordering::Relaxed);
        if before == unknown.len() {
            return;
        }
        if let Some(first) = unknown.first() {
            tracing::warn!(
                count = unknown.len(),
                first,
                "the metadata does not know some objects, which are kept; restore the metadata that belongs to them, return them to their server, or remove them by hand"
            );
        } else {
            tracing::info!("the metadata knows all objects again");
        }
    }

    /// Returns the names of the purges that are already in the queue.
    async fn waiting_purges(&self) -> Result<HashSet<String>, Error> {
        let (queue, group) = (Some(QueueName::from(PURGES)), Some(Group::from("purge")));
        let query = JobQuery { queue, group, count: usize::MAX, ..JobQuery::default() };
        let jobs = self.0.broker.jobs(&query, self.0.clock.now()).await?;
        let name = |id: &str| id.strip_suffix(AGAIN).unwrap_or(id).to_owned();
        Ok(jobs.iter().map(|job| name(job.job.as_str())).collect())
    }
}

impl Findings {
    /// Adds a stored project that the metadata does not list.
    fn add_unlisted(&mut self, project: ProjectId, tombstones: &HashSet<Tombstone>) {
        if tombstones.contains(&Tombstone::of_project(project)) {
            self.purges.push(Job { project, task: Task::Purge(Purge::Project) });
        } else {
            self.unknown.push(format!("projects/{project}"));
        }
    }

    fn add(&mut self, project: ProjectId, strays: Strays) {
        let purge = |purge| Job { project, task: Task::Purge(purge) };
        self.purges.extend(strays.purges.into_iter().map(purge));
        self.unknown.extend(strays.unknown);
    }
}

/// Returns the objects of a project that should not exist.
fn strays(project: &ProjectState, holding: &Holding, tombstones: &HashSet<Tombstone>) -> Strays {
    let mut strays = Strays::default();
    for &(party, upload) in &holding.uploads {
        if is_used(project, party, upload) {
            continue;
        }
        if tombstones.contains(&Tombstone::of_upload(project.id, party, upload)) {
            strays.purges.push(Purge::Upload { party, upload });
        } else {
            strays.unknown.push(format!("projects/{}/parties/{party}/{upload}", project.id));
        }
    }
    for &(id, intermediate) in &holding.runs {
        match project.run(id).map(|run| &run.state) {
            Some(RunState::Completed(_)) if intermediate => strays.purges.push(Purge::Intermediate(id)),
            None | Some(RunState::Failed { .. }) if tombstones.contains(&Tombstone::of_run(id)) => {
                strays.purges.push(Purge::Run(id));
            }
            None | Some(RunState::Failed { .. }) => {
                strays.unknown.push(format!("projects/{}/runs/{id}", project.id));
            }
            Some(_) => {}
        }
    }
    strays
}

/// Returns true if an upload is arriving, or was accepted as the data of its party.
fn is_used(project: &ProjectState, party: u32, upload: u32) -> bool {
    project.parties.get(party as usize).is_some_and(|party| party.uses(upload))
}

/// Returns true if the objects that a purge names are not in use according to `project`, which is absent once
/// it is deleted. A purge in a queue that is older or newer than the metadata may name objects in use.
pub(super) fn is_due(project: Option<&ProjectState>, purge: &Purge) -> bool {
    let Some(project) = project else { return true };
    let run = |id| project.run(id).map(|run| &run.state);
    match purge {
        Purge::Project => false,
        Purge::Run(id) => matches!(run(*id), None | Some(RunState::Failed { .. })),
        Purge::Intermediate(id) => {
            matches!(run(*id), None | Some(RunState::Failed { .. } | RunState::Completed(_)))
        }
        Purge::Upload { party, upload } => !is_used(project, *party, *upload),
        Purge::Files { party, upload, .. } => project.parties.get(*party as usize).is_none_or(|party| {
            !matches!(&party.contents, Contents::Fetching { reference, .. } if reference.upload == *upload)
        }),
        Purge::Entries { party, upload } => project.parties.get(*party as usize).is_none_or(|party| {
            !matches!(&party.contents, Contents::Ingesting(kept) if kept.upload == *upload)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Dataset, Party, ResultType, Run, RunId, Summary, Threshold, TokenHash};
    use crate::runtime::clock::Timestamp;

    const HASH: TokenHash = TokenHash::from_bytes([1; 32]);

    fn id(number: u8) -> RunId {
        RunId::from_bytes([number; 24])
    }

    fn run(number: u8, state: RunState) -> Run {
        Run { state, ..Run::asked_for(id(number), Threshold::new(0.5).unwrap(), Timestamp::default()) }
    }

    fn project() -> ProjectState {
        let mut ready = Party::new(HASH);
        ready.uploads = 2;
        ready.contents = Contents::Ready(Dataset { upload: 2, records: 1, encoding_bytes: 8, blocks: 1 });
        let mut arriving = Party::new(HASH);
        (arriving.uploads, arriving.uploading) = (3, true);
        let failed = RunState::Failed { message: String::new(), stage: 2 };
        let runs = vec![
            run(1, RunState::Comparing),
            run(2, RunState::Completed(Summary::default())),
            run(3, failed.clone()),
            run(6, failed),
        ];
        ProjectState { runs, ..ProjectState::of(vec![ready, arriving], ResultType::Groups) }
    }

    #[test]
    fn a_cleanup_removes_deleted_projects_and_keeps_all_others() {
        let project = project();
        let holding = Holding {
            project: project.id,
            uploads: vec![(0, 1), (0, 2), (0, 3), (1, 3), (1, 2), (7, 1)],
            runs: vec![
                (id(1), true),
                (id(2), false),
                (id(3), false),
                (id(4), true),
                (id(5), true),
                (id(6), true),
            ],
        };
        let upload = |party, upload| Purge::Upload { party, upload };
        let runs = [3, 4].map(|number| Tombstone::of_run(id(number)));
        let uploads = [(0, 1), (1, 2)].map(|(party, upload)| Tombstone::of_upload(project.id, party, upload));
        let tombstones = runs.into_iter().chain(uploads).collect();
        let found = strays(&project, &holding, &tombstones);
        assert_eq!(found.purges, [upload(0, 1), upload(1, 2), Purge::Run(id(3)), Purge::Run(id(4))]);
        let unknown = ["parties/0/3".to_owned(), "parties/7/1".to_owned()];
        let unknown = unknown.into_iter().chain([5, 6].map(|number| format!("runs/{}", id(number))));
        let unknown = unknown.map(|end| format!("projects/{}/{end}", project.id));
        assert_eq!(found.unknown, unknown.collect::<Vec<_>>());
        let left = Holding { uploads: Vec::new(), runs: vec![(id(2), true)], ..holding };
        assert_eq!(strays(&project, &left, &HashSet::new()).purges, [Purge::Intermediate(id(2))]);
    }

    #[test]
    fn a_purge_of_what_is_in_use_is_not_due() {
        let project = project();
        let upload = |party, upload| Purge::Upload { party, upload };
        let in_use = [
            Purge::Project,
            Purge::Run(id(1)),
            Purge::Run(id(2)),
            Purge::Intermediate(id(1)),
            upload(0, 2),
            upload(1, 3),
        ];
        let due =
            [Purge::Run(id(3)), Purge::Run(id(9)), Purge::Intermediate(id(2)), upload(0, 1), upload(1, 2)];
        assert!(in_use.iter().all(|purge| !is_due(Some(&project), purge) && is_due(None, purge)));
        assert!(due.iter().all(|purge| is_due(Some(&project), purge)));
    }
}
