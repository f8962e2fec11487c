//! The state machine of projects and runs. An event becomes one transaction and a list of jobs.
//!
//! [`transition::next`] decides the next state, and [`Coordinator`] commits it. The coordinator serves clients
//! (projects, uploads, runs) and workers (claims, heartbeats, reports), and moves pending jobs from the outbox into the
//! queue.

mod cleanup;
mod dispatch;
mod commands;
mod error;
pub mod event;
mod project_cache;
mod jobs;
mod maintenance;
mod outbox;
mod reconcile;
mod retention;
mod run_observer;
mod encoding_size;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
pub mod transition;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::metadata::store::Change;
use crate::metadata::{self, Runs, Store};
use crate::model::{ProjectId, ProjectState};
use crate::queue::Broker;
use crate::runtime::clock::{Clock, Timestamp};
use crate::runtime::entropy::Entropy;
use crate::runtime::outage::OutageTimer;

pub use commands::{CreatedProject, NewProject, NewRun};
pub use dispatch::{Assignment, Secret};
pub use error::Error;
pub use event::{Effect, Event, Refused, Report, Rules, Upkeep};
use project_cache::ProjectCache;
use retention::RetentionClock;

/// Decides and commits the next state of projects. Cheap to clone.
#[derive(Clone)]
pub struct Coordinator(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    /// Measures how long the metadata has failed, from the first failed use to the next successful change.
    metadata_outage: OutageTimer,
    broker: Arc<dyn Broker>,
    clock: Clock,
    entropy: Entropy,
    rules: Rules,
    project_cache: ProjectCache,
    /// The retention clock; absent until its first use.
    retention: tokio::sync::Mutex<Option<RetentionClock>>,
    /// Wakes the pump when an event has written to the outbox.
    written: Notify,
    /// Set if the queue may still contain names of removed objects. It is set at start, when this is unknown.
    traces: AtomicBool,
    /// The number of objects that the metadata did not know in the last survey.
    unknown: AtomicUsize,
}

impl Coordinator {
    /// Returns a coordinator for `store` and `broker`.
    pub fn new(
        store: Arc<dyn Store>,
        broker: Arc<dyn Broker>,
        clock: Clock,
        entropy: Entropy,
        rules: Rules,
    ) -> Self {
        let (project_cache, written, traces) =
            (ProjectCache::default(), Notify::new(), AtomicBool::new(true));
        let (retention, unknown) = (tokio::sync::Mutex::default(), AtomicUsize::new(0));
        Self(Arc::new(Inner {
            store,
            metadata_outage: OutageTimer::default(),
            broker,
            clock,
            entropy,
            rules,
            project_cache,
            retention,
            written,
            traces,
            unknown,
        }))
    }

    /// Returns the rules that the operator has set for all projects.
    pub fn rules(&self) -> &Rules {
        &self.0.rules
    }

    /// Returns the time.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Makes a change to a project in one transaction.
    async fn update(&self, id: ProjectId, runs: Runs, change: Change) -> Result<(), Error> {
        self.written(self.0.store.update(id, runs, change).await)
    }

    /// Records whether a change of the metadata succeeded.
    fn written<T>(&self, outcome: Result<T, metadata::Error>) -> Result<T, Error> {
        if outcome.is_ok() {
            self.0.metadata_outage.record_success();
        }
        self.read(outcome)
    }

    /// Records a failure to read the metadata. A successful read does not show that changes are accepted.
    fn read<T>(&self, outcome: Result<T, metadata::Error>) -> Result<T, Error> {
        if outcome.is_err() {
            self.0.metadata_outage.record_failure();
        }
        Ok(outcome?)
    }

    /// Applies an event to a project in one transaction. Returns the new state of the project, with the runs that the
    /// event may have changed; `None` if the event deleted it.
    async fn apply(&self, id: ProjectId, event: Event) -> Result<Option<ProjectState>, Error> {
        let verdict = Arc::new(Mutex::new(Err(Refused::Absent)));
        let (told, rules, runs) = (Arc::clone(&verdict), self.0.rules.clone(), event.runs());
        let moment = self.retention_clock().await?.perhaps;
        let change = move |before: Option<ProjectState>| {
            let decided = before.ok_or(Refused::Absent).and_then(|before| {
                Ok((run_observer::snapshot(&before), transition::next(before, &event, &rules)?))
            });
            let (verdict, commit) = match decided {
                Err(refused) => (Err(refused), None),
                Ok((seen, mut next)) => {
                    next.state.iter_mut().for_each(|state| run_observer::settle(&seen, state, moment));
                    let follows = !next.effects.is_empty();
                    let commit = outbox::commit(next.state.clone(), &next.effects);
                    (Ok((seen, next.state, follows)), Some(commit))
                }
            };
            *told.lock() = verdict;
            commit
        };
        self.update(id, runs, Box::new(change)).await?;
        let verdict = std::mem::replace(&mut *verdict.lock(), Err(Refused::Absent));
        let (before, after, follows) = verdict?;
        if follows {
            self.0.written.notify_one();
        }
        run_observer::record(id, &before, after.as_ref());
        Ok(after)
    }
}
