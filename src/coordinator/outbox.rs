//! Carries out the effects in the outbox: in order, each at least once.

use std::num::NonZeroU8;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::{Coordinator, Effect, Error, jobs};
use crate::metadata::{Commit, Duty, Message, Runs};
use crate::model::{Job, Outcome, ProjectId, ProjectState, RunId, RunState, Task};
use crate::queue::{self, Group, NewJob};
use crate::runtime::clock::Timestamp;
use crate::telemetry::{LogThrottle, chain};

/// The number of messages that are carried out together.
const BATCH: u32 = 1_000;
/// The number of parts of a run that are enqueued before the next message is carried out.
const PARTS_AT_ONCE: usize = 1_000;
/// The longest time that the pump sleeps.
const IDLE: Duration = Duration::from_secs(5);
/// Pause after an error.
const PAUSE: Duration = Duration::from_millis(500);
/// Time between two searches for stalled work.
const RECONCILE_EVERY: Duration = Duration::from_mins(1);
/// The maximum number of attempts of a purge. It is high so that a temporary outage of the store does not end a purge.
const PURGE_ATTEMPTS_MAX: NonZeroU8 = NonZeroU8::new(50).expect("fifty is not zero");

/// An [`Effect`] in the outbox. The bytes of a job go to the queue unchanged.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stored<'a> {
    #[serde(borrow)]
    Enqueue(&'a RawValue),
    Parts {
        project: ProjectId,
        run: RunId,
        from: u32,
    },
    Cancel(String),
}

/// Formats an effect for the outbox.
fn write(effect: &Effect) -> String {
    serde_json::to_string(effect).expect("an effect is plain data")
}

/// Returns the commit of a project's state with the effects of an event. A job that no project waits for is also
/// recorded as a duty, until it is done.
pub(super) fn commit(state: Option<ProjectState>, effects: &[Effect]) -> Commit {
    let mut commit = Commit { state, ..Commit::default() };
    for effect in effects {
        let Effect::Enqueue(job) = effect else {
            commit.outbox.push(write(effect));
            continue;
        };
        let body = payload(job);
        commit.outbox.push(format!("{{\"enqueue\":{body}}}"));
        if !job.task.is_awaited() {
            commit.duties.push(Duty { name: job.id(), body });
        }
    }
    commit
}

