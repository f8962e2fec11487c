//! The coordinator's interface to the workers: claims, heartbeats and reports.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use super::cleanup::is_due;
use super::{Coordinator, Error, Event, Refused, Report, jobs};
use crate::metadata::{self, Runs};
use crate::model::{Contents, Job, Keyring, Outcome, Party, Purge, Seed, Task};
use crate::queue::{Acked, Claim, Heartbeat, Lease, LeaseId, Pulse, Redelivery};
use crate::runtime::failpoint::{Moment, hit};
use crate::telemetry::{chain, metrics};

/// A job that a worker has claimed.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The lease on the job.
    pub lease: Lease,
    /// The job.
    pub job: Job,
    /// A secret that the job needs and that must not be in a queue.
    pub secret: Option<Secret>,
    /// The number of workers of the service, as far as it is known, so that a plan can suit them.
    pub workers: usize,
    /// The latest version of pair files that every reader of the job's objects knows.
    pub pairs: linkage::pairs::Version,
}

/// A secret that a worker gets with a lease. It is stored only with the project.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// The seed of a run's permutations.
    Seed(Seed),
    /// The keys of files that an upload names.
    Keyring(Keyring),
}

impl Coordinator {
    /// Claims jobs. While there are none, waits up to the time in the claim. Jobs whose run no longer exists are settled
    /// here, so the answer may be empty although there was a job. Dropping the future releases the claimed jobs.
    pub async fn claim(&self, claim: &Claim) -> Result<Vec<Assignment>, Error> {
        let mut taken = Taken { coordinator: self, leases: Vec::new() };
        taken.leases = self.0.broker.claim(claim, self.0.clock.steady()).await?;
        taken.leases.iter().for_each(|lease| self.count_wait(lease));
        if taken.leases.is_empty() {
            return Ok(Vec::new());
        }
        // The attempt must be durable before the job starts: a job may kill the process at once. Meanwhile the jobs are
        // checked.
        let leases = taken.leases.clone();
        let (synced, (assignments, checked, failure)) =
            tokio::join!(self.0.broker.sync(), self.assign_all(leases, claim.lease / 2));
        synced?;
        // Dropping `taken` releases the leases that were not checked.
        taken.leases.drain(..checked);
        // A job that could not be checked was released; the others must not wait for it.
        failure.filter(|_| assignments.is_empty()).map_or(Ok(assignments), Err)
    }

    /// Converts leases into assignments for at most `time`. Returns them with the number of leases that were checked, and an
    /// error.
    async fn assign_all(
        &self,
        leases: Vec<Lease>,
        time: Duration,
    ) -> (Vec<Assignment>, usize, Option<Error>) {
        // A lease that expires while the metadata does not answer would use an attempt of the job.
        let limit = Instant::now() + time;
        let mut assignments = Vec::with_capacity(leases.len());
        let mut failure = None;
        let mut checked = 0;
        for lease in leases {
            match timeout_at(limit, self.assign(lease)).await {
                Ok(Ok(assignment)) => assignments.extend(assignment),
                Ok(Err(error)) => failure = Some(error),
                Err(_) => {
                    failure = Some(
                        metadata::Error::Unavailable("no response within half of a lease".into()).into(),
                    );
                    break;
                }
            }
            checked += 1;
        }
        (assignments, checked, failure)
    }

    fn count_wait(&self, lease: &Lease) {
        let waited = self.0.clock.steady().since(lease.ready);
        metrics::claimed(lease.queue.as_str(), waited.as_secs_f64());
    }

    /// Converts a lease into an assignment, unless the job is obsolete.
    async fn assign(&self, lease: Lease) -> Result<Option<Assignment>, Error> {
        let job: Job = match serde_json::from_slice(&lease.payload) {
            Ok(job) => job,
            Err(error) => {
                tracing::error!(job.id = %lease.id.job, "cannot parse a job of the queue: {error}");
                self.0.broker.nack(&lease.id, "the job cannot be parsed", self.0.clock.steady()).await?;
                return Ok(None);
            }
        };
        match self.prepare_attempt(&job, &lease).await {
            Ok(secret) => {
                Ok(Some(Assignment { lease, job, secret, workers: 1, pairs: linkage::pairs::Version::Plain }))
            }
            Err(Error::Refused(Refused::Absent)) => {
                self.settle(&lease.id).await?;
                Ok(None)
            }
            Err(error) => {
                // The lease would expire anyway; releasing it is only faster.
                if let Err(release) = self.0.broker.release(&[lease.id], self.0.clock.steady()).await {
                    tracing::warn!("cannot release a job: {}", chain(&release));
                }
                Err(error)
            }
        }
    }

