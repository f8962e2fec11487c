//! Periodic maintenance, and the effects of its findings.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use super::jobs::AGAIN;
use super::{Assignment, Coordinator, Error, Event, Refused, outbox};
use crate::model::job::{CHORES, Chore, Holding, NOBODY};
use crate::model::{Job, Task};
use crate::queue::{Group, JobQuery, JobState, NewJob};
use crate::runtime::clock::Timestamp;
use crate::telemetry::chain;

/// The maximum number of queued chores that are read before new ones are scheduled.
const PAGE: usize = 1_000;

impl Coordinator {
    /// Makes sure that the chores of the next period are in the queue. Chores are named after their period, and only those
    /// of the next period are enqueued. So each is done once in a period, no matter how often the process starts, and a
    /// chore that was missed several times is done once.
    pub(super) async fn schedule_chores(&self) -> Result<(), Error> {
        let every = i64::try_from(self.0.rules.upkeep.every.as_micros()).unwrap_or(i64::MAX).max(1);
        let period = self.0.clock.steady().as_micros() / every + 1;
        let due = Timestamp::from_micros(period.saturating_mul(every));
        let waiting = self.waiting_chores(due).await?;
        let mut jobs: Vec<NewJob> = Chore::ALL
            .into_iter()
            .filter(|chore| !waiting.contains(chore.name()))
            .map(|chore| Job { project: NOBODY, task: Task::Chore { chore, period } })
            .map(|job| NewJob { not_before: Some(due), ..outbox::queued(&job) })
            .collect();
        self.enqueue(&mut jobs).await
    }

    /// Returns the names of the chores that wait in the queue and are due by `due`. A leased chore belongs to the current
    /// period. A chore that is due later was scheduled when the period was longer.
    async fn waiting_chores(&self, due: Timestamp) -> Result<HashSet<String>, Error> {
        let query = JobQuery { group: Some(Group::from(CHORES)), count: PAGE, ..JobQuery::default() };
        let jobs = self.0.broker.jobs(&query, self.0.clock.steady()).await?;
        let waits = |state| match state {
            JobState::Ready => true,
            JobState::Delayed { until } => until <= due,
            JobState::Leased { .. } => false,
        };
        let waiting = jobs.iter().filter(|job| waits(job.state));
        Ok(waiting.filter_map(|job| job.job.as_str().split('/').nth(1).map(str::to_owned)).collect())
    }

    /// Schedules a second purge after the length of a lease. It removes objects that a worker with an expired lease wrote
    /// after the first purge. After the second purge, the deletion is forgotten.
    pub(super) async fn purge_again(&self, assignment: &Assignment) -> Result<(), Error> {
        let id = assignment.lease.id.job.as_str();
        if let Some(first) = id.strip_suffix(AGAIN) {
            self.forget_deleted(&assignment.job).await?;
            return Ok(self.0.store.settle(first).await?);
        }
        let again = NewJob {
            job: format!("{id}{AGAIN}").into(),
            not_before: Some(self.0.clock.steady().after(self.0.rules.upkeep.lease)),
            ..outbox::queued(&assignment.job)
        };
        self.enqueue(&mut vec![again]).await
    }

