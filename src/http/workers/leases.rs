//! A cache of the jobs that workers hold, so that not every call about a job queries the queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::coordinator::Assignment;
use crate::queue::LeaseId;
use crate::runtime::clock::Stopwatch;

/// The number of cached jobs above which old ones are removed.
const KEPT: usize = 10_000;
/// The time since its last check after which a job counts as old.
const AGE_MAX: Duration = Duration::from_mins(10);

/// The cached jobs.
#[derive(Default)]
pub(super) struct Leases(Mutex<HashMap<LeaseId, Known>>);

struct Known {
    assignment: Arc<Assignment>,
    /// Measures the time since the lease was last known to be valid.
    checked: Stopwatch,
}

impl Leases {
    pub(super) fn add(&self, assignment: Arc<Assignment>) {
        let mut known = self.0.lock();
        if known.len() >= KEPT {
            known.retain(|_, known| known.checked.elapsed() < AGE_MAX);
        }
        let lease = assignment.lease.id.clone();
        known.insert(lease, Known { assignment, checked: Stopwatch::start() });
    }

    /// Returns the job, and the time since its lease was last known to be valid.
    pub(super) fn find(&self, lease: &LeaseId) -> Option<(Arc<Assignment>, Duration)> {
        let known = self.0.lock();
        known.get(lease).map(|known| (Arc::clone(&known.assignment), known.checked.elapsed()))
    }

    pub(super) fn confirm(&self, lease: &LeaseId) {
        if let Some(known) = self.0.lock().get_mut(lease) {
            known.checked = Stopwatch::start();
        }
    }

    pub(super) fn remove(&self, lease: &LeaseId) {
        self.0.lock().remove(lease);
    }
}