    /// Checks a job, and records its earlier attempts in the metadata: a new queue would not know them.
    async fn prepare_attempt(&self, job: &Job, lease: &Lease) -> Result<Option<Secret>, Error> {
        let secret = self.prepare(job).await?;
        if lease.attempt > 1 && job.task.is_awaited() {
            self.0.store.note_attempts(job.project, lease.id.job.as_str(), lease.attempt - 1).await?;
        }
        Ok(secret)
    }

    /// Checks that a job is still needed, and returns the secret that it needs.
    async fn prepare(&self, job: &Job) -> Result<Option<Secret>, Error> {
        if let Task::Purge(purge) = &job.task {
            return self.check_purge(job, purge).await.map(|()| None);
        }
        if !job.task.is_awaited() {
            return Ok(None);
        }
        if matches!(job.task, Task::Compare { .. }) && self.was_wanted(job).await? {
            return Ok(None);
        }
        let project = self.0.store.project(job.project, runs_of(job)).await?.ok_or(Refused::Absent)?;
        if !jobs::is_wanted(&project, job) {
            return Err(Refused::Absent.into());
        }
        match &job.task {
            Task::Plan { run, .. } => {
                let event = Event::RunStarted { run: *run, at: self.0.clock.now() };
                self.apply(job.project, event).await?;
                Ok(None)
            }
            Task::Finalize { run, .. } => {
                Ok(project.run(*run).and_then(|run| run.seed.clone()).map(Secret::Seed))
            }
            Task::Fetch { party, .. } => Ok(project.parties.get(*party as usize).and_then(keyring)),
            _ => Ok(None),
        }
    }

    /// Checks that a purge names no objects in use.
    async fn check_purge(&self, job: &Job, purge: &Purge) -> Result<(), Error> {
        let state = self.0.store.project(job.project, runs_of_purge(purge)).await?;
        if is_due(state.as_ref(), purge) {
            return Ok(());
        }
        tracing::error!(
            project.id = %job.project,
            "a purge in the queue names objects in use, and is dropped: {purge:?}; restore queue and metadata from the same backup"
        );
        self.0.store.settle(&job.id()).await?;
        Err(Refused::Absent.into())
    }

    /// Returns true if a job was needed a moment ago. The parts of a run are claimed in quick succession, so a cached
    /// project is good enough.
    async fn was_wanted(&self, job: &Job) -> Result<bool, Error> {
        let runs = runs_of(job);
        let project = if let Some(project) = self.0.project_cache.recent(job.project, runs) {
            project
        } else {
            let Some(project) = self.0.store.project(job.project, runs).await? else { return Ok(false) };
            self.0.project_cache.keep(project, runs)
        };
        Ok(jobs::is_wanted(&project, job))
    }

    /// Extends leases. Returns for each job whether it is still needed.
    pub async fn heartbeat(&self, beats: &[Heartbeat]) -> Result<Vec<Pulse>, Error> {
        Ok(self.0.broker.heartbeat(beats, self.0.clock.steady()).await?)
    }

    /// Commits the outcome of a job once, however often it is reported, and only then removes the job from
    /// the queue. The effects are in the outbox by then.
    pub async fn report(&self, assignment: &Assignment, outcome: Outcome) -> Result<(), Error> {
        let purged = outcome == Outcome::Purged;
        match outcome {
            Outcome::Purged => self.purge_again(assignment).await?,
            Outcome::Surveyed(found) => self.keep_house(&assignment.job.task, found).await?,
            outcome => self.write_down(assignment.job.clone(), outcome).await?,
        }
        if assignment.lease.attempt > 1 && assignment.job.task.is_awaited() {
            self.0.store.settle(assignment.lease.id.job.as_str()).await?;
        }
        hit(assignment.job.task.kind(), Moment::Reported).await;
        self.settle(&assignment.lease.id).await?;
        if purged {
            self.traces_left();
        }
        Ok(())
    }

