//! The settings of a queue in Redis.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::access::Access;
use crate::metadata::Commons;
use crate::queue::Backoff;
use crate::system::identity::Identity;

/// The time that a call waits for a lost master before it fails.
pub(super) const RECONNECT_WAIT: Duration = Duration::from_millis(500);
/// The time that a start waits for a server that does not answer.
pub(super) const START: Duration = Duration::from_secs(10);

/// The settings of a queue in Redis.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server.
    pub access: Access,
    /// The identity of the data directory to which the queue belongs.
    pub identity: Identity,
    /// The directory for the file with the observed state of the queue; `None` to forget that state at the end.
    pub directory: Option<PathBuf>,
    /// Set if a queue has existed before: if a new queue must be created, its jobs have to be enqueued again.
    pub expected: bool,
    /// The backoff of failed jobs.
    pub backoff: Backoff,
    /// The length of a lease from before a restart when a heartbeat renews it.
    pub lease_taken_up: Duration,
    /// The nodes that use the queue together; none if this process alone uses it.
    pub shared: Option<Shared>,
    /// Set in tests: calls then use the time of their callers instead of the time of the server.
    pub(super) time_of_callers: bool,
}

/// The nodes that use the queue together.
#[derive(Clone)]
pub struct Shared {
    /// The name of this node.
    pub node: String,
    /// The process that used the data directory before, which has ended.
    pub ended: Option<String>,
    /// Access to the shared value that decides which generation is valid.
    pub commons: Arc<dyn Commons>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({})", self.node)
    }
}

impl Settings {
    /// Returns the default settings.
    pub fn new(access: Access, identity: Identity) -> Self {
        Self {
            access,
            identity,
            directory: None,
            expected: false,
            backoff: Backoff::default(),
            lease_taken_up: Duration::from_mins(1),
            shared: None,
            time_of_callers: false,
        }
    }
}
