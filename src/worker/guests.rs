//! Guests: jobs of workers on other machines for which this process writes objects.
//!
//! A purge waits for the active jobs that create the objects to be removed. So the job of another machine counts as
//! active here while its object is being written.

use std::sync::Arc;

use super::active_jobs::{ActiveJobGuard, ActiveJobs};
use super::heartbeat::is_wanted;
use super::job_source::JobSource;
use crate::coordinator::{Assignment, Error};

/// Admits jobs of other workers. Cheap to clone.
#[derive(Clone)]
pub struct Guests {
    pub(super) source: Arc<dyn JobSource>,
    pub(super) active_jobs: Arc<ActiveJobs>,
}

/// A job of another worker, which is active here until this is dropped.
pub struct Guest(ActiveJobGuard);

impl Guests {
    /// Admits a job. Returns `None` if its outcome is no longer needed, if another worker holds it, or while another
    /// request writes an object for the same lease.
    ///
    /// # Errors
    /// The errors of a heartbeat.
    pub async fn enter(&self, assignment: Assignment) -> Result<Option<Guest>, Error> {
        let Some(active) = self.active_jobs.take_once(assignment) else { return Ok(None) };
        // Checked after the job became active: a later purge waits for it, and an earlier one has cancelled it.
        let is_wanted = is_wanted(&*self.source, &active).await?;
        Ok(is_wanted.then_some(Guest(active)))
    }
}

impl Guest {
    /// Returns true unless a heartbeat was rejected since the job was admitted.
    pub fn is_wanted(&self) -> bool {
        self.0.cause().is_none()
    }
}
