//! The state of the handlers for workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use linkage::pairs::Version;
use tokio_util::sync::CancellationToken;

use super::join_tokens::JoinTokens;
use super::leases::Leases;
use super::nodes::Nodes;
use super::translated::Translated;
use crate::coordinator::{Assignment, Coordinator};
use crate::external::UploadBucket;
use crate::http::problem::Problem;
use crate::model::Job;
use crate::objects::Objects;
use crate::queue::{Broker, Heartbeat, JobDetail, JobEntry, Lease, Progress, Pulse};
use crate::runtime::clock::{Clock, Timestamp};
use crate::telemetry::LogThrottle;
use crate::worker::Guests;
use crate::worker::protocol::Ticket;

/// The parts of the worker listener.
pub struct Parts {
    /// The coordinator, which assigns jobs and receives outcomes.
    pub coordinator: Coordinator,
    /// The queue, in which jobs are looked up.
    pub broker: Arc<dyn Broker>,
    /// The clock for calls of the queue.
    pub clock: Clock,
    /// The object store.
    pub objects: Objects,
    /// The bucket that clients upload to.
    pub uploads: Option<UploadBucket>,
    /// The jobs whose objects are being written.
    pub guests: Guests,
    /// The tokens that are accepted.
    pub tokens: JoinTokens,
    /// The nodes that have joined.
    pub nodes: Nodes,
    /// The settings that must be equal on workers.
    pub settings: BTreeMap<String, String>,
    /// The latest version of pair files that workers may write.
    pub pairs: Version,
    /// The length of a lease.
    pub lease: Duration,
    /// The token that ends waiting claims.
    pub stop: CancellationToken,
}

/// The state of the handlers for workers. Cheap to clone.
#[derive(Clone)]
pub(super) struct WorkersState(Arc<Inner>);

pub(super) struct Inner {
    pub(super) parts: Parts,
    pub(super) leases: Leases,
    /// Pair files in a version that older workers read.
    pub(super) translated: Translated,
    /// Throttles the warning that a report cannot be recorded.
    pub(super) unrecorded: LogThrottle,
}

impl std::ops::Deref for WorkersState {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl WorkersState {
    /// Returns the state without any worker.
    pub(super) fn new(parts: Parts) -> Self {
        let (leases, translated) = (Leases::default(), Translated::default());
        Self(Arc::new(Inner { parts, leases, translated, unrecorded: LogThrottle::default() }))
    }

    pub(super) fn tokens(&self) -> &JoinTokens {
        &self.parts.tokens
    }

    /// Returns the job of a ticket; `None` if it is done or was cancelled.
    ///
    /// # Errors
    /// 403, if the ticket is not signed by this service.
    pub(super) async fn assignment(&self, ticket: &Ticket) -> Result<Option<Arc<Assignment>>, Problem> {
        if !self.parts.tokens.has_signed(ticket) {
            tracing::warn!(job.id = %ticket.lease.job, "rejected a ticket with a wrong signature");
            return Err(Problem::new(StatusCode::FORBIDDEN, "the ticket was not issued by this service"));
        }
        if let Some((assignment, _)) = self.leases.find(&ticket.lease) {
            return Ok(Some(assignment));
        }
        let found = self.parts.broker.show(&ticket.lease.job, self.parts.clock.steady()).await?;
        let Some(detail) = found else { return Ok(None) };
        let Some(assignment) = restored(ticket, &detail) else { return Ok(None) };
        let assignment = Arc::new(assignment);
        self.leases.add(Arc::clone(&assignment));
        Ok(Some(assignment))
    }

    /// Returns the job of a ticket whose lease is valid, or was known to be valid within the length of a lease.
    ///
    /// # Errors
    /// 403 for a ticket that this service has not issued, 409 if the lease has expired.
    pub(super) async fn held(&self, ticket: &Ticket) -> Result<Arc<Assignment>, Problem> {
        let over = || Problem::new(StatusCode::CONFLICT, "the lease has expired, or the job was cancelled");
        let assignment = self.assignment(ticket).await?.ok_or_else(over)?;
        let checked = self.leases.find(&ticket.lease).map(|(_, checked)| checked);
        if checked.is_some_and(|checked| checked < self.parts.lease) || self.holds(ticket).await? {
            return Ok(assignment);
        }
        self.leases.remove(&ticket.lease);
        Err(over())
    }

    /// Extends a lease in the queue; returns false if it is no longer valid.
    pub(super) async fn holds(&self, ticket: &Ticket) -> Result<bool, Problem> {
        let beat = Heartbeat { lease: ticket.lease.clone(), progress: Progress::default() };
        let pulses = self.parts.coordinator.heartbeat(&[beat]).await?;
        let holds = matches!(pulses.first(), Some(Pulse::Continue { .. }));
        if holds {
            self.leases.confirm(&ticket.lease);
        }
        Ok(holds)
    }
}

/// Returns the assignment of a job that another process, or this one before a restart, has given to a worker.
fn restored(ticket: &Ticket, detail: &JobDetail) -> Option<Assignment> {
    let JobEntry::Living(summary) = &detail.entry else { return None };
    let job: Job = serde_json::from_slice(&detail.payload).ok()?;
    let lease = Lease {
        id: ticket.lease.clone(),
        queue: summary.queue.clone(),
        group: summary.group.clone(),
        payload: detail.payload.clone(),
        attempt: ticket.attempt,
        enqueued: summary.enqueued,
        ready: summary.enqueued,
        until: Timestamp::default(),
    };
    Some(Assignment { lease, job, secret: None, workers: 1, pairs: Version::Plain })
}
