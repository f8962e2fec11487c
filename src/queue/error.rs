//! The errors of a queue.

use super::JobId;
use crate::telemetry::chain;

/// A cause that is only ever shown.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An error of the queue.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another worker holds the job now. Stop, and do not ack.
    #[error("another worker holds job {job} now")]
    LeaseLost {
        /// The job that was held.
        job: JobId,
    },
    /// The job can never be stored: make it smaller.
    #[error("job {job} is {size_bytes} bytes, {size_bytes_max} are the most")]
    TooLarge {
        /// The job as named by the caller.
        job: JobId,
        /// Its size.
        size_bytes: usize,
        /// The largest size.
        size_bytes_max: usize,
    },
    /// The store failed and is being reopened. Calls without an answer may or may not have taken effect.
    /// Worth another try after a pause.
    #[error("queue storage is unavailable")]
    Storage(#[source] BoxError),
    /// The stored data is damaged, or a newer version wrote it.
    #[error("queue storage is damaged; with --queue-damaged rebuild it is set aside and made anew")]
    Damaged(#[source] BoxError),
    /// The queue was closed in good order.
    #[error("the queue is closed")]
    Closed,
}

impl Error {
    /// The reason, without what this says of itself.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Storage(cause) | Self::Damaged(cause) => chain(cause.as_ref()),
            _ => self.to_string(),
        }
    }

    /// The stored data is damaged.
    pub(super) fn damaged(reason: &'static str) -> Self {
        Self::Damaged(reason.into())
    }
}