    /// Reports a failed attempt. The job is retried after a pause. If it has used up its attempts, its run or upload fails
    /// with the reason.
    pub async fn failed(&self, assignment: &Assignment, reason: &str) -> Result<(), Error> {
        let Assignment { lease, job, .. } = assignment;
        match self.0.broker.nack(&lease.id, reason, self.0.clock.steady()).await {
            Ok(Redelivery::Retried { .. }) => {
                self.note_failure(assignment).await;
                tracing::warn!(job.id = %lease.id.job, attempt = lease.attempt, "job failed and will be retried: {reason}");
                Ok(())
            }
            Ok(Redelivery::Dead) => {
                tracing::error!(job.id = %lease.id.job, attempt = lease.attempt, "job failed and will not be retried: {reason}");
                self.write_down(job.clone(), gave_up(reason)).await
            }
            Ok(Redelivery::Cancelled) | Err(crate::queue::Error::LeaseLost { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Records a failed attempt in the metadata: the queue may be lost before the next attempt, which would record it.
    async fn note_failure(&self, Assignment { lease, job, .. }: &Assignment) {
        if !job.task.is_awaited() {
            return;
        }
        let noted = self.0.store.note_attempts(job.project, lease.id.job.as_str(), lease.attempt).await;
        if let Err(error) = noted {
            tracing::warn!(job.id = %lease.id.job, "cannot record a failed attempt: {}", chain(&error));
        }
    }

    /// Releases jobs: they have not used an attempt.
    pub async fn release(&self, assignments: &[Assignment]) -> Result<(), Error> {
        let leases: Vec<LeaseId> = assignments.iter().map(|assignment| assignment.lease.id.clone()).collect();
        Ok(self.0.broker.release(&leases, self.0.clock.steady()).await?)
    }

    /// Commits a job's outcome with its effects in one transaction.
    pub(super) async fn write_down(&self, job: Job, outcome: Outcome) -> Result<(), Error> {
        if !job.task.is_awaited() {
            return Ok(());
        }
        let project = job.project;
        let event = Event::Reported {
            reports: vec![Report { job, outcome }],
            at: self.0.clock.now(),
            seed: Seed::from_bytes(self.0.entropy.bytes()),
        };
        match self.apply(project, event).await {
            // The outcome is no longer needed.
            Ok(_) | Err(Error::Refused(Refused::Absent)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn settle(&self, lease: &LeaseId) -> Result<(), Error> {
        match self.0.broker.ack_all(std::slice::from_ref(lease), self.0.clock.steady()).await?.first() {
            Some(Acked::Lost) => {
                tracing::debug!(job.id = %lease.job, "another worker holds the job; its report will change nothing");
            }
            Some(Acked::Done) | None => {}
        }
        Ok(())
    }
}

/// Returns the run that a job belongs to, if any.
pub(super) fn runs_of(job: &Job) -> Runs {
    job.task.run().map_or(Runs::None, Runs::One)
}

/// Returns the run whose objects a purge removes, if any.
fn runs_of_purge(purge: &Purge) -> Runs {
    match purge {
        Purge::Run(run) | Purge::Intermediate(run) => Runs::One(*run),
        Purge::Project | Purge::Upload { .. } | Purge::Files { .. } | Purge::Entries { .. } => Runs::None,
    }
}

/// Returns the keys of the files that a party's upload names, if it needs any.
fn keyring(party: &Party) -> Option<Secret> {
    match &party.contents {
        Contents::Fetching { keyring, .. } if !keyring.is_empty() => Some(Secret::Keyring(keyring.clone())),
        _ => None,
    }
}

/// Returns the outcome of a job that has used up its attempts.
pub(super) fn gave_up(reason: &str) -> Outcome {
    Outcome::Rejected { message: format!("the job failed after several attempts: {reason}") }
}

/// Jobs that were claimed but not returned to a worker yet. Dropping this releases them.
struct Taken<'a> {
    coordinator: &'a Coordinator,
    leases: Vec<Lease>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let (coordinator, leases) = (self.coordinator.clone(), std::mem::take(&mut self.leases));
        let Ok(runtime) = Handle::try_current() else { return };
        if leases.is_empty() {
            return;
        }
        runtime.spawn(async move {
            let leases: Vec<LeaseId> = leases.into_iter().map(|lease| lease.id).collect();
            if let Err(error) = coordinator.0.broker.release(&leases, coordinator.0.clock.steady()).await {
                tracing::warn!("cannot release jobs: {}", chain(&error));
            }
        });
    }
}
