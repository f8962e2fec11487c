//! Why the coordinator did not do as asked.

use super::event::Refused;
use crate::metadata;
use crate::queue;

/// Why the coordinator did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The project does not allow it. Nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The metadata store failed.
    #[error("cannot use the metadata")]
    Metadata(#[from] metadata::Error),
    /// The queue failed.
    #[error("cannot use the queue")]
    Queue(#[from] queue::Error),
}

impl Error {
    /// Whether the same may go well after a pause.
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Metadata(
                metadata::Error::Unavailable(_) | metadata::Error::Full(_) | metadata::Error::Busy
            ) | Self::Queue(queue::Error::Storage(_))
        )
    }
}