    /// Carries out the coordinator's part of a chore, after the worker's part.
    pub(super) async fn keep_house(&self, task: &Task, found: Vec<Holding>) -> Result<(), Error> {
        match task {
            Task::Chore { chore: Chore::Retire, .. } => self.retire().await,
            Task::Chore { chore: Chore::Sweep, .. } => self.sweep(found).await,
            Task::Chore { chore: Chore::Compact, .. } => {
                self.0.store.compact().await?;
                self.erase_traces().await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Notes that a purge is complete: the queue's files still contain the names of removed objects.
    pub(super) fn traces_left(&self) {
        self.0.traces.store(true, Ordering::Release);
    }

    /// Rewrites the queue without names of removed objects, if any were removed. If that fails, the next maintenance
    /// tries again.
    async fn erase_traces(&self) {
        if !self.0.traces.swap(false, Ordering::AcqRel) {
            return;
        }
        if let Err(error) = self.0.broker.erase_traces().await {
            self.traces_left();
            tracing::warn!(
                "cannot rewrite the queue, so its files still contain names of deleted objects; the next maintenance tries again: {}",
                chain(&error)
            );
        }
    }

    /// Deletes the projects whose retention has ended.
    async fn retire(&self) -> Result<(), Error> {
        let Some(retention) = self.0.rules.upkeep.retention else { return Ok(()) };
        let before = self.retention_clock().await?.surely.before(retention);
        for id in self.0.store.settled_before(before).await? {
            match self.apply(id, Event::Aged { before }).await {
                Ok(_) | Err(Error::Refused(Refused::Absent)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::{Rules, Upkeep};
    use super::*;
    use crate::metadata::{Commit, Runs, Sqlite};
    use crate::model::{Outcome, ProjectState, ResultType, Run, RunId, RunState, Summary, Threshold};
    use crate::queue::sled::{Settings, SledBroker};
    use crate::queue::{Claim, Share};
    use crate::runtime::clock::Clock;
    use crate::runtime::entropy::Entropy;

    fn run(number: u8, state: RunState) -> Run {
        let id = RunId::from_bytes([number; 24]);
        Run { state, ..Run::asked_for(id, Threshold::new(0.5).unwrap(), Timestamp::default()) }
    }

    /// Returns a coordinator that continues on the data of the previous one.
    fn start(folder: &Path, clock: &Clock, retention: Option<Duration>) -> Coordinator {
        let (store, entropy) = (Sqlite::open(&folder.join("metadata.db")).unwrap(), Entropy::seeded(1));
        let broker = SledBroker::open(&folder.join("queue"), Settings::default(), entropy.clone()).unwrap();
        let rules = Rules { upkeep: Upkeep { retention, ..Upkeep::default() }, ..Rules::of_tests(1) };
        Coordinator::new(Arc::new(store), Arc::new(broker), clock.clone(), entropy, rules)
    }

    #[tokio::test]
    async fn a_project_goes_when_time_has_passed_and_not_when_the_clock_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        let (clock, day) = (Clock::manual(now), Duration::from_hours(24));
        let server = start(folder.path(), &clock, Some(30 * day));
        let ended =
            Run { ended: Some(now), settled: Some(now), ..run(1, RunState::Completed(Summary::default())) };
        let state = ProjectState { runs: vec![ended], ..ProjectState::of(Vec::new(), ResultType::Groups) };
        let id = state.id;
        let change =
            move |_| Some(Commit { state: Some(state.clone()), outbox: Vec::new(), duties: Vec::new() });
        server.0.store.update(id, Runs::All, Box::new(change)).await.unwrap();
        let retired = async |server: &Coordinator| {
            server.retire().await.unwrap();
            server.keep_mark().await.unwrap();
            server.project(id, Runs::All).await.unwrap().is_none()
        };
        for wrong in [now.after(365 * day), Timestamp::default(), now] {
            clock.set(wrong);
            assert!(!retired(&server).await, "{wrong}");
        }
        clock.advance(15 * day);
        clock.set(clock.now().after(365 * day));
        assert!(!retired(&server).await);
        drop(server);
        let server = start(folder.path(), &clock, Some(30 * day));
        assert!(!retired(&server).await);
        clock.set(now.after(15 * day));
        assert!(!retired(&server).await);
        clock.advance(14 * day);
        assert!(!retired(&server).await);
        clock.advance(2 * day);
        assert!(retired(&server).await);
    }

    #[tokio::test]
    async fn a_chore_is_done_once_in_a_period_however_often_the_process_starts() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(Timestamp::from_micros(1_000_000_000_000));
        let claim = Claim {
            queues: vec![Share { queue: "maintenance".into(), weight: NonZeroU32::MIN }],
            count: 10,
            lease: Duration::from_secs(30),
            wait: Duration::ZERO,
            for_guest: false,
        };
        let mut done = Vec::new();
        for hour in 0..4 {
            // A day without the server between the second hour and the third.
            clock.advance(Duration::from_hours(if hour == 2 { 24 } else { 1 }));
            for _ in 0..5 {
                let coordinator = start(folder.path(), &clock, None);
                coordinator.schedule_chores().await.unwrap();
                for assignment in coordinator.claim(&claim).await.unwrap() {
                    done.push((hour, assignment.job.task.kind()));
                    coordinator.report(&assignment, Outcome::Surveyed(Vec::new())).await.unwrap();
                }
            }
        }
        let once = |hour| ["retire", "sweep", "compact"].map(|kind| (hour, kind));
        assert_eq!(done, [once(1), once(2), once(3)].concat());
    }
}
