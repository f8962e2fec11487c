//! The errors of a queue.

use super::JobId;
use crate::telemetry::chain;

/// An error that is only displayed.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An error of the queue.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another worker holds the job now. Stop, and do not ack.
    #[error("another worker holds job {job} now")]
    LeaseLost {
        /// The job of the lease.
        job: JobId,
    },
    /// The job can never be stored: make it smaller.
    #[error("job {job} has {size_bytes} bytes; the limit is {size_bytes_max}")]
    TooLarge {
        /// The name of the job.
        job: JobId,
        /// The size of the job.
        size_bytes: usize,
        /// The maximum size.
        size_bytes_max: usize,
    },
    /// The store failed and is being reopened. The call may or may not have taken effect. Try again after a pause.
    #[error("queue storage is unavailable")]
    Storage(#[source] BoxError),
    /// The stored data is damaged, or a newer version wrote it.
    #[error("queue storage is damaged; with --queue-damaged rebuild it is quarantined and replaced")]
    Damaged(#[source] BoxError),
    /// The queue was closed regularly.
    #[error("the queue is closed")]
    Closed,
}

impl Error {
    /// Returns the text of the cause, without that of this error.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Storage(cause) | Self::Damaged(cause) => chain(cause.as_ref()),
            _ => self.to_string(),
        }
    }

    /// Returns the error for damaged stored data.
    pub(super) fn damaged(reason: &'static str) -> Self {
        Self::Damaged(reason.into())
    }
}
