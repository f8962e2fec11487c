//! The tickets of the jobs that this worker holds.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::model::Job;
use crate::queue::LeaseId;
use crate::worker::grants;
use crate::worker::protocol::{Assigned, Ticket};

/// The jobs that this worker holds.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<HashMap<LeaseId, (Ticket, Job)>>);

impl Tickets {
    /// Adds a job, and removes earlier leases of the same job, which have ended.
    pub(super) fn add(&self, assigned: &Assigned) {
        let (lease, entry) = (&assigned.ticket.lease, (assigned.ticket.clone(), assigned.job.clone()));
        let mut tickets = self.0.lock();
        tickets.retain(|earlier, _| earlier.job != lease.job);
        tickets.insert(lease.clone(), entry);
    }

    pub(super) fn remove(&self, lease: &LeaseId) {
        self.0.lock().remove(lease);
    }

    pub(super) fn ticket(&self, lease: &LeaseId) -> Option<Ticket> {
        self.0.lock().get(lease).map(|(ticket, _)| ticket.clone())
    }

    /// Returns the ticket of a job that may read the object.
    pub(super) fn for_reading(&self, key: &str) -> Option<Ticket> {
        self.find(|job| grants::readable(job, key).is_some())
    }

    /// Returns the ticket of a job that may create the object.
    pub(super) fn for_writing(&self, key: &str) -> Option<Ticket> {
        self.find(|job| grants::writable(job, key).is_some())
    }

    /// Returns the ticket of a job that may read the client's file.
    pub(super) fn for_file(&self, key: &str) -> Option<Ticket> {
        self.find(|job| grants::may_read_file(job, key))
    }

    fn find(&self, may: impl Fn(&Job) -> bool) -> Option<Ticket> {
        self.0.lock().values().find(|(_, job)| may(job)).map(|(ticket, _)| ticket.clone())
    }
}
