//! Makes projects, outbox and queue agree, at start and periodically.

use std::collections::HashSet;
use std::sync::Arc;

use super::dispatch::gave_up;
use super::jobs;
use super::jobs::AGAIN;
use super::{Coordinator, Error, Event, Refused, outbox};
use crate::metadata::Runs;
use crate::model::job::PURGES;
use crate::model::{Job, ProjectId, ProjectState, RunId};
use crate::queue::{DeadLetter, DeadQuery, Group, JobId, JobQuery, QueueName};

/// The number of dead letters that are read at a time.
const PAGE: usize = 1_000;

impl Coordinator {
    /// Reconciles everything after a start, before any listener opens. Ends interrupted uploads, unless another node
    /// receives them. Enqueues missing jobs. Fails the run or upload of each dead letter.
    pub async fn reconcile(&self) -> Result<(), Error> {
        self.drain_outbox().await?;
        let shares = self.0.store.node().is_some();
        if shares {
            self.release_lost(Arc::new(self.0.store.serving().await?)).await?;
        }
        for id in self.0.store.unsettled().await? {
            self.apply_if_there(id, if shares { Event::Stalled } else { Event::Restarted }).await?;
        }
        self.handle_dead_letters().await?;
        self.redrive_purges().await?;
        self.ask_for_duties().await?;
        self.drain_outbox().await
    }

    /// Releases the locks of uploads whose receiving nodes no longer serve.
    pub async fn release_lost(&self, serving: Arc<HashSet<String>>) -> Result<(), Error> {
        for id in self.0.store.unsettled().await? {
            let Some(project) = self.0.store.project(id, Runs::None).await? else { continue };
            let is_lost =
                |holder: &Option<String>| holder.as_ref().is_none_or(|node| !serving.contains(node));
            if project.parties.iter().any(|party| party.uploading && is_lost(&party.holder)) {
                tracing::warn!(project.id = %id, "an upload has ended, because the node that received it no longer serves");
                self.apply_if_there(id, Event::HoldersLost { serving: Arc::clone(&serving) }).await?;
            }
        }
        Ok(())
    }

    /// Enqueues all pending jobs in a new queue.
    pub(super) async fn fill_again(&self) -> Result<(), Error> {
        let unsettled = self.0.store.unsettled().await?;
        tracing::info!(projects = unsettled.len(), "filling a new queue from the metadata");
        for id in unsettled {
            self.apply_if_there(id, Event::Stalled).await?;
        }
        self.ask_for_duties().await?;
        self.schedule_chores().await
    }

    /// Enqueues duties, which are jobs that no project waits for, unless they are in the queue.
    async fn ask_for_duties(&self) -> Result<(), Error> {
        let duties = self.0.store.duties().await?;
        if duties.is_empty() {
            return Ok(());
        }
        let query = JobQuery { queue: Some(PURGES.into()), count: usize::MAX, ..JobQuery::default() };
        let living = self.0.broker.jobs(&query, self.0.clock.steady()).await?;
        let living: HashSet<&str> = living
            .iter()
            .map(|job| job.job.as_str())
            .map(|name| name.strip_suffix(AGAIN).unwrap_or(name))
            .collect();
        let missing = duties.iter().filter(|duty| !living.contains(&*duty.name));
        let jobs = missing.filter_map(|duty| serde_json::from_str::<Job>(&duty.body).ok());
        self.enqueue(&mut jobs.map(|job| outbox::queued(&job)).collect()).await
    }

    /// Retries purges that have failed: nothing else would retry them, and they may succeed now.
    async fn redrive_purges(&self) -> Result<(), Error> {
        let queue = Some(QueueName::from(PURGES));
        let query = DeadQuery { queue, count: usize::MAX, ..DeadQuery::default() };
        let letters = self.0.broker.dead_letters(&query, self.0.clock.steady()).await?;
        let purges: Vec<JobId> = letters.into_iter().map(|letter| letter.job).collect();
        if !purges.is_empty() {
            self.0.broker.redrive(&purges, self.0.clock.steady()).await?;
        }
        Ok(())
    }

    /// Enqueues the jobs of projects that wait for jobs but have none in the queue.
    pub(super) async fn restart_stalled(&self) -> Result<(), Error> {
        self.handle_dead_letters().await?;
        for id in self.0.store.unsettled().await? {
            let Some(project) = self.0.store.project(id, Runs::Unended).await? else { continue };
            if self.is_stalled(&project).await? {
                tracing::warn!(project.id = %id, "a project waits for a job that is not in the queue; enqueueing the job again");
                self.apply_if_there(id, Event::Stalled).await?;
            }
        }
        Ok(())
    }

    async fn is_stalled(&self, project: &ProjectState) -> Result<bool, Error> {
        for group in jobs::wanted_groups(project) {
            if !self.0.broker.has_jobs(&Group::from(group), self.0.clock.steady()).await? {
                // A run that has moved on since the project was read has its next job in the outbox.
                return Ok(!self.0.store.has_messages().await?);
            }
        }
        Ok(false)
    }

    async fn apply_if_there(&self, id: ProjectId, event: Event) -> Result<(), Error> {
        match self.apply(id, event).await {
            Ok(_) | Err(Error::Refused(Refused::Absent)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Fails the run or upload of each dead letter. A job that ended with its process has never been reported.
    async fn handle_dead_letters(&self) -> Result<(), Error> {
        self.handle_dead_letters_after(0).await.map(drop)
    }

    /// Handles the dead letters after sequence number `after`, and returns the number of the last.
    pub(super) async fn handle_dead_letters_after(&self, mut after: u64) -> Result<u64, Error> {
        loop {
            let query = DeadQuery { after, count: PAGE, ..DeadQuery::default() };
            let letters = self.0.broker.dead_letters(&query, self.0.clock.steady()).await?;
            let Some(last) = letters.last() else { return Ok(after) };
            for letter in &letters {
                if let Some(job) = self.still_wanted(letter).await? {
                    self.write_down(job, gave_up(&letter.reason)).await?;
                }
            }
            after = last.sequence;
        }
    }

    /// Returns the job of a dead letter, if its project still waits for it.
    async fn still_wanted(&self, letter: &DeadLetter) -> Result<Option<Job>, Error> {
        let mut names = letter.job.as_str().split('/');
        let Some(project) = names.next().and_then(ProjectId::parse) else { return Ok(None) };
        let runs = names.next().and_then(RunId::parse).map_or(Runs::None, Runs::One);
        let Some(project) = self.0.store.project(project, runs).await? else { return Ok(None) };
        let wanted = jobs::wanted(&project, &self.0.rules);
        Ok(wanted.into_iter().find(|job| job.id() == letter.job.as_str()))
    }
}
