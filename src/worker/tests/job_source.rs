//! A source of jobs in memory, which records the calls that it gets.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::assignment;
use crate::coordinator::{Assignment, Error};
use crate::model::{Outcome, Task};
use crate::queue::{Claim, Heartbeat, Pulse};
use crate::runtime::clock::Timestamp;
use crate::worker::JobSource;

/// A call about a job.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Call {
    Report(String, Outcome),
    Failed(String, String),
    Released(String),
}

#[derive(Clone, Default)]
pub(super) struct FakeSource(Arc<Inner>);

#[derive(Default)]
struct Inner {
    waiting: Mutex<Vec<Assignment>>,
    unwanted: Mutex<HashSet<String>>,
    calls: Mutex<Vec<Call>>,
    changed: Notify,
}

impl FakeSource {
    pub(super) fn put(&self, task: Task) {
        self.0.waiting.lock().unwrap().push(assignment(task));
        self.0.changed.notify_waiters();
    }

    /// Makes all later heartbeats of jobs of this kind return a stop.
    pub(super) fn call_off(&self, kind: &str) {
        self.0.unwanted.lock().unwrap().insert(kind.to_owned());
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.0.calls.lock().unwrap().clone()
    }

    pub(super) fn waits(&self) -> usize {
        self.0.waiting.lock().unwrap().len()
    }

    /// Waits for this many calls.
    pub(super) async fn until_called(&self, count: usize) -> Vec<Call> {
        let wait = async {
            while self.calls().len() < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), wait).await.expect("the worker reports in time");
        self.calls()
    }

    fn hear(&self, calls: Call) {
        self.0.calls.lock().unwrap().push(calls);
    }

    fn take(&self, claim: &Claim) -> Vec<Assignment> {
        let mut waiting = self.0.waiting.lock().unwrap();
        let mut taken = Vec::new();
        while let Some(at) = waiting
            .iter()
            .position(|assignment| claim.queues.iter().any(|share| share.queue == assignment.lease.queue))
            && taken.len() < claim.count
        {
            taken.push(waiting.remove(at));
        }
        taken
    }
}

fn kind(assignment: &Assignment) -> String {
    assignment.job.task.kind().to_owned()
}

#[async_trait]
impl JobSource for FakeSource {
    async fn claim(&self, claim: &Claim) -> Result<Vec<Assignment>, Error> {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            let taken = self.take(claim);
            if !taken.is_empty() {
                return Ok(taken);
            }
            changed.await;
        }
    }

    async fn heartbeat(&self, beats: &[Heartbeat]) -> Result<Vec<Pulse>, Error> {
        let unwanted = self.0.unwanted.lock().unwrap();
        let pulse = |beat: &Heartbeat| {
            let job = beat.lease.job.as_str();
            let stop = unwanted.iter().any(|kind| job.contains(kind.as_str()));
            if stop { Pulse::Stop } else { Pulse::Continue { until: Timestamp::from_micros(0) } }
        };
        Ok(beats.iter().map(pulse).collect())
    }

    async fn report(&self, assignment: &Assignment, outcome: Outcome) -> Result<(), Error> {
        self.hear(Call::Report(kind(assignment), outcome));
        Ok(())
    }

    async fn failed(&self, assignment: &Assignment, reason: &str) -> Result<(), Error> {
        self.hear(Call::Failed(kind(assignment), reason.to_owned()));
        Ok(())
    }

    async fn release(&self, assignments: &[Assignment]) -> Result<(), Error> {
        assignments.iter().for_each(|assignment| self.hear(Call::Released(kind(assignment))));
        Ok(())
    }
}
