//! Errors of the coordinator.

use super::event::Refused;
use crate::metadata;
use crate::queue;

/// An error of the coordinator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The project does not allow the event. Nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The metadata store failed.
    #[error("cannot use the metadata")]
    Metadata(#[from] metadata::Error),
    /// The queue failed.
    #[error("cannot use the queue")]
    Queue(#[from] queue::Error),
    /// No API node has answered a worker.
    #[error("no API node answers: {0}")]
    Unreachable(String),
    /// An API node rejects a worker's call. Trying again does not help.
    #[error("the API node rejects the call: {0}")]
    Rejected(String),
}

impl Error {
    /// Returns true if the same call may succeed after a pause.
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Metadata(
                metadata::Error::Unavailable(_) | metadata::Error::Full(_) | metadata::Error::Busy
            ) | Self::Queue(queue::Error::Storage(_))
                | Self::Unreachable(_)
        )
    }
}
