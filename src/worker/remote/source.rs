//! The source of jobs over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::courier::Courier;
use super::error::CallError;
use super::nodes::Nodes;
use super::tickets::Tickets;
use crate::coordinator::{Assignment, Error};
use crate::model::Outcome;
use crate::queue::{Claim, Heartbeat, LeaseId, Pulse};
use crate::worker::JobSource;
use crate::worker::protocol::{
    Assigned, Beat, ClaimAnswer, ClaimRequest, Failure, OutcomeReport, Receipt, Ticket, shortened,
};

/// The maximum number of jobs of one claim.
const CLAIMS_AT_ONCE: usize = 16;
/// The pause after a rejected claim, about which the operator must do something.
const REJECTED: Duration = Duration::from_secs(5);
/// The pause of a draining worker before its next claim.
const DRAINING: Duration = Duration::from_secs(5);
/// The pause when no node has answered.
const AWAY: Duration = Duration::from_millis(500);

/// Jobs from API nodes. Cheap to clone.
#[derive(Clone)]
pub struct RemoteSource(Arc<Inner>);

struct Inner {
    nodes: Nodes,
    courier: Courier,
    tickets: Arc<Tickets>,
    number: AtomicU64,
    received: AtomicU64,
    /// The jobs that have arrived and are not yet returned. Their claim may have been dropped.
    unclaimed: Mutex<Vec<Assigned>>,
    arrived: Notify,
    /// True if the failure of the latest claim was logged.
    is_troubled: AtomicBool,
    closed: CancellationToken,
}

impl RemoteSource {
    /// Returns the source of jobs from `nodes`. Adds the tickets of jobs to `tickets`.
    pub(super) fn new(nodes: Nodes, tickets: Arc<Tickets>) -> Self {
        Self(Arc::new(Inner {
            courier: Courier::start(nodes.clone()),
            nodes,
            tickets,
            number: AtomicU64::new(0),
            received: AtomicU64::new(0),
            unclaimed: Mutex::default(),
            arrived: Notify::new(),
            is_troubled: AtomicBool::new(false),
            closed: CancellationToken::new(),
        }))
    }

    fn ticket(&self, lease: &LeaseId) -> Result<Ticket, Error> {
        self.0
            .tickets
            .ticket(lease)
            .ok_or_else(|| Error::Rejected(format!("the job {} is not held", lease.job)))
    }
}

impl Inner {
    /// Claims once. Stores the jobs that arrive until they are taken.
    async fn claim(&self, claim: &Claim) {
        let request = ClaimRequest {
            number: self.number.fetch_add(1, Ordering::Relaxed) + 1,
            received: self.received.load(Ordering::Relaxed),
            queues: claim.queues.iter().map(|share| share.queue.clone()).collect(),
            count: claim.count,
            wait_ms: claim.wait.as_millis() as u64,
        };
        let answer: Result<ClaimAnswer, CallError> =
            self.nodes.call("claim", &request, claim.wait, Duration::ZERO).await;
        let pause = match answer {
            Ok(ClaimAnswer { jobs, draining }) => {
                self.received.fetch_max(request.number, Ordering::Relaxed);
                if self.is_troubled.swap(false, Ordering::Relaxed) {
                    tracing::info!("claiming jobs again");
                }
                if !jobs.is_empty() {
                    jobs.iter().for_each(|assigned| self.tickets.add(assigned));
                    self.unclaimed.lock().extend(jobs);
                    self.arrived.notify_waiters();
                }
                draining.then_some(DRAINING)
            }
            Err(error) => {
                if !self.is_troubled.swap(true, Ordering::Relaxed) {
                    tracing::warn!("cannot claim jobs; trying again: {error}");
                }
                Some(if matches!(error, CallError::Rejected { .. }) { REJECTED } else { AWAY })
            }
        };
        let Some(pause) = pause else { return };
        tokio::select! {
            () = self.closed.cancelled() => {}
            () = tokio::time::sleep(self.nodes.jittered(pause)) => {}
        }
    }

