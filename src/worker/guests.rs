//! Jobs of other workers while this process writes objects for them.
//!
//! A purge waits for the active jobs that create the objects that it removes. A job of another machine is active here
//! while its object is being written.

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

/// A job of another worker, active here until it is dropped.
pub struct Guest(ActiveJobGuard);

impl Guests {
    /// Admits a job, if its outcome is still needed and no other worker holds it. Only one request at a time for each
    /// lease: `None` while another one writes for it.
    ///
    /// # Errors
    /// The errors of a heartbeat.
    pub async fn enter(&self, assignment: Assignment) -> Result<Option<Guest>, Error> {
        let Some(active) = self.active_jobs.take_once(assignment) else { return Ok(None) };
        // Checked once the job is active: a later purge waits for it, and an earlier one has cancelled it by now.
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