impl Coordinator {
    /// Carries out the outbox, and searches for stalled work at intervals, until it is stopped.
    pub async fn pump(&self, stop: CancellationToken) {
        let mut last_look = Timestamp::default();
        let (mut last_dead_letter, mut renewals) = (0, 0);
        let look_every = RECONCILE_EVERY.min(self.0.rules.upkeep.every / 2);
        let failures = LogThrottle::default();
        let unread = LogThrottle::default();
        while !stop.is_cancelled() {
            let begun_anew = self.0.broker.renewals();
            if begun_anew != renewals {
                match self.fill_again().await {
                    Ok(()) => renewals = begun_anew,
                    Err(error) => tracing::error!("cannot fill the new queue: {}", chain(&error)),
                }
            }
            let pause = match self.drain_outbox().await {
                Ok(()) if begun_anew != renewals => PAUSE,
                Ok(()) => IDLE.min(look_every),
                Err(error) => {
                    if let Some(times) = failures.count() {
                        tracing::error!(times, "cannot carry out the outbox: {}", chain(&error));
                    }
                    PAUSE
                }
            };
            match self.handle_dead_letters_after(last_dead_letter).await {
                Ok(last) => last_dead_letter = last,
                Err(error) => {
                    if let Some(times) = unread.count() {
                        tracing::error!(times, "cannot read the dead letters: {}", chain(&error));
                    }
                }
            }
            if self.0.clock.steady().since(last_look) >= look_every {
                last_look = self.0.clock.steady();
                self.look_around().await;
            }
            let written = async {
                self.0.written.notified().await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = written => {}
                () = self.0.broker.renewed(begun_anew) => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn look_around(&self) {
        if let Err(error) = self.keep_mark().await {
            tracing::error!("cannot store the retention clock: {}", chain(&error));
        }
        if let Err(error) = self.restart_stalled().await {
            tracing::error!("cannot look for stalled work: {}", chain(&error));
        }
        if let Err(error) = self.schedule_chores().await {
            tracing::error!("cannot schedule chores: {}", chain(&error));
        }
    }

    /// Carries out everything in the outbox.
    pub(super) async fn drain_outbox(&self) -> Result<(), Error> {
        loop {
            let messages = self.read(self.0.store.outbox(BATCH).await)?;
            let Some(last) = messages.last() else { return Ok(()) };
            let sequence = last.sequence;
            self.carry_out(&messages).await?;
            self.written(self.0.store.forget(sequence).await)?;
        }
    }

    async fn carry_out(&self, messages: &[Message]) -> Result<(), Error> {
        let mut jobs = Vec::new();
        for message in messages {
            match serde_json::from_str(&message.body) {
                Ok(Stored::Enqueue(body)) => match serde_json::from_str(body.get()) {
                    Ok(job) => jobs.push(new_job(&job, body.get().to_owned())),
                    Err(error) => tracing::error!("cannot parse a job in the outbox: {error}"),
                },
                Ok(Stored::Parts { project, run, from }) => {
                    self.enqueue(&mut jobs).await?;
                    self.enqueue_parts(project, run, from).await?;
                }
                Ok(Stored::Cancel(group)) => {
                    self.enqueue(&mut jobs).await?;
                    self.0.broker.cancel_group(&Group::from(group), self.0.clock.steady()).await?;
                }
                Err(error) => tracing::error!("cannot parse a message in the outbox: {error}"),
            }
        }
        self.enqueue(&mut jobs).await
    }

    /// Enqueues some parts of a run, and appends the rest to the outbox, after messages that were added meanwhile. Parts of
    /// a run that has ended are not enqueued: their cancellation comes later in the outbox.
    async fn enqueue_parts(&self, project: ProjectId, id: RunId, from: u32) -> Result<(), Error> {
        let Some(state) = self.0.store.project(project, Runs::One(id)).await? else { return Ok(()) };
        let Some(run) = state.run(id) else { return Ok(()) };
        let mut left = jobs::parts(&state, run, &self.0.rules, from);
        let mut some: Vec<NewJob> = left.by_ref().take(PARTS_AT_ONCE).map(|job| queued(&job)).collect();
        let next = left.next();
        self.enqueue(&mut some).await?;
        let Some(Task::Compare { part, .. }) = next.map(|job| job.task) else { return Ok(()) };
        let rest = write(&Effect::Parts { project, run: id, from: part });
        let change = move |state: Option<ProjectState>| {
            let state =
                state.filter(|state| state.run(id).is_some_and(|run| run.state == RunState::Comparing))?;
            Some(Commit { state: Some(state), outbox: vec![rest.clone()], ..Commit::default() })
        };
        self.update(project, Runs::One(id), Box::new(change)).await
    }

    /// Enqueues jobs. A job that is too large for the queue fails its run and does not delay the others.
    pub(super) async fn enqueue(&self, jobs: &mut Vec<NewJob>) -> Result<(), Error> {
        if !jobs.is_empty() {
            self.recall_attempts(jobs).await?;
        }
        while !jobs.is_empty() {
            match self.0.broker.enqueue(jobs, self.0.clock.steady()).await {
                Ok(_) => jobs.clear(),
                Err(queue::Error::TooLarge { job: id, .. }) => {
                    tracing::error!(job.id = %id, "a job is too large for the queue");
                    let (large, rest) = std::mem::take(jobs).into_iter().partition(|job| job.job == id);
                    *jobs = rest;
                    self.refuse(large).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Sets the attempts of jobs to those that were recorded while another queue held the jobs.
    async fn recall_attempts(&self, jobs: &mut [NewJob]) -> Result<(), Error> {
        let noted = self.0.store.attempts().await?;
        for job in jobs {
            job.attempts = noted.get(job.job.as_str()).copied().unwrap_or(0);
        }
        Ok(())
    }

    async fn refuse(&self, jobs: Vec<NewJob>) -> Result<(), Error> {
        for queued in jobs {
            if let Ok(job) = serde_json::from_slice::<Job>(&queued.payload) {
                let message =
                    "the run needs a job that is too large for the queue; use fewer parties".to_owned();
                self.write_down(job, Outcome::Rejected { message }).await?;
            }
        }
        Ok(())
    }
}

fn payload(job: &Job) -> String {
    serde_json::to_string(job).expect("a job is plain data")
}

/// Converts a job into the form that the queue stores.
pub(super) fn queued(job: &Job) -> NewJob {
    new_job(job, payload(job))
}

fn new_job(job: &Job, payload: String) -> NewJob {
    let mut queued = NewJob::new(job.id(), job.queue(), job.group(), payload);
    if matches!(job.task, Task::Purge(_)) {
        queued.attempts_max = PURGE_ATTEMPTS_MAX;
    }
    queued
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Purge;

    #[test]
    fn an_effect_is_read_from_the_outbox_as_it_was_written() {
        let (project, run) = (ProjectId::from_bytes([1; 24]), RunId::from_bytes([2; 24]));
        let job = Job { project, task: Task::Purge(Purge::Run(run)) };
        let effects = [
            Effect::Enqueue(job.clone()),
            Effect::Parts { project, run, from: 7 },
            Effect::Cancel("group".to_owned()),
        ];
        let commit = commit(None, &effects);
        for (text, effect) in commit.outbox.iter().zip(&effects) {
            assert_eq!(*text, write(effect), "earlier versions wrote the same");
        }
        let Ok(Stored::Enqueue(body)) = serde_json::from_str(&commit.outbox[0]) else { panic!() };
        assert_eq!(body.get(), payload(&job));
        assert!(matches!(serde_json::from_str(&commit.outbox[1]), Ok(Stored::Parts { from: 7, .. })));
        assert!(
            matches!(serde_json::from_str(&commit.outbox[2]), Ok(Stored::Cancel(group)) if group == "group")
        );
    }
}