    /// Takes jobs of the claim's queues that have arrived.
    fn taken(&self, claim: &Claim) -> Vec<Assignment> {
        let mut unclaimed = self.unclaimed.lock();
        let mut taken = Vec::new();
        while taken.len() < claim.count
            && let Some(place) = unclaimed
                .iter()
                .position(|job| claim.queues.iter().any(|share| share.queue.as_str() == job.job.queue()))
        {
            taken.push(unclaimed.remove(place).into_assignment());
        }
        taken
    }
}

#[async_trait]
impl JobSource for RemoteSource {
    /// Claims jobs. A dropped claim continues, and the next claim returns its jobs, since the node has assigned them.
    async fn claim(&self, claim: &Claim) -> Result<Vec<Assignment>, Error> {
        let mut arrived = std::pin::pin!(self.0.arrived.notified());
        arrived.as_mut().enable();
        let taken = self.0.taken(claim);
        if !taken.is_empty() || self.0.closed.is_cancelled() {
            return Ok(taken);
        }
        let (inner, wish) = (Arc::clone(&self.0), claim.clone());
        let claimed = tokio::spawn(async move { inner.claim(&wish).await });
        tokio::select! {
            _ = claimed => {}
            // Jobs of an earlier claim have arrived.
            () = arrived => {}
        }
        Ok(self.0.taken(claim))
    }

    async fn heartbeat(&self, beats: &[Heartbeat]) -> Result<Vec<Pulse>, Error> {
        let mut known = Vec::with_capacity(beats.len());
        let mut tickets = Vec::with_capacity(beats.len());
        for beat in beats {
            let ticket = self.0.tickets.ticket(&beat.lease);
            known.push(ticket.is_some());
            tickets.extend(ticket.map(|ticket| Beat { ticket, progress: beat.progress }));
        }
        let mut pulses = self.0.courier.beat(tickets).await?.into_iter();
        let pulse = |known| if known { pulses.next() } else { None }.unwrap_or(Pulse::Lost);
        Ok(known.into_iter().map(pulse).collect())
    }

    async fn report(&self, assignment: &Assignment, outcome: Outcome) -> Result<(), Error> {
        let ticket = self.ticket(&assignment.lease.id)?;
        let outcome = match outcome {
            Outcome::Rejected { message } => Outcome::Rejected { message: shortened(&message) },
            outcome => outcome,
        };
        settled(self.0.courier.report(OutcomeReport { ticket, outcome }).await?)
    }

    async fn failed(&self, assignment: &Assignment, reason: &str) -> Result<(), Error> {
        let ticket = self.ticket(&assignment.lease.id)?;
        settled(self.0.courier.fail(Failure { ticket, reason: shortened(reason) }).await?)
    }

    async fn release(&self, assignments: &[Assignment]) -> Result<(), Error> {
        for assignment in assignments {
            let ticket = self.ticket(&assignment.lease.id)?;
            settled(self.0.courier.release(ticket).await?)?;
            self.forget(&assignment.lease.id);
        }
        Ok(())
    }

    fn claims_at_once(&self) -> usize {
        CLAIMS_AT_ONCE
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn forget(&self, lease: &LeaseId) {
        self.0.tickets.remove(lease);
    }

    async fn close(&self) {
        self.0.closed.cancel();
        // Ends a waiting claim on the node, and releases its jobs.
        let left = self.0.nodes.call("leave", &serde_json::json!({}), Duration::ZERO, Duration::ZERO).await;
        if let Err::<serde_json::Value, _>(error) = left {
            tracing::debug!("cannot sign off: {error}");
        }
        let unclaimed = std::mem::take(&mut *self.0.unclaimed.lock());
        let assignments: Vec<_> = unclaimed.into_iter().map(Assigned::into_assignment).collect();
        if let Err(error) = self.release(&assignments).await {
            tracing::warn!(jobs = assignments.len(), "cannot release jobs; their leases expire: {error}");
        }
    }
}

fn settled(receipt: Receipt) -> Result<(), Error> {
    match receipt {
        Receipt::Done => Ok(()),
        Receipt::Later(why) => Err(Error::Unreachable(why)),
        Receipt::Rejected(why) => Err(Error::Rejected(why)),
    }
}
