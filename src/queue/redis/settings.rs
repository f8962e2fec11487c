//! The settings of a queue in Redis.

use std::path::PathBuf;
use std::time::Duration;

use super::access::Access;
use crate::queue::Backoff;
use crate::system::identity::Identity;

/// Time that a call waits for a lost master to come back, before its answer is an error.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
/// Time that a start waits for a server that does not answer.
pub(super) const START: Duration = Duration::from_secs(10);

/// The settings of a queue in Redis.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server.
    pub access: Access,
    /// The data directory that the queue belongs to.
    pub identity: Identity,
    /// The directory in which the state of the queue is remembered across restarts; if none, it is forgotten.
    pub directory: Option<PathBuf>,
    /// True if there has been a queue before: a new one is without its jobs then.
    pub expected: bool,
    /// The backoff of failed jobs.
    pub backoff: Backoff,
    /// The length of a lease from before a restart once a heartbeat renews it.
    pub lease_taken_up: Duration,
    /// The time of calls is that of their callers, not of the server.
    pub(super) time_of_callers: bool,
}

impl Settings {
    /// The usual settings.
    pub fn new(access: Access, identity: Identity) -> Self {
        Self {
            access,
            identity,
            directory: None,
            expected: false,
            backoff: Backoff::default(),
            lease_taken_up: Duration::from_mins(1),
            time_of_callers: false,
        }
    }
}
